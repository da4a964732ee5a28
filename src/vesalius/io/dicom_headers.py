"""One DICOM file -> its frames, or the reason why it has none; damage and malice end here, pixels are not touched.

Only the tags that ``dicom_frames`` names are parsed; the size of everything is checked before it is believed.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import data_element_generator

from vesalius.errors import DicomSeriesError, FileFormatError, InputError, UnsafeFileError
from vesalius.io.archives import StoredFile
from vesalius.io.dicom_frames import (
    HEADER_TAGS,
    MAX_FRAME_PIXELS,
    MAX_FRAMES,
    SLICE_CLASSES,
    Frame,
    Kind,
    NotASliceError,
    PixelLayout,
    SeriesTags,
    frames_of,
)
from vesalius.io.plain_text import plain_text

MAX_INFLATED_BYTES = 1 << 30
_HEADER_PREFIX = 1 << 20
_MAX_CODEC_RATIO = 5000
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_COPY_AGAIN = "copy the file again from its origin"

_IMPLICIT, _EXPLICIT, _BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_PIXEL_REPRESENTATIONS = (b"OB", b"OW", b"UN")
COMPRESSED = {
    "1.2.840.10008.1.2.5": "RLE",
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.51": "JPEG extended",
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless, first order",
    "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
}
"""Compressed transfer syntaxes that the decoders we depend on can read."""

DAMAGE = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What pydicom and its decoders raise on damaged bytes: they have no error of their own for most of them."""


@dataclass(frozen=True)
class Refusal:
    """A file that gives no slices, and why.

    Args:
        file: The file.
        kind: What it is instead.
        error: What to raise if someone asks for it.
        series: The series it belongs to, as far as it could be read.
    """

    file: StoredFile
    kind: Kind
    error: InputError
    series: SeriesTags


def read_header(file: StoredFile) -> list[Frame] | Refusal:
    """Read the header of one file.

    Returns:
        Its frames, or why it has none. Damage never raises: it is a refusal that names the reason.
    """
    series = SeriesTags()
    try:
        header, pixels = _parse(file)
        if header is None:
            raise _no_dicom(file)
        series = series_tags(header)
        return list(frames_of(header, file, pixel_layout(header, pixels, file), series))
    except NotASliceError as error:
        kind = FileFormatError if error.kind in ("unreadable", "not DICOM") else DicomSeriesError
        return Refusal(file, error.kind, kind(expected=error.expected, got=error.got, do=error.do), series)
    except InputError as error:
        return Refusal(file, "unreadable", error, series)
    except RecursionError:
        nested = UnsafeFileError(
            expected="sequences nested a few levels deep",
            got=f"{file.path.name}: nested beyond reading",
            do="do not use this file; ask its sender",
        )
        return Refusal(file, "unreadable", nested, series)
    except DAMAGE as error:
        damaged = FileFormatError(
            expected="a whole DICOM file",
            got=f"{file.path.name}: damaged or truncated header ({type(error).__name__})",
            do=_COPY_AGAIN,
        )
        return Refusal(file, "unreadable", damaged, series)


def _no_dicom(file: StoredFile) -> NotASliceError:
    """Say what a file is that does not begin like DICOM: what is left of a slice, or something else."""
    name, expected = file.path.name, "a DICOM file"
    if file.num_bytes == 0 or _holds_only_zeros(file):
        got = f"{name}: {'an empty file' if file.num_bytes == 0 else 'nothing but zeros'}"
        return NotASliceError("unreadable", got, _COPY_AGAIN, expected)
    if is_named_like_dicom(file.path):
        return NotASliceError("unreadable", f"{name}: no DICOM, though named so", _COPY_AGAIN, expected)
    do = "name the zip itself" if file.path.suffix.lower() == ".zip" else "leave it out"
    return NotASliceError("not DICOM", f"{name}: no DICOM", do, expected)


def is_named_like_dicom(path: Path) -> bool:
    """Say whether a file's name ends as DICOM's do."""
    return path.suffix.lower() in _DICOM_SUFFIXES


def _holds_only_zeros(file: StoredFile) -> bool:
    with file.open() as stream:
        while chunk := stream.read(_HEADER_PREFIX):
            if any(chunk):
                return False
    return True


@dataclass(frozen=True)
class PixelElement:
    """The pixel data element: where its value begins, and how long it says it is (None: encapsulated)."""

    offset: int
    num_bytes: int | None


