"""Frames -> voxels in the unit of the modality: decoding, sign, rescale, padding.

The volume and a frame or two are in memory, no more. Native pixels are read from their place in the file;
compressed ones go through pydicom's decoders (GDCM). Before a decoder sees a codestream, the size it claims is
compared with the header's, so that no small file makes a decoder fill the memory.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from io import BufferedIOBase
from typing import Any

import gdcm
import numpy as np
import pydicom
from jaxtyping import Float, Integer, Num
from pydicom import encaps
from pydicom.pixels import get_decoder
from pydicom.uid import JPEGExtended12Bit

from vesalius.errors import FileFormatError, InputError, UnsafeFileError
from vesalius.hounsfield import LOWEST_HU
from vesalius.io.archives import StoredFile
from vesalius.io.dicom_frames import Frame
from vesalius.io.dicom_headers import DAMAGE
from vesalius.shapes import VolumeArray

_DECODER_TAGS = [
    *("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "NumberOfFrames", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration", "PixelData"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
]


class FrameReader:
    """Reads the stored values of frames; keeps the file it read last open, for its other frames."""

    def __init__(self) -> None:
        self._file: StoredFile | None = None
        self._stream: BufferedIOBase | None = None
        self._dataset: Any = None

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()
        self._file = self._stream = self._dataset = None

    def _opened(self, file: StoredFile) -> BufferedIOBase:
        if self._stream is None or self._file != file:
            self.__exit__()
            self._stream, self._file = file.open(), file
        return self._stream

    def stored(self, frame: Frame) -> Integer[np.ndarray, "h w"]:
        """Return the values of a frame as stored, sign and unused high bits mended.

        Raises:
            FileFormatError: If the pixels are damaged.
            UnsafeFileError: If the codestream is not of the size the header says.
        """
        try:
            values = self._native(frame) if frame.layout.offset is not None else self._decoded(frame)
        except InputError:
            raise
        except (*DAMAGE, RecursionError) as error:
            raise FileFormatError(
                expected="pixels that can be decoded",
                got=f"{frame.file.path.name}: damaged pixel data ({type(error).__name__})",
                do="copy the file again from its origin",
            ) from error
        return _mend_bits(values, frame)

    def _native(self, frame: Frame) -> np.ndarray:
        layout = frame.layout
        start = (layout.offset or 0) + frame.number * layout.frame_bytes
        stream = self._opened(frame.file)
        stream.seek(start)
        data = stream.read(layout.frame_bytes)
        if len(data) != layout.frame_bytes:
            raise EOFError
        return _from_bytes(data, frame)

    def _decoded(self, frame: Frame) -> np.ndarray:
        layout = frame.layout
        stream = self._opened(frame.file)
        if self._dataset is None:
            stream.seek(0)
            self._dataset = pydicom.dcmread(stream, force=True, specific_tags=_DECODER_TAGS)
        dataset = self._dataset
        syntax = dataset.file_meta.TransferSyntaxUID
        if not syntax.is_encapsulated:  # deflated as a whole, inflated by now
            start = frame.number * layout.frame_bytes
            return _from_bytes(dataset.PixelData[start : start + layout.frame_bytes], frame)
        codestream = encaps.get_frame(dataset.PixelData, frame.number, number_of_frames=layout.num_frames)
        claimed = codestream_size(codestream)
        if claimed is not None and claimed != (layout.rows, layout.columns):
            raise UnsafeFileError(
                expected=f"a codestream of {layout.rows} x {layout.columns} pixels, as the header says",
                got=f"{claimed[0]} x {claimed[1]}",
                do="do not use this file; ask its sender",
            )
        if claimed is not None and not codestream.rstrip(b"\x00\xff").endswith(b"\xd9"):  # EOI, EOC: 0xFFD9
            raise FileFormatError(
                expected="a codestream with its end marker",
                got=f"{frame.file.path.name}: a codestream that stops early (a decoder would make up the rest)",
                do="copy the file again from its origin",
            )
        if syntax == JPEGExtended12Bit and layout.bits_stored > 8:
            return _from_bytes(_decode_jpeg_12(codestream, frame), frame)
        values, _ = get_decoder(syntax).as_array(dataset, index=frame.number, raw=True)
        return np.asarray(values)


def _decode_jpeg_12(codestream: bytes, frame: Frame) -> bytes:
    """Decode 12-bit JPEG (process 4) by GDCM itself: pydicom's decoders leave it out."""
    layout = frame.layout
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(codestream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((layout.columns, layout.rows, 1))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetPixelFormat(
        gdcm.PixelFormat(1, layout.bits_allocated, layout.bits_stored, layout.bits_stored - 1, layout.is_signed)
    )
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetDataElement(element)
    decoded: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")
    return decoded


def codestream_size(data: bytes) -> tuple[int, int] | None:
    """Return rows and columns as a JPEG, JPEG-LS or JPEG 2000 codestream claims them; None for RLE.

    Sources: ITU-T T.81 B.2.2 and T.87 C.2.2 (frame header), T.800 A.5.1 (SIZ).
    """
    if data[:4] == b"\xff\x4f\xff\x51":
        width, height, left, top = (int.from_bytes(data[at : at + 4], "big") for at in (8, 12, 16, 20))
        return height - top, width - left
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ValueError("a JPEG codestream without a frame header")


def _from_bytes(data: bytes, frame: Frame) -> np.ndarray:
    layout = frame.layout
    kind = f"{'>' if layout.is_big_endian else '<'}{'i' if layout.is_signed else 'u'}{layout.bits_allocated // 8}"
    return np.frombuffer(data, dtype=kind).reshape(layout.rows, layout.columns)


def _mend_bits(values: np.ndarray, frame: Frame) -> Integer[np.ndarray, "h w"]:
    """Give every value the sign the header says and drop what lies above the stored bits (overlays).

    JPEG 2000 codestreams may disagree with PixelRepresentation; the header is right (PS3.5 8.2.4).
    """
    layout = frame.layout
    if values.shape != (layout.rows, layout.columns):
        raise ValueError(f"decoded to {values.shape}")
    size = values.dtype.itemsize
    native = values.astype(f"{'i' if layout.is_signed else 'u'}{size}", copy=False)
    spare = 8 * size - layout.bits_stored
    return np.asarray((native << spare) >> spare) if spare else native


def frame_values(frame: Frame, reader: FrameReader) -> Num[np.ndarray, "h w"]:
    """Return a frame in the unit of its modality: int32 where the rescale is whole-numbered, else float32."""
    stored = reader.stored(frame)
    if is_whole(frame):
        wide = "int32" if abs(frame.slope) < 256 and frame.layout.bits_stored <= 16 else "int64"
        values = stored.astype(wide) * int(frame.slope) + int(frame.intercept)
    else:
        values = (stored * frame.slope + frame.intercept).astype(np.float32)
    if frame.is_hounsfield and frame.padding is not None and _padding_value(frame) < LOWEST_HU:
        np.maximum(values, int(LOWEST_HU), out=values)  # below is only padding, blurred by lossy codecs
    return np.asarray(values)


def is_whole(frame: Frame) -> bool:
    """Say whether whole stored values stay whole, and small enough for exact sums."""
    return all(float(v).is_integer() and abs(v) < 1 << 24 for v in (frame.slope, frame.intercept))


def _padding_value(frame: Frame) -> float:
    return (frame.padding or 0) * frame.slope + frame.intercept


def same_voxels(one: Frame, other: Frame) -> bool:
    """Say whether two frames hold the same image."""
    with FrameReader() as reader:
        return bool(np.array_equal(frame_values(one, reader), frame_values(other, reader)))


def read_voxels(frames: Sequence[Frame], places: Float[np.ndarray, " k"]) -> VolumeArray:
    """Read frames into one volume.

    Args:
        frames: In slice order.
        places: For each slice of the result, where it lies between the frames: 2.0 is frame 2 as it is, 2.5 the
            mean of frames 2 and 3.

    Returns:
        ``(1, i, j, k)``: int16 where every value fits, else float32; a view of memory in slice order.

    Raises:
        FileFormatError: If pixels are damaged.
        UnsafeFileError: If a codestream claims another size.
    """
    layout = frames[0].layout
    whole = all(is_whole(frame) for frame in frames)
    volume = np.empty((len(places), layout.rows, layout.columns), dtype=np.int16 if whole else np.float32)
    held: dict[int, np.ndarray] = {}
    with FrameReader() as reader:
        for k, place in enumerate(places):
            lower = int(np.floor(place))
            weight = float(place) - lower
            needed = (lower,) if weight == 0 else (lower, lower + 1)
            held = {n: held[n] if n in held else frame_values(frames[n], reader) for n in needed}
            values = held[lower]
            if weight:
                mean = (1 - weight) * held[lower] + weight * held[lower + 1]
                values = np.rint(mean) if whole else mean
            volume = _room_for(volume, values)
            volume[k] = values
    return volume.transpose(2, 1, 0)[None]


def _room_for(volume: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the volume, as float32 from the first value on that int16 cannot hold."""
    limits = np.iinfo(np.int16)
    if volume.dtype == np.int16 and (values.min() < limits.min or values.max() > limits.max):
        volume = volume.astype(np.float32)
    if volume.dtype == np.float32 and not np.isfinite(np.float32(values.min()) + np.float32(values.max())):
        raise FileFormatError(
            expected="finite values", got="a rescale that overflows", do="export the series again from its origin"
        )
    return volume
