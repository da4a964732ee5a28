"""The frames of a DICOM SEG: which segment, where, and its mask; one frame in memory at a time.

PS3.3 A.51 and C.8.20. Facts stand in the shared functional groups or in each frame's own; both are looked at.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from jaxtyping import Float64, UInt
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import pixel_array

from vesalius.errors import FileFormatError, GeometryError, UnsafeFileError
from vesalius.io.dicom_headers import DAMAGE
from vesalius.io.limits import check_claim

_SEGMENTATION_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_NATIVE_LITTLE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
_DEFLATED_FILE = "1.2.840.10008.1.2.1.99"
_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
_MAX_INFLATED = 4 << 30
_MAX_FRAMES = 1 << 18
_CHUNK = 1 << 22


@dataclass(frozen=True)
class FramePlace:
    """Where one frame lies, in LPS millimetres as DICOM writes it.

    Args:
        segment: Its segment number; None in a LABELMAP, whose pixels are the numbers.
        position: Centre of the first pixel.
        orientation: Direction of increasing column, then of increasing row index.
        spacing: Distance between rows, then between columns.
        step: Distance to the next slice, where stated (SpacingBetweenSlices).
        thickness: Of the slice, where stated; says nothing of the distance to the next (PS3.3 C.7.6.2.1.1).
    """

    segment: int | None
    position: Float64[np.ndarray, " 3"]
    orientation: Float64[np.ndarray, " 6"]
    spacing: tuple[float, float]
    step: float | None
    thickness: float | None


def open_seg(path: Path) -> Dataset:
    """Open a DICOM SEG and check that its pixels are there.

    Raises:
        FileFormatError: If it is no DICOM file, no SEG, or truncated.
        UnsafeFileError: If it claims or inflates to more than is plausible.
    """
    try:
        header = _read(path, stop_before_pixels=True)
        if str(header.get("SOPClassUID", "")) not in _SEGMENTATION_CLASSES:
            raise _refused(path, f"a DICOM file of modality {header.get('Modality', 'unknown')}")
        dataset = _read(path)
        sizes = (int(dataset.Rows), int(dataset.Columns), frame_count(dataset), int(dataset.BitsAllocated))
        pixels = dataset.PixelData
        syntax = dataset.file_meta.TransferSyntaxUID
        compressed = syntax == _DEFLATED_FRAMES or syntax.is_encapsulated
    except DAMAGE as error:
        raise _refused(path, f"damaged: {error}") from None
    rows, columns, frames, bits = sizes
    if min(sizes) < 1 or frames > _MAX_FRAMES or bits not in (1, 8, 16):
        raise _refused(path, f"{frames} frames of {rows} rows, {columns} columns and {bits} bits")
    check_claim(path, claimed=-(-rows * columns * frames * bits // 8), stored=len(pixels), compressed=compressed)
    return dataset


def frame_count(dataset: Dataset) -> int:
    """Return the number of frames; a file without the tag has one."""
    return int(dataset.get("NumberOfFrames") or 1)


def frame_places(dataset: Dataset, path: Path) -> list[FramePlace]:
    """Return where each frame lies.

    Raises:
        GeometryError: If the file does not place its frames in a patient (slides, projections).
        FileFormatError: If a frame names no segment, or the groups do not match the frames.
    """
    if "TotalPixelMatrixRows" in dataset:
        raise _unplaced(path, "tiles of a microscope slide")
    frames = frame_count(dataset)
    shared = _first(dataset.get("SharedFunctionalGroupsSequence")) or Dataset()
    own = list(dataset.get("PerFrameFunctionalGroupsSequence") or [Dataset()] * frames)
    if len(own) != frames:
        raise _refused(path, f"{frames} frames and {len(own)} descriptions of them")
    is_labelmap = dataset.get("SegmentationType") == "LABELMAP"
    try:
        return [_place(item, shared, is_labelmap, path) for item in own]
    except DAMAGE as error:
        raise _refused(path, f"damaged functional groups: {error}") from None


def mask_of_frame(dataset: Dataset, index: int) -> UInt[np.ndarray, "h w"]:
    """Return the pixels of one frame as stored: 0 and 1, fractions as integers, or segment numbers.

    Raises:
        FileFormatError: If the frame cannot be decoded.
    """
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    bits = int(dataset.BitsAllocated)
    try:
        if syntax in _NATIVE_LITTLE and bits == 1:
            return _unpacked(dataset.PixelData, index * rows * columns, rows, columns)
        if syntax == _DEFLATED_FRAMES:
            return _inflated_frame(dataset, index, rows, columns, bits)
        decoded = pixel_array(dataset, index=index if frame_count(dataset) > 1 else None)
    except (*DAMAGE, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[-1].strip()
        raise FileFormatError(
            expected="a DICOM SEG whose frames can be decoded",
            got=f"frame {index + 1} in {dataset.file_meta.TransferSyntaxUID.name}: {reason}",
            do="convert it to Explicit VR Little Endian",
        ) from None
    return np.asarray(decoded).reshape(rows, columns)


def _unpacked(pixels: bytes, first_bit: int, rows: int, columns: int) -> UInt[np.ndarray, "h w"]:
    start, stop = first_bit // 8, -(-(first_bit + rows * columns) // 8)
    packed = np.frombuffer(pixels, np.uint8, count=stop - start, offset=start)
    bits = np.unpackbits(packed, bitorder="little")
    return bits[first_bit - 8 * start :][: rows * columns].reshape(rows, columns)


def _inflated_frame(dataset: Dataset, index: int, rows: int, columns: int, bits: int) -> np.ndarray:
    """Decode Deflated Image Frame Compression (PS3.5 A.4.12): a raw deflate stream per frame."""
    count = frame_count(dataset)
    for number, data in enumerate(generate_frames(dataset.PixelData, number_of_frames=count)):
        if number == index:
            size = -(-rows * columns * bits // 8)
            packed = zlib.decompressobj(-15).decompress(data, size)
            if bits == 1:
                return _unpacked(packed, 0, rows, columns)
            return np.frombuffer(packed, f"<u{bits // 8}", rows * columns).reshape(rows, columns)
    raise ValueError(f"no frame {index + 1}")


def _place(own: Dataset, shared: Dataset, is_labelmap: bool, path: Path) -> FramePlace:
    position = _group(own, shared, "PlanePositionSequence")
    orientation = _group(own, shared, "PlaneOrientationSequence")
    measures = _group(own, shared, "PixelMeasuresSequence")
    if position is None or orientation is None or measures is None:
        raise _unplaced(path, "frames without position, orientation or pixel spacing")
    segment = None
    if not is_labelmap:
        identification = _group(own, shared, "SegmentIdentificationSequence")
        if identification is None:
            raise _refused(path, "a frame that names no segment")
        segment = int(identification.ReferencedSegmentNumber)
    step, thickness = measures.get("SpacingBetweenSlices"), measures.get("SliceThickness")
    row_mm, column_mm = (float(value) for value in measures.PixelSpacing)
    return FramePlace(
        segment,
        _finite(position.ImagePositionPatient, 3),
        _finite(orientation.ImageOrientationPatient, 6),
        (row_mm, column_mm),
        abs(float(step)) if step else None,
        abs(float(thickness)) if thickness else None,
    )


def _finite(values: Any, count: int) -> np.ndarray:
    array = np.array([float(value) for value in values], dtype=np.float64)
    if array.shape != (count,) or not np.isfinite(array).all():
        raise ValueError(f"{count} finite numbers expected, not {list(values)}")
    return array


def _group(own: Dataset, shared: Dataset, keyword: str) -> Dataset | None:
    return _first(own.get(keyword)) or _first(shared.get(keyword))


def _first(sequence: Any) -> Dataset | None:
    return sequence[0] if sequence else None


def _read(path: Path, *, stop_before_pixels: bool = False) -> Dataset:
    with path.open("rb") as file:
        try:
            meta = pydicom.filereader.read_file_meta_info(path)
        except pydicom.errors.InvalidDicomError:
            raise ValueError("no DICOM file (DICM is missing)") from None
        if str(meta.get("TransferSyntaxUID", "")) == _DEFLATED_FILE:
            _check_inflated_size(path)
        return pydicom.dcmread(file, stop_before_pixels=stop_before_pixels)


def _check_inflated_size(path: Path) -> None:
    """Inflate a deflated file once, keeping nothing, before pydicom inflates it whole."""
    with path.open("rb") as file:
        pydicom.filereader.read_preamble(file, False)
        pydicom.filereader._read_file_meta_info(file)
        inflater, size = zlib.decompressobj(-15), 0
        while chunk := inflater.unconsumed_tail or file.read(_CHUNK):
            size += len(inflater.decompress(chunk, _CHUNK))
            if size > _MAX_INFLATED:
                raise UnsafeFileError(
                    expected=f"a file that inflates to at most {_MAX_INFLATED >> 30} GiB",
                    got=f"{path.name}, which goes on",
                    do="get the file again; it is damaged or built to exhaust memory",
                )


def _refused(path: Path, got: str) -> FileFormatError:
    return FileFormatError(
        expected="a DICOM SEG", got=f"{path.name}: {got}", do="give a segmentation object, or get the file again"
    )


def _unplaced(path: Path, got: str) -> GeometryError:
    return GeometryError(
        expected="a DICOM SEG of slices with a position in the patient",
        got=f"{path.name}: {got}",
        do="use a segmentation of a CT or MR volume",
    )
