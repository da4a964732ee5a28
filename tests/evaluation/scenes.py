"""Label maps of a few boxes, written as files, with answers worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap
from vesalius.io.formats import write

GRID = Grid((20, 16, 12), np.diag([-2.0, 2.0, 4.0, 1.0]))
"""Voxels of 16 microlitres."""


def labels(
    boxes: Mapping[int, tuple[int, int, int, int]],
    names: Mapping[int, str] | None = None,
    *,
    overlaps: Mapping[str, Mapping[int, tuple[int, int, int, int]]] | None = None,
) -> LabelMap:
    """A label map of boxes (first and last along i, a side along j and k), in the order given."""
    layers = {layer: painted(of) for layer, of in (overlaps or {}).items()}
    return LabelMap(painted(boxes), GRID, names or {label: f"label {label}" for label in boxes}, layers)


def painted(boxes: Mapping[int, tuple[int, int, int, int]]) -> np.ndarray:
    data = np.zeros(GRID.shape, np.uint8)
    for label, (first, last, j, k) in boxes.items():
        data[first:last, 1 : 1 + j, 1 : 1 + k] = label
    return data


def written(path: Path, *args: object, **settings: object) -> Path:
    """The same, in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write(labels(*args, **settings), path)  # type: ignore[arg-type]
    return path
