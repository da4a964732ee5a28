"""NIfTI-1 and -2: images as stored, labels with their names inside, both with the geometry of the input.

Where voxels are: the sform if its code is above 0, else the qform, else the file is refused: without either nobody
knows left from right. Labels are written with sform and qform saying the same, because readers differ in which they
believe, except that an input with a qform alone keeps a qform alone: its affine must come back to the bit.
Reference: NIfTI-1 header (https://nifti.nimh.nih.gov/nifti-1).
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from vesalius.errors import FileFormatError
from vesalius.geometry import affine as affines
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io import label_table
from vesalius.io.atomic import replacing
from vesalius.io.coding import describe
from vesalius.io.limits import check_claim, truncated
from vesalius.io.nifti_grid import grid_of_header, is_in_mm
from vesalius.io.pixels import integer_labels, named, single_channel, smallest_label_dtype
from vesalius.io.source import FileSource, mend_non_finite

_logger = logging.getLogger(__name__)

_SCALAR_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_OTHER_TYPES = {1: "bits", 32: "complex numbers", 128: "RGB colours", 1536: "128-bit floats",
                1792: "complex numbers", 2048: "complex numbers", 2304: "RGBA colours"}  # fmt: skip
_SLAB_BYTES = 16 << 20
_READ_BYTES = 1 << 20
_MAX_EXTENSION_BYTES = 16 << 20
_ORTHOGONAL = 1e-4

NIFTI_IMAGES = (nib.Nifti1Image, nib.Nifti1Pair, nib.Nifti2Image, nib.Nifti2Pair)
"""nibabel images whose header we can hand on."""


def read(path: Path) -> Volume:
    """Read an image; voxel values as stored, integers kept where the scaling allows.

    NaN and infinite voxels become the smallest finite value, and the repair is noted in the source.

    Raises:
        FileFormatError: If it is no NIfTI, truncated, empty, a time series or in colour.
        GeometryError: If neither sform nor qform places the voxels.
        UnsafeFileError: If the header claims more than the file can hold.
        MemoryBudgetError: If the volume is larger than the free memory.
    """
    header, _ = _read_header(path)
    grid, repairs = grid_of_header(header, path)
    data = _rescaled(_read_voxels(path, header, grid.shape), header)
    repairs += mend_non_finite(data, path)
    source = FileSource(path=path, grid=grid, header=header, repairs=repairs)
    return Volume(data[None], grid, "unknown", source)


def read_grid(path: Path) -> Grid:
    """Read where the voxels are, from the header alone.

    Raises:
        FileFormatError, GeometryError: As `read`.
    """
    return grid_of_header(_read_header(path)[0], path)[0]


def read_labels(path: Path) -> LabelMap:
    """Read a label map; names from the header extension, else from a sidecar, else ``label 7``.

    Raises:
        FileFormatError: As `read`; also if values are no whole numbers from 0 to 65535.
    """
    header, extensions = _read_header(path)
    grid, repairs = grid_of_header(header, path)
    data = integer_labels(_rescaled(_read_voxels(path, header, grid.shape), header), path)
    names = label_table.from_extensions(extensions) or label_table.from_sidecar(path)
    source = FileSource(path=path, grid=grid, header=header, repairs=repairs)
    return LabelMap(data, grid, named(names, data), source=source)


def write(data: Volume | LabelMap, path: Path, mark: str = "") -> None:
    """Write an image or the base layer of a label map; ``.nii.gz`` is deflated at its fastest level.

    Args:
        data: What to write.
        path: Where to.
        mark: At most 79 ASCII characters for the field ``descrip``.

    Raises:
        DiskError: If the file cannot be written.
        FileFormatError: If the volume has several channels, or a type of voxel NIfTI has not.
    """
    if isinstance(data, LabelMap):
        voxels, names = data.data, data.names
        stored = smallest_label_dtype(data)
    else:
        voxels, names = single_channel(data, path), None
        stored = np.dtype(np.uint8) if voxels.dtype == bool else voxels.dtype.newbyteorder("=")
    header = _header_for(data.grid, stored, data.source, path)
    header["descrip"] = mark
    extension = b"" if names is None else _extension(label_table.to_xml(describe(names)))
    header["vox_offset"] = header.single_vox_offset + len(extension)
    with replacing(path) as part, _writer(part) as file:
        file.write(header.binaryblock)
        file.write(bytes([1 if extension else 0, 0, 0, 0]) + extension)
        slab = max(1, _SLAB_BYTES // max(1, voxels[..., 0].size * stored.itemsize))
        for k in range(0, voxels.shape[2], slab):
            file.write(voxels[..., k : k + slab].astype(stored, order="F").ravel(order="F").data)


# Reading


def _read_header(path: Path) -> tuple[Any, list[bytes]]:
    """Return the header (nibabel's, unchecked) and the contents of its extensions."""
    with _reader(path) as file:
        start = file.read(540)
        header = _parse_header(start, path)
        first = 544 if isinstance(header, nib.Nifti2Header) else 352
        room = min(int(header["vox_offset"]) - first, _MAX_EXTENSION_BYTES)
        if _is_pair(header) or room < 8:
            return header, []
        rest = start[first - 4 :] + file.read(max(0, room + first - len(start)))
    return header, _split_extensions(rest, ">" if header.endianness == ">" else "<")


def _parse_header(start: bytes, path: Path) -> Any:
    for kind, size in ((nib.Nifti1Header, 348), (nib.Nifti2Header, 540)):
        codes = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")}
        magic = start[344:348] if size == 348 else start[4:8]
        if size in codes and len(start) >= size and magic[:3] in (b"n+1", b"ni1", b"n+2", b"ni2"):
            return kind(start[:size], check=False)
    analyze = len(start) >= 348 and 348 in (
        int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big"))  # fmt: skip
    raise FileFormatError(
        expected="a NIfTI file",
        got=f"{path.name}: " + ("an Analyze 7.5 file, which does not say left from right" if analyze
                                else f"{len(start)} bytes of something else" if len(start) < 348
                                else "something else"),
        do="convert it to NIfTI with the program that made it",
    )  # fmt: skip


def _split_extensions(rest: bytes, order: str) -> list[bytes]:
    if rest[:1] == b"\0":
        return []
    contents, at = [], 4
    while at + 8 <= len(rest):
        size = int(np.frombuffer(rest[at : at + 4], f"{order}i4")[0])
        if size < 8 or at + size > len(rest):
            break
        contents.append(rest[at + 8 : at + size])
        at += size
    return contents


def _read_voxels(path: Path, header: Any, shape: tuple[int, int, int]) -> np.ndarray:
    code = int(header["datatype"])
    if code not in _SCALAR_TYPES:
        raise FileFormatError(
            expected="one number per voxel",
            got=f"{path.name} with {_OTHER_TYPES.get(code, f'datatype {code}')}",
            do="convert it to a grey-value image",
        )
    dtype = np.dtype(_SCALAR_TYPES[code]).newbyteorder(header.endianness)
    claimed = shape[0] * shape[1] * shape[2] * dtype.itemsize
    file_path = _image_path(path) if _is_pair(header) else path
    offset = max(0, int(header["vox_offset"]))
    if not _is_pair(header):
        offset = max(offset, 544 if isinstance(header, nib.Nifti2Header) else 352)
    compressed = _is_gzip(file_path)
    stored = file_path.stat().st_size - (0 if compressed else offset)
    check_claim(file_path, claimed=claimed, stored=stored, compressed=compressed)
    data = np.empty(shape, dtype, order="F")
    with _reader(file_path) as file:
        file.seek(offset)
        _fill(file, data.T.reshape(-1).view(np.uint8).data, file_path)
    if dtype.isnative:
        return data
    return data.byteswap(inplace=True).view(dtype.newbyteorder("="))


def _fill(file: BufferedIOBase, buffer: memoryview, path: Path) -> None:
    """Read into ``buffer`` to its end; memory is touched only as far as the file reaches."""
    at = 0
    while at < len(buffer):
        count = file.readinto(buffer[at : at + _READ_BYTES])
        if not count:
            raise truncated(path, len(buffer), at)
        at += count
    file.read(1)  # past the end, where gzip compares its checksum


def _rescaled(data: np.ndarray, header: Any) -> np.ndarray:
    """Apply scl_slope and scl_inter; whole-number scalings keep whole numbers where the range allows."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0.0 or (slope == 1.0 and inter == 0.0):
        return data
    inter = inter if np.isfinite(inter) else 0.0
    if np.issubdtype(data.dtype, np.integer) and slope.is_integer() and inter.is_integer():
        ends = sorted(int(value) * int(slope) + int(inter) for value in (data.min(), data.max()))
        for kind in (data.dtype, np.dtype(np.int16), np.dtype(np.int32)):
            if np.iinfo(kind).min <= ends[0] and ends[1] <= np.iinfo(kind).max:
                return _by_slice(data, slope, inter, kind)
    return _by_slice(data, slope, inter, np.dtype(np.float64 if data.dtype.itemsize > 4 else np.float32))


def _by_slice(data: np.ndarray, slope: float, inter: float, kind: np.dtype) -> np.ndarray:
    scaled = data if kind == data.dtype else np.empty(data.shape, kind, order="F")
    for k in range(data.shape[2]):
        scaled[..., k] = data[..., k].astype(np.float64) * slope + inter
    return scaled


def _is_pair(header: Any) -> bool:
    return bytes(header["magic"].item())[:2] == b"ni"


def _image_path(path: Path) -> Path:
    stem = path.name.removesuffix(".gz").removesuffix(".hdr").removesuffix(".img")
    for suffix in (".img", ".img.gz"):
        if path.with_name(stem + suffix).is_file():
            return path.with_name(stem + suffix)
    raise FileFormatError(
        expected=f"the voxels in {stem}.img beside the header {path.name}",
        got="no such file",
        do="copy both files of the pair",
    )


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextmanager
def _reader(path: Path) -> Iterator[BufferedIOBase]:
    """Open a file, deflated or not, and turn the errors of a damaged one into ours."""
    try:
        with gzip.open(path, "rb") if _is_gzip(path) else path.open("rb") as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileFormatError(
            expected="a complete gzip file", got=f"{path.name}: {error}", do="copy or download it again"
        ) from None


# Writing


def _header_for(grid: Grid, stored: np.dtype, source: object | None, path: Path) -> Any:
    header = nib.Nifti2Header() if max(grid.shape) > 32767 else nib.Nifti1Header()
    try:
        header.set_data_dtype(stored)
    except HeaderDataError:
        raise FileFormatError(
            expected="voxels of a type that NIfTI has", got=f"{stored} for {path.name}", do="convert them first"
        ) from None
    header.set_data_shape(grid.shape)
    header["pixdim"][1:4] = grid.spacing_mm
    header.set_xyzt_units("mm")
    header["scl_slope"], header["scl_inter"] = 1.0, 0.0
    kept = _kept_header(grid, source)
    code = 1
    if kept is not None:
        code = int(kept["sform_code"]) or int(kept["qform_code"])
        if int(kept["sform_code"]) == 0:
            for name in ("qform_code", "quatern_b", "quatern_c", "quatern_d",
                         "qoffset_x", "qoffset_y", "qoffset_z"):  # fmt: skip
                header[name] = kept[name]
            header["pixdim"][:4] = kept["pixdim"][:4]
            return header
    header.set_sform(grid.affine, code)
    if _is_orthogonal(grid):
        header.set_qform(grid.affine, code, strip_shears=True)
    else:
        _logger.info("%s: sheared axes have no qform; written with the sform alone", path.name)
    return header


def _kept_header(grid: Grid, source: object | None) -> Any:
    """Return the header of the NIfTI file this grid came from, if it still is that grid, in mm."""
    if not isinstance(source, FileSource) or source.header is None:
        return None
    same = source.grid.shape == grid.shape and np.array_equal(source.grid.affine, grid.affine)
    return source.header if same and is_in_mm(source.header) else None


def _is_orthogonal(grid: Grid) -> bool:
    cosines = affines.directions(grid.affine)
    return bool(np.abs(cosines.T @ cosines - np.eye(3)).max() <= _ORTHOGONAL)


def _extension(content: bytes) -> bytes:
    size = -(-(len(content) + 8) // 16) * 16
    return np.array([size, label_table.CODE], "<i4").tobytes() + content.ljust(size - 8, b"\0")


@contextmanager
def _writer(path: Path) -> Iterator[BufferedIOBase]:
    """Open for writing; ``.gz`` deflates at level 1 without name or time, so that equal labels are equal files."""
    with path.open("wb") as raw:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as file:
                yield file
        else:
            yield raw
