"""Anchors lie inside what is corrected, deep, apart, and away from the clicks; none where there was nothing."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from vesalius.geometry.grid import Grid
from vesalius.inference.anchors import MOST, with_anchors
from vesalius.prompts.encode import ObjectClicks
from vesalius.prompts.targets import ClickTarget

TARGET = ClickTarget(id=1, name="liver", supported=True, special=False, layer=None)
MODEL = Grid((48, 48, 48), np.diag([2.0, 2.0, 2.0, 1.0]))
OWN = Grid((96, 96, 32), np.diag([-1.0, 1.0, 3.0, 1.0]) + np.eye(4, k=3) * 95.0)
"""The same space in other voxels, the first axis turned."""
SIZE = (32, 32, 32)


def clicks(*points: tuple[float, float, float], positive: bool = False) -> ObjectClicks:
    places = np.array(points, dtype=float).reshape(-1, 3)
    return ObjectClicks(target=TARGET, points_ijk=places, positive=np.full(len(places), positive))


def bar() -> np.ndarray:
    """A bar along the first axis, 60 mm long and 20 mm thick."""
    mask = np.zeros(OWN.shape, dtype=bool)
    mask[20:80, 40:60, 8:16] = True
    return mask


def anchored(mask: np.ndarray, said: ObjectClicks, *windows: tuple[int, int, int]) -> np.ndarray:
    told = with_anchors(said, mask, windows, window_size=SIZE, model_grid=MODEL, grid=OWN)
    added = len(told) - len(said)
    assert np.array_equal(told.points_ijk[added:], said.points_ijk)
    assert np.array_equal(told.positive[added:], said.positive)
    assert told.positive[:added].all()
    return told.points_ijk[:added]


def test_anchors_lie_inside_the_mask_and_in_the_window() -> None:
    places = anchored(bar(), clicks((20.0, 20.0, 16.0)), (6, 6, 0))
    assert 1 <= len(places) <= MOST
    i, j, k = np.rint(OWN.to_voxel(MODEL.to_world(places))).astype(int).T
    assert bar()[i, j, k].all()
    assert ((places >= (6, 6, 0)) & (places < (38, 38, 32))).all()


def test_they_keep_away_from_clicks_and_from_one_another() -> None:
    click = (14.0, 25.0, 18.0)
    places = anchored(bar(), clicks(click), (6, 6, 0))
    assert len(places) >= 2
    assert min(np.linalg.norm(2 * (place - click)) for place in places) > 8
    assert min(np.linalg.norm(2 * (a - b)) for a, b in combinations(places, 2)) > 8


def test_clicks_of_another_window_change_nothing() -> None:
    near, far = (20.0, 25.0, 18.0), (44.0, 44.0, 44.0)
    alone, beside = (anchored(bar(), clicks(*some), (6, 6, 0)) for some in ([near], [near, far]))
    assert np.array_equal(alone, beside)


@pytest.mark.parametrize("filled", [False, True])
def test_nothing_and_everything_have_no_anchors(filled: bool) -> None:
    assert len(anchored(np.full(OWN.shape, filled), clicks((20.0, 20.0, 16.0)), (6, 6, 0))) == 0


def test_a_speck_has_none() -> None:
    speck = np.zeros(OWN.shape, dtype=bool)
    speck[50, 50, 10] = True
    assert len(anchored(speck, clicks((20.0, 20.0, 16.0)), (6, 6, 0))) == 0
