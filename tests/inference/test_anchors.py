"""Anchors lie inside what is corrected, deep, apart, and away from the clicks; none where there was nothing."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from vesalius.geometry.boxes import Box
from vesalius.geometry.grid import Grid
from vesalius.inference.anchors import MOST, with_anchors
from vesalius.prompts.encode import ObjectClicks
from vesalius.prompts.targets import ClickTarget
from vesalius.transforms.preprocess import content_box, padded_grid

TARGET = ClickTarget(id=1, name="liver", supported=True, special=False, layer=None)
MODEL = Grid((48, 48, 48), np.diag([2.0, 2.0, 2.0, 1.0]))
OWN = Grid((96, 96, 32), np.diag([-1.0, 1.0, 3.0, 1.0]) + np.eye(4, k=3) * 95.0)
"""The same space in other voxels, the first axis turned."""


def clicks(*points: tuple[float, float, float], positive: bool = False) -> ObjectClicks:
    places = np.array(points, dtype=float).reshape(-1, 3)
    return ObjectClicks(target=TARGET, points_ijk=places, positive=np.full(len(places), positive))


def bar() -> np.ndarray:
    """A bar along the first axis, 60 mm long and 20 mm thick."""
    mask = np.zeros(OWN.shape, dtype=bool)
    mask[20:80, 40:60, 8:16] = True
    return mask


def anchored(mask: np.ndarray, said: ObjectClicks, start: tuple[int, int, int] = (6, 6, 0)) -> np.ndarray:
    i, j, k = start
    window = Box(start, (i + 32, j + 32, k + 32))
    content = Box((0, 0, 0), MODEL.shape)
    told, there = with_anchors(said, mask, window, model_grid=MODEL, content=content, grid=OWN), said.within(window)
    added = len(told) - len(there)
    assert np.array_equal(told.points_ijk[added:], there.points_ijk)
    assert np.array_equal(told.positive[added:], there.positive)
    assert told.positive[:added].all()
    return told.points_ijk[:added]


def test_anchors_lie_inside_the_mask_and_in_the_window() -> None:
    places = anchored(bar(), clicks((20.0, 20.0, 16.0)))
    assert 1 <= len(places) <= MOST
    i, j, k = np.rint(OWN.to_voxel(MODEL.to_world(places))).astype(int).T
    assert bar()[i, j, k].all()
    assert ((places >= (6, 6, 0)) & (places < (38, 38, 32))).all()


def test_they_keep_away_from_clicks_and_from_one_another() -> None:
    click = (14.0, 25.0, 18.0)
    places = anchored(bar(), clicks(click))
    assert len(places) >= 2
    assert min(np.linalg.norm(2 * (place - click)) for place in places) > 8
    assert min(np.linalg.norm(2 * (a - b)) for a, b in combinations(places, 2)) > 8


def test_clicks_of_another_window_change_nothing() -> None:
    near, far = (20.0, 25.0, 18.0), (44.0, 44.0, 44.0)
    alone, beside = (anchored(bar(), clicks(*some)) for some in ([near], [near, far]))
    assert np.array_equal(alone, beside)


def test_nothing_has_no_anchors() -> None:
    assert len(anchored(np.zeros(OWN.shape, dtype=bool), clicks((20.0, 20.0, 16.0)))) == 0


def test_a_window_wholly_inside_has_some_far_from_the_clicks() -> None:
    click = (20.0, 20.0, 16.0)
    places = anchored(np.ones(OWN.shape, dtype=bool), clicks(click))
    assert len(places) == MOST
    assert min(np.linalg.norm(2 * (place - click)) for place in places) > 16


@pytest.mark.parametrize("plane", [12, 13, 14, 15])
def test_thin_structures_have_some_wherever_they_lie(plane: int) -> None:
    plate = np.zeros(OWN.shape, dtype=bool)
    plate[30:80, 30:70, plane] = True
    assert len(anchored(plate, clicks((20.0, 25.0, 1.5 * plane)))) > 0


def test_a_smaller_piece_that_the_user_takes_away_has_none() -> None:
    two = bar()
    two[44:60, 40:60, 18:23] = True

    def planes(*points: tuple[float, float, float]) -> np.ndarray:
        return np.asarray(OWN.to_voxel(MODEL.to_world(anchored(two, clicks(*points))))[:, 2])

    i, j, k = MODEL.to_voxel(OWN.to_world(np.array([[52.0, 50.0, 20.0]])))[0].tolist()
    beside = (i + 4, j, k)  # in the same piece
    assert (planes((30.0, 36.0, 30.0)) > 17).any(), "nobody said anything against it"
    assert len(planes(beside)) > 0
    assert (planes(beside) < 17).all()


@pytest.mark.parametrize("slices", [40, 6, 1])
def test_none_lies_in_what_fills_up_a_thin_scan(slices: int) -> None:
    """An organ that reaches its faces is not known to go on, and there is no tissue beyond them."""
    own = Grid((96, 96, slices), np.diag([1.0, 1.0, 0.8, 1.0]))
    thin, least = own.respaced((2.0, 2.0, 2.0)), (48, 48, 48)
    model, content = padded_grid(thin, least), content_box(thin, least)
    organ = np.zeros(own.shape, dtype=bool)
    organ[20:80, 20:60] = True
    said = clicks(tuple(model.to_voxel(own.to_world(np.array([75.0, 50.0, slices // 2]))).tolist()))
    told = with_anchors(said, organ, Box((0, 0, 0), model.shape), model_grid=model, content=content, grid=own)
    anchors = told.points_ijk[told.positive]
    assert len(anchors) == MOST
    assert all(content.holds(place) for place in anchors)
    i, j, _ = np.rint(own.to_voxel(model.to_world(anchors))).astype(int).T
    assert ((i >= 26) & (i < 74) & (j >= 26) & (j < 54)).all(), "deep: the faces of the scan are no border"