def _parse(file: StoredFile) -> tuple[Any, PixelElement | None]:
    """Parse the header; of a zip member only the first megabyte is inflated where that is enough."""
    prefix = _HEADER_PREFIX if file.place is not None and file.num_bytes > _HEADER_PREFIX else None
    if prefix is not None:
        try:
            with file.open(prefix=prefix) as stream:
                header, pixels = _parse_stream(stream)
            if header is None or pixels is not None:
                return header, pixels
        except DAMAGE:
            pass  # the header is longer: the whole member says
    with file.open() as stream:
        return _parse_stream(stream)


def _parse_stream(stream: BufferedIOBase) -> tuple[Any, PixelElement | None]:
    head = stream.read(132)
    start = 132 if head[128:] == b"DICM" else 0
    if not start and not _begins_like_dicom(head):
        return None, None
    _check_inflation(stream, start)
    stream.seek(0)
    header = pydicom.dcmread(stream, force=True, stop_before_pixels=True, specific_tags=HEADER_TAGS)
    if str(header.file_meta.get("TransferSyntaxUID", "")) == _DEFLATED:
        return header, PixelElement(0, None)
    return header, _pixel_element(stream)


def _begins_like_dicom(head: bytes) -> bool:
    """Tell a file without preamble by a first element of group 2 or 8, in either byte order."""
    little = head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\x00"
    big = head[:2] == b"\x00\x08" and head[2:3] == b"\x00"
    return len(head) >= 12 and (little or big)


def _pixel_element(stream: BufferedIOBase) -> PixelElement | None:
    """Read tag, representation and length of the element where pydicom stopped.

    The bytes say whether it names a representation, and not the transfer syntax, which some writers state wrongly:
    all that pixels can have begin with O or U, which are odd, and where there is none the length stands in that
    place, lowest byte first, and is even (PS3.5 7.1.1).
    """
    head = stream.read(12)
    order = ">" if head[:4] == b"\x7f\xe0\x00\x10" else "<"
    if head[:4] not in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10") or len(head) < 8:
        return None
    is_explicit = head[4:6] in _PIXEL_REPRESENTATIONS
    if is_explicit and len(head) < 12:
        return None
    (length,) = struct.unpack(f"{order}L", head[8:12] if is_explicit else head[4:8])
    offset = stream.tell() - len(head) + (12 if is_explicit else 8)
    return PixelElement(offset, None if length == 0xFFFFFFFF else length)


