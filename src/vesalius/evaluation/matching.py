"""Which class of one label map is which of another: by the names stored with them, or by their ids."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from vesalius.errors import UnknownClassError, UsageError
from vesalius.labels.composition import covering, leaves_of
from vesalius.labels.spelling import loose_key
from vesalius.labels.vista3d import TABLE
from vesalius.labels.word_order import known_structure, refuse_told_apart_by_order

MatchBy = Literal["auto", "names", "ids"]

_SHOWN = 8


@dataclass(frozen=True)
class ClassPair:
    """One class in both label maps.

    Args:
        name: What it is called in the results.
        found: Ids of what was found that make it up.
        truth: Ids of the reference that make it up.
    """

    name: str
    found: tuple[int, ...]
    truth: tuple[int, ...]


@dataclass(frozen=True)
class Matching:
    """What can be compared, and what cannot.

    Args:
        pairs: Classes that both maps could hold.
        by_names: Whether they were matched by names that both maps state.
        only_truth: Names of the reference that the other map does not state.
        only_found: Names of what was found that the reference does not state: nobody looked for them.
        missed: Classes of the reference that are not compared, neither whole nor in parts, each with nothing that
            was found, or with those parts of it that were.
        parts: Whole -> its parts, by whose names one of the maps states it.
    """

    pairs: tuple[ClassPair, ...]
    by_names: bool
    only_truth: tuple[str, ...] = ()
    only_found: tuple[str, ...] = ()
    missed: tuple[ClassPair, ...] = ()
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def match_classes(
    found: Mapping[int, str],
    truth: Mapping[int, str],
    *,
    by: MatchBy = "auto",
    classes: Sequence[str] = (),
) -> Matching:
    """Match the classes of two label maps.

    By names, where both maps state any: spelling and synonyms do not matter (``Kidney_Left``, ``left kidney``). A
    structure that others lie in is compared whole: a liver is compared with its tumours and vessels, on both sides,
    however each map stores them. What only one map has whole is compared with its parts together, if the other has
    all of them: a lung with its lobes. By ids where neither states any; where one does, nobody knows what the
    other's ids mean. Whatever pairs the classes of a case, results are gathered by name
    (``scores.spelled_alike``): two that the order of words alone tells apart would become one, and are refused by
    ids, too.

    Args:
        found: Label id -> name of what was found; ``label 7`` is no name.
        truth: The same of the reference.
        by: ``auto`` as above; ``names`` and ``ids`` insist.
        classes: Names of the classes to compare; none at all means all. One that only the reference states is
            compared with nothing, or with those parts of it that the other states: who names only what was found
            has found nothing else of it.

    Raises:
        UsageError: If one map states names and the other none and ids are not insisted on, if they have none in
            common, or if in one map the order of words alone tells two structures apart.
        UnknownClassError: If one of ``classes`` is not among those that can be compared.
    """
    for names, where in ((found, "what was found"), (truth, "the reference")):
        refuse_told_apart_by_order(names.values(), where)
    named = _is_named(found) and _is_named(truth)
    is_one_nameless = bool(found and truth) and _is_named(found) != _is_named(truth)
    if (by == "names" and not named) or (by == "auto" and is_one_nameless):
        raise _nameless(found, truth)
    matching = _by_names(found, truth, classes) if named and by != "ids" else _by_ids(found, truth)
    return replace(matching, pairs=_chosen(matching.pairs, classes)) if classes else matching


def made_up(names: Iterable[str], wholes: Iterable[str]) -> list[str]:
    """Return those of some structures that names do not state, but all of whose parts they do."""
    named = {canonical(name): name for name in wholes}
    return [named[name] for name in _in_parts({canonical(name): () for name in names}, named)]


def canonical(name: str) -> str:
    """Return what all spellings and synonyms of a name have in common."""
    structure = known_structure(name)
    return structure.name if structure else loose_key(name)


def _is_named(names: Mapping[int, str]) -> bool:
    return any(name != f"label {label}" for label, name in names.items())


def _by_names(found: Mapping[int, str], truth: Mapping[int, str], classes: Sequence[str]) -> Matching:
    found_ids, truth_ids = _ids_by_name(found), _ids_by_name(truth)
    parts_found, parts_truth = _in_parts(found_ids, truth_ids), _in_parts(truth_ids, found_ids)
    some = _in_parts(found_ids, [name for name in truth_ids if name not in parts_found], complete=False)
    shown = {canonical(name): name for names in (found, truth) for name in names.values()}
    truth_ids = _united(truth_ids, parts_truth)
    stated = _united(found_ids, parts_found)
    found_ids = _united(stated, some)
    wanted = {canonical(name) for name in classes}
    shared = [name for name in truth_ids if name in stated or name in wanted]
    if not shared:
        raise UsageError(
            expected="label maps with classes in common",
            got=f"{_listed(found.values())} in one and {_listed(truth.values())} in the other",
            do="if their ids mean the same, match by ids (--match ids)",
        )
    pairs = {name: ClassPair(shown[name], _whole(name, found_ids), _whole(name, truth_ids)) for name in truth_ids}
    compared = {*shared, *(part for name in shared for part in parts_truth.get(name, ()))}
    return Matching(
        tuple(pairs[name] for name in shared),
        by_names=True,
        only_truth=tuple(shown[name] for name in truth_ids if name not in shared),
        only_found=tuple(shown[name] for name in stated if name not in truth_ids),
        missed=tuple(pair for name, pair in pairs.items() if name not in compared),
        parts={
            shown[name]: tuple(shown[part] for part in own)
            for parts in (parts_found, parts_truth, some)
            for name, own in parts.items()
        },
    )


def _by_ids(found: Mapping[int, str], truth: Mapping[int, str]) -> Matching:
    names = {**found, **truth} if _is_named(truth) or not _is_named(found) else {**truth, **found}
    return Matching(tuple(ClassPair(names[i], (i,), (i,)) for i in sorted(names)), by_names=False)


def _ids_by_name(names: Mapping[int, str]) -> dict[str, tuple[int, ...]]:
    ids: dict[str, tuple[int, ...]] = {}
    for label, name in names.items():
        ids[canonical(name)] = (*ids.get(canonical(name), ()), label)
    return ids


def _in_parts(
    ids: Mapping[str, tuple[int, ...]], others: Iterable[str], *, complete: bool = True
) -> dict[str, tuple[str, ...]]:
    """Return whole -> its parts, of wholes that a map does not state, but all of their parts.

    Args:
        ids: What the map states, by canonical names.
        others: Canonical names that may be wholes.
        complete: All of them, not only some.
    """
    known = {part: structure for part in ids if (structure := known_structure(part)) is not None}
    leaves = {part: leaves_of(structure) for part, structure in known.items()}
    parts = {}
    for name in others:
        whole = None if name in ids else known_structure(name)
        if whole is None or not whole.parts:
            continue
        if complete:
            chosen = covering(whole, leaves)
        else:
            chosen = tuple(part for part, own in leaves.items() if own < set(whole.parts))
        if chosen:
            parts[name] = chosen
    return parts


def _united(ids: Mapping[str, tuple[int, ...]], parts: Mapping[str, Iterable[str]]) -> dict[str, tuple[int, ...]]:
    """Return a map's ids, those of wholes with them."""
    wholes = {name: tuple(label for part in some for label in ids[part]) for name, some in parts.items()}
    return {**ids, **wholes}


