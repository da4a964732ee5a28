"""Solids: distances with the right sign, size and slope."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.data.anatomy.solids import ellipsoid, oval, rotation, smooth_max, smooth_min, smooth_path, to_frame


def on_sphere(n: int = 200) -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(n, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


@given(st.tuples(*[st.floats(5, 60)] * 3))
def test_an_ellipsoid_vanishes_on_its_surface_with_slope_one(radii):
    unit = on_sphere()
    surface = unit * radii
    assert np.abs(ellipsoid(*surface.T, radii)).max() < 1e-3 * max(radii)
    normal = unit / radii
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    for step in (-0.2, 0.2):
        assert np.allclose(ellipsoid(*(surface + step * normal).T, radii), step, atol=0.03)


def test_a_frame_turns_points_into_the_solids_own_axes():
    turn = rotation(z=90)
    x, y, z = (np.array([v], dtype=np.float32) for v in (10.0, 25.0, 5.0))
    local = to_frame(x, y, z, (10.0, 20.0, 5.0), turn)
    assert np.allclose([v[0] for v in local], turn.T @ [0, 5, 0], atol=1e-5)
    assert np.allclose(turn @ [1, 0, 0], [0, 1, 0])
    assert np.allclose(rotation(x=30, y=40, z=50) @ rotation(x=30, y=40, z=50).T, np.eye(3))


def test_smooth_set_operations_round_only_where_surfaces_meet():
    a = np.linspace(-20, 20, 81)
    far = np.full_like(a, -30.0)
    assert np.allclose(smooth_max(a, far, 5.0)[a > -20], a[a > -20])
    both = np.zeros(1)
    assert smooth_max(both, both, 8.0)[0] == pytest.approx(2.0)
    assert smooth_min(both, both, 8.0)[0] == pytest.approx(-2.0)
    assert (smooth_max(a, -a, 6.0) >= np.maximum(a, -a)).all()
    assert (smooth_min(a, -a, 6.0) <= np.minimum(a, -a)).all()


def test_an_oval_is_as_wide_and_deep_as_it_says():
    width, depth = np.float32([150]), np.float32([90])
    x = np.array([150, -150, 0, 0, 0, 200], dtype=np.float32)
    y = np.array([0, 0, 90, -90, 0, 0], dtype=np.float32)
    distance = oval(x, y, width, depth)
    assert np.allclose(distance[:4], 0, atol=1e-3)
    assert distance[4] < -80
    assert distance[5] == pytest.approx(50, abs=0.1)
    corner = oval(np.float32([106.07]), np.float32([63.64]), width, depth)  # on the ellipse
    assert corner[0] < -3  # the box's share lets it bulge


def test_a_path_runs_through_its_points():
    knots = np.array([(0, 0, 0, 5), (30, 0, 10, 7), (30, 40, 20, 6)], dtype=float)
    path = smooth_path(knots, step_mm=4.0)
    for knot in knots:
        assert np.linalg.norm(path - knot, axis=1).min() < 1e-9
    assert np.linalg.norm(np.diff(path[:, :3], axis=0), axis=1).max() < 6.0
