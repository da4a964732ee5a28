"""Smooth periodic noise, evaluated plane by plane, that bends surfaces and mottles tissue.

Values at the knots of a coarse lattice are blended with cubic B-splines. The lattice repeats, so the field is
defined everywhere at a fixed cost in memory, and it depends on millimetres alone: a finer grid of voxels samples
the same field more densely.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from vesalius.data.anatomy.solids import Number

_STANDARD_DEVIATION = (151.0 / 315.0) ** 1.5
"""Of unit white noise after cubic B-splines along three axes: the mean of the squared weights is 151/315 each."""


def bspline_weights(positions_mm: np.ndarray, *, knot_mm: Number, knots: int) -> Float[np.ndarray, "n q"]:
    """Return how much each knot counts at each position; a row sums to one.

    Args:
        positions_mm: Where the spline is wanted, along one axis.
        knot_mm: Distance between knots; a structure of the noise is about twice as wide.
        knots: Knots before the lattice repeats.
    """
    steps = np.asarray(positions_mm, dtype=np.float64).reshape(-1) / knot_mm
    first = np.floor(steps)
    shares = _shares(steps - first)
    weights = np.zeros((len(steps), knots), dtype=np.float32)
    rows = np.arange(len(steps))
    for offset, share in enumerate(shares):
        np.add.at(weights, (rows, (first.astype(np.int64) - 1 + offset) % knots), share.astype(np.float32))
    return weights


def _shares(t: Any) -> tuple[Any, Any, Any, Any]:
    """Return the weights of the four knots about a place ``t`` of the way from the second to the third."""
    u = 1 - t
    return u**3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (3 * u**3 - 6 * u**2 + 4) / 6, t**3 / 6


class SmoothNoise:
    """A random field over space with mean 0 and standard deviation 1.

    Args:
        rng: Where the knots' values come from.
        knot_mm: Distance between knots.
        knots: Knots along each axis before the field repeats.
    """

    def __init__(self, rng: np.random.Generator, *, knot_mm: Number, knots: int = 32) -> None:
        # Indexed (z, x, y): a height is a contiguous plane.
        values = rng.standard_normal((knots, knots, knots), dtype=np.float32)
        self._values = values / np.float32(_STANDARD_DEVIATION)
        self._knot_mm = knot_mm
        self._knots = knots

    def over(self, x_mm: np.ndarray, y_mm: np.ndarray) -> NoisePlanes:
        """Fix the axes of the planes on which the field will be evaluated."""
        return NoisePlanes(self, self.weights(x_mm), self.weights(y_mm))

    def weights(self, positions_mm: np.ndarray) -> Float[np.ndarray, "n q"]:
        """Return the spline weights of positions along any axis of this field."""
        return bspline_weights(positions_mm, knot_mm=self._knot_mm, knots=self._knots)

    def knot_plane(self, z_mm: Number) -> Float[np.ndarray, "q r"]:
        """Return the knots' values interpolated to one height."""
        step = z_mm / self._knot_mm
        first = math.floor(step)
        shares = _shares(step - first)
        planes = [self._values[(first - 1 + offset) % self._knots] for offset in range(4)]
        return np.asarray(sum(np.float32(share) * plane for share, plane in zip(shares, planes, strict=True)))


class NoisePlanes:
    """A smooth noise on planes of fixed x and y, one height at a time."""

    def __init__(self, noise: SmoothNoise, x_weights: np.ndarray, y_weights: np.ndarray) -> None:
        self._noise, self._x_weights, self._y_weights = noise, x_weights, y_weights.T.copy()

    def at(self, z_mm: Number) -> Float[np.ndarray, "i j"]:
        """Return the field on the plane at one height, float32."""
        return np.asarray(self._x_weights @ self._noise.knot_plane(z_mm) @ self._y_weights)