def _whole(name: str, ids: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Return the ids of a class and of those that lie inside it and count as part of it."""
    structure = known_structure(name)
    inside = [part.name for part in TABLE if structure and part.id in structure.includes]
    return tuple(label for part in (name, *inside) for label in ids.get(part, ()))


def _chosen(pairs: Sequence[ClassPair], classes: Sequence[str]) -> tuple[ClassPair, ...]:
    by_name = {canonical(pair.name): pair for pair in pairs}
    for name in classes:
        if canonical(name) not in by_name:
            raise UnknownClassError(
                expected=f"classes that can be compared: {_listed(pair.name for pair in pairs)}",
                got=repr(name),
                do="name some of these, or leave --classes out",
            )
    return tuple(by_name[name] for name in dict.fromkeys(canonical(name) for name in classes))


def _listed(names: Iterable[str]) -> str:
    all_names = list(names)
    more = f" and {len(all_names) - _SHOWN} more" if len(all_names) > _SHOWN else ""
    return ", ".join(all_names[:_SHOWN]) + more if all_names else "none"


def _nameless(found: Mapping[int, str], truth: Mapping[int, str]) -> UsageError:
    without = [
        what for what, names in (("what was found", found), ("the reference", truth)) if not _is_named(names)
    ]
    return UsageError(
        expected="names of the classes in both label maps",
        got=f"none in {' and '.join(without)}",
        do='put a labels.json ({"1": "liver"}) beside the files, or, if ids mean the same, --match ids',
    )
