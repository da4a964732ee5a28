"""Balls around clicks against the definition, voxel by voxel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vesalius.evaluation.balls import ball_radius_mm, balls, brushed
from vesalius.geometry.grid import Grid
from vesalius.prompts.simulate import Click

GRID = Grid((14, 12, 10), np.diag([-1.0, 1.5, 3.0, 1.0]))


def test_a_voxel_is_in_if_its_nearest_click_is_positive_and_near() -> None:
    rng = np.random.default_rng(0)
    clicks = [Click(tuple(rng.uniform(0, side - 1) for side in GRID.shape), bool(n % 3)) for n in range(7)]
    points = np.argwhere(np.ones(GRID.shape, bool)) * GRID.spacing_mm
    away = np.array([np.linalg.norm(points - np.multiply(c.point_ijk, GRID.spacing_mm), axis=1) for c in clicks])
    positive = np.array([c.positive for c in clicks])
    near = away[positive].min(axis=0)
    expected = (near <= 6.0) & (near <= away[~positive].min(axis=0))
    assert (balls(clicks, GRID, 6.0).ravel() == expected).all()
    assert 0 < expected.sum() < expected.size / 2


def test_without_a_positive_click_nothing_is_found() -> None:
    assert not balls([], GRID, 5.0).any()
    assert not balls([Click((5.0, 5.0, 5.0), False)], GRID, 5.0).any()


def test_the_radius_is_that_of_a_ball_of_the_volume() -> None:
    assert ball_radius_mm(4 / 3 * math.pi * 10**3 / 1000) == pytest.approx(10.0)
    assert ball_radius_mm(0.0) == 0


@pytest.mark.parametrize("positive", [True, False])
def test_a_stroke_of_the_brush_changes_the_voxels_around_it_alone(positive: bool) -> None:
    mask = np.random.default_rng(0).random(GRID.shape) > 0.5
    click = Click((6.2, 5.0, 4.0), positive)
    points = np.argwhere(np.ones(GRID.shape, bool)) * GRID.spacing_mm
    near = np.linalg.norm(points - np.multiply(click.point_ijk, GRID.spacing_mm), axis=1).reshape(GRID.shape) <= 4.0
    after = brushed(mask, click, GRID, 4.0)
    assert near.sum() > 10
    assert (after[near] == positive).all()
    assert np.array_equal(after[~near], mask[~near])
