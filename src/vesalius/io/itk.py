"""NRRD, NHDR, MHA and MHD through SimpleITK: LPS in the file, RAS outside.

The header is looked at first (``read`` never lets SimpleITK allocate what a header merely claims), and detached
data files may only lie beside their header.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name its documentation uses

from vesalius.errors import DiskError, FileFormatError, GeometryError, UnsafeFileError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io import label_table, metaimage, nrrd
from vesalius.io.atomic import replacing, suffix_of
from vesalius.io.limits import check_claim, check_shape
from vesalius.io.pixels import integer_labels, named, single_channel, smallest_label_dtype
from vesalius.io.source import FileSource, mend_non_finite

_PATIENT_SPACES = ("left-posterior-superior", "right-anterior-superior", "left-anterior-superior",
                   "lps", "ras", "las")  # fmt: skip


def read(path: Path) -> Volume:
    """Read an image; voxel values as stored.

    NaN and infinite voxels become the smallest finite value, and the repair is noted in the source.

    Raises:
        FileFormatError: If it cannot be read, is truncated, empty, has several volumes or colour.
        GeometryError: If the file does not say where its voxels are.
        UnsafeFileError: If the header claims more than the file can hold, or names data elsewhere.
        MemoryBudgetError: If the volume is larger than the free memory.
    """
    array, grid = read_array(path)
    if array.shape[0] != 1:
        raise FileFormatError(
            expected="one number per voxel",
            got=f"{path.name} with {array.shape[0]} components (colour, vectors or layers)",
            do="convert it to a grey-value image; labels with layers are read by read_labels",
        )
    repairs = mend_non_finite(array[0], path)
    return Volume(array, grid, "unknown", FileSource(path=path, grid=grid, repairs=repairs))


def read_labels(path: Path) -> LabelMap:
    """Read a label map; names from a sidecar, else ``label 7``.

    Raises:
        FileFormatError: As `read`; also if values are no whole numbers from 0 to 65535.
    """
    volume = read(path)
    data = integer_labels(volume.data[0], path)
    names = named(label_table.from_sidecar(path), data)
    return LabelMap(data, volume.grid, names, source=volume.source)


def read_array(path: Path) -> tuple[np.ndarray, Grid]:
    """Read voxels ``(c, i, j, k)`` with all their components, and the grid they lie on.

    Raises:
        FileFormatError, GeometryError, UnsafeFileError, MemoryBudgetError: As `read`.
    """
    stored, compressed = _stored_bytes(path)
    reader, grid = _opened(path)
    channels = reader.GetNumberOfComponents()
    bytes_each = _bytes_per_component(reader.GetPixelID(), path)
    claimed = math.prod(reader.GetSize()) * channels * bytes_each
    check_claim(path, claimed=claimed, stored=stored, compressed=compressed)
    try:
        image = reader.Execute()
    except RuntimeError:
        raise FileFormatError(
            expected=f"{claimed} bytes of voxels, as the header of {path.name} says",
            got="voxels that stop early or cannot be decoded",
            do="copy or download it again",
        ) from None
    flat = sitk.GetArrayViewFromImage(image).reshape(*grid.shape[::-1], channels)  # [k j i c]
    return np.array(np.moveaxis(flat, -1, 0), order="C").transpose(0, 3, 2, 1), grid


def read_grid(path: Path) -> Grid:
    """Read where the voxels are, from the header alone.

    Raises:
        FileFormatError, GeometryError, UnsafeFileError: As `read`.
    """
    _stored_bytes(path)  # which refuses a header that names data elsewhere
    return _opened(path)[1]


def _opened(path: Path) -> tuple[sitk.ImageFileReader, Grid]:
    """Return a reader that has read the header, and the grid that stands there."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from None
    shape = check_shape(path, reader.GetSize())
    return reader, Grid(shape, _ras_affine(reader, path))


def write(data: Volume | LabelMap, path: Path, mark: str = "") -> None:
    """Write an image or the base layer of a label map as ``.nrrd`` or ``.mha``, deflated.

    Args:
        data: What to write.
        path: Where to.
        mark: A line that the header says.

    Raises:
        DiskError: If the file cannot be written.
        FileFormatError: If the volume has several channels or a type of voxel the format has not.
    """
    if isinstance(data, LabelMap):
        voxels = data.data.astype(smallest_label_dtype(data), copy=False)
    else:
        voxels = single_channel(data, path)
        voxels = voxels.astype(np.uint8) if voxels.dtype == bool else voxels
    if path.suffix.lower() == ".nrrd":
        nrrd.write(path, [voxels], data.grid, nrrd.marked(mark))
        return
    image = _to_image(voxels, data.grid, path)
    if mark:
        image.SetMetaData("Comment", mark)
    with replacing(path) as part:
        try:
            sitk.WriteImage(image, str(part), useCompression=True, compressionLevel=1)
        except RuntimeError as error:
            raise DiskError(
                expected=f"to write {path.name} into {path.parent}",
                got=_last_line(error),
                do="name an existing folder that may be written to, with enough space",
            ) from None


