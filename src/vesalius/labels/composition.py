"""From the (id, name) pairs of a model's spec to structures: the table's facts under the model's own ids."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import TypeVar

from vesalius.errors import CheckpointError
from vesalius.labels.spelling import exact_key, is_text, loose_key
from vesalius.labels.structure import Colour, Structure
from vesalius.labels.vista3d import TABLE

Pairs = Sequence[tuple[int, str]]
Key = TypeVar("Key")


def compose(pairs: Pairs) -> tuple[Structure, ...]:
    """Return the structures of a model, by id: those it states, and the composites that these make up.

    A composite the model does not state keeps the table's id, or where that is taken gets the next free one.

    Raises:
        CheckpointError: If an id or a name stands twice, an id is below 1, or a name is no text.
    """
    _check(pairs)
    facts = _facts(pairs)
    own_ids = {fact.id: label for label, fact in facts.items()}
    unlearnt = _unlearnt(facts)
    parts = {fact.id: _parts(fact, facts, unlearnt) for fact in TABLE if fact.parts}
    structures = [
        _stated(label, name, facts.get(label), own_ids, parts, is_unlearnt=label in unlearnt)
        for label, name in pairs
    ]
    taken = {label for label, _ in pairs}
    for fact in TABLE:
        if parts.get(fact.id) and fact.id not in own_ids:
            label = fact.id if fact.id not in taken else max(taken) + 1
            taken.add(label)
            structures.append(replace(fact, id=label, parts=parts[fact.id], status="composite"))
    return tuple(sorted(_with_own_colours(structures), key=lambda s: s.id))


def _check(pairs: Pairs) -> None:
    ids, names = [label for label, _ in pairs], [exact_key(name) for _, name in pairs]
    if len(set(ids)) < len(ids) or len(set(names)) < len(names) or min(ids, default=1) < 1:
        twice = [pair for pair in pairs if ids.count(pair[0]) > 1 or names.count(exact_key(pair[1])) > 1]
        raise CheckpointError(
            expected="a vocabulary in which every id, from 1, and every name stands once",
            got=str(twice or [pair for pair in pairs if pair[0] < 1]),
            do="correct the vocabulary in the model's spec.json",
        )
    if wrong := [pair for pair in pairs if not is_text(pair[1])]:
        raise CheckpointError(
            expected="a vocabulary of names that can be written",
            got=str(wrong),
            do="correct the vocabulary in the model's spec.json",
        )


def _facts(pairs: Pairs) -> dict[int, Structure]:
    """Find each name's row of the table; a row goes to the name closest to it, and to one only."""
    found: dict[int, Structure] = {}
    free = list(TABLE)
    for key in (exact_key, loose_key):
        for synonyms in (False, True):
            rows = {key(word): fact for fact in free for word in (fact.synonyms if synonyms else (fact.name,))}
            for label, name in pairs:
                fact = rows.get(key(name))
                if label not in found and fact in free:
                    found[label] = fact
                    free.remove(fact)
    return found


def _unlearnt(facts: Mapping[int, Structure]) -> frozenset[int]:
    """Return the ids under which a model names what VISTA3D could not learn, if its ids are VISTA3D's.

    Another model may have learnt it. Ids are VISTA3D's if half of what a model names has the table's id; a single
    one may have it by chance: the rectum as the eighteenth name of a list.
    """
    same = [label for label, fact in facts.items() if fact.id == label]
    if 2 * len(same) < len(facts):
        return frozenset()
    return frozenset(label for label in same if facts[label].status == "unsupported")


def covering(whole: Structure, leaves: Mapping[Key, Set[int]]) -> tuple[Key, ...]:
    """Return which of some structures make up ``whole``, in the table's order; none where anything is missing.

    There may be parts of parts (lobes) or larger ones (a lung): the smallest are taken.

    Args:
        whole: A row of the table that has parts.
        leaves: What may be a part -> the ids, in the table, of the smallest parts that it consists of, or its own.
    """
    inside = {key: own for key, own in leaves.items() if own < set(whole.parts)}
    missing = set(whole.parts)
    chosen = []
    for key in sorted(inside, key=lambda key: len(inside[key])):
        if missing.issuperset(inside[key]):
            missing -= inside[key]
            chosen.append(key)
    return () if missing else tuple(sorted(chosen, key=lambda key: min(map(whole.parts.index, inside[key]))))


def leaves_of(structure: Structure) -> frozenset[int]:
    """Return the ids of the smallest parts of a row of the table, or its own."""
    return frozenset(structure.parts or (structure.id,))


def _parts(whole: Structure, facts: Mapping[int, Structure], unlearnt: Set[int]) -> tuple[int, ...]:
    """Return the model's ids whose union is ``whole``; none where it lacks any part."""
    predicted = {
        label: leaves_of(fact)
        for label, fact in facts.items()
        if fact.status != "composite" and label not in unlearnt
    }
    return covering(whole, predicted)


def _stated(
    label: int,
    name: str,
    fact: Structure | None,
    own_ids: Mapping[int, int],
    parts: Mapping[int, tuple[int, ...]],
    *,
    is_unlearnt: bool,
) -> Structure:
    if fact is None:
        return Structure(id=label, name=name, colour=_colour_of(name))
    own_parts = parts.get(fact.id, ())
    is_made_of_parts = fact.status == "composite" and own_parts
    return replace(
        fact,
        id=label,
        name=name,
        synonyms=tuple(word for word in (fact.name, *fact.synonyms) if word != name),
        parts=own_parts,
        includes=tuple(own_ids[part] for part in fact.includes if part in own_ids),
        status="composite" if is_made_of_parts else "unsupported" if is_unlearnt else "trained",
        reason=fact.reason if is_unlearnt else "",
    )


def _with_own_colours(structures: Sequence[Structure]) -> list[Structure]:
    """Give every structure a colour no other has; the table's stay, those made of names move on until free."""
    known = {fact.colour for fact in TABLE}
    taken = {structure.colour for structure in structures if structure.colour in known}
    coloured = []
    for structure in structures:
        colour, attempt = structure.colour, 0
        while structure.colour not in known and colour in taken | known:
            attempt += 1
            colour = _colour_of(f"{structure.name} {attempt}")
        taken.add(colour)
        coloured.append(replace(structure, colour=colour))
    return coloured


def _colour_of(name: str) -> Colour:
    """Return a bright colour that depends on nothing but the name."""
    dice = zlib.crc32(exact_key(name).encode())
    hue, saturation, value = dice % 360 / 360, 0.5 + dice // 360 % 5 / 10, 0.8 + dice // 1800 % 3 / 10
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue
