"""Click targets: what the name beside a click means for a model, and what the point head must be told of it.

In MONAI a misspelt class silently becomes a new id and is clicked as zero-shot; here it is refused, and a structure
without a name in the model is asked for as ``new:<name>``.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vesalius.errors import UnknownClassError, UsageError
from vesalius.labels.spelling import exact_key, ordered_key
from vesalius.labels.structure import Structure
from vesalius.labels.vocabulary import Vocabulary
from vesalius.spec import PromptArchitecture

NEW = "new:"
"""Begins the name of a structure the model has no name for."""

NEW_LAYER = "new"
"""The overlap layer of such structures: they lie inside others and take nothing from them."""

_SHORT = 3
"""Characters of a synonym that may mean something else too, such as T1; a new structure may be called so."""

_RESERVED_ID = 255
"""Marks "not computed" in files of the published bundle; never a label."""

HIGHEST_ID = 65535
"""Label maps are kept and written in 16 bits."""


@dataclass(frozen=True)
class ClickTarget:
    """One structure that is clicked on.

    Args:
        id: Its label.
        name: Its name in the label map: the vocabulary's, or what follows ``new:``.
        supported: Whether the point head is told that it knows the class; otherwise it works zero-shot.
        special: Whether its clicks carry the special-class embedding (classes that lie inside others).
        layer: The overlap layer it is written to; None for the base layer.
    """

    id: int
    name: str
    supported: bool
    special: bool
    layer: str | None


def resolve_target(
    text: str, vocabulary: Vocabulary, architecture: PromptArchitecture, new_ids: Mapping[str, int]
) -> ClickTarget:
    """Say what the name beside a click means.

    Args:
        text: A class name, a synonym or an id as text; or ``new:<name>``.
        vocabulary: Of the model.
        architecture: Of the network; says which ids are supported and which are special.
        new_ids: Name -> id of the new structures of this session so far, whose names may be spelled otherwise; a
            new name gets the next id.

    Returns:
        The target. A new structure's id is above every id of the vocabulary and of ``new_ids`` as long as there are
        such, and never 255.

    Raises:
        UnknownClassError: If the model has no such class (close names are suggested) or was never trained on it.
        UsageError: If the name stands for several classes, or ``new:`` stands before nothing or a known class.
    """
    if text.strip().lower().startswith(NEW):
        return _new_target(text.strip()[len(NEW) :].strip(), vocabulary, new_ids)
    structure = _clickable(text, vocabulary, new_ids)
    return ClickTarget(
        id=structure.id,
        name=structure.name,
        supported=structure.id <= architecture.last_supported,
        special=structure.id in architecture.special_classes,
        layer=structure.layer,
    )


def _new_target(name: str, vocabulary: Vocabulary, new_ids: Mapping[str, int]) -> ClickTarget:
    if not name:
        raise UsageError(expected=f"a name after `{NEW}`", got="none", do=f"say `{NEW}lesion`, for example")
    for structure in vocabulary.structures:
        longer = (word for word in structure.synonyms if len(word) > _SHORT)
        spellings = {exact_key(word) for word in (structure.name, *longer)}
        if structure.status != "unsupported" and exact_key(name) in spellings:
            raise UsageError(
                expected=f"after `{NEW}` the name of a structure the model has no name for",
                got=f"{name!r}, which it knows",
                do=f"click {structure.name!r} without `{NEW}`, or give the new structure another name",
            )
    name = next((known for known in new_ids if ordered_key(known) == ordered_key(name)), name)
    label = new_ids[name] if name in new_ids else free_id(vocabulary, new_ids.values())
    return ClickTarget(id=label, name=name, supported=False, special=False, layer=NEW_LAYER)


def free_id(vocabulary: Vocabulary, taken: Iterable[int]) -> int:
    """Return the first id above those of a vocabulary and others that are taken; never the reserved one.

    Where none is left above, it is the lowest that is free.

    Raises:
        UsageError: If none is free.
    """
    used = {structure.id for structure in vocabulary.structures} | set(taken)
    above = range(max(used, default=0) + 1, HIGHEST_ID + 1)
    used.add(_RESERVED_ID)
    candidates = itertools.chain(above[:2], range(1, HIGHEST_ID + 1))
    label = next((label for label in candidates if label not in used), None)
    if label is None:
        raise UsageError(
            expected=f"a new structure while one of the ids up to {HIGHEST_ID} is free",
            got="labels in which each of them has a structure",
            do="click on one of those, or take structures that are not needed out of the label map",
        )
    return label


def _clickable(text: str, vocabulary: Vocabulary, new_ids: Mapping[str, int]) -> Structure:
    """Return the one trained class a text means."""
    if text.strip() in new_ids:
        raise UnknownClassError(
            expected="a class of the model", got=repr(text), do=f"say `{NEW}{text.strip()}` for the new structure"
        )
    try:
        structures = [vocabulary.by_id(target.id) for target in vocabulary.resolve([text])]
    except UnknownClassError as error:
        hint = f"{error.do}; a structure without a name in the model is clicked as `{NEW}<name>`"
        raise UnknownClassError(expected=error.expected, got=error.got, do=hint) from None
    whole = structures[0]
    parts = [vocabulary.by_id(part).name for part in whole.parts] or [structure.name for structure in structures]
    if len(structures) > 1 or whole.status == "composite":
        shown = ", ".join(parts[:4]) + (f" and {len(parts) - 4} more" if len(parts) > 4 else "")
        raise UsageError(
            expected="one structure per click",
            got=f"{text!r}, which stands for {len(parts)}: {shown}",
            do=f"name the one that was clicked, such as {parts[0]!r}",
        )
    return whole