def _check_inflation(stream: BufferedIOBase, start: int) -> None:
    """Count what a deflated file inflates to, before pydicom inflates it in one piece.

    Raises:
        UnsafeFileError: If it is built to exhaust memory.
    """
    stream.seek(start)
    elements = data_element_generator(stream, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
    syntaxes = [e.value or b"" for e in elements if int(e.tag) == 0x00020010]  # all: pydicom takes the last
    if not any(bytes(syntax).rstrip(b"\x00 ") == _DEFLATED.encode() for syntax in syntaxes):
        return
    inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    packed = stream.read(1 << 16)
    while packed and not inflater.eof:
        total += len(inflater.decompress(packed, 1 << 20))
        packed = inflater.unconsumed_tail or stream.read(1 << 16)
        if total > MAX_INFLATED_BYTES:
            raise UnsafeFileError(
                expected=f"a deflated file of at most {MAX_INFLATED_BYTES >> 30} GB",
                got="one that inflates to more",
                do="do not use this file; ask its sender",
            )


def series_tags(header: Any) -> SeriesTags:
    """Read what a header says of its series."""
    number = str(header.get("SeriesNumber") or "")
    return SeriesTags(
        series_uid=plain_text(str(header.get("SeriesInstanceUID") or "")),
        study_uid=plain_text(str(header.get("StudyInstanceUID") or "")),
        description=_printable(str(header.get("SeriesDescription") or "")),
        modality=_printable(str(header.get("Modality") or "")).upper(),
        number=int(number) if number.lstrip("-").isdigit() else 0,
        frame_of_reference=str(header.get("FrameOfReferenceUID") or ""),
    )


def _printable(text: str) -> str:
    """Return at most 64 characters (the VR's limit) that cannot steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:64]


def pixel_layout(header: Any, pixels: PixelElement | None, file: StoredFile) -> PixelLayout:
    """Read how pixels are stored, and check that they can be there.

    Raises:
        NotASliceError: If the file holds no greyscale slices, or is shorter than its pixels.
        UnsafeFileError: If it claims sizes no scan has.
    """
    _check_is_slice_image(header)
    rows, columns = _whole(header, "Rows"), _whole(header, "Columns")
    num_frames = _whole(header, "NumberOfFrames", default=1)
    if not (0 < rows < 1 << 16 and 0 < columns < 1 << 16 and rows * columns <= MAX_FRAME_PIXELS):
        raise _implausible(f"at most {MAX_FRAME_PIXELS} pixels a frame", f"{rows} x {columns}")
    if not 0 < num_frames <= MAX_FRAMES:
        raise _implausible(f"at most {MAX_FRAMES} frames", f"{num_frames}")
    allocated = _whole(header, "BitsAllocated")
    stored = _whole(header, "BitsStored", default=allocated)
    high_bit = _whole(header, "HighBit", default=stored - 1)
    if allocated not in (8, 16, 32) or not 0 < stored <= allocated or high_bit != stored - 1:
        raise NotASliceError(
            "unreadable",
            f"{allocated} bits allocated, {stored} stored, high bit {high_bit}",
            "export the series again as 16-bit greyscale",
            "values in the low bits of 8, 16 or 32",
        )
    syntax = str(header.file_meta.get("TransferSyntaxUID", "") or _IMPLICIT)
    layout = PixelLayout(
        rows=rows,
        columns=columns,
        num_frames=num_frames,
        bits_allocated=allocated,
        bits_stored=stored,
        is_signed=bool(_whole(header, "PixelRepresentation", default=0)),
        is_big_endian=syntax == _BIG,
        offset=pixels.offset if pixels and syntax in (_IMPLICIT, _EXPLICIT, _BIG) else None,
    )
    _check_pixels_are_there(layout, pixels, file, syntax)
    return layout


def _check_is_slice_image(header: Any) -> None:
    sop_class = str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID", "") or "")
    what = _printable(str(header.get("Modality") or "no modality"))
    if not sop_class:
        raise NotASliceError("unreadable", "no SOP class", _COPY_AGAIN, "a DICOM image")
    if sop_class not in SLICE_CLASSES:
        name = _printable(pydicom.uid.UID(sop_class).name)
        raise NotASliceError("other", f"{what} ({name})", "leave it out; name the series of the scan itself")
    if _whole(header, "SamplesPerPixel", default=1) != 1:
        raise NotASliceError("other", f"{what} in colour", "name the original greyscale series")
    meaning = str(header.get("PhotometricInterpretation") or "MONOCHROME2")
    if not meaning.startswith("MONOCHROME"):
        kind: Kind = "other" if meaning.startswith(("PALETTE", "RGB", "YBR")) else "unreadable"
        raise NotASliceError(kind, f"{what} of {_printable(meaning)} pixels", "name the original greyscale series")


def _check_pixels_are_there(
    layout: PixelLayout, pixels: PixelElement | None, file: StoredFile, syntax: str
) -> None:
    expected = layout.frame_bytes * layout.num_frames
    if pixels is None or pixels.num_bytes == 0:
        raise _truncated(file, "no pixel data")
    if layout.offset is not None:
        there = min(file.num_bytes - pixels.offset, pixels.num_bytes or 0)
        if there < expected:
            raise _truncated(file, f"{there} bytes of pixels where {expected} are described")
    elif syntax not in COMPRESSED and syntax != _DEFLATED:
        raise NotASliceError(
            "unreadable",
            f"transfer syntax {pydicom.uid.UID(syntax).name}",
            "convert the series to JPEG 2000 or to uncompressed DICOM",
            "uncompressed, RLE, JPEG, JPEG-LS or JPEG 2000 pixels",
        )
    elif expected > max(MAX_FRAME_PIXELS, _MAX_CODEC_RATIO * file.num_bytes):
        raise _implausible("pixels a codec can make", f"{expected} bytes out of a file of {file.num_bytes}")


def _whole(header: Any, keyword: str, *, default: int | None = None) -> int:
    value = header.get(keyword)
    if value is None or value == "":
        if default is not None:
            return default
        raise NotASliceError("unreadable", f"no {keyword}", "export the series again", f"an image with {keyword}")
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise NotASliceError(
            "unreadable", f"another {keyword}", "export the series again", f"{keyword}: a whole number"
        ) from error


def _truncated(file: StoredFile, got: str) -> NotASliceError:
    return NotASliceError(
        "unreadable",
        f"{file.path.name}: truncated, {got}",
        _COPY_AGAIN,
        "a whole DICOM file",
    )


def _implausible(expected: str, got: str) -> UnsafeFileError:
    return UnsafeFileError(expected=expected, got=got, do="do not use this file; ask its sender")
