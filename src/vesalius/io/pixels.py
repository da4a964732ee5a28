"""Voxel values between files and volumes: which are labels, what they are called, how small they can be stored."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vesalius.errors import FileFormatError
from vesalius.geometry.morphology import label_regions
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.shapes import LabelArray


def integer_labels(values: np.ndarray, path: Path) -> LabelArray:
    """Return label ids as uint8 or uint16; whole numbers stored as floats are accepted.

    Raises:
        FileFormatError: If a value is no whole number from 0 to 65535.
    """
    if values.dtype in (np.uint8, np.uint16):
        return values
    if values.dtype == bool:
        return values.view(np.uint8)
    low, high = values.min(), values.max()
    bad = None
    if not np.isfinite(low) or not np.isfinite(high):
        bad = "NaN or infinite values"
    elif low < 0 or high > 65535:
        bad = f"values from {low:g} to {high:g}"
    if bad is None:
        labels = np.empty_like(values, dtype=np.uint8 if high <= 255 else np.uint16)
        for k in range(values.shape[-1]):
            labels[..., k] = values[..., k]
            if (labels[..., k] != values[..., k]).any():
                bad = "fractions"
                break
        else:
            return labels
    raise FileFormatError(
        expected="label ids: whole numbers from 0 to 65535",
        got=f"{path.name} with {bad}",
        do="give the label map, not an image or a probability; resample labels with nearest neighbour",
    )


def named(names: Mapping[int, str], *layers: np.ndarray) -> dict[int, str]:
    """Return ``names`` without the background, and ``label 7`` for every id found that has none."""
    found = {label for layer in layers for label in label_regions(layer)}
    complete = {label: f"label {label}" for label in found} | {a: b for a, b in names.items() if b}
    return {label: complete[label] for label in sorted(complete) if label > 0}


def smallest_label_dtype(labels: LabelMap) -> np.dtype:
    """Return uint8 if every id of the base layer and of the names fits, else uint16.

    Raises:
        FileFormatError: If an id is negative or above 65535.
    """
    low, high = int(labels.data.min()), int(labels.data.max())
    if low < 0 or high > 65535:
        raise _ids_out_of_range(low, high)
    return np.dtype(np.uint8 if max(high, *labels.names, 0) <= 255 else np.uint16)


def single_channel(volume: Volume, path: Path) -> np.ndarray:
    """Return the voxels ``(i, j, k)`` of a volume of one channel.

    Raises:
        FileFormatError: If it has several.
    """
    if volume.data.shape[0] != 1:
        raise FileFormatError(
            expected=f"one channel for {path.name}",
            got=f"{volume.data.shape[0]} channels",
            do="write one file per channel",
        )
    voxels: np.ndarray = volume.data[0]
    return voxels


def as_label_arrays(labels: LabelMap) -> list[LabelArray]:
    """Return the base layer and the overlap layers in one type, the smallest that holds all ids.

    Raises:
        FileFormatError: If an id is negative or above 65535.
    """
    layers = [labels.data, *labels.overlaps.values()]
    ends = [(int(layer.min()), int(layer.max())) for layer in layers]
    low, high = min(a for a, _ in ends), max(b for _, b in ends)
    if low < 0 or high > 65535:
        raise _ids_out_of_range(low, high)
    kind = np.uint8 if high <= 255 else np.uint16
    return [layer.astype(kind, copy=False) for layer in layers]


def _ids_out_of_range(low: int, high: int) -> FileFormatError:
    return FileFormatError(
        expected="label ids from 0 to 65535", got=f"ids from {low} to {high}", do="renumber the labels"
    )
