"""Names of one map that the order of their words alone tells apart (``level 2 node 3``, ``level 3 node 2``).

Names are matched whatever the order of their words, so two such structures would be taken for one.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from vesalius.errors import UnknownClassError, UsageError
from vesalius.labels.spelling import differ_in_order, loose_key
from vesalius.labels.structure import Structure
from vesalius.labels.vista3d import TABLE
from vesalius.labels.vocabulary import Vocabulary


@cache
def known_structure(name: str) -> Structure | None:
    """Return the row of the table that a name means, by any spelling or synonym, or None."""
    try:
        return _table().by_name(name)
    except UnknownClassError:
        return None


def refuse_told_apart_by_order(names: Iterable[str], where: str) -> None:
    """Do nothing if every name is told from the others by its words.

    Args:
        names: Of one map or list; several spellings of one structure are welcome.
        where: They stand, for the message.

    Raises:
        UsageError: If two have the same words in another order, and are no structure of the table.
    """
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(loose_key(name), name)
        if other != name and differ_in_order(other, name) and known_structure(name) is None:
            raise UsageError(
                expected=f"structures in {where} whose names differ in more than the order of words",
                got=f"{other!r} and {name!r}",
                do="give one of them another name, or both the same if they are one structure",
            )


@cache
def _table() -> Vocabulary:
    return Vocabulary.of([(structure.id, structure.name) for structure in TABLE])
