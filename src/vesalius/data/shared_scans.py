"""Scans and patients of several lists of one training: none may be learnt from in one list and judge in another.

Inside a list ``vesalius dataset check`` finds copies. Between lists a training looks itself, before it begins: at
the files' hashes, which its cache has anyway, and at the voxels of those scans alone whose size and spacing another
list's scan has, so that headers tell most of them apart. Voxels are read once; their hash is kept in the cache.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from vesalius.data.cache import Cache, key_of
from vesalius.data.copies import voxel_hash
from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.errors import UsageError
from vesalius.io.formats import read, read_grid

_logger = logging.getLogger(__name__)
_FORMAT = 1
_NAMED = 4
_NUMBER = re.compile(r"(?:[A-Za-z]{1,8}[-_ ]?)?\d+")
"""A patient's number in a data set: ``7``, ``p7``, ``P-12``, or a subject of BIDS, ``sub-01``."""


@dataclass(frozen=True, kw_only=True)
class UsedCase:
    """A case of a training.

    Args:
        listed: Its list.
        case: The case.
        is_judge: Whether it judges; else it is learnt from.
    """

    listed: DataList
    case: ListedCase
    is_judge: bool

    def __str__(self) -> str:
        return f"{self.case.name} of {self.listed.path} ({'validation' if self.is_judge else 'training'})"


Pair = tuple[UsedCase, UsedCase]


def used_cases(
    listed: DataList, *, learnt: Sequence[ListedCase], judged: Sequence[ListedCase]
) -> tuple[UsedCase, ...]:
    """Return the cases of a list that a training uses: of those to learn from, such as have any labels."""
    with_labels = [case for case in learnt if case.is_labelled or case.pseudo_label is not None]
    both = ((with_labels, False), (judged, True))
    return tuple(UsedCase(listed=listed, case=case, is_judge=is_judge) for some, is_judge in both for case in some)


def require_apart(used: Sequence[UsedCase], cache: Cache) -> None:
    """Refuse a scan, and a patient, learnt from in one list of a training and judging in another.

    A scan that two lists teach, each with labels of its own, is usual, and logged. Patients are the same where two
    lists have one word for them. Numbers, as ``7`` and ``sub-07``, number the patients of their own list: they are
    not compared, and where that might have mattered, the log says so.

    Args:
        used: Cases of all lists.
        cache: Keeps the hashes of files and of voxels.

    Raises:
        UsageError: If so; it names the cases.
        InputError: If a file cannot be read.
        DiskError: If the cache cannot be written.
    """
    _refuse_torn_scans(list(_shared(used, lambda one: cache.sha256(one.case.image))))
    alike = list(_shared(used, _shape_of))
    suspects = list({id(one): one for pair in alike for one in pair}.values())
    shared = list(_shared(suspects, lambda one: _voxels(one.case.image, cache)))
    _refuse_torn_scans(shared)
    if shared:
        _logger.info("scans of several lists, drawn the more often for it: %s", _named(shared))
    people = [one for one in used if one.case.patient is not None]
    torn = _torn(list(_shared(people, lambda one: one.case.patient)))
    numbered = [pair for pair in torn if _NUMBER.fullmatch(str(pair[0].case.patient))]
    if pairs := [pair for pair in torn if pair not in numbered]:
        raise UsageError(
            expected="every patient learnt from, or judged by",
            got=f"one patient: {_named(pairs)}",
            do="move them together; if they are two people, give them two words in the lists' `patient`",
        )
    if numbered:
        _logger.info("taken for two people, as lists number their own patients: %s", _named(numbered))


def _shared(used: Sequence[UsedCase], key: Callable[[UsedCase], Hashable]) -> Iterator[Pair]:
    """Yield pairs of cases of different lists that have one key."""
    found: dict[Hashable, list[UsedCase]] = {}
    for one in used:
        found.setdefault(key(one), []).append(one)
    for some in found.values():
        yield from (pair for pair in combinations(some, 2) if pair[0].listed is not pair[1].listed)


def _torn(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs of which one is learnt from and the other judges."""
    return [pair for pair in pairs if pair[0].is_judge != pair[1].is_judge]


def _refuse_torn_scans(shared: Sequence[Pair]) -> None:
    if pairs := _torn(shared):
        raise UsageError(
            expected="every scan learnt from, or judged by",
            got=f"the same voxels: {_named(pairs)}",
            do="take it out of one of the lists, or move it, so that it is for training, or validation, in both",
        )


def _shape_of(one: UsedCase) -> tuple[tuple[int, float], ...]:
    """Return size and spacing along each axis, whatever their order: copies have the same."""
    grid = read_grid(one.case.image)
    return tuple(sorted((n, round(mm, 3)) for n, mm in zip(grid.shape, grid.spacing_mm, strict=True)))


def _voxels(image: Path, cache: Cache) -> str:
    """Return the hash of an image's voxels, whatever the format and axis order, read once for each file."""

    def make(folder: Path) -> None:
        (folder / "sha256").write_text(voxel_hash(read(image).reoriented("RAS").data[0]), encoding="ascii")

    key = key_of({"voxels of": cache.sha256(image), "format": _FORMAT})
    return (cache.ensure(key, make) / "sha256").read_text("ascii")


def _named(pairs: Sequence[Pair]) -> str:
    more = f"; and {len(pairs) - _NAMED} more" if len(pairs) > _NAMED else ""
    return "; ".join(f"{one}, {other}" for one, other in pairs[:_NAMED]) + more
