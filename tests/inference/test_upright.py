"""Upright copies of tilted scans: none where none is needed, and labels come back to where they were."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.geometry.grid import Grid
from vesalius.geometry.resample import is_orthogonal
from vesalius.geometry.volume import Volume
from vesalius.inference.upright import as_upright, put_back, upright_bytes, upright_grid

SHAPE = (12, 14, 10)


def tilted(shift: float) -> Grid:
    sheared = np.diag([3.0, 3.0, 3.0, 1.0])
    sheared[1, 2] = shift
    return Grid(SHAPE, sheared)


def test_what_stands_upright_is_not_copied() -> None:
    volume = Volume(np.zeros((1, *SHAPE), np.int16), tilted(0.0), "CT")
    assert as_upright(volume) is volume
    assert upright_bytes(volume.grid) == 0
    labels = np.ones(SHAPE, np.uint8)
    assert put_back(labels, made_on=volume.grid, grid=volume.grid) is labels


@pytest.mark.parametrize("shift", [0.9, -0.9])
def test_a_tilted_scan_is_shown_at_right_angles_and_its_voxels_come_back(shift: float) -> None:
    grid = tilted(shift)
    data = np.zeros(SHAPE, np.int16)
    data[3:9, 4:10, :] = 1000
    shown = as_upright(Volume(data[None], grid, "CT"))
    assert is_orthogonal(shown.grid)
    assert shown.grid.is_close(upright_grid(grid))
    assert shown.data.nbytes == upright_bytes(grid)
    assert shown.grid.spacing_mm == pytest.approx((3.0, 1.5, 3.0)), "half as far apart along the shift alone"
    labels = (shown.data[0] > 500).astype(np.uint8)
    assert np.array_equal(put_back(labels, made_on=shown.grid, grid=grid), data > 500)
