"""MetaImage headers, looked at before SimpleITK opens the file: where the voxels lie, and in which file they are.

SimpleITK skips what it does not know, and a line without ``=`` takes the next one with it. So a header is believed
only where both must read the same: names spelled exactly, one data file, and no such line at a field that counts.
Reference: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vesalius.errors import FileFormatError, GeometryError, UnsafeFileError

_HEADER_BYTES = 1 << 20
_LAST_NAME = b"ElementDataFile"
_LAST_LINE = re.compile(
    rb"(?:^|[\r\n])[ \t]*" + _LAST_NAME + rb"[ \t]*[=:][ \t]*(?P<value>[^\r\n]*)(?:\r\n|\r|\n|$)"
)
_SPACING = ("ElementSpacing", "ElementSize")
_AXES = ("TransformMatrix", "Orientation", "Rotation")
_ORIGIN = ("Offset", "Origin", "Position")
_COUNTING = (*_AXES, *_ORIGIN, "NDims", "DimSize", "HeaderSize", "Element", "BinaryData", "CompressedData",
             "Object")  # fmt: skip
"""How the fields begin that say what and where the voxels are."""
_BLANKS = " \t\n\r\v\f"
"""What SimpleITK takes for white space; Python knows more."""


@dataclass(frozen=True)
class MetaHeader:
    """The text of a header.

    Args:
        fields: ``DimSize``, ``ElementSpacing``...; names as they are spelled, because SimpleITK knows no others.
        data_file: The file of the voxels as the header names it; None where they follow the header.
        length: Bytes of the header, to where the voxels begin.
    """

    fields: Mapping[str, str]
    data_file: str | None
    length: int

    @property
    def is_compressed(self) -> bool:
        """Whether the voxels are deflated."""
        return self.fields.get("CompressedData", "")[:1] in ("T", "t", "1")


def read_header(path: Path) -> MetaHeader:
    """Read the text of a header.

    Raises:
        FileFormatError: If it does not end with ElementDataFile within 1 MiB, or a line hides a field.
        UnsafeFileError: If it names its data twice.
    """
    text, last = _split(path)
    if not _is_named_once(path):
        raise UnsafeFileError(
            expected="a MetaImage header that names its data once",
            got=f"{path.name} with ElementDataFile more than once",
            do="do not use this file; ask its sender",
        )
    return MetaHeader(_fields(text, path), _named_in(last), last.end())


def data_file(path: Path) -> str | None:
    """Return the file of the voxels as the header names it first; None where they follow the header.

    The voxels are not looked at, so whether the file names its data twice is left to who reads it.

    Raises:
        FileFormatError: If the header does not end with ElementDataFile within 1 MiB.
    """
    return _named_in(_split(path)[1])


def check_is_placed(header: MetaHeader, path: Path) -> None:
    """Refuse a header that does not say where its voxels are; SimpleITK would put in what it likes.

    Raises:
        GeometryError: If it lacks the spacing, or both the axes and the origin, or one has too few numbers.
    """
    axes = header.fields.get("NDims", "")
    count = int(axes) if axes.isdecimal() and len(axes) < 3 else 0
    stated = {
        name: len(header.fields[name].split()) == wanted
        for names, wanted in ((_SPACING, count), (_AXES, count**2), (_ORIGIN, count))
        for name in names
        if name in header.fields
    }
    if not all(stated.values()) or not stated.keys() & {*_SPACING} or not stated.keys() & {*_AXES, *_ORIGIN}:
        raise GeometryError(
            expected="a MetaImage header with ElementSpacing, TransformMatrix and Offset",
            got=f"{path.name} with {', '.join(stated) or 'none of them'}: nobody knows where its voxels are",
            do="write it again with the program that made it, or from the DICOM series",
        )


def _split(path: Path) -> tuple[bytes, re.Match[bytes]]:
    """Return the header up to its last line, and that line."""
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    last = _LAST_LINE.search(start)
    if last is None:
        raise FileFormatError(
            expected="a MetaImage header that ends with ElementDataFile",
            got=f"{path.name} without it",
            do="get the file again, or convert it",
        )
    return start[: last.start()], last


def _named_in(last: re.Match[bytes]) -> str | None:
    named = last["value"].decode("latin-1").strip()
    return None if named in ("LOCAL", "Local", "local") else named


def _fields(text: bytes, path: Path) -> dict[str, str]:
    fields: dict[str, str] = {}
    lines = [line for line in re.split(r"[\r\n]+", text.decode("latin-1")) if line.strip(_BLANKS)]
    for line, next_ in zip(lines, [*lines[1:], _LAST_NAME.decode()], strict=True):
        name, separator, value = re.match(r"([^=:]*)([=:]?)(.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
        if separator:
            fields[name.strip(_BLANKS)] = value.strip(_BLANKS)
        elif line.lstrip(_BLANKS).startswith(_COUNTING) or next_.lstrip(_BLANKS).startswith(_COUNTING):
            raise FileFormatError(
                expected="lines such as `NDims = 3` in a MetaImage header",
                got=f"{path.name} with the line {line[:40]!r}",
                do="get the file again, or convert it",
            )
    return fields


def _is_named_once(path: Path) -> bool:
    """Say whether the whole file has one ElementDataFile: a header may hide where its voxels seem to begin."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        first = content.find(_LAST_NAME)
        return first >= 0 and content.find(_LAST_NAME, first + 1) < 0
