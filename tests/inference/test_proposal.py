"""What clicks would draw: on the volume's own grid whatever its axes, and no box shows where windows end."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch

from inference.clicked_ball import MODEL_GRID, ORIENTATIONS, OWN_GRID, ball, ball_logits, clicks, placed
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap
from vesalius.inference.merge import change_mask
from vesalius.inference.points import PointLogits
from vesalius.inference.proposal import Reach, propose


@pytest.mark.parametrize("codes", ORIENTATIONS[::5])
def test_logits_come_to_the_volumes_own_grid_in_any_orientation(codes: str) -> None:
    grid = OWN_GRID.reoriented(codes)
    logits, centre = ball_logits([(10, 8, 8)], (18, 15, 16), 5), (18, 15, 16)
    change = change_mask(
        logits, np.zeros(grid.shape, bool), *placed(clicks(centre), grid), model_grid=MODEL_GRID, grid=grid
    )
    result = np.zeros(grid.shape, dtype=bool)
    result[change.box.slices] = change.added
    expected = ball(grid, centre, 5)
    assert expected.sum() > 300
    assert (result != expected).sum() < 0.02 * expected.sum()  # linear interpolation flattens the sphere a little
    upright = LabelMap(result.astype(np.uint8), grid, {1: "liver"}).reoriented("RAS")
    assert (upright.data.astype(bool) != ball(OWN_GRID, centre, 5)).sum() < 0.02 * expected.sum()


def test_logits_come_to_a_tilted_grid() -> None:
    shear = np.eye(4)
    shear[1, 2] = 0.3
    grid = Grid(OWN_GRID.shape, shear @ OWN_GRID.affine)
    logits, centre = ball_logits([(10, 8, 8)], (18, 15, 16), 5), (18, 15, 16)
    change = change_mask(
        logits, np.zeros(grid.shape, bool), *placed(clicks(centre), grid), model_grid=MODEL_GRID, grid=grid
    )
    result = np.zeros(grid.shape, dtype=bool)
    result[change.box.slices] = change.added
    expected = ball(grid, centre, 5)
    assert (result != expected).sum() < 0.02 * expected.sum()


LONG_GRID = Grid((160, 32, 32), MODEL_GRID.affine)


def cylinder(radius: float) -> np.ndarray:
    """Return a cylinder along i through the whole of ``LONG_GRID``."""
    j, k = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
    return np.broadcast_to(np.hypot(j - 16, k - 16) < radius, LONG_GRID.shape)


def result_of_a_window(before: float, after: float, *, steepness: float) -> np.ndarray:
    """Let one window say that the cylinder has another radius, with logits of some steepness per voxel."""
    j, k = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
    plane = torch.from_numpy((steepness * (after - np.hypot(j - 16, k - 16))).astype(np.float32))
    logits = PointLogits(LONG_GRID.shape, ((16, 0, 0),), (plane.expand(128, 32, 32).clone(),))
    result = cylinder(before).copy()
    box, proposal = propose(logits, result, model_grid=LONG_GRID, grid=LONG_GRID)
    result[box.slices] = proposal
    return result


@pytest.mark.parametrize("steepness", [0.3, 1.0, 20.0])
@pytest.mark.parametrize(("before", "after"), [(4.2, 7.2), (7.2, 4.2)])
def test_no_box_shows_where_a_window_ends(before: float, after: float, steepness: float) -> None:
    result = result_of_a_window(before, after, steepness=steepness)
    assert np.array_equal(result[:16], cylinder(before)[:16])
    assert np.array_equal(result[32:128], cylinder(after)[32:128])
    radii = np.sqrt(result.sum(axis=(1, 2)) / np.pi)
    assert abs(radii[80] - radii[0]) > 2.8
    assert np.abs(np.diff(radii)).max() < 1.4  # a box pasted in would step by all of it


def test_a_mask_pasted_without_blending_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PointLogits, "share", lambda self, i, j, k: np.ones((i + j + k).shape, dtype=np.float32))
    radii = np.sqrt(result_of_a_window(4.2, 7.2, steepness=1.0).sum(axis=(1, 2)) / np.pi)
    assert np.abs(np.diff(radii)).max() > 2.8


def test_where_no_window_is_the_earlier_mask_stands() -> None:
    grid = OWN_GRID.reoriented("PSL")
    rng = np.random.default_rng(0)
    earlier = rng.random(grid.shape) > 0.5
    logits = ball_logits([(0, 8, 8)], (6, 14, 16), 5)
    where = clicks((6, 14, 16), (9, 20, 16))
    change = change_mask(logits, earlier, *placed(where, grid), model_grid=MODEL_GRID, grid=grid)
    assert change.added.any()
    places = MODEL_GRID.to_voxel(grid.to_world(np.argwhere(change.added | change.removed) + change.box.start))
    assert (places >= np.array([0, 8, 8]) - 0.76).all()
    assert (places <= np.array([16, 24, 24]) - 1 + 0.76).all()


def test_large_boxes_go_a_few_planes_at_a_time_and_come_out_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = OWN_GRID.reoriented("PSL")
    earlier = ball(grid, (20, 12, 18), 6)
    logits = ball_logits([(10, 8, 8), (18, 10, 8)], (20, 16, 16), 7)
    box, expected = propose(logits, earlier, model_grid=MODEL_GRID, grid=grid)
    assert (expected != earlier[box.slices]).any()
    monkeypatch.setattr("vesalius.inference.proposal._VOXELS_AT_ONCE", 500)
    again, found = propose(logits, earlier, model_grid=MODEL_GRID, grid=grid)
    assert again == box
    assert np.array_equal(found, expected)


def test_beyond_a_click_s_reach_the_earlier_mask_stands() -> None:
    grid = OWN_GRID.reoriented("PSL")
    earlier = ball(grid, (20, 12, 18), 6)
    logits = ball_logits([(10, 8, 8), (18, 10, 8)], (20, 16, 16), 7)
    point = np.rint(grid.to_voxel(MODEL_GRID.to_world(np.array([[19.0, 18.0, 16.0]]))))
    reach = Reach(point, 8.0)
    box, free = propose(logits, earlier, model_grid=MODEL_GRID, grid=grid)
    same, held = propose(logits, earlier, model_grid=MODEL_GRID, grid=grid, reach=reach)
    assert same == box
    apart = np.argwhere(np.ones(box.shape, dtype=bool)) + box.start - point[0]
    far = (np.linalg.norm(apart @ grid.affine[:3, :3].T, axis=1) > reach.mm).reshape(box.shape)
    near = (np.linalg.norm(apart @ grid.affine[:3, :3].T, axis=1) < reach.mm / 2).reshape(box.shape)
    before = earlier[box.slices]
    assert np.array_equal(held[far], before[far])
    assert (free != before)[far].any()
    inner = np.abs(MODEL_GRID.to_voxel(grid.to_world(apart + point[0])) - (18, 16, 16)).max(axis=1) < 4
    sure = near & inner.reshape(box.shape)
    assert sure.any()
    assert np.array_equal(held[sure], free[sure])


def test_where_there_was_nothing_a_click_reaches_everywhere() -> None:
    logits, nothing = ball_logits([(10, 8, 8)], (18, 16, 16), 7), np.zeros(OWN_GRID.shape, dtype=bool)
    reach = Reach(np.zeros((1, 3)), 1.0)
    found = [propose(logits, nothing, model_grid=MODEL_GRID, grid=OWN_GRID, reach=some) for some in (None, reach)]
    assert found[0][1].any()
    assert np.array_equal(found[0][1], found[1][1])
