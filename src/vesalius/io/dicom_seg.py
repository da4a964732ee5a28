"""DICOM SEG: a label map with its overlaps as segments of a CT or MR series, and back.

Written through highdicom as BINARY, one frame per segment and slice, empty frames left out; every file is read back
and each segment's centroid compared with the label map's before it gets its name (a mirrored SEG looks fine until
somebody relies on it). Class ids survive in the tracking identifier, because segment numbers must run from 1.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from vesalius.allowance import available_bytes
from vesalius.errors import DiskError, FileFormatError, GeometryError, UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.morphology import LabelRegion, label_regions
from vesalius.geometry.resample import is_orthogonal
from vesalius.geometry.volume import LabelMap
from vesalius.io.atomic import replacing
from vesalius.io.coding import describe
from vesalius.io.dicom_headers import DAMAGE
from vesalius.io.dicom_source import DicomSource
from vesalius.io.highdicom_seg import segmentation_of
from vesalius.io.limits import check_memory
from vesalius.io.origin import Origin
from vesalius.io.pixels import as_label_arrays, named
from vesalius.io.pydicom_silence import quiet_pydicom
from vesalius.io.seg_frames import frame_places, mask_of_frame, open_seg
from vesalius.io.seg_grid import FrameStack, stack_frames
from vesalius.io.seg_merge import appended
from vesalius.io.source import FileSource
from vesalius.shapes import LabelArray

_TRACKED = re.compile(r"^vesalius class (\d+)$")
_MAX_CENTROID_ERROR = 0.5
RIGHT_ANGLE = 1e-4
"""Largest cosine between voxel axes that a DICOM SEG can hold: its readers take right angles for granted."""


def write(labels: LabelMap, path: Path, origin: Origin | None = None) -> None:
    """Write a label map whose ``source`` is a DICOM series.

    Args:
        labels: What to write.
        path: Where to.
        origin: Who made it.

    Raises:
        UsageError: If it did not come from DICOM, or nothing was found.
        GeometryError: If its grid is sheared (gantry tilt), or the file read back lies elsewhere.
        DicomSeriesError: If no DICOM SEG can be made from the headers of the series.
        DiskError: If the file cannot be written.
    """
    source = labels.source
    if not isinstance(source, DicomSource):
        raise UsageError(
            expected="labels of a DICOM series, whose headers a DICOM SEG needs",
            got="labels of an image without them",
            do="give the DICOM series (`like=`, or --source FOLDER), or write NIfTI or .seg.nrrd",
        )
    placed = labels.reoriented(source.grid.axis_codes)  # frames are the scanner's slices where they can be
    if placed.grid.is_close(source.grid):
        placed = LabelMap(placed.data, source.grid, placed.names, placed.overlaps)
    write_for(placed, path, source_images=source.datasets(), origin=origin)


def write_for(
    labels: LabelMap, path: Path, *, source_images: Sequence[Dataset], origin: Origin | None = None
) -> None:
    """Write a label map as a DICOM SEG of the series whose datasets (without pixels) are given.

    Raises:
        UsageError, GeometryError, DicomSeriesError, DiskError: As `write`.
    """
    _refuse_shear(labels.grid)
    layers = as_label_arrays(labels)
    regions = [label_regions(layer) for layer in layers]
    if not any(regions):
        raise UsageError(
            expected="at least one structure that was found",
            got="an empty label map, which a DICOM SEG cannot hold",
            do="write NIfTI, or leave the DICOM SEG out",
        )
    structures = describe(_names_found(labels, regions))
    segmentation: Any = None
    for layer, ids in zip(layers, map(sorted, regions), strict=True):
        if ids:
            made = segmentation_of(layer, ids, labels.grid, structures, source_images, origin=origin or Origin())
            segmentation = made if segmentation is None else appended(segmentation, made)
    with replacing(path) as part:
        segmentation.save_as(part)
        del segmentation
        _check_written(part, labels, regions, path)


def read_labels(path: Path) -> LabelMap:
    """Read a DICOM SEG: BINARY, FRACTIONAL (from one half up) or LABELMAP, in any transfer syntax we can decode.

    The grid covers the slices the file has frames for; slices left out between them are empty, and so are those
    beyond, which `seg_slices` adds where the image is known. Segments that overlap others go to the overlap layers
    ``overlap 1``, ``overlap 2``...

    Raises:
        FileFormatError: If it is no SEG, truncated or damaged.
        GeometryError: If its frames do not make up a volume.
        UnsafeFileError, MemoryBudgetError: If it claims more than is plausible, or than the memory that is free.
    """
    with quiet_pydicom():
        return _read(_single_file(path))


# Writing


def _refuse_shear(grid: Grid) -> None:
    if not is_orthogonal(grid, tolerance=RIGHT_ANGLE):
        raise GeometryError(
            expected="voxel axes at right angles, as readers of DICOM SEG take for granted",
            got="a sheared grid (a CT with tilted gantry)",
            do="write NIfTI or .seg.nrrd, which hold a sheared grid",
        )


def _names_found(labels: LabelMap, regions: list[dict[int, LabelRegion]]) -> dict[int, str]:
    found = sorted({label for by_label in regions for label in by_label})
    return {label: labels.names.get(label, f"label {label}") for label in found}


def _check_written(part: Path, labels: LabelMap, regions: list[dict[int, LabelRegion]], path: Path) -> None:
    """Compare each segment's centroid by the file's geometry with the label map's.

    Raises:
        GeometryError: If one is off by half a voxel or more, or missing.
        DiskError: If the file cannot be read back.
    """
    try:
        with quiet_pydicom():
            written = dict(_centroids_written(part))
    except FileFormatError as error:
        raise DiskError(
            expected=f"to read {path.name} back", got=error.got, do="check the disk and write it again"
        ) from error
    for by_label in regions:
        for label, region in by_label.items():
            apart = np.inf
            if label in written:
                apart = np.abs(labels.grid.to_voxel(written[label]) - region.centroid_ijk).max()
            if not apart < _MAX_CENTROID_ERROR:
                raise GeometryError(
                    expected=f"every segment of {path.name} where the label map has it",
                    got=f"{labels.names.get(label, label)} {apart:.2f} voxels away",
                    do="please report this; nothing was written, NIfTI and .seg.nrrd are not affected",
                )


def _centroids_written(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (class id, centroid in RAS mm) of every segment, from the tags and bits of the file alone."""
    dataset = open_seg(path)
    ids, _ = _segments(dataset, path)
    sums: dict[int, np.ndarray] = {}
    for index, place in enumerate(frame_places(dataset, path)):
        mask = mask_of_frame(dataset, index)
        by_row, by_column = mask.sum(1, dtype=np.int64), mask.sum(0, dtype=np.int64)
        count = by_row.sum()
        down, across = by_row @ np.arange(mask.shape[0]), by_column @ np.arange(mask.shape[1])
        along = across * place.spacing[1] * place.orientation[:3] + down * place.spacing[0] * place.orientation[3:]
        moment = np.append(count * place.position + along, count)
        assert place.segment is not None, "we write BINARY"
        sums[place.segment] = sums.get(place.segment, np.zeros(4)) + moment
    for segment, moment in sums.items():
        yield ids[segment], np.array([-1.0, -1.0, 1.0]) * moment[:3] / moment[3]


