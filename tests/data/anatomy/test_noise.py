"""Smooth noise: the same field whatever points it is asked at, of mean 0 and standard deviation 1."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vesalius.data.anatomy.noise import SmoothNoise, bspline_weights


@given(st.lists(st.floats(-500, 500), min_size=1, max_size=20), st.floats(0.5, 60), st.integers(5, 40))
def test_weights_sum_to_one_and_are_never_negative(positions, knot_mm, knots):
    weights = bspline_weights(np.array(positions), knot_mm=knot_mm, knots=knots)
    assert np.allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert weights.min() > -1e-6


def test_the_field_has_unit_variance_and_is_smooth():
    noise = SmoothNoise(np.random.default_rng(0), knot_mm=8.0, knots=48)
    x = np.arange(0, 384, 1.0)
    planes = noise.over(x, x)
    field = np.stack([planes.at(z) for z in range(0, 384, 16)], axis=2)
    assert abs(field.mean()) < 0.05
    assert abs(field.std() - 1) < 0.1
    assert (
        np.abs(np.diff(field, axis=0)).max() < 1.2
    )  # one mm is an eighth of a knot; white noise would differ by 7


def test_a_denser_lattice_samples_the_same_field():
    noise = SmoothNoise(np.random.default_rng(3), knot_mm=12.0)
    sparse = noise.over(np.arange(0, 60, 4.0), np.arange(-20, 20, 4.0)).at(7.5)
    dense = noise.over(np.arange(0, 60, 1.0), np.arange(-20, 20, 1.0)).at(7.5)
    assert np.allclose(dense[::4, ::4], sparse, atol=1e-5)


def test_all_three_axes_carry_the_field():
    noise = SmoothNoise(np.random.default_rng(4), knot_mm=10.0)
    planes = noise.over(np.arange(0, 100, 5.0), np.arange(0, 100, 5.0))
    assert np.abs(planes.at(0.0) - planes.at(20.0)).mean() > 0.3
    assert np.abs(planes.at(0.0) - planes.at(0.5)).mean() < 0.1
    assert np.allclose(planes.at(0.0), planes.at(320.0), atol=1e-4)  # the lattice repeats after 32 knots


def test_heights_are_interpolated_as_the_other_axes_are():
    noise = SmoothNoise(np.random.default_rng(5), knot_mm=7.0, knots=16)
    point = noise.over(np.array([3.0]), np.array([11.0]))
    weights = noise.weights(np.array([25.0]))[0]
    knots = [float(point.at(7.0 * k)[0, 0]) for k in range(16)]
    # A spline through splines: compare with the tensor product written out.
    values = noise._values
    wx, wy = noise.weights(np.array([3.0]))[0], noise.weights(np.array([11.0]))[0]
    expected = np.einsum("zxy,z,x,y->", values, weights, wx, wy)
    assert np.isclose(point.at(25.0)[0, 0], expected, atol=1e-5)
    assert np.std(knots) > 0.1
