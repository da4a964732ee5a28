"""Merging clicks: only what was clicked changes, and MONAI's defects are not here."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch

from inference.clicked_ball import MODEL_GRID, OWN_GRID, TARGET, ball, ball_logits, clicks, placed
from interactive.small_session import click, scan, segmenter
from parity.monai_merge import monai_combine
from vesalius.geometry.boxes import Box
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference import merge
from vesalius.inference.merge import change_mask, merge_clicks
from vesalius.inference.points import PointLogits
from vesalius.interactive.session import Session
from vesalius.prompts import ObjectClicks

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


class TestTwoObjects:
    shape = (16, 16, 16)
    apart = blobs(shape, cube(1, 1, 1), cube(9, 1, 1))  # two blobs of one object
    bridge = blobs(shape, Box((1, 1, 1), (12, 4, 4)))  # connects them, in another object

    def test_in_monai_components_connect_through_the_batch_axis(self, monkeypatch: pytest.MonkeyPatch) -> None:
        earlier = torch.full((2, 1, *self.shape), -3.0)
        proposals = torch.from_numpy(np.where(np.stack([self.apart, self.bridge]), 3.0, -3.0)).float()[:, None]
        points, labels = torch.tensor([[[2.0, 2, 2]], [[2.0, 2, 2]]]), torch.tensor([[1], [-1]])
        monais = monai_combine(monkeypatch, earlier, proposals, points, labels)
        assert int((monais[0] > 0).sum()) == 54

    def clicked_in_one_session(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
        """Click the bridge, then one of the blobs, with a head that says just these; return voxels of each."""
        model = segmenter()
        says = {False: self.bridge, True: self.apart}  # of a new structure, and of a class the model knows

        def logits(
            image_map: torch.Tensor, points: object, labels: object, supported: torch.Tensor
        ) -> torch.Tensor:
            masks = np.stack([says[bool(known)] for known in supported])
            return torch.from_numpy(np.where(masks, 3.0, -3.0)).float()[None]

        monkeypatch.setattr(model.network.point_head, "logits", logits)
        session = Session(model, scan(self.shape))
        session.add(click("new:bridge", 6, 2, 2))
        session.add(click("liver", 2, 2, 2))
        session.predict()
        return {name: int(session.mask(name).sum()) for name in ("bridge", "liver")}

    def test_ours_do_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.clicked_in_one_session(monkeypatch) == {"bridge": 99, "liver": 27}

    def test_a_leak_would_be_seen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        said, whole, propose = np.zeros(self.shape, dtype=bool), Box((0, 0, 0), self.shape), merge.propose

        def leaking(*given: object, **grids: object) -> tuple[Box, np.ndarray]:
            box, proposal = propose(*given, **grids)  # type: ignore[arg-type]
            said[box.slices] |= proposal
            return whole, said

        monkeypatch.setattr(merge, "propose", leaking)
        assert self.clicked_in_one_session(monkeypatch)["liver"] == 99


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
    change = change_mask(
        both, np.zeros(MODEL_GRID.shape, bool), *placed(where, MODEL_GRID), model_grid=MODEL_GRID, grid=MODEL_GRID
    )
    result = np.zeros(MODEL_GRID.shape, dtype=bool)
    result[change.box.slices] = change.added
    expected = ball(MODEL_GRID, (12, 16, 16), 4) | ball(MODEL_GRID, (32, 16, 16), 4)
    assert np.array_equal(result, expected)


def test_no_clicks_change_nothing() -> None:
    earlier = ball(OWN_GRID, (18, 15, 16), 5)
    silent = PointLogits(MODEL_GRID.shape, (), ())
    nobody = ObjectClicks(target=TARGET, points_ijk=NOTHING, positive=np.zeros(0, dtype=bool))
    change = change_mask(silent, earlier, *placed(nobody, OWN_GRID), model_grid=MODEL_GRID, grid=OWN_GRID)
    assert change.box.is_empty
    assert change.added.shape == change.removed.shape == change.box.shape


def test_a_change_is_no_larger_than_what_changes() -> None:
    logits = ball_logits([(10, 8, 8)], (18, 15, 16), 4)
    change = change_mask(
        logits,
        np.zeros(MODEL_GRID.shape, bool),
        *placed(clicks((18, 15, 16)), MODEL_GRID),
        model_grid=MODEL_GRID,
        grid=MODEL_GRID,
    )
    assert change.box == Box((15, 12, 13), (22, 19, 20))
    assert change.added.shape == change.box.shape


def test_a_negative_click_takes_back_what_the_head_no_longer_sees() -> None:
    grid = OWN_GRID
    earlier = ball(grid, (18, 15, 16), 5) | ball(grid, (32, 16, 16), 3)
    logits = ball_logits([(10, 8, 8)], (0, 0, 0), 1)  # nothing is there
    where = placed(clicks((18, 15, 16), positive=False), grid)
    change = change_mask(logits, earlier, *where, model_grid=MODEL_GRID, grid=grid)
    result = earlier.copy()
    result[change.box.slices] &= ~change.removed
    assert not change.added.any()
    assert result.sum() <= 1.05 * ball(grid, (32, 16, 16), 3).sum()


def test_a_click_reaches_as_far_as_it_is_told_and_farther_in_a_large_object() -> None:
    logits = ball_logits([(10, 8, 8)], (0, 0, 0), 1)  # nothing is there
    where, voxel_mm = clicks((18, 15, 16), positive=False), min(OWN_GRID.spacing_mm)
    farthest = []
    for radius in (3, 6):
        earlier = ball(OWN_GRID, (18, 15, 16), radius)
        change = change_mask(
            logits, earlier, *placed(where, OWN_GRID), model_grid=MODEL_GRID, grid=OWN_GRID, reach_mm=0.1
        )
        centre = MODEL_GRID.to_world(where.points_ijk)
        gone = OWN_GRID.to_world(np.argwhere(change.removed) + np.asarray(change.box.start))
        farthest.append(float(np.linalg.norm(gone - centre, axis=1).max()))
        ball_mm = (earlier.sum() * OWN_GRID.voxel_volume_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
        assert farthest[-1] <= 0.7 * ball_mm
        assert farthest[-1] >= 0.35 * ball_mm - voxel_mm, "up to half of the reach a click counts wholly"
    assert farthest[1] > 1.5 * farthest[0]
    whole = change_mask(
        logits, earlier, *placed(where, OWN_GRID), model_grid=MODEL_GRID, grid=OWN_GRID, reach_mm=100.0
    )
    free = change_mask(logits, earlier, *placed(where, OWN_GRID), model_grid=MODEL_GRID, grid=OWN_GRID)
    assert np.array_equal(whole.removed, free.removed)


def test_a_piece_that_begins_far_from_a_speck_is_drawn_as_if_there_were_none() -> None:
    logits, where = ball_logits([(10, 8, 8)], (18, 15, 16), 5), clicks((18, 15, 16))
    nothing = np.zeros(OWN_GRID.shape, dtype=bool)
    speck = ball(OWN_GRID, (36, 30, 26), 1)
    grids = {"model_grid": MODEL_GRID, "grid": OWN_GRID, "reach_mm": 1.0}
    fresh, beside = (
        change_mask(logits, earlier, *placed(where, OWN_GRID), **grids)  # type: ignore[arg-type]
        for earlier in (nothing, speck)
    )
    assert speck.any()
    assert fresh.added.sum() > 50
    assert fresh.added.sum() == beside.added.sum()


class TestNoClickIsInVain:
    """With a reach: what the head does not see where it is clicked, the click takes for its surroundings."""

    grids = {"model_grid": MODEL_GRID, "grid": OWN_GRID}  # noqa: RUF012

    def test_a_click_on_what_the_head_does_not_see_takes_a_ball_and_without_a_reach_nothing(self) -> None:
        unseen = ball_logits([(10, 8, 8)], (0, 0, 0), 1)
        earlier, where = ball(OWN_GRID, (36, 30, 26), 4), clicks((18, 15, 16))
        assert change_mask(unseen, earlier, *placed(where, OWN_GRID), **self.grids).box.is_empty  # type: ignore[arg-type]
        change = change_mask(unseen, earlier, *placed(where, OWN_GRID), **self.grids, reach_mm=12.0)  # type: ignore[arg-type]
        added = OWN_GRID.to_world(np.argwhere(change.added) + np.asarray(change.box.start))
        away = np.linalg.norm(added - MODEL_GRID.to_world(where.points_ijk), axis=1)
        voxel = np.linalg.norm(OWN_GRID.spacing_mm) / 2
        assert not change.removed.any()
        assert 6.0 - 2 * voxel <= away.max() <= 6.0 + voxel
        assert change.added.sum() * OWN_GRID.voxel_volume_ml * 1000 == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.15)

    @pytest.mark.parametrize("seed", range(8))
    def test_every_click_has_its_voxel_or_changed_what_lies_beside_it(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        earlier = ball(OWN_GRID, tuple(rng.integers(12, 24, 3)), 5)
        logits = ball_logits([(10, 8, 8)], tuple(rng.integers(12, 24, 3)), int(rng.integers(1, 6)))
        points = rng.permutation(np.stack(np.meshgrid(*[np.arange(12, 24, 4)] * 3), axis=-1).reshape(-1, 3))[:6]
        signs = rng.random(6) > 0.5
        where = ObjectClicks(target=TARGET, points_ijk=points.astype(float), positive=signs)
        change = change_mask(logits, earlier, *placed(where, OWN_GRID), **self.grids, reach_mm=10.0)  # type: ignore[arg-type]
        result = earlier.copy()
        result[change.box.slices] |= change.added
        result[change.box.slices] &= ~change.removed
        voxels = np.rint(OWN_GRID.to_voxel(MODEL_GRID.to_world(points))).astype(int)
        for voxel, sign in zip(voxels, signs, strict=True):
            beside = tuple(slice(at - 2, at + 3) for at in voxel)
            changed = (result != earlier)[beside] & (result[beside] == sign)
            assert result[tuple(voxel)] == sign or changed.any()
        assert not (change.added & earlier[change.box.slices]).any()
        assert not (change.removed & ~earlier[change.box.slices]).any()

    def test_a_click_that_took_a_component_beside_it_gets_no_ball(self) -> None:
        seen, nothing = ball_logits([(10, 8, 8)], (18, 15, 16), 3), np.zeros(OWN_GRID.shape, dtype=bool)
        where = ObjectClicks(target=TARGET, points_ijk=np.array([[18.0, 15.0, 20.0]]), positive=np.array([True]))
        free, held = (
            change_mask(seen, nothing, *placed(where, OWN_GRID), **self.grids, reach_mm=reach)  # type: ignore[arg-type]
            for reach in (None, 40.0)
        )
        assert free.added.any()
        assert np.array_equal(free.added, held.added)

    def test_of_two_clicks_on_one_voxel_the_later_counts(self) -> None:
        unseen, nothing = ball_logits([(10, 8, 8)], (0, 0, 0), 1), np.zeros(OWN_GRID.shape, dtype=bool)
        for last in (True, False):
            where = ObjectClicks(
                target=TARGET, points_ijk=np.full((2, 3), 16.0), positive=np.array([not last, last])
            )
            change = change_mask(unseen, nothing, *placed(where, OWN_GRID), **self.grids, reach_mm=12.0)  # type: ignore[arg-type]
            assert change.added.any() == last

    def test_two_clicks_of_either_sign_share_the_room_between_them(self) -> None:
        unseen, nothing = ball_logits([(10, 8, 8)], (0, 0, 0), 1), np.zeros(OWN_GRID.shape, dtype=bool)
        where = ObjectClicks(
            target=TARGET,
            points_ijk=np.array([[16.0, 15.0, 16.0], [20.0, 15.0, 16.0]]),
            positive=np.array([True, False]),
        )
        change = change_mask(unseen, nothing, *placed(where, OWN_GRID), **self.grids, reach_mm=20.0)  # type: ignore[arg-type]
        added = OWN_GRID.to_world(np.argwhere(change.added) + np.asarray(change.box.start))
        yes, no = MODEL_GRID.to_world(where.points_ijk)
        voxel = np.linalg.norm(OWN_GRID.spacing_mm)
        assert len(added) > 50
        assert (np.linalg.norm(added - yes, axis=1) <= np.linalg.norm(added - no, axis=1) + voxel).all()

    def test_nor_is_one_on_an_outermost_slice_that_the_model_s_grid_falls_short_of(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """26 slices of 0.5 mm are four of 3 mm: what the network is told is a whole slice further in."""
        model = segmenter(click_reach_mm=15.0)
        everywhere = torch.full((1, 1, *model.spec.window_size), 3.0)
        monkeypatch.setattr(model.network.point_head, "logits", lambda *_: everywhere)
        thin = Grid((14, 14, 26), np.diag([3.0, 3.0, 0.5, 1.0]))
        volume = Volume(scan(thin.shape).data, thin, "CT")
        for outermost in (0, 25):
            crumb = blobs(thin.shape, Box((6, 6, outermost), (9, 9, outermost + 1)))
            session = Session(model, volume, labels=LabelMap(crumb.astype(np.uint8), thin, {1: "liver"}))
            session.add(click("liver", 7, 7, outermost, positive=False))
            session.predict()
            assert not session.mask("liver")[7, 7, outermost]
