"""Curves: a panel for each name, round ticks, nothing outside its frame."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.views.curves import Curve, render_curves, ticks

LINE, DOT = (96, 165, 250), (251, 146, 60)


def pixels(picture: object, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns of the pixels of one colour, ``(n, 2)``."""
    return np.argwhere((np.asarray(picture) == colour).all(axis=-1))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.5, 1.0]),
        (0.0, 0.8, [0.0, 0.2, 0.4, 0.6, 0.8]),
        (-3.0, 4.9, [-2.0, 0.0, 2.0, 4.0]),
        (0.0, 12000.0, [0.0, 5000.0, 10000.0]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_lie_inside_and_are_few(low: float, length: float) -> None:
    high = low + length
    if high - low < 1e-9 * abs(low):
        return
    marks = ticks(low, high)
    assert 1 <= len(marks) <= 5
    room = 1e-6 * (high - low)
    assert all(low - room <= mark <= high + room for mark in marks)


def test_a_falling_curve_falls_from_left_to_right_in_the_picture() -> None:
    picture = render_curves([Curve("loss", ((0, 2.0), (50, 1.0), (100, 0.5)))])
    places = pixels(picture, LINE)
    left, right = places[places[:, 1].argmin()], places[places[:, 1].argmax()]
    assert left[0] < right[0]  # rows count from the top
    assert right[1] - left[1] > 250


def test_a_name_has_one_panel_and_another_has_its_own() -> None:
    both = [Curve("dice", ((1, 0.1), (9, 0.9))), Curve("dice", ((1, 0.2), (9, 0.8)), is_dotted=True)]
    shared = render_curves(both)
    apart = render_curves([both[0], Curve("score", both[1].points, is_dotted=True)])
    assert pixels(shared, DOT)[:, 1].max() < 412
    assert pixels(apart, DOT)[:, 1].min() > 412
    assert len(pixels(apart, LINE))


def test_a_fourth_panel_begins_a_row() -> None:
    names = ["a", "b", "c", "d"]
    three, four = (render_curves([Curve(name, ((0, 1.0), (1, 2.0))) for name in names[:n]]) for n in (3, 4))
    assert four.width == three.width
    assert four.height > 1.9 * three.height


@pytest.mark.parametrize(
    "points",
    [((0, 0.0),), ((5, 3.0),), ((0, 2.0), (10, 2.0)), ((0, math.nan), (10, 1.0)), ((0, math.inf),)],
    ids=["one at 0", "one", "flat", "undefined", "only infinite"],
)
def test_curves_without_a_range_are_drawn_or_left_out(points: tuple[tuple[int, float], ...]) -> None:
    finite = [value for _, value in points if math.isfinite(value)]
    picture = render_curves([Curve("loss", points)])
    assert (len(pixels(picture, LINE)) > 0) == bool(finite)


def test_nothing_to_draw_is_an_empty_picture() -> None:
    assert len(pixels(render_curves([]), LINE)) == 0
