"""Extent: what clicks alone say of something without a name, what intensities add, and what the network may."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.clicked_ball import TARGET, WINDOW, clicks
from vesalius.errors import CheckpointError
from vesalius.evaluation.balls import ball_radius_mm
from vesalius.geometry.boxes import Box
from vesalius.inference.extent import ALONE_MM, LEAST_MM, MOST_MM, extent, reached, silent
from vesalius.inference.points import PointLogits
from vesalius.prompts.simulate import next_click
from vesalius.spec import ModelSpec, VistaArchitecture

SHAPE = (40, 32, 32)
SPACING_MM = (2.0, 2.0, 3.0)
EVEN = np.full(SHAPE, 0.6, np.float32)
MOTLEY = np.random.default_rng(2).choice(np.array([0.2, 0.8], np.float32), SHAPE)
"""Nothing around a click is as the click; and the same everywhere, so that intensities favour no place."""


def inside(points: list[tuple[float, float, float]], positive: list[bool], image: np.ndarray = EVEN) -> np.ndarray:
    return extent(np.array(points, dtype=np.float64), np.array(positive), image, SPACING_MM) > 0


def away_mm(point: tuple[float, float, float]) -> np.ndarray:
    i, j, k = (((np.arange(n) - at) * mm) ** 2 for n, at, mm in zip(SHAPE, point, SPACING_MM, strict=True))
    return np.sqrt(i[:, None, None] + j[:, None] + k)


def walled(*ends: tuple[float, float, float]) -> np.ndarray:
    """Even on the way between two places, and nothing alike elsewhere."""
    image = MOTLEY.copy()
    (i, j, k), (last, _, _) = ends
    image[int(i) - 2 : int(last) + 3, int(j) - 2 : int(j) + 3, int(k) - 2 : int(k) + 3] = 0.5
    return image


def test_one_click_means_a_ball_in_mm_and_a_larger_one_where_all_around_is_alike() -> None:
    image = np.where(away_mm((20, 16, 16)) < 3, np.float32(0.9), np.float32(0.6))
    small, large = (inside([(20, 16, 16)], [True], seen) for seen in (image, EVEN))
    mm = away_mm((20, 16, 16))
    assert not small[mm > 1.1 * ALONE_MM].any()
    assert large[mm < 0.95 * 0.4 * MOST_MM].all()
    assert not large[mm > 1.05 * 0.4 * MOST_MM].any()


def test_clicks_along_something_long_and_thin_draw_it() -> None:
    """A rod across two tissues, neither of which is like it: the balls alone would leave most of it out."""
    mm = away_mm((20, 16, 16))
    i = np.arange(SHAPE[0])[:, None, None]
    across = np.sqrt(np.maximum(mm**2 - ((i - 20) * SPACING_MM[0]) ** 2, 0))
    rod = (across < 10) & (i >= 3) & (i < 37)
    image = np.where(np.arange(SHAPE[1])[None, :, None] < 16, np.float32(0.3), np.float32(0.9))
    image = np.where(rod, np.float32(0.6), np.broadcast_to(image, SHAPE)).astype(np.float32)
    drawn = inside([(6, 16, 16), (20, 16, 16), (33, 16, 16)], [True] * 3, image)
    assert 2 * (drawn & rod).sum() / (drawn.sum() + rod.sum()) > 0.9


def test_clicks_far_apart_mean_something_large_and_a_negative_one_a_border_half_way() -> None:
    near, far = (
        inside([(16, 16, 16), (18, 16, 16)], [True, True]),
        inside([(10, 16, 16), (28, 16, 16)], [True, True]),
    )
    assert far.sum() > 3 * near.sum()
    among_others = inside([(10, 16, 16), (28, 16, 16)], [True, True], walled((10, 16, 16), (28, 16, 16)))
    assert among_others.sum() < 0.5 * far.sum()
    cut = inside([(12, 16, 16), (18, 16, 16)], [True, False])
    assert cut[14].any()
    assert not cut[16:].any()


def test_clicks_that_lie_broad_mean_something_wider_than_clicks_along_a_line() -> None:
    """The same middle click, and two others as far from it: how far it reaches along the third axis."""
    line = inside([(11, 16, 16), (20, 16, 16), (29, 16, 16)], [True] * 3)
    corner = inside([(11, 16, 16), (20, 16, 16), (20, 25, 16)], [True] * 3)
    assert corner[20, 16].sum() > line[20, 16].sum()


def test_a_negative_click_on_the_way_between_two_others_cuts_it() -> None:
    """And one beside it takes its own side alone."""
    image = walled((8, 16, 16), (32, 16, 16))
    ends = [(8.0, 16.0, 16.0), (32.0, 16.0, 16.0)]
    whole = inside(ends, [True, True], image)
    assert whole[8:33, 16, 16].all()
    for middle in ((20.0, 16.0, 16.0), (20.0, 16.5, 16.0)):
        cut = inside([*ends, middle], [True, True, False], image)
        assert cut[8, 16, 16]
        assert cut[32, 16, 16]
        assert not cut[18:23].any()
    beside = inside([*ends, (20.0, 18.0, 16.0)], [True, True, False], image)
    assert beside[20, 15, 16]
    assert not beside[20, 18, 16]


def test_two_small_things_far_apart_are_no_large_one() -> None:
    image = np.full(SHAPE, 0.5, np.float32)
    places = [(8, 16, 16), (32, 16, 16)]
    both = (away_mm(places[0]) < 6) | (away_mm(places[1]) < 6)
    one_thing = inside(places, [True, True], image)  # a way that is all alike
    image[both] = 0.7
    two = inside(places, [True, True], image)
    assert two.sum() < 0.35 * one_thing.sum()
    assert not two[18:23].any()


def test_negative_clicks_alone_mean_nothing() -> None:
    assert not inside([(20, 16, 16), (5, 5, 5)], [False, False]).any()


def test_what_is_as_bright_as_the_surroundings_is_not_part_of_it() -> None:
    image = np.full(SHAPE, 0.4, np.float32)
    bright = away_mm((20, 16, 16)) < 11
    image[bright] = 0.7
    image += np.random.default_rng(0).normal(0, 0.01, SHAPE).astype(np.float32)

    def dice(mask: np.ndarray) -> float:
        return float(2 * (mask & bright).sum() / (mask.sum() + bright.sum()))

    told, untold = (inside([(18, 16, 16)], [True], seen) for seen in (image, EVEN))
    assert dice(told) > dice(untold) + 0.1


def test_a_user_draws_a_ball_of_unknown_size_by_clicks_alone() -> None:
    """Larger than a single click means, and smaller: after eight clicks both are there; one click shows neither."""
    for radius_mm in (4.0, 30.0):
        truth, current = away_mm((20, 16, 16)) <= radius_mm, np.zeros(SHAPE, bool)
        points: list[tuple[float, float, float]] = []
        positive: list[bool] = []
        found = []
        for _ in range(8):
            click = next_click(truth, current, rng=np.random.default_rng(0), spacing_mm=SPACING_MM)
            assert click is not None
            points.append(click.point_ijk)
            positive.append(click.positive)
            current = inside(points, positive)
            found.append(2 * (current & truth).sum() / (current.sum() + truth.sum()))
        assert found[0] < found[-1] - 0.05
        assert found[-1] > 0.7


@settings(max_examples=25, deadline=None)
@given(
    points=st.lists(st.tuples(*[st.integers(-3, 42)] * 3), min_size=1, max_size=6),
    signs=st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_it_is_finite_for_any_clicks_and_does_not_depend_on_their_order(
    points: list[tuple[int, int, int]], signs: list[bool]
) -> None:
    said = [(tuple(map(float, point)), sign) for point, sign in zip(points, signs, strict=False)]
    image = np.random.default_rng(1).uniform(size=SHAPE).astype(np.float32)
    first, second = (
        extent(np.array([p for p, _ in some]), np.array([s for _, s in some]), image, SPACING_MM)
        for some in (said, said[::-1])
    )
    assert np.isfinite(first).all()
    assert np.allclose(first, second, atol=1e-4)


def test_radii_stay_within_their_ends() -> None:
    wide = extent(np.array([(0.0, 0, 0), (1000.0, 0, 0)]), np.array([True, True]), EVEN, SPACING_MM)
    j, k = np.arange(SHAPE[1])[:, None] * SPACING_MM[1], np.arange(SHAPE[2]) * SPACING_MM[2]
    assert not (wide > 0)[:, np.hypot(j, k) > 1.05 * MOST_MM].any()
    assert (wide > 0)[:, np.hypot(j, k) < 0.95 * MOST_MM].all()
    close = inside([(20, 16, 16), (20.5, 16, 16)], [True, False])
    assert 0 < close.sum() * np.prod(SPACING_MM) < 2 * 4 / 3 * np.pi * LEAST_MM**3
    assert ball_radius_mm(close.sum() * float(np.prod(SPACING_MM)) / 1000) < 1.3 * LEAST_MM


def test_windows_agree_where_they_overlap_and_the_network_counts_as_far_as_it_is_trusted() -> None:
    image = torch.from_numpy(np.random.default_rng(0).uniform(size=SHAPE).astype(np.float32))
    new = replace(clicks((9, 9, 9), (15, 9, 9)), target=replace(TARGET, supported=False))
    starts, content = [(0, 0, 0), (6, 4, 2)], Box((0, 0, 0), SHAPE)
    given = PointLogits(SHAPE, tuple(starts), tuple(torch.full(WINDOW, 2.0) for _ in starts))
    alone = reached(silent(SHAPE, starts, WINDOW), new, image, SPACING_MM, content=content, trust=0.0)
    heard = reached(given, new, image, SPACING_MM, content=content, trust=0.5)
    assert torch.allclose(heard.windows[0], alone.windows[0] + 1.0)
    assert torch.equal(alone.windows[0][6:, 4:, 2:], alone.windows[1][:10, :12, :14])
    assert (heard.starts, heard.shape) == (given.starts, given.shape)
    assert all(torch.equal(window, torch.full(WINDOW, 2.0)) for window in given.windows)


def test_what_fills_up_a_thin_scan_is_no_tissue() -> None:
    """Its zeros would be unlike all around a click, and the surroundings of everything."""
    scan = np.random.default_rng(0).normal(0.6, 0.01, SHAPE).astype(np.float32)[:, :, :5]
    content, padded = Box((0, 0, 13), (*SHAPE[:2], 18)), np.zeros(SHAPE, np.float32)
    padded[content.slices] = scan
    new = replace(clicks((20, 16, 15)), target=replace(TARGET, supported=False))
    said = silent(SHAPE, [(0, 0, 0)], SHAPE)
    found = reached(said, new, torch.from_numpy(padded), SPACING_MM, content=content, trust=0.0).windows[0].numpy()
    alone = extent(new.points_ijk - content.start, new.positive, scan, SPACING_MM)
    assert np.array_equal(found[content.slices], alone)
    assert (alone > 0)[:, 16].any(axis=1).sum() * SPACING_MM[0] > 40, "a wide one: all around is alike"
    assert np.array_equal(found[:, :, :13], np.repeat(alone[:, :, :1], 13, axis=2))
    assert np.array_equal(found[:, :, 18:], np.repeat(alone[:, :, -1:], 14, axis=2))


@pytest.mark.parametrize("changes", [{"unnamed_trust": 0.5}, {"unnamed_trust": 1.5, "click_reach_mm": 15.0}])
def test_a_trust_wants_a_reach_and_lies_between_0_and_1(changes: dict[str, float]) -> None:
    with pytest.raises(CheckpointError, match="trust"):
        ModelSpec(name="any", architecture=VistaArchitecture(), **changes)  # type: ignore[arg-type]
