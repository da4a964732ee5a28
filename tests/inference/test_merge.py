"""Merging clicks: only what was clicked changes, on any grid, no box shows, and MONAI's defects are not here."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from parity.monai_merge import monai_combine
from vesalius.geometry.boxes import Box
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap
from vesalius.inference.merge import change_mask, merge_clicks, propose
from vesalius.inference.points import PointLogits
from vesalius.prompts import ClickTarget, ObjectClicks

MODEL_GRID = Grid((40, 32, 32), np.array([[2.0, 0, 0, -30], [0, 2, 0, -20], [0, 0, 2, 5], [0, 0, 0, 1]]))
WINDOW = (16, 16, 16)
TARGET = ClickTarget(1, "liver", supported=True, special=False, layer=None)
NOTHING = np.zeros((0, 3))


def blobs(shape: tuple[int, int, int], *boxes: Box) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for box in boxes:
        mask[box.slices] = True
    return mask


def cube(i: int, j: int, k: int, side: int = 3) -> Box:
    return Box((i, j, k), (i + side, j + side, k + side))


def merged(
    earlier: np.ndarray, proposal: np.ndarray, *clicks: tuple[tuple[float, float, float], bool]
) -> np.ndarray:
    points = np.array([place for place, _ in clicks], dtype=np.float64).reshape(-1, 3)
    added, removed = merge_clicks(earlier, proposal, points, np.array([sign for _, sign in clicks], dtype=bool))
    assert not (added & earlier).any()
    assert not (removed & ~earlier).any()
    return (earlier | added) & ~removed


class TestAlgorithm1:
    shape = (20, 12, 12)
    one, two = cube(2, 2, 2), cube(12, 2, 2)

    def test_a_positive_click_adds_its_component_alone(self) -> None:
        proposal = blobs(self.shape, self.one, self.two)
        result = merged(blobs(self.shape), proposal, ((3, 3, 3), True))
        assert np.array_equal(result, blobs(self.shape, self.one))

    def test_a_negative_click_removes_its_component_alone(self) -> None:
        earlier = blobs(self.shape, self.one, self.two)
        result = merged(earlier, blobs(self.shape), ((13, 3, 3), False))
        assert np.array_equal(result, blobs(self.shape, self.one))

    def test_without_a_click_nothing_changes(self) -> None:
        earlier = blobs(self.shape, self.one)
        assert np.array_equal(merged(earlier, blobs(self.shape, self.two)), earlier)

    def test_a_click_up_to_two_voxels_beside_a_component_takes_the_nearest(self) -> None:
        proposal = blobs(self.shape, self.one, Box((7, 2, 2), (9, 5, 5)))
        assert np.array_equal(merged(blobs(self.shape), proposal, ((6, 3, 3), True))[7:9, 3, 3], [True, True])
        assert not merged(blobs(self.shape), proposal, ((6, 3, 3), True))[2:5].any()
        assert not merged(blobs(self.shape), proposal, ((12, 3, 3), True)).any()

    def test_a_positive_click_inside_the_earlier_mask_lets_its_neighbours_in(self) -> None:
        earlier = blobs(self.shape, Box((5, 2, 2), (8, 5, 5)))
        proposal = blobs(self.shape, Box((3, 2, 2), (10, 5, 5)))
        assert np.array_equal(merged(earlier, proposal, ((6, 3, 3), True)), proposal)
        beside = merged(earlier, proposal, ((3, 3, 3), True))
        assert np.array_equal(beside, blobs(self.shape, Box((3, 2, 2), (8, 5, 5))))

    def test_only_a_positive_click_inside_does_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In MONAI a negative click inside the earlier mask lets whole components in as well."""
        earlier = blobs(self.shape, Box((5, 2, 2), (8, 5, 5)))
        proposal = blobs(self.shape, Box((3, 2, 2), (10, 5, 5)))
        clicks = ((3, 3, 3), True), ((6, 3, 3), False)
        logits = [torch.from_numpy(np.where(mask, 3.0, -3.0))[None, None] for mask in (earlier, proposal)]
        points = torch.tensor([[place for place, _ in clicks]], dtype=torch.float64)
        monais = monai_combine(monkeypatch, *logits, points, torch.tensor([[1, 0]]))[0, 0] > 0
        assert monais[9, 3, 3]
        result = merged(earlier, proposal, *clicks)
        assert result[3:8, 3, 3].all()
        assert not result[8:].any()

    def test_a_click_outside_the_masks_changes_nothing(self) -> None:
        earlier = blobs(self.shape, self.one)
        for place in ((-9.0, 3, 3), (3, 40, 3)):
            assert np.array_equal(merged(earlier, blobs(self.shape), (place, False), (place, True)), earlier)


