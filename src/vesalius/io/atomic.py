"""Write beside, then rename: a file either is complete or is not there."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vesalius.errors import DiskError

_LONG_SUFFIXES = (".nii.gz", ".seg.nrrd", ".seg.dcm")


def suffix_of(path: Path) -> str:
    """Return the suffix that names the format, lower case; both parts of ``.nii.gz`` and ``.seg.nrrd``."""
    name = path.name.lower()
    return next((long for long in _LONG_SUFFIXES if name.endswith(long)), path.suffix.lower())


@contextmanager
def disk_errors(
    expected: str, *, do: str = "name a folder that may be written to, with enough space"
) -> Iterator[None]:
    """Turn what the system says of a disk into an error of ours.

    Args:
        expected: What is being done, such as ``to write into runs/one``.
        do: What helps where it fails.

    Raises:
        DiskError: For any error of the system but too little memory, which is no matter of the disk.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (None, errno.ENOMEM):  # without a number: a library's complaint about what it was given
            raise
        raise DiskError(expected=expected, got=error.strerror or str(error), do=do) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; it takes the place of ``path`` when the block ends well.

    The name (``.labels.part.nii.gz``) keeps the suffix, because libraries choose the format by it, and is always
    the same for one ``path``, so that what a killed run left is overwritten by the next.

    Raises:
        DiskError: If the file cannot be written (no such folder, no permission, disk full).
    """
    suffix = suffix_of(path)
    stem = path.name[: len(path.name) - len(suffix)]
    part = path.with_name(f".{stem}.part{suffix}")
    expected = f"to write {path.name} into the folder {path.parent}"
    try:
        with disk_errors(expected, do="name an existing folder that may be written to, with enough space"):
            yield part
            with part.open("rb") as written:
                os.fsync(written.fileno())
            part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
