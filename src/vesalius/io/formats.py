"""Files in, files out: which format a path is, by what it holds when reading and by its name when writing."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from nibabel.analyze import AnalyzeImage
from nibabel.spatialimages import SpatialImage

from vesalius.errors import FileFormatError, GeometryError, UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io import dicom_seg, dicom_series, itk, nifti, slicer_seg
from vesalius.io.atomic import suffix_of
from vesalius.io.limits import check_shape
from vesalius.io.nifti_grid import grid_of_image
from vesalius.io.origin import Origin
from vesalius.io.seg_slices import with_empty_slices
from vesalius.io.source import FileSource, mend_non_finite, repairs_of

Readable: TypeAlias = str | Path | Volume | SpatialImage | np.ndarray
Format = Literal["nifti", "nrrd", "seg.nrrd", "meta", "dicom"]

_WRITERS: Mapping[str, Callable[[Any, Path, str], None]] = {
    ".nii": nifti.write,
    ".nii.gz": nifti.write,
    ".nrrd": itk.write,
    ".mha": itk.write,
}
_DICOM_SUFFIXES = (".seg.dcm", ".dcm")
_READABLE = "a NIfTI, NRRD or MetaImage file, or a DICOM folder, zip or file"


def format_of(path: Path) -> Format:
    """Say what a path holds, from its first bytes; the suffix only tells segmentations of Slicer's apart.

    Raises:
        FileFormatError: If there is no such file, it is empty, cut off, or nothing we read.
    """
    if path.is_dir():
        return "dicom"
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise FileFormatError(
            expected=_READABLE, got=f"{path}: {error.strerror}", do="check the path and its permissions"
        ) from None
    if not start:
        raise FileFormatError(expected=_READABLE, got=f"{path.name}, an empty file", do="copy or download it again")
    found = _format_of_bytes(_inflated(path) if start[:2] == b"\x1f\x8b" else start)
    if found == "nrrd" and suffix_of(path) == ".seg.nrrd":
        return "seg.nrrd"
    if found is None:
        raise FileFormatError(
            expected=_READABLE,
            got=f"{path.name}, which begins with {start[:8]!r}",
            do="convert it to NIfTI, or give the folder of DICOM files",
        )
    return found


def read(path: Readable, *, series_uid: str | None = None, fill_gaps: bool = False) -> Volume:
    """Read an image.

    Args:
        path: A NIfTI, NRRD or MetaImage file; a DICOM folder, zip or file; or a nibabel image or a `Volume`
            already in memory.
        series_uid: Which DICOM series, where there are several.
        fill_gaps: Interpolate missing DICOM slices instead of refusing the series; other formats have no gaps.

    Returns:
        The volume ``(c, i, j, k)`` as stored (CT from DICOM in HU), in RAS mm. `repairs` tells what was mended
        while reading.

    Raises:
        InputError: A subclass that says what is wrong with the file and what to do.
        UsageError: If an array without an affine is given, or a series named of a file that is not DICOM.

    Example:
        >>> volume = read("ct/")
    """
    if isinstance(path, Volume):
        return path
    if isinstance(path, np.ndarray):
        raise UsageError(
            expected="an image that knows where its voxels are",
            got=f"an array of shape {path.shape} without an affine",
            do="give Volume(array[None], Grid(array.shape, affine)), with the affine from voxels to RAS mm",
        )
    if not isinstance(path, str | Path):
        return _from_nibabel(path)
    file = Path(path)
    kind = format_of(file)
    if series_uid is not None and kind != "dicom":
        raise UsageError(
            expected="a DICOM folder, zip or file, where a series is named",
            got=f"the series {series_uid} of {file.name}, which is not DICOM",
            do="leave the series out",
        )
    match kind:
        case "nifti":
            return nifti.read(file)
        case "nrrd" | "meta":
            return itk.read(file)
        case "seg.nrrd":
            raise FileFormatError(
                expected="an image", got=f"{file.name}, a segmentation", do="read it with read_labels"
            )
        case "dicom":
            return dicom_series.read_series(file, series_uid=series_uid, fill_gaps=fill_gaps)


def read_grid(path: Path) -> Grid:
    """Read where an image's voxels are, from its headers alone.

    Args:
        path: As for ``read``: a file, or a folder or zip of DICOM.

    Raises:
        InputError: A subclass that says what is wrong with the file and what to do.
    """
    match format_of(path):
        case "nifti":
            return nifti.read_grid(path)
        case "nrrd" | "meta" | "seg.nrrd":
            return itk.read_grid(path)
        case "dicom":
            return dicom_series.read_grid(path)


def read_labels(path: str | Path | LabelMap, names: Mapping[int, str] | None = None) -> LabelMap:
    """Read a label map.

    Args:
        path: A NIfTI, NRRD or MetaImage file, Slicer's ``.seg.nrrd``, or a DICOM SEG; a `LabelMap` is handed back.
        names: Label id -> name, where the file's own (header extension, segments, ``labels.json`` beside it) are
            not wanted. Ids without a name are called ``label 7``.

    Raises:
        InputError: A subclass that says what is wrong with the file and what to do.
    """
    labels = path if isinstance(path, LabelMap) else _read_labels(Path(path))
    if names is None:
        return labels
    known = {label: name for label, name in labels.names.items() if name == f"label {label}"} | dict(names)
    return LabelMap(labels.data, labels.grid, known, labels.overlaps, labels.source)


def write(
    data: Volume | LabelMap, path: str | Path, *, like: Volume | None = None, origin: Origin | None = None
) -> None:
    """Write an image or a label map, in the format its name says; a file is complete or absent.

    ``.nii``, ``.nii.gz``, ``.nrrd`` and ``.mha`` hold one layer: of a label map the base layer
    (`layer_of` gives the others). ``.seg.nrrd`` and DICOM SEG (``.seg.dcm``, ``.dcm``) hold all.

    Args:
        data: What to write.
        path: Where to; an existing file is replaced.
        like: The volume the labels were made of: they are written on exactly its grid, and DICOM SEG takes its
            headers. Without it, what ``data`` itself came from.
        origin: Who made the labels: DICOM SEG names model and version and says whether clicks took part; every
            format says it where the model was used outside what it was made for.

    Raises:
        UsageError: If the suffix is none of these, or an image is to become DICOM.
        GeometryError: If ``data`` does not lie on the voxels of ``like``, or the format cannot hold its grid.
        DiskError: If the file cannot be written.
    """
    file = Path(path)
    suffix = suffix_of(file)
    placed = data if like is None else _placed_like(data, like)
    origin = origin or Origin()
    if isinstance(placed, LabelMap) and suffix == ".seg.nrrd":
        slicer_seg.write(placed, file, origin.mark)
    elif isinstance(placed, LabelMap) and suffix in _DICOM_SUFFIXES:
        dicom_seg.write(placed, file, origin)
    elif suffix in _WRITERS:
        _WRITERS[suffix](placed, file, origin.mark)
    else:
        raise UsageError(
            expected="a name that ends in .nii, .nii.gz, .nrrd or .mha, or for labels also .seg.nrrd or .seg.dcm",
            got=f"{file.name} for {'an image' if isinstance(data, Volume) else 'a label map'}",
            do="choose one of these",
        )


def layer_of(labels: LabelMap, layer: str) -> LabelMap:
    """Return one overlap layer as a label map of its own, to be written to a file of its own."""
    return LabelMap(labels.overlaps[layer], labels.grid, labels.names, source=labels.source)


def repairs(data: Volume | LabelMap) -> tuple[str, ...]:
    """Return what was mended while ``data`` was read, in words."""
    return repairs_of(data.source)


def _read_labels(file: Path) -> LabelMap:
    match format_of(file):
        case "nifti":
            return nifti.read_labels(file)
        case "nrrd" | "meta":
            return itk.read_labels(file)
        case "seg.nrrd":
            return slicer_seg.read_labels(file)
        case "dicom":
            return dicom_seg.read_labels(file)


def _inflated(path: Path) -> bytes:
    try:
        with gzip.open(path, "rb") as file:
            return file.read(512)
    except (OSError, EOFError, zlib.error) as error:
        raise FileFormatError(
            expected="a complete gzip file", got=f"{path.name}: {error}", do="copy or download it again"
        ) from None


def _format_of_bytes(start: bytes) -> Format | None:
    if start.startswith(b"NRRD000"):
        return "nrrd"
    if start[128:132] == b"DICM" or start[:2] == b"PK" or start[:2] in (b"\x08\x00", b"\x02\x00"):
        return "dicom"
    if start[344:348] in (b"n+1\0", b"ni1\0") or start[4:8] in (b"n+2\0", b"ni2\0"):
        return "nifti"
    if {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")} & {348, 540}:
        return "nifti"  # a damaged one, or Analyze: nifti.py says which
    if b"ElementDataFile" in start or start.lstrip().startswith((b"ObjectType", b"NDims")):
        return "meta"
    return None


def _from_nibabel(image: SpatialImage) -> Volume:
    name = Path(image.get_filename() or "nibabel image")
    if image.affine is None:
        raise GeometryError(
            expected="an image with an affine", got=f"{name.name} without one", do="give nibabel the affine"
        )
    is_nifti = isinstance(image, nifti.NIFTI_IMAGES)
    if isinstance(image, AnalyzeImage) and not is_nifti:
        raise GeometryError(
            expected="an image that says left from right",
            got=f"{name.name} in Analyze format, which does not",
            do="convert it to NIfTI with the program that made it",
        )
    grid, notes = (
        grid_of_image(image, name) if is_nifti else (Grid(check_shape(name, image.shape), image.affine), ())
    )
    data = np.asanyarray(image.dataobj).reshape(grid.shape)
    header = image.header if is_nifti else None
    data = data if data.dtype.isnative else data.astype(data.dtype.newbyteorder("="))
    mended = data.copy() if np.issubdtype(data.dtype, np.floating) else data
    notes += mend_non_finite(mended, name)
    return Volume(mended[None], grid, "unknown", FileSource(path=name, grid=grid, header=header, repairs=notes))


def _placed_like(data: Volume | LabelMap, like: Volume) -> Volume | LabelMap:
    """Return ``data`` on exactly the grid of ``like``, axes permuted and flipped where they differ."""
    whole = with_empty_slices(data, like.grid) if isinstance(data, LabelMap) else data
    moved = whole.reoriented(like.grid.axis_codes)
    if not moved.grid.is_close(like.grid):
        raise GeometryError(
            expected=f"data on the {like.grid.shape} voxels of the volume it is written like",
            got=f"a grid of {data.grid.shape} voxels elsewhere",
            do="resample it to that volume's grid first",
        )
    if isinstance(moved, LabelMap):
        return LabelMap(moved.data, like.grid, moved.names, moved.overlaps, like.source)
    return Volume(moved.data, like.grid, moved.modality, like.source)
