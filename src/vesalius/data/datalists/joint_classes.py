"""What several lists name together: one class for each structure, however each list spells it and numbers it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vesalius.data.datalists.record import DataList
from vesalius.errors import UnknownClassError, UsageError
from vesalius.geometry.volume import Modality
from vesalius.labels.structure import Structure
from vesalius.labels.vocabulary import Vocabulary

_NAMED = 4


def joint_classes(lists: Sequence[DataList]) -> tuple[tuple[int, str], ...]:
    """Return (class id, name) of what lists name, for a model that has no names yet; ids from 1.

    The first list's classes come first, in its order; each further list adds those that no list before it names,
    by any spelling or synonym. Label ids are each list's own. A list in which nobody drew anything names nothing.

    Args:
        lists: At least one.

    Raises:
        UsageError: If a list does not say what its ids mean, or says it in the ids of some model; if two names of
            one list are one class of another, or one list draws whole what another draws in parts; if a list says
            by ids what was looked for in a case: of which list's classes, nobody knows.
    """
    named = [one for one in lists if one.meanings or any(case.is_labelled for case in one.cases)] or lists[:1]
    if len(named) == 1:
        return named[0].own_classes()
    classes: dict[str, DataList] = {}
    for one in named:
        _refuse_ids(one)
        known = Vocabulary.of(list(enumerate(classes, start=1)))
        meant: dict[str, str] = {}  # class -> how this list spells it
        for _, name in one.own_classes():
            found = _lookup(name, known)
            joint = found.name if found is not None and found.name in classes else name
            if joint in meant:
                raise _two_of_one(one, (meant[joint], name), classes[joint], joint)
            meant[joint] = name
        for joint in meant:
            classes.setdefault(joint, one)
    pairs = tuple(enumerate(classes, start=1))
    _refuse_wholes(Vocabulary.of(pairs), classes)
    return pairs


def joint_modality(lists: Iterable[DataList]) -> Modality:
    """Return what made the images of lists, where any says so.

    Raises:
        UsageError: If some are of one modality and some of another: their numbers are not of one kind.
    """
    said = {one.modality: one for one in lists if one.modality != "unknown"}
    if len(said) > 1:
        raise UsageError(
            expected="lists of one modality for a network that begins with a backbone",
            got=" and ".join(f"{modality} in {one.path}" for modality, one in said.items()),
            do="train one network for each, or correct `modality`",
        )
    return next(iter(said), "unknown")


def _lookup(name: str, vocabulary: Vocabulary) -> Structure | None:
    try:
        return vocabulary.by_name(name)
    except UnknownClassError:
        return None


def _refuse_ids(listed: DataList) -> None:
    for case in listed.cases:
        ids = [word for word in case.classes or () if isinstance(word, int)]
        if ids:
            raise UsageError(
                expected=f"names in the `classes` of {listed.path}, as several lists name the classes together",
                got=f"{ids[:_NAMED]} in {case.name}",
                do="write the names that were looked for",
            )


def _refuse_wholes(vocabulary: Vocabulary, classes: dict[str, DataList]) -> None:
    """Refuse a class that one list draws whole and another in parts: neither tells of the other's what it needs."""
    for structure in vocabulary.structures:
        if structure.status == "composite" and structure.name in classes:
            parts = [vocabulary.by_id(part).name for part in structure.parts]
            by_parts = dict.fromkeys(str(classes[part].path) for part in parts)
            raise UsageError(
                expected="every structure drawn whole in all lists, or in parts in all",
                got=f"{structure.name!r} in {classes[structure.name].path}, and {', '.join(map(repr, parts))} in "
                f"{', '.join(by_parts)}",
                do="map the whole to null where there are parts elsewhere, or give the parts one name",
            )


def _two_of_one(listed: DataList, names: tuple[str, str], other: DataList, joint: str) -> UsageError:
    return UsageError(
        expected="structures that are told apart in one list to be told apart in the others",
        got=f"{names[0]!r} and {names[1]!r} in {listed.path}, both {joint!r} in {other.path}",
        do="give them one name, or map one of them to null",
    )
