"""A comparison shows the reference above the result, and each where it belongs."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.errors import GeometryError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.views.comparison import render_comparison

RED = (255, 0, 0)
GRID = Grid((20, 30, 10), np.diag([2.0, 2.0, 4.0, 1.0]))


def labels(part: slice, grid: Grid = GRID) -> LabelMap:
    data = np.zeros(grid.shape, np.uint8)
    data[part, 10:20, 4:6] = 1
    return LabelMap(data, grid, {1: "liver"})


def reddish(found: LabelMap, truth: LabelMap) -> tuple[np.ndarray, np.ndarray]:
    """Columns of red pixels in the axial picture of the reference, and of the result."""
    volume = Volume(np.zeros((1, *GRID.shape), np.int16), GRID, "CT")
    shown = render_comparison(volume, truth, found, colours={1: RED}, window=(-100.0, 100.0))
    pixels = np.asarray(shown).astype(int)
    red = (pixels[..., 0] - pixels[..., 1] > 60)[:, :308]
    half = len(red) // 2
    return np.flatnonzero(red[:half].any(axis=0)), np.flatnonzero(red[half:].any(axis=0))


def test_reference_above_result_each_side_where_it_belongs() -> None:
    right_of_the_patient, left_of_the_patient = slice(14, 18), slice(2, 6)
    above, below = reddish(labels(left_of_the_patient), labels(right_of_the_patient))
    assert len(above) > 10
    assert len(below) > 10
    assert above.max() < below.min()  # the patient's right is on the left


def test_nothing_found_is_shown_as_nothing() -> None:
    above, below = reddish(labels(slice(0, 0)), labels(slice(5, 9)))
    assert len(above) > 10
    assert len(below) == 0


def test_labels_of_another_grid_are_refused() -> None:
    other = Grid((20, 30, 10), np.diag([2.0, 2.0, 3.0, 1.0]))
    with pytest.raises(GeometryError):
        reddish(labels(slice(1, 5), other), labels(slice(1, 5)))