# Reading


def _single_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    files = [file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith(".")]
    if len(files) != 1:
        raise FileFormatError(
            expected="a DICOM SEG file", got=f"the folder {path.name} with {len(files)} files", do="name the file"
        )
    return files[0]


def _read(path: Path) -> LabelMap:
    dataset = open_seg(path)
    stack = stack_frames(frame_places(dataset, path), (int(dataset.Columns), int(dataset.Rows)), path)
    ids, names = _segments(dataset, path)
    if dataset.get("SegmentationType") == "LABELMAP":
        layers = [_labelmap(dataset, stack, ids)]
    else:
        layers = _binary_layers(dataset, stack, ids, path)
    overlaps = {f"overlap {n}": layer for n, layer in enumerate(layers) if n > 0}
    source = FileSource(path=path, grid=stack.grid, leaves_out_empty_slices=True)
    return LabelMap(layers[0], stack.grid, named(names, *layers), overlaps, source)


def _segments(dataset: Dataset, path: Path) -> tuple[dict[int, int], dict[int, str]]:
    """Return segment number -> label id, and label id -> name."""
    try:
        items = {int(item.SegmentNumber): item for item in dataset.SegmentSequence}
        if not all(0 <= number <= 65535 for number in items):
            raise ValueError("segment numbers outside 0 to 65535")
        tracked = ((number, _TRACKED.match(str(item.get("TrackingID", "")))) for number, item in items.items())
        ids = _label_ids(items, {number: int(ours[1]) for number, ours in tracked if ours})
        names = {ids[n]: str(item.get("SegmentLabel", f"label {ids[n]}")).strip() for n, item in items.items()}
    except DAMAGE as error:
        raise FileFormatError(
            expected="a DICOM SEG that describes its segments", got=f"{path.name}: {error}", do="get the file again"
        ) from None
    return ids, names


