"""Affines: what is refused, what axis codes mean, and that maps there and back end where they began."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.errors import GeometryError
from vesalius.geometry import affine as affines

ALL_CODES = [
    "".join(letters)
    for order in itertools.permutations(["RL", "AP", "SI"])
    for letters in itertools.product(*order)
]


@pytest.mark.parametrize(
    ("matrix", "problem"),
    [
        (np.eye(3), "shape"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.diag([1.0, 1.0, 1.0, 2.0]), "last row"),
        (np.diag([1.0, 0.0, 1.0, 1.0]), "zero length"),
        (np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "one plane"),
    ],
)
def test_a_matrix_that_places_no_voxels_is_refused_with_the_reason(matrix: np.ndarray, problem: str) -> None:
    with pytest.raises(GeometryError) as raised:
        affines.as_affine(matrix)
    assert problem in raised.value.got


def test_an_affine_is_copied_so_that_callers_cannot_move_voxels_later() -> None:
    mine = np.eye(4)
    ours = affines.as_affine(mine)
    mine[0, 3] = 7.0
    assert ours[0, 3] == 0.0


def test_there_are_forty_eight_axis_orders_and_each_names_itself() -> None:
    assert len(set(ALL_CODES)) == 48
    for codes in ALL_CODES:
        directions = np.zeros((4, 4))
        directions[3, 3] = 1.0
        for axis, letter in enumerate(codes):
            world = "RASLPI".index(letter)
            directions[world % 3, axis] = 2.0 if world < 3 else -2.0
        assert affines.axis_codes(directions) == codes


def test_axis_codes_use_each_body_axis_once_even_at_forty_degrees() -> None:
    turn = np.deg2rad(40.0)
    tilted = np.eye(4)
    tilted[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    assert affines.axis_codes(tilted) == "RAS"


@pytest.mark.parametrize("codes", ["RA", "RRS", "RLS", "XYZ", "RASL", ""])
def test_letters_that_are_no_axis_order_are_refused(codes: str) -> None:
    with pytest.raises(GeometryError):
        affines.axes_between("RAS", codes)


@given(st.sampled_from(ALL_CODES), st.sampled_from(ALL_CODES))
def test_going_to_other_axes_and_back_is_no_change(source: str, target: str) -> None:
    there, flips_there = affines.axes_between(source, target)
    back, flips_back = affines.axes_between(target, source)
    assert tuple(there[axis] for axis in back) == (0, 1, 2)
    assert all(flips_there[axis] == flip for axis, flip in zip(back, flips_back, strict=True))


@given(st.lists(st.floats(-500, 500), min_size=3, max_size=3), st.lists(st.floats(0.3, 9), min_size=3, max_size=3))
def test_scaling_then_translation_is_undone_by_the_inverse(offset: list[float], factors: list[float]) -> None:
    points = np.array([[0.0, 0, 0], [1, 2, 3], [-4, 5.5, 6]])
    matrix = affines.translation(offset) @ affines.scaling(factors)
    moved = affines.apply(matrix, points)
    assert np.allclose(moved, points * factors + offset)
    assert np.allclose(affines.apply(np.linalg.inv(matrix), moved), points, atol=1e-9)
    assert np.allclose(affines.spacing_mm(matrix), factors)
