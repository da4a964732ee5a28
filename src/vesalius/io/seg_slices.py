"""The slices that a DICOM SEG leaves out because nothing was found there, put back where the image is known."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np

from vesalius.geometry.boxes import Box
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap
from vesalius.io.limits import check_claim
from vesalius.io.source import FileSource

_TOLERANCE_VOXELS = 0.05
"""So far the pixels may lie beside the image's: positions in DICOM are decimals, of which some write few."""


def with_empty_slices(labels: LabelMap, grid: Grid) -> LabelMap:
    """Return labels with the empty slices before their first and behind their last.

    Only labels read from a file that leaves such slices out (DICOM SEG), and whose slices are whole ones of the
    grid or of its stack continued. All others are handed back as they are, for the caller to refuse.

    Args:
        labels: As they were read; their layers come along.
        grid: Of the image, or of other labels of it; its axes may be permuted and flipped.

    Returns:
        Labels on every slice of ``grid`` and of their own, in their own axis order; 0 where there was no slice.

    Raises:
        MemoryBudgetError: If that is more than the free memory: labels that lie far beyond the grid.
    """
    source = labels.source
    if not isinstance(source, FileSource) or not source.leaves_out_empty_slices:
        return labels
    turned = grid.reoriented(labels.grid.axis_codes)
    first = _first_slice(labels.grid, turned)
    if first is None:
        return labels
    start, stop = min(0, first), max(turned.shape[2], first + labels.grid.shape[2])
    whole = turned.cropped(Box((0, 0, start), (turned.shape[0], turned.shape[1], stop)))
    claimed = whole.num_voxels * labels.data.itemsize * (1 + len(labels.overlaps))
    check_claim(source.path, claimed=claimed, stored=claimed, compressed=False)

    def filled(layer: np.ndarray) -> np.ndarray:  # [i j k] -> [i j K]
        data = np.zeros(whole.shape, layer.dtype, order="F")
        data[:, :, first - start :][:, :, : layer.shape[2]] = layer
        return data

    layers = {name: filled(layer) for name, layer in labels.overlaps.items()}
    return LabelMap(filled(labels.data), whole, labels.names, layers, source)


def _first_slice(part: Grid, whole: Grid) -> int | None:
    """Return which slice of a grid another begins at, which has the same pixels; None where it has not."""
    if part.shape[:2] != whole.shape[:2]:
        return None
    corners = Box((0, 0, 0), part.shape).corners()  # of a single slice the step to the next does not count
    there = whole.to_voxel(part.to_world(corners))
    first = round(float(there[0, 2]))
    return first if np.abs(there - corners - [0, 0, first]).max() <= _TOLERANCE_VOXELS else None
