"""Simulated clicks lie in the error, where a user would click, and follow their generator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from vesalius.prompts.simulate import (
    ClickStyle,
    centre_click,
    correcting_clicks,
    draw_voxels,
    first_clicks,
    next_click,
)

SPACING = (0.7, 1.5, 3.0)


def random_mask(shape: tuple[int, int, int], share: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < share


shapes = st.tuples(*[st.integers(1, 7)] * 3)
shares, seeds = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), st.integers(0, 1000)
masks = st.builds(random_mask, shapes, shares, seeds)
pairs = shapes.flatmap(
    lambda shape: st.tuples(*[st.builds(random_mask, st.just(shape), shares, seeds)] * 2)  # two of one shape
)
styles = st.sampled_from(["centre", "border"])


def box(*bounds: tuple[int, int], shape: tuple[int, int, int] = (30, 28, 26)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*ends) for ends in bounds)] = True
    return mask


NOTHING = box((0, 0))


@given(pairs, styles, st.just(0.0) | st.floats(0.1, 5), st.integers(0, 100))
def test_a_click_lies_in_the_largest_error_of_its_kind(
    pair: tuple[np.ndarray, np.ndarray], style: ClickStyle, jitter_mm: float, seed: int
) -> None:
    truth, current = pair
    click = next_click(
        truth, current, rng=np.random.default_rng(seed), style=style, jitter_mm=jitter_mm, spacing_mm=SPACING
    )
    if (truth == current).all():
        assert click is None
        return
    assert click is not None
    numbered = [ndimage.label(error, np.ones((3, 3, 3)))[0] for error in (current & ~truth, truth & ~current)]
    sizes = [np.bincount(n.ravel())[1:].max(initial=0) for n in numbered]
    assert click.positive == (sizes[1] >= sizes[0])
    at = tuple(int(a) for a in click.point_ijk)
    assert at == click.point_ijk
    of = numbered[click.positive]
    assert of[at] > 0
    assert (of == of[at]).sum() == max(sizes)


def test_the_centre_of_a_box_is_hit() -> None:
    truth = box((3, 8), (5, 14), (10, 21))
    click = next_click(truth, NOTHING, rng=np.random.default_rng(0))
    assert click == ((5.0, 9.0, 15.0), True)


def test_a_long_structure_is_clicked_in_its_middle_not_at_an_end() -> None:
    click = next_click(box((1, 29), (5, 10), (5, 10)), NOTHING, rng=np.random.default_rng(0))
    assert click is not None
    assert 13 <= click.point_ijk[0] <= 16


def test_depth_is_measured_in_millimetres() -> None:
    plate_and_rod = box((2, 6), (2, 26), (2, 24)) | box((12, 21), (2, 11), (2, 11))
    both = plate_and_rod | box((5, 13), (2, 3), (2, 3))  # one component
    fine = next_click(both, NOTHING, rng=np.random.default_rng(0), spacing_mm=(1.0, 1.0, 1.0))
    coarse = next_click(both, NOTHING, rng=np.random.default_rng(0), spacing_mm=(8.0, 1.0, 1.0))
    assert fine is not None
    assert coarse is not None
    assert fine.point_ijk[0] > 12  # the rod is nine voxels thick, the plate four
    assert coarse.point_ijk[0] < 6  # of 8 mm each: the plate, whose other sides are long


def test_an_error_at_the_edge_of_the_scan_is_clicked_inside() -> None:
    click = next_click(box((0, 9), (0, 9), (0, 9)), NOTHING, rng=np.random.default_rng(0))
    assert click is not None
    assert click.point_ijk == (4.0, 4.0, 4.0)


def test_too_much_is_clicked_away() -> None:
    truth = box((2, 10), (2, 10), (2, 10))
    click = next_click(truth, truth | box((15, 25), (2, 10), (2, 10)), rng=np.random.default_rng(0))
    assert click is not None
    assert not click.positive
    assert click.point_ijk[0] >= 15


def test_a_border_click_lies_near_the_border() -> None:
    truth = box((2, 23), (2, 23), (2, 23))
    depth = ndimage.distance_transform_edt(np.pad(truth, 1))[1:-1, 1:-1, 1:-1]
    clicks = [next_click(truth, NOTHING, rng=np.random.default_rng(n), style="border") for n in range(40)]
    depths = [depth[tuple(int(a) for a in click.point_ijk)] for click in clicks if click]
    assert len(set(clicks)) > 30
    assert max(depths) <= 11 / 3
    centre = next_click(truth, NOTHING, rng=np.random.default_rng(0))
    assert centre is not None
    assert depth[tuple(int(a) for a in centre.point_ijk)] == 11


def test_jitter_is_as_wide_as_it_says_in_millimetres() -> None:
    truth = box((5, 25), (6, 22), (8, 18))
    aim = next_click(truth, NOTHING, rng=np.random.default_rng(0), spacing_mm=SPACING)
    hits = [
        next_click(truth, NOTHING, rng=np.random.default_rng(n), jitter_mm=2.0, spacing_mm=SPACING)
        for n in range(120)
    ]
    assert aim is not None
    offsets = np.array([np.subtract(hit.point_ijk, aim.point_ijk) * SPACING for hit in hits if hit])
    assert np.abs(offsets.mean(axis=0)).max() < 0.8
    assert np.allclose(offsets.std(axis=0), 2.0, atol=0.5)


def test_the_generator_decides() -> None:
    truth = box((2, 23), (2, 23), (2, 23))
    first, again, other = (
        [next_click(truth, NOTHING, rng=rng, style="border", jitter_mm=1.0) for _ in range(3)]
        for rng in (np.random.default_rng(5), np.random.default_rng(5), np.random.default_rng(6))
    )
    assert first == again
    assert first != other


@given(pairs, st.integers(1, 6), st.integers(0, 100))
def test_first_clicks_lie_inside_and_outside(
    pair: tuple[np.ndarray, np.ndarray], max_clicks: int, seed: int
) -> None:
    mask, known = pair
    clicks = first_clicks(mask, known & ~mask, max_clicks=max_clicks, rng=np.random.default_rng(seed))
    where = tuple(clicks.points_ijk.T)
    assert (mask[where] == clicks.positive).all()
    assert known[where][~clicks.positive].all()
    positives, negatives = int(clicks.positive.sum()), int((~clicks.positive).sum())
    assert 1 <= positives <= max_clicks if mask.any() else positives == 0
    assert negatives <= max_clicks


def test_most_windows_get_few_clicks() -> None:
    truth = box((5, 20), (5, 20), (5, 20))
    signs = [first_clicks(truth, ~truth, max_clicks=5, rng=np.random.default_rng(n)).positive for n in range(500)]
    positives, negatives = (np.array([int((sign == kind).sum()) for sign in signs]) for kind in (True, False))
    assert (positives.min(), positives.max(), negatives.min(), negatives.max()) == (1, 5, 0, 5)
    # |N(0, 2)| < 1 in 38.3 % of draws, < 2 in 68.3 %
    assert (positives == 1).mean() == pytest.approx(0.383, abs=0.06)
    assert (negatives <= 1).mean() == pytest.approx(0.683, abs=0.06)


def test_drawn_voxels_keep_away_from_borders_while_they_can() -> None:
    rng = np.random.default_rng(0)
    points = draw_voxels(box((0, 20), (5, 28), (5, 20)), 400, rng=rng)
    assert points.min(axis=0).tolist() == [2, 6, 6]  # i: the window's face; j and k: the border of the mask
    assert points.max(axis=0).tolist() == [18, 25, 18]
    at_the_face = draw_voxels(box((0, 2), (5, 28), (5, 20)), 100, rng=rng)
    assert set(at_the_face[:, 0].tolist()) == {0}  # too near to the face, but inside the mask, which goes on beyond
    thin = box((4, 5), (5, 28), (5, 20))
    assert thin[tuple(draw_voxels(thin, 100, rng=rng).T)].all()
    anywhere = draw_voxels(box((0, 20), (5, 28), (5, 20)), 2000, rng=rng, keep_away=False)
    assert anywhere.min(axis=0).tolist() == [0, 5, 5]
    assert draw_voxels(NOTHING, 3, rng=rng).shape == (0, 3)


@given(pairs, st.integers(0, 100))
def test_correcting_clicks_lie_in_the_errors(pair: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    truth, current = pair
    clicks = correcting_clicks(truth & ~current, current & ~truth, rng=np.random.default_rng(seed))
    where = tuple(clicks.points_ijk.T)
    assert (truth[where] == clicks.positive).all()
    assert (current[where] == ~clicks.positive).all()
    expected = [True] * bool((truth & ~current).any()) + [False] * bool((current & ~truth).any())
    assert clicks.positive.tolist() == expected


@given(masks)
def test_the_centre_of_a_structure_lies_in_it(mask: np.ndarray) -> None:
    if mask.any():
        assert mask[centre_click(mask)]


def test_the_centre_is_that_of_the_largest_thick_piece() -> None:
    thick, flat = box((3, 8), (5, 10), (6, 13)), box((12, 28), (1, 27), (3, 5))
    assert centre_click(thick | flat) == (5, 7, 9)  # the plate has more voxels, and no core
    assert centre_click(flat)[0] in (19, 20)
