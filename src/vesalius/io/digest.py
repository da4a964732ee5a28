"""Digest of an input: one SHA-256 over the file, or over every file of a folder, by name and content."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from vesalius.errors import FileFormatError
from vesalius.io.archives import list_files
from vesalius.io.itk import voxels_file

_PAIR = re.compile(r"(?P<stem>.*)\.(?P<half>hdr|img)(\.gz)?", re.IGNORECASE | re.DOTALL)
"""Half of a NIfTI pair, either of them deflated or not."""
_WITH_HEADERS = (".nrrd", ".nhdr", ".mha", ".mhd")
"""What may name another file as that of its voxels, whatever its suffix promises."""


def input_sha256(path: Path, *, leave_out: Iterable[Path] = ()) -> str:
    """Hash an input.

    Args:
        path: A file (with the data file beside a detached header), or a folder, with its subfolders but without
            what is hidden, as ``archives.list_files`` reads it.
        leave_out: Folders and files inside it that are no part of it: results. What it lies in itself is not left
            out, nor is it itself.

    Returns:
        Hexadecimal SHA-256. Of a single file it is the file's own.

    Raises:
        FileFormatError: If there is nothing (left), or it cannot be read. A link that leads nowhere counts by its
            name.
        UnsafeFileError: If a detached header names a data file elsewhere, or a folder has too many files.
    """
    try:
        files = input_files(path, leave_out=leave_out)
        if len(files) == 1 and path.is_file():
            return _sha256(path)
        digest = hashlib.sha256()
        for file in files:
            name = file.relative_to(path if path.is_dir() else path.parent).as_posix()
            content = "nothing" if file.is_symlink() and not file.exists() else _sha256(file)
            digest.update(f"{name}\0{content}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
    except OSError as error:
        raise FileFormatError(
            expected="an image file, or a folder or zip of DICOM, that can be read",
            got=f"{path}: {error.strerror}",
            do="check the path and its permissions",
        ) from None


def input_files(path: Path, *, leave_out: Iterable[Path] = ()) -> list[Path]:
    """Return the files whose contents the hash of an input is of; arguments and errors are those of the hash."""
    if path.is_dir():
        root = path.resolve()
        left_out = {inside for inside in map(Path.resolve, leave_out) if root in inside.parents}
        files = [file.path for file in list_files(path) if left_out.isdisjoint(_with_parents(file.path))]
        if not files:
            raise FileFormatError(
                expected=f"files in the folder {path}",
                got="none beside results and what is hidden",
                do="check the path, and name a folder for the results outside it",
            )
        return files
    beside = []
    if pair := _PAIR.fullmatch(path.name):
        other = "img" if pair["half"].lower() == "hdr" else "hdr"
        beside = [path.with_name(f"{pair['stem']}.{other}{deflated}") for deflated in ("", ".gz")]
    elif path.is_file() and path.suffix.lower() in _WITH_HEADERS:
        beside = [voxels_file(path)]
    return [path, *sorted({file for file in beside if file != path and file.is_file()})]


def _with_parents(file: Path) -> tuple[Path, ...]:
    place = Path(os.path.realpath(file))  # Path.resolve raises where links lead in a circle
    return (place, *place.parents)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
