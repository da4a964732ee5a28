"""Balls against the definition, voxel by voxel, also on axes that stand askew."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.geometry.balls import ball_box, squared_mm
from vesalius.geometry.boxes import Box
from vesalius.geometry.grid import Grid

STRAIGHT = np.diag([-1.0, 1.5, 3.0, 1.0])
ASKEW = np.array([[1.0, 0.3, 0.0, 5.0], [0.0, 1.2, 0.4, -3.0], [0.2, 0.0, 2.0, 1.0], [0.0, 0.0, 0.0, 1.0]])


@pytest.mark.parametrize("affine", [STRAIGHT, ASKEW])
def test_distances_are_those_of_the_world_and_the_box_holds_the_ball_and_little_more(affine: np.ndarray) -> None:
    grid, point, radius = Grid((30, 28, 20), affine), np.array([14.3, 12.0, 9.6]), 7.0
    voxels = np.argwhere(np.ones(grid.shape, bool))
    expected = ((grid.to_world(voxels) - grid.to_world(point[None])) ** 2).sum(axis=1)
    whole = Box((0, 0, 0), grid.shape)
    np.testing.assert_allclose(squared_mm(point, whole, grid).ravel(), expected, rtol=1e-5)
    box = ball_box(point, radius, grid)
    inside = voxels[expected <= radius**2]
    assert all(box.holds(voxel) for voxel in inside)
    assert (inside.min(axis=0) - box.start <= 1).all()
    assert (np.asarray(box.stop) - 1 - inside.max(axis=0) <= 1).all()
    np.testing.assert_allclose(squared_mm(point, box, grid), squared_mm(point, whole, grid)[box.slices])


def test_a_ball_beyond_the_grid_is_cut_off() -> None:
    grid = Grid((10, 10, 10), np.eye(4))
    assert ball_box(np.array([0.0, 5.0, 9.0]), 3.0, grid) == Box((0, 2, 6), (4, 9, 10))
    assert ball_box(np.array([40.0, 5.0, 5.0]), 3.0, grid).is_empty
