"""Frames, the one record both single-frame and multi-frame DICOM images end as, made from a parsed header.

Everything after this file knows frames alone. Multi-frame headers are read through their functional groups
(PS3.3 C.7.6.16); a frame without its own position, orientation and pixel spacing is refused, never guessed.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from vesalius.io.archives import StoredFile

Kind = Literal["volume", "derived", "localizer", "projection", "other", "unreadable", "not DICOM"]
Vector = tuple[float, float, float]

MAX_FRAME_PIXELS = 1 << 26
MAX_FRAMES = 1 << 16
_ORTHONORMAL = 2e-3

SLICE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
    "1.2.840.10008.5.1.4.1.1.4",  # MR
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR
    "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
    "1.2.840.10008.5.1.4.1.1.7.3",  # Multi-frame Grayscale Word Secondary Capture
    "1.2.840.10008.5.1.4.1.1.128",  # PET
    "1.2.840.10008.5.1.4.1.1.128.1",  # Legacy Converted Enhanced PET
    "1.2.840.10008.5.1.4.1.1.130",  # Enhanced PET
}
"""SOP classes whose frames can be slices of a volume (PS3.4 B.5)."""

_LOCALIZERS = {"LOCALIZER", "SCOUT", "TOPOGRAM", "SCANOGRAM"}
_PROJECTIONS = {"MIP", "MINIP", "MNMIP", "PROJECTION IMAGE", "VRT", "VOLUMEREND", "SSD", "3D RENDERING"}

_SPLITTERS = (  # (in a single-frame file, functional group, its tag)
    ("AcquisitionNumber", "FrameContentSequence", "FrameAcquisitionNumber"),
    ("TemporalPositionIdentifier", "FrameContentSequence", "TemporalPositionIndex"),
    ("EchoTime", "MREchoSequence", "EffectiveEchoTime"),
    ("TriggerTime", "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("DiffusionBValue", "MRDiffusionSequence", "DiffusionBValue"),
    ("ImageType", "CTImageFrameTypeSequence", "FrameType"),
    ("ImageType", "MRImageFrameTypeSequence", "FrameType"),
    ("AcquisitionTime", "FrameContentSequence", "FrameAcquisitionDateTime"),
    ("ContentTime", "FrameContentSequence", "FrameReferenceDateTime"),
)
"""What may tell apart two images of one place, most telling first."""

HEADER_TAGS = [
    *(
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SeriesNumber",
        "SeriesDescription",
    ),
    *("Modality", "ImageType", "FrameOfReferenceUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel"),
    "PhotometricInterpretation",
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *sorted({single for single, _, _ in _SPLITTERS} - {"ImageType"}),
]
"""The tags this file reads, and no others."""


@dataclass(frozen=True)
class SeriesTags:
    """What a file says of the series it belongs to."""

    series_uid: str = ""
    study_uid: str = ""
    description: str = field(default="", repr=False)
    modality: str = ""
    number: int = 0
    frame_of_reference: str = ""


@dataclass(frozen=True)
class PixelLayout:
    """How the pixels of a file are stored.

    Args:
        rows: Pixels down a frame.
        columns: Pixels along a row.
        num_frames: Frames in the file.
        bits_allocated: 8, 16 or 32.
        bits_stored: How many of these hold the value.
        is_signed: Whether values are two's complement.
        is_big_endian: Byte order of native pixels.
        offset: Where native pixels begin in the file, in bytes; None where they are compressed.
    """

    rows: int
    columns: int
    num_frames: int
    bits_allocated: int
    bits_stored: int
    is_signed: bool
    is_big_endian: bool
    offset: int | None

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame, decoded."""
        return self.rows * self.columns * (self.bits_allocated // 8)


@dataclass(frozen=True)
class Frame:
    """One frame of one file: where it lies and what its numbers mean.

    Args:
        file: The file that holds it.
        number: Its number in the file, from 0.
        layout: How its pixels are stored.
        series: What the file says of its series.
        kind: What the image type makes of it.
        position_lps: Centre of the first pixel, LPS mm.
        row_lps: Unit vector along a row, towards higher columns, LPS.
        column_lps: Unit vector down a column, towards higher rows, LPS; at a right angle to ``row_lps``.
        cosines_off: How far both, as stated, were from being so: the largest error of a length or of their product.
        pixel_mm: Distance between columns, and between rows.
        thickness_mm: Thickness, as stated; places nothing but a slice alone. None where not stated.
        step_mm: Spacing between slices, as stated; stands in for a thickness. None where not stated.
        slope: Stored value -> unit of the modality.
        intercept: The same.
        padding: Stored value that stands for "no data"; None where there is none.
        is_hounsfield: Whether the rescaled values are Hounsfield units.
        splitters: What may tell it from another image of the same place.
    """

    file: StoredFile
    number: int
    layout: PixelLayout
    series: SeriesTags
    kind: Kind
    position_lps: Vector
    row_lps: Vector
    column_lps: Vector
    cosines_off: float
    pixel_mm: tuple[float, float]
    thickness_mm: float | None
    step_mm: float | None
    slope: float
    intercept: float
    padding: int | None
    is_hounsfield: bool
    splitters: tuple[str, ...]

    @property
    def normal_lps(self) -> Vector:
        """Unit vector that slices are sorted along: row × column."""
        x, y, z = np.cross(self.row_lps, self.column_lps)
        return float(x), float(y), float(z)


class NotASliceError(Exception):
    """A file, or a frame, that cannot be a slice of a volume; never leaves ``io``."""

    def __init__(self, kind: Kind, got: str, do: str, expected: str = "slices of a CT or MR volume") -> None:
        super().__init__(got)
        self.kind: Kind = kind
        self.expected, self.got, self.do = expected, got, do


def frames_of(header: Any, file: StoredFile, layout: PixelLayout, series: SeriesTags) -> Iterator[Frame]:
    """Yield the frames of one file, in its own order.

    Args:
        header: The parsed header, a pydicom dataset with at least ``HEADER_TAGS``.
        file: Where it came from.
        layout: From ``pixel_layout``.
        series: From ``series_tags``.

    Raises:
        NotASliceError: If a frame cannot be placed in space, or its values have no meaning.
    """
    shared = _first_item(header, "SharedFunctionalGroupsSequence")
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    if layout.num_frames > 1 and len(per_frame) != layout.num_frames:
        raise NotASliceError(
            "unreadable",
            f"{layout.num_frames} frames, {len(per_frame)} of them described",
            "export the series again, as Enhanced multi-frame or one file a slice",
            "a position for every frame (functional groups)",
        )
    for number in range(layout.num_frames):
        own = per_frame[number] if per_frame else None
        yield _frame(_Tags(header, shared, own), number, file, layout, series)


@dataclass(frozen=True)
class _Tags:
    """The tags of one frame: its functional group, else the shared one, else the file's top level."""

    header: Any
    shared: Any
    own: Any

    def get(self, keyword: str, group: str = "") -> Any:
        for item in (self.own, self.shared):
            inner = _first_item(item, group) if group and item is not None else None
            if inner is not None and inner.get(keyword) not in (None, ""):
                return inner.get(keyword)
        return self.header.get(keyword)

    def numbers(self, keyword: str, count: int, group: str = "") -> tuple[float, ...] | None:
        """Return ``count`` finite numbers, or None where the tag is absent or empty."""
        value = self.get(keyword, group)
        if value is None or value == "":
            return None
        try:
            found = tuple(float(v) for v in (value if count > 1 else [value]))
        except (TypeError, ValueError) as error:
            raise _bad_tag(keyword, f"{count} numbers") from error
        if len(found) != count or not all(math.isfinite(v) for v in found):
            raise _bad_tag(keyword, f"{count} finite numbers")
        return found

    def number(self, keyword: str, group: str = "") -> float | None:
        found = self.numbers(keyword, 1, group)
        return None if found is None else found[0]

    def text(self, keyword: str, group: str = "") -> str:
        """Return a value as text; "" where the tag is absent or empty, but "0" where it is 0."""
        value = self.get(keyword, group)
        return "" if value is None else str(value)


def _frame(tags: _Tags, number: int, file: StoredFile, layout: PixelLayout, series: SeriesTags) -> Frame:
    position = tags.numbers("ImagePositionPatient", 3, "PlanePositionSequence")
    orientation = tags.numbers("ImageOrientationPatient", 6, "PlaneOrientationSequence")
    spacing = tags.numbers("PixelSpacing", 2, "PixelMeasuresSequence")
    if position is None or orientation is None or spacing is None:
        missing = [
            name
            for name, value in (("position", position), ("orientation", orientation), ("pixel spacing", spacing))
            if value is None
        ]
        raise NotASliceError(
            "unreadable",
            f"an image without {' and '.join(missing)}",
            "export the original series; a place in the patient is never made up",
            "ImagePositionPatient, ImageOrientationPatient and PixelSpacing",
        )
    if min(spacing) <= 0 or max(spacing) > 1000:
        raise _bad_tag("PixelSpacing", "millimetres above 0")
    row, column, off = _orthonormal(orientation)
    slope, intercept, is_rescaled = _rescale(tags)
    unit = str(tags.get("RescaleType", "PixelValueTransformationSequence") or "HU").strip().upper()
    thickness = tags.number("SliceThickness", "PixelMeasuresSequence")
    step = tags.number("SpacingBetweenSlices", "PixelMeasuresSequence")
    return Frame(
        file=file,
        number=number,
        layout=layout,
        series=series,
        kind=_kind(tags),
        position_lps=(position[0], position[1], position[2]),
        row_lps=row,
        column_lps=column,
        cosines_off=off,
        pixel_mm=(spacing[1], spacing[0]),  # DICOM states the distance between rows first (PS3.3 10.7.1.3)
        thickness_mm=abs(thickness) if thickness else None,
        step_mm=abs(step) if step else None,
        slope=slope,
        intercept=intercept,
        padding=_padding(tags, layout),
        is_hounsfield=series.modality == "CT" and is_rescaled and unit == "HU",
        splitters=tuple(tags.text(group_tag, group) or tags.text(tag) for tag, group, group_tag in _SPLITTERS),
    )


def _orthonormal(orientation: tuple[float, ...]) -> tuple[Vector, Vector, float]:
    """Check the two direction cosines and mend their rounding (Gram-Schmidt); also return how far they were off."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    off = float(np.abs([lengths[0] - 1, lengths[1] - 1, row @ column]).max())
    if off > _ORTHONORMAL:
        raise _bad_tag("ImageOrientationPatient", f"two unit vectors at a right angle (off by {off:.2g})")
    row = row / lengths[0]
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    mended_row = (float(row[0]), float(row[1]), float(row[2]))
    return mended_row, (float(column[0]), float(column[1]), float(column[2])), off


def _rescale(tags: _Tags) -> tuple[float, float, bool]:
    if tags.header.get("ModalityLUTSequence"):
        raise NotASliceError(
            "unreadable", "a modality lookup table", "export the series with RescaleSlope", "a linear rescale"
        )
    slope = tags.number("RescaleSlope", "PixelValueTransformationSequence")
    intercept = tags.number("RescaleIntercept", "PixelValueTransformationSequence")
    if slope == 0:
        raise _bad_tag("RescaleSlope", "a slope that is not 0 (it would erase the image)")
    return slope or 1.0, intercept or 0.0, slope is not None and intercept is not None


def _padding(tags: _Tags, layout: PixelLayout) -> int | None:
    value = tags.header.get("PixelPaddingValue")
    if isinstance(value, bytes) and len(value) == 2:  # of unknown VR
        value = int.from_bytes(value, "little")
    if not isinstance(value, int):
        return None
    half = 1 << (layout.bits_allocated - 1)
    return value - 2 * half if layout.is_signed and value >= half else value  # stored as US though signed


def _kind(tags: _Tags) -> Kind:
    groups = ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence")
    values = [tags.get("FrameType", group) for group in groups] + [tags.header.get("ImageType")]
    words = {str(word).strip().upper() for value in values if value for word in _as_list(value)}
    if words & _LOCALIZERS:
        return "localizer"
    if words & _PROJECTIONS:
        return "projection"
    return "derived" if words & {"DERIVED", "SECONDARY"} else "volume"


def _as_list(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value)


def _first_item(dataset: Any, keyword: str) -> Any:
    sequence = dataset.get(keyword) if dataset is not None else None
    return sequence[0] if sequence else None


def _bad_tag(keyword: str, expected: str) -> NotASliceError:
    return NotASliceError(
        "unreadable", f"another {keyword}", "export the series again from its origin", f"{keyword}: {expected}"
    )
