"""NRRD headers: written as 3D Slicer and ITK write them, and looked at before anyone else opens the file.

The pixels are read by SimpleITK (``itk.py``). They are written here, slab by slab, because SimpleITK would copy the
whole volume and cannot write the ``list`` axis of overlapping segments.
Reference: https://teem.sourceforge.net/nrrd/format.html
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vesalius.errors import FileFormatError, UnsafeFileError
from vesalius.geometry.grid import Grid
from vesalius.io.atomic import replacing

_TYPE_NAMES = {
    "i1": "signed char", "u1": "unsigned char", "i2": "short", "u2": "unsigned short", "i4": "int",
    "u4": "unsigned int", "i8": "long long int", "u8": "unsigned long long int", "f4": "float", "f8": "double",
}  # fmt: skip
_HEADER_BYTES = 8 << 20
_SLAB_BYTES = 16 << 20
_DATA_FILE = ("data file", "datafile")
_MARK = "Vesalius_Mark"


@dataclass(frozen=True)
class NrrdHeader:
    """The text of a header.

    Args:
        fields: ``sizes``, ``space directions``...; names in lower case.
        values: The ``key:=value`` pairs, such as ``Segment0_Name``.
        length: Bytes of the header, to where the pixels begin.
    """

    fields: Mapping[str, str]
    values: Mapping[str, str]
    length: int


def read_header(path: Path) -> NrrdHeader:
    """Read the text of a header.

    Raises:
        FileFormatError: If it is no NRRD header or does not end within 8 MiB.
        UnsafeFileError: If a field stands there twice, so that readers may differ in which they believe.
    """
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    ends = [(start.find(blank) + len(blank)) for blank in (b"\n\n", b"\r\n\r\n") if blank in start]
    detached = path.suffix.lower() == ".nhdr"
    if not start.startswith(b"NRRD000") or not (ends or detached):
        raise FileFormatError(
            expected="a NRRD file", got=f"{path.name}: no NRRD header", do="get the file again, or convert it"
        )
    length = min(ends, default=len(start))
    fields: dict[str, str] = {}
    values: dict[str, str] = {}
    for line in re.split(r"[\r\n]+", start[:length].decode("utf-8", "replace"))[1:]:
        name, is_field, value = line.partition(": ")
        field = name.strip().lower()
        if name.startswith("#"):
            continue
        if is_field and (":=" not in line or field in _DATA_FILE):  # as SimpleITK: what is a field is no pair
            if field in fields or (field in _DATA_FILE and fields.keys() & {*_DATA_FILE}):
                raise UnsafeFileError(
                    expected="each field of a NRRD header once",
                    got=f"{path.name} with {field!r} more than once",
                    do="do not use this file; ask its sender",
                )
            fields[field] = value.strip()
        elif ":=" in line:
            name, _, value = line.partition(":=")
            values[name.strip()] = value
    return NrrdHeader(fields, values, length)


def marked(mark: str) -> dict[str, str]:
    """Return the ``key:=value`` pair that says something of the whole file; none where there is nothing to say."""
    return {_MARK: mark} if mark else {}


def write(path: Path, layers: Sequence[np.ndarray], grid: Grid, values: Mapping[str, str]) -> None:
    """Write arrays ``(i, j, k)`` of one type as a NRRD, deflated; more than one become a first axis of kind list.

    Args:
        path: Where to.
        layers: The arrays; a single one gives a 3-D file.
        grid: Where the voxels are.
        values: ``key:=value`` pairs to put in the header.

    Raises:
        DiskError: If the file cannot be written.
        FileFormatError: If the type of the voxels is none of NRRD's.
    """
    dtype = layers[0].dtype
    kind = f"{dtype.kind}{dtype.itemsize}"
    if kind not in _TYPE_NAMES:
        raise FileFormatError(
            expected="whole numbers, or floats of 32 or 64 bits", got=f"{dtype} for {path.name}", do="convert them"
        )
    stored = dtype.newbyteorder("<")
    slab = max(1, _SLAB_BYTES // max(1, layers[0][..., 0].size * len(layers) * dtype.itemsize))
    with replacing(path) as part, part.open("wb") as raw:
        raw.write(_header(_TYPE_NAMES[kind], grid, len(layers), values).encode("utf-8"))
        with gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as file:
            for k in range(0, grid.shape[2], slab):
                slabs = [layer[..., k : k + slab] for layer in layers]
                block = slabs[0] if len(slabs) == 1 else np.stack(slabs)  # [layers i j k]
                file.write(block.astype(stored, order="F").ravel(order="F").data)


def _header(type_name: str, grid: Grid, layers: int, values: Mapping[str, str]) -> str:
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    directions = [_vector(lps[:3, axis]) for axis in range(3)]
    sizes, kinds = [str(n) for n in grid.shape], ["domain"] * 3
    if layers > 1:
        sizes, kinds, directions = [str(layers), *sizes], ["list", *kinds], ["none", *directions]
    lines = [
        "NRRD0004",
        "# Complete NRRD file format specification at:",
        "# http://teem.sourceforge.net/nrrd/format.html",
        f"type: {type_name}",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(sizes)}",
        f"space directions: {' '.join(directions)}",
        f"kinds: {' '.join(kinds)}",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(lps[:3, 3])}",
    ]
    lines += [f"{key}:={' '.join(value.split())}" for key, value in values.items()]
    return "\n".join(lines) + "\n\n"


def _vector(numbers: np.ndarray) -> str:
    return f"({','.join(repr(float(n) + 0.0) for n in numbers)})"
