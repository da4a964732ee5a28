"""Read a listed case: its image, what was drawn in the list's own ids, and on which grid both lie."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vesalius.data.datalists.record import ListedCase
from vesalius.errors import GeometryError, UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Modality, Volume
from vesalius.io.formats import read, read_labels
from vesalius.io.seg_slices import with_empty_slices

TOLERANCE_VOXELS = 0.05
"""Grids nearer than this are one grid: headers round (nnU-Net's users meet refusals at 1e-7)."""


def read_image(case: ListedCase, modality: Modality = "unknown") -> Volume:
    """Read the image of a case.

    Args:
        case: Of a list.
        modality: The list's, for files that do not say.

    Raises:
        InputError: A subclass that says what is wrong with the file.
    """
    volume = read(case.image)
    known = volume.modality if volume.modality != "unknown" else modality
    return Volume(volume.data, volume.grid, known, volume.source)


def read_drawn(case: ListedCase) -> LabelMap:
    """Read what was drawn, in the list's own ids, its layers in ``overlaps``; masks that overlap become layers.

    Raises:
        InputError: A subclass that says what is wrong with a file.
        GeometryError: If the masks of a case lie on different grids.
        UsageError: If nothing was drawn for the case.
    """
    if case.label is not None:
        return read_labels(case.label)
    if not case.masks:
        raise UsageError(expected=f"a label for {case.name}", got="none", do="add it to the list")
    return _layered(case.masks, case.name)


def on_grid_of(image: Volume, labels: LabelMap, *, what: str = "labels") -> LabelMap:
    """Return a label map in the axis order of its image, on exactly its grid.

    Args:
        image: Of the case.
        labels: Drawn on its voxels.
        what: They are called in the message.

    Raises:
        GeometryError: If it does not lie on the image's voxels.
    """
    moved = with_empty_slices(labels, image.grid).reoriented(image.grid.axis_codes)
    if not moved.grid.is_close(image.grid, tolerance_voxels=TOLERANCE_VOXELS):
        raise GeometryError(
            expected=f"{what} on the {_voxels(image.grid)} of their image",
            got=f"a grid of {_voxels(moved.grid)}{_offset(image.grid, moved.grid)}",
            do="take the label that was drawn on this image, or resample it to the image's grid (nearest voxel)",
        )
    return LabelMap(moved.data, image.grid, moved.names, moved.overlaps, moved.source)


def _voxels(grid: Grid) -> str:
    spacing = " x ".join(f"{side:.4g}" for side in grid.spacing_mm)
    return f"{' x '.join(map(str, grid.shape))} voxels of {spacing} mm"


def _offset(one: Grid, other: Grid) -> str:
    if one.shape != other.shape:
        return ""
    ends = np.array([[0, 0, 0], one.shape], dtype=np.float64) - [[0, 0, 0], [1, 1, 1]]
    return f", up to {np.abs(one.to_world(ends) - other.to_world(ends)).max():.3g} mm away"


def _layered(masks: Mapping[int, Path], name: str) -> LabelMap:
    """Return masks in as few layers as they come to, each in the first that has room for it."""
    kind = np.uint8 if max(masks) < 256 else np.uint16
    layers: list[np.ndarray] = []
    first: LabelMap | None = None
    for label, path in masks.items():
        mask = read_labels(path)
        first = first or mask
        mask = mask.reoriented(first.grid.axis_codes)
        if not mask.grid.is_close(first.grid, tolerance_voxels=TOLERANCE_VOXELS):
            raise GeometryError(
                expected=f"all masks of {name} on the {_voxels(first.grid)} of {next(iter(masks.values())).name}",
                got=f"{path.name} on {_voxels(mask.grid)}",
                do="resample it to the image's grid (nearest voxel), or take it away",
            )
        is_drawn = mask.data > 0
        layer = next((layer for layer in layers if not layer[is_drawn].any()), None)
        if layer is None:
            layer = np.zeros(mask.data.shape, kind)
            layers.append(layer)
        layer[is_drawn] = label
    assert first is not None
    overlaps = {f"layer {n}": layer for n, layer in enumerate(layers) if n > 0}
    return LabelMap(layers[0], first.grid, {label: f"label {label}" for label in masks}, overlaps)