def test_components_do_not_leak_between_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """In MONAI components of neighbouring objects connect through the batch axis: 54 voxels instead of 27."""
    shape = (16, 8, 8)
    first = blobs(shape, cube(1, 1, 1), cube(9, 1, 1))  # two blobs, apart
    second = blobs(shape, Box((1, 1, 1), (12, 4, 4)))  # bridges them, in another object
    earlier = torch.full((2, 1, *shape), -3.0)
    proposals = torch.from_numpy(np.where(np.stack([first, second]), 3.0, -3.0)).float()[:, None]
    points, labels = torch.tensor([[[2.0, 2, 2]], [[2.0, 2, 2]]]), torch.tensor([[1], [-1]])
    monais = monai_combine(monkeypatch, earlier, proposals, points, labels)
    assert int((monais[0] > 0).sum()) == 54
    assert merged(blobs(shape), first, ((2, 2, 2), True)).sum() == 27


def ball_logits(starts: Sequence[tuple[int, int, int]], centre: Sequence[float], radius: float) -> PointLogits:
    """Say that a ball of the model's grid is the object: in every window its signed distance."""
    i, j, k = np.meshgrid(*[np.arange(side) for side in MODEL_GRID.shape], indexing="ij")
    distance = radius - np.sqrt(sum((axis - at) ** 2 for axis, at in zip((i, j, k), centre, strict=True)))
    whole = torch.from_numpy(distance.astype(np.float32))
    windows = tuple(whole[tuple(slice(a, a + n) for a, n in zip(start, WINDOW, strict=True))] for start in starts)
    return PointLogits(MODEL_GRID.shape, tuple(starts), windows)


def clicks(*points: tuple[float, float, float], positive: bool = True) -> ObjectClicks:
    return ObjectClicks(
        target=TARGET,
        points_ijk=np.array(points, dtype=np.float64),
        positive=np.full(len(points), positive),
    )


def ball(grid: Grid, centre: Sequence[float], radius: float) -> np.ndarray:
    """Return the same ball on any grid."""
    voxels = np.stack(np.meshgrid(*[np.arange(side) for side in grid.shape], indexing="ij"), axis=-1)
    places = MODEL_GRID.to_voxel(grid.to_world(voxels))
    return np.sqrt(((places - centre) ** 2).sum(axis=-1)) < radius


OWN_GRID = MODEL_GRID.respaced((1.3, 2.9, 1.7))
ORIENTATIONS = ["".join(c) for p in itertools.permutations(["RL", "AP", "SI"]) for c in itertools.product(*p)]


@pytest.mark.parametrize("codes", ORIENTATIONS[::5])
def test_logits_come_to_the_volumes_own_grid_in_any_orientation(codes: str) -> None:
    grid = OWN_GRID.reoriented(codes)
    logits, centre = ball_logits([(10, 8, 8)], (18, 15, 16), 5), (18, 15, 16)
    change = change_mask(logits, np.zeros(grid.shape, bool), clicks(centre), model_grid=MODEL_GRID, grid=grid)
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
    change = change_mask(logits, np.zeros(grid.shape, bool), clicks(centre), model_grid=MODEL_GRID, grid=grid)
    result = np.zeros(grid.shape, dtype=bool)
    result[change.box.slices] = change.added
    expected = ball(grid, centre, 5)
    assert (result != expected).sum() < 0.02 * expected.sum()