def _label_ids(numbers: Iterable[int], class_ids: Mapping[int, int]) -> dict[int, int]:
    """Give each segment a label id of its own: first the class ids of ours, then numbers, then what is free."""
    ids: dict[int, int] = {}
    taken: set[int] = set()
    for number, label in chain(class_ids.items(), ((number, number) for number in numbers)):
        if number not in ids and label not in taken and label <= 65535:
            ids[number] = label
            taken.add(label)
    free = (label for label in range(1, 1 << 16) if label not in taken)
    return {number: ids[number] if number in ids else next(free) for number in numbers}


def _labelmap(dataset: Dataset, stack: FrameStack, ids: dict[int, int]) -> LabelArray:
    table = np.zeros(1 << 16, np.uint16)
    table[list(ids)] = list(ids.values())
    table = table.astype(np.uint8) if table.max() <= 255 else table
    layer = np.zeros(stack.grid.shape, table.dtype, order="F")
    for index, k in enumerate(stack.slices):
        layer[:, :, k] = table[mask_of_frame(dataset, index).T]
    return layer


def _binary_layers(dataset: Dataset, stack: FrameStack, ids: dict[int, int], path: Path) -> list[LabelArray]:
    """Put every segment into the first layer where none of its frames meets another segment.

    Raises:
        MemoryBudgetError: If the layers are larger than the free memory: a few frames that overlap can make many.
    """
    is_fractional = dataset.get("SegmentationType") == "FRACTIONAL"
    threshold = max(1, -(-int(dataset.get("MaximumFractionalValue", 1)) // 2)) if is_fractional else 1
    kind = np.uint8 if max(ids.values(), default=0) <= 255 else np.uint16
    free_bytes = available_bytes()  # before the first layer is written: what is written is counted, not free
    layers = [_empty_layer(1, stack, kind, free_bytes=free_bytes, path=path)]
    for segment, frames in stack.frames_by_segment().items():
        if segment not in ids:
            raise FileFormatError(
                expected="frames of the segments described",
                got=f"a frame of segment {segment}, which is not",
                do="get the file again",
            )
        free = layers
        for index in frames:
            mask = threshold <= mask_of_frame(dataset, index).T
            free = [layer for layer in free if not layer[:, :, stack.slices[index]][mask].any()]
        if not free:
            free = [_empty_layer(len(layers) + 1, stack, kind, free_bytes=free_bytes, path=path)]
            layers += free
        for index in frames:
            free[0][:, :, stack.slices[index]][threshold <= mask_of_frame(dataset, index).T] = ids[segment]
    return layers


def _empty_layer(
    number: int, stack: FrameStack, kind: type[np.uint8 | np.uint16], *, free_bytes: int, path: Path
) -> LabelArray:
    """Make the layer of this number, from 1, if it and those before fit what was free before the first.

    What is free by now says nothing: memory of a layer seems free until it is written to.
    """
    claimed = number * math.prod(stack.grid.shape) * np.dtype(kind).itemsize
    check_memory(path, claimed=claimed, free=free_bytes)
    return np.zeros(stack.grid.shape, kind, order="F")
