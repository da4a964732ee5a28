"""Two DICOM SEGs of one series as one: how overlapping layers come into one file without an array per segment."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import numpy as np
from highdicom.seg import Segmentation
from pydicom.dataset import Dataset

_CHUNK_BYTES = 1 << 22


def appended(first: Segmentation, second: Segmentation) -> Segmentation:
    """Append the segments of ``second`` to ``first``, in place, and return it.

    Both are BINARY, uncompressed, of the same series and frame size, fresh from highdicom; the numbers of the
    segments go on counting.
    """
    before = len(first.SegmentSequence)
    bits = [int(s.NumberOfFrames) * int(s.Rows) * int(s.Columns) for s in (first, second)]
    frames = [*_frames(first, 0), *_frames(second, before)]
    for item in second.SegmentSequence:
        item.SegmentNumber = int(item.SegmentNumber) + before
    first.SegmentSequence.extend(second.SegmentSequence)
    shared = first.SharedFunctionalGroupsSequence[0]
    if "SegmentIdentificationSequence" in shared:
        del shared.SegmentIdentificationSequence
    _number_positions(frames)
    first.PerFrameFunctionalGroupsSequence = frames
    first.NumberOfFrames = len(frames)
    first.PixelData = b"".join(_joined(first.PixelData, bits[0], second.PixelData, bits[1]))
    first.SegmentsOverlap = "YES"
    if "DimensionOrganizationType" in first:  # "3D" holds for a single segment only
        del first.DimensionOrganizationType
    return first


def _frames(segmentation: Segmentation, before: int) -> Iterator[Dataset]:
    """Yield the frames' items, each naming its own segment (highdicom names a single one in the shared item)."""
    common = segmentation.SharedFunctionalGroupsSequence[0].get("SegmentIdentificationSequence")
    for item in segmentation.PerFrameFunctionalGroupsSequence:
        if "SegmentIdentificationSequence" not in item:
            item.SegmentIdentificationSequence = deepcopy(common)
        identification = item.SegmentIdentificationSequence[0]
        identification.ReferencedSegmentNumber = int(identification.ReferencedSegmentNumber) + before
        yield item


def _number_positions(frames: list[Dataset]) -> None:
    """Number segment and slice anew in every frame's dimension indices: the slices of both files count together."""
    positions = np.array([f.PlanePositionSequence[0].ImagePositionPatient for f in frames], dtype=np.float64)
    spread = positions - positions[0]
    along = spread @ spread[int(np.argmax((spread**2).sum(1)))]  # the slices lie on a line
    _, rank = np.unique(np.round(along, 3), return_inverse=True)
    for frame, number in zip(frames, rank, strict=True):
        segment = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        frame.FrameContentSequence[0].DimensionIndexValues = [segment, int(number) + 1]


def _joined(first: bytes, first_bits: int, second: bytes, second_bits: int) -> Iterator[bytes]:
    """Yield the bits of both, packed without a gap (PS3.5 8.1.1), and a byte more where their number is odd."""
    whole = first_bits // 8
    yield first[:whole]
    carry = np.unpackbits(np.frombuffer(first[whole : whole + 1], np.uint8), bitorder="little")[: first_bits % 8]
    for at in range(0, -(-second_bits // 8), _CHUNK_BYTES):
        chunk = np.frombuffer(second[at : at + _CHUNK_BYTES], np.uint8)
        bits = np.concatenate([carry, np.unpackbits(chunk, bitorder="little")[: second_bits - 8 * at]])
        whole = bits.size // 8 * 8
        yield np.packbits(bits[:whole], bitorder="little").tobytes()
        carry = bits[whole:]
    if carry.size:
        yield np.packbits(carry, bitorder="little").tobytes()
    if -(-(first_bits + second_bits) // 8) % 2:
        yield b"\0"