def test_a_second_click_outside_the_first_window_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """In MONAI the second click gives NaN where it lies, because 0 · NaN is NaN (paper's Algorithm 1, line 6)."""
    shape, first, second = (40, 8, 8), cube(3, 3, 3), cube(30, 3, 3)
    earlier = torch.full((1, 1, *shape), torch.nan)  # after a first click: nothing known outside its window
    earlier[..., :16, :, :] = torch.from_numpy(np.where(blobs(shape, first)[:16], 3.0, -3.0))
    proposal = torch.from_numpy(np.where(blobs(shape, second), 3.0, -3.0))[None, None].float()
    monais = monai_combine(monkeypatch, earlier, proposal, torch.tensor([[[31.0, 4, 4]]]), torch.tensor([[1]]))
    assert monais[0, 0, 31, 4, 4].isnan()
    there = [(4, 8, 8), (24, 8, 8)]  # two windows, a gap between them
    logits = ball_logits(there, (12, 16, 16), 4)
    other = ball_logits(there, (32, 16, 16), 4)
    both = PointLogits(logits.shape, logits.starts, (logits.windows[0], other.windows[1]))
    where = clicks((12, 16, 16), (32, 16, 16))
    change = change_mask(both, np.zeros(MODEL_GRID.shape, bool), where, model_grid=MODEL_GRID, grid=MODEL_GRID)
    result = np.zeros(MODEL_GRID.shape, dtype=bool)
    result[change.box.slices] = change.added
    expected = ball(MODEL_GRID, (12, 16, 16), 4) | ball(MODEL_GRID, (32, 16, 16), 4)
    assert np.array_equal(result, expected)


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
    change = change_mask(logits, earlier, where, model_grid=MODEL_GRID, grid=grid)
    assert change.added.any()
    places = MODEL_GRID.to_voxel(grid.to_world(np.argwhere(change.added | change.removed) + change.box.start))
    assert (places >= np.array([0, 8, 8]) - 0.76).all()
    assert (places <= np.array([16, 24, 24]) - 1 + 0.76).all()


def test_no_clicks_change_nothing() -> None:
    earlier = ball(OWN_GRID, (18, 15, 16), 5)
    silent = PointLogits(MODEL_GRID.shape, (), ())
    nobody = ObjectClicks(target=TARGET, points_ijk=NOTHING, positive=np.zeros(0, dtype=bool))
    change = change_mask(silent, earlier, nobody, model_grid=MODEL_GRID, grid=OWN_GRID)
    assert change.box.is_empty
    assert change.added.shape == change.removed.shape == change.box.shape


def test_a_change_is_no_larger_than_what_changes() -> None:
    logits = ball_logits([(10, 8, 8)], (18, 15, 16), 4)
    change = change_mask(
        logits, np.zeros(MODEL_GRID.shape, bool), clicks((18, 15, 16)), model_grid=MODEL_GRID, grid=MODEL_GRID
    )
    assert change.box == Box((15, 12, 13), (22, 19, 20))
    assert change.added.shape == change.box.shape


def test_a_negative_click_takes_back_what_the_head_no_longer_sees() -> None:
    grid = OWN_GRID
    earlier = ball(grid, (18, 15, 16), 5) | ball(grid, (32, 16, 16), 3)
    logits = ball_logits([(10, 8, 8)], (0, 0, 0), 1)  # nothing is there
    change = change_mask(logits, earlier, clicks((18, 15, 16), positive=False), model_grid=MODEL_GRID, grid=grid)
    result = earlier.copy()
    result[change.box.slices] &= ~change.removed
    assert not change.added.any()
    assert result.sum() <= 1.05 * ball(grid, (32, 16, 16), 3).sum()