def _to_image(voxels: np.ndarray, grid: Grid, path: Path) -> sitk.Image:
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    spacing = np.asarray(grid.spacing_mm)
    cosines = lps[:3, :3] / spacing
    try:
        image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
    except (TypeError, KeyError, RuntimeError):
        raise FileFormatError(
            expected="whole numbers, or floats of 32 or 64 bits", got=f"{voxels.dtype} for {path.name}",
            do="convert them",
        ) from None  # fmt: skip
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection(cosines.ravel().tolist())
    return image


def _ras_affine(reader: sitk.ImageFileReader, path: Path) -> np.ndarray:
    axes = reader.GetDimension()
    spacing, origin = np.asarray(reader.GetSpacing()[:3]), np.asarray(reader.GetOrigin()[:3])
    cosines = np.asarray(reader.GetDirection()).reshape(axes, axes)[:3, :3]
    if path.suffix.lower() in (".nrrd", ".nhdr"):
        fields = nrrd.read_header(path).fields
        if "space directions" not in fields or fields.get("space", "").lower() not in _PATIENT_SPACES:
            raise GeometryError(
                expected="a NRRD header with `space directions` in a patient's space (left-posterior-superior...)",
                got=f"{path.name} in the space {fields.get('space', 'none')!r}: nobody knows left from right",
                do="write it again with its orientation (pynrrd: header={'space': ..., 'space directions': ...})",
            )
    else:
        metaimage.check_is_placed(metaimage.read_header(path), path)
    affine = np.eye(4)
    affine[:3, :3] = cosines * spacing
    affine[:3, 3] = origin
    return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)


def voxels_file(path: Path) -> Path:
    """Return the file that holds the voxels: ``path`` itself, or the one beside it that its header names.

    The header alone is looked at, so that a hash that is remembered costs no pass over the voxels.

    Raises:
        FileFormatError: If the header cannot be read, or the file it names is not there.
        UnsafeFileError: If it names a file elsewhere.
    """
    if path.suffix.lower() in (".nrrd", ".nhdr"):
        detached = _detached(nrrd.read_header(path))
    else:
        detached = metaimage.data_file(path)
    return path if detached is None else _beside(path, detached)


def _stored_bytes(path: Path) -> tuple[int, bool]:
    """Return how many bytes of pixels are stored, beside the header or behind it, and whether compressed."""
    file, before, compressed = _voxels(path)
    return file.stat().st_size - before, compressed


def _voxels(path: Path) -> tuple[Path, int, bool]:
    """Return the file that holds the voxels, how many bytes stand before them, and whether they are compressed."""
    if path.suffix.lower() in (".nrrd", ".nhdr"):
        header = nrrd.read_header(path)
        compressed = header.fields.get("encoding", "raw") not in ("raw", "txt", "text", "ascii", "hex")
        detached, length = _detached(header), header.length
    else:
        meta = metaimage.read_header(path)
        compressed, detached, length = meta.is_compressed, meta.data_file, meta.length
    return (path, length, compressed) if detached is None else (_beside(path, detached), 0, compressed)


def _detached(header: nrrd.NrrdHeader) -> str | None:
    return header.fields.get("data file") or header.fields.get("datafile")


def _beside(path: Path, named: str) -> Path:
    """Return the detached data file, which must be a single one in the header's folder."""
    data = Path(named)
    if data.name != named or "\\" in named or named in ("", "..", "."):
        raise UnsafeFileError(
            expected="the voxels in a file beside the header",
            got=f"{path.name} that points to {named!r}",
            do="put both files into one folder and name the data file without a path",
        )
    if named.split(maxsplit=1)[0].upper() == "LIST" or "%" in named or not path.with_name(named).is_file():
        raise FileFormatError(
            expected="the voxels in one file beside the header",
            got=f"{path.name} that names {named!r}",
            do="copy the data file too; several slices must be joined into one file first",
        )
    return path.with_name(named)


def _bytes_per_component(pixel_id: int, path: Path) -> int:
    name = sitk.GetPixelIDValueAsString(pixel_id)
    for bits in (8, 16, 32, 64):
        if f"{bits}-bit" in name and "complex" not in name:
            return bits // 8
    raise FileFormatError(
        expected="whole numbers or floats per voxel", got=f"{path.name} of {name}", do="convert the image"
    )


def _unreadable(path: Path, error: RuntimeError) -> FileFormatError:
    return FileFormatError(
        expected=f"a readable {suffix_of(path)} file",
        got=f"{path.name}: {_last_line(error)}",
        do="copy or download it again, or convert it with the program that made it",
    )


def _last_line(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1].strip() if str(error).strip() else "unknown error"
