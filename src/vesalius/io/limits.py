"""What a header may claim: sizes are checked against the file and the machine before anything is allocated."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from vesalius.allowance import available_bytes
from vesalius.errors import FileFormatError, MemoryBudgetError, UnsafeFileError

_DEFLATE_MAX_RATIO = 1032
"""No deflate stream grows more than this (zlib's technical details): a larger claim is a lie."""
_LARGE_BYTES = 4 << 30
_LARGE_MAX_RATIO = 200
"""A real scan compresses two- to fivefold, a label map up to a few hundred; above 4 GiB we want it plausible."""


def check_shape(path: Path, shape: Sequence[int]) -> tuple[int, int, int]:
    """Return the three voxel axes of a header's shape; further axes of length one are dropped.

    Raises:
        FileFormatError: If an axis is empty or negative, or there are not three of them, or several volumes.
    """
    sizes = [int(n) for n in shape]
    if not sizes or min(sizes) < 1:
        raise FileFormatError(
            expected="at least one voxel along every axis",
            got=f"{path.name} of shape {tuple(sizes)}",
            do="write the file again with the program that made it",
        )
    if len(sizes) < 3:
        raise FileFormatError(
            expected="a 3-D volume",
            got=f"{path.name} with {len(sizes)} axes {tuple(sizes)}",
            do="give the whole stack, not one slice",
        )
    if math.prod(sizes[3:]) != 1:
        raise FileFormatError(
            expected="one 3-D volume with one value per voxel",
            got=f"{path.name} of shape {tuple(sizes)}: {math.prod(sizes[3:])} volumes",
            do="split the time series or the channels into files first and give the one to segment",
        )
    return sizes[0], sizes[1], sizes[2]


def check_claim(path: Path, *, claimed: int, stored: int, compressed: bool) -> None:
    """Refuse a header that claims more bytes than the file can hold or the machine can take.

    Args:
        path: The file, for the message.
        claimed: Bytes of pixels the header announces; a Python integer, so that it cannot overflow.
        stored: Bytes of pixels in the file, as stored.
        compressed: Whether they are deflated.

    Raises:
        UnsafeFileError: If the claim is impossible or implausible.
        FileFormatError: If the pixels stop early.
        MemoryBudgetError: If the volume is larger than the memory that is free.
    """
    ratio = claimed / max(stored, 1)
    if ratio > _DEFLATE_MAX_RATIO + 1 or (claimed > _LARGE_BYTES and ratio > _LARGE_MAX_RATIO):
        raise UnsafeFileError(
            expected="a header that fits the size of the file",
            got=f"{path.name}: {stored} bytes that claim to hold {claimed}",
            do="get the file again; it is damaged or built to exhaust memory",
        )
    if not compressed and claimed > stored:
        raise truncated(path, claimed, stored)
    check_memory(path, claimed=claimed, free=available_bytes())


def check_memory(path: Path, *, claimed: int, free: int) -> None:
    """Refuse voxels that do not fit the memory.

    Args:
        path: The file, for the message.
        claimed: Bytes of all its voxels, those that are in memory already included.
        free: Bytes that were free before the first of them were.

    Raises:
        MemoryBudgetError: If they do not fit.
    """
    if claimed > free:
        raise MemoryBudgetError(
            expected=f"a volume that fits the {free / 2**30:.1f} GiB of memory that are free",
            got=f"{path.name}: {claimed / 2**30:.1f} GiB of voxels",
            do="crop the volume, or use a machine with more memory",
        )


def truncated(path: Path, claimed: int, found: int) -> FileFormatError:
    """Return the error of a file whose pixels stop early."""
    return FileFormatError(
        expected=f"{claimed} bytes of voxels, as the header of {path.name} says",
        got=f"{found} bytes: the file is truncated",
        do="copy or download it again",
    )
