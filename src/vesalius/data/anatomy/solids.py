"""Solids as signed distances in millimetres: negative inside, positive outside, slope near one at the surface.

Every function takes coordinate arrays ``x, y, z`` (float32, equal or broadcastable shapes) and returns an array.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Number = float | int
"""A length, whole or not; the shape checks of the tests take int and float for different things."""

Vector = tuple[Number, Number, Number]


def rotation(*, x: Number = 0.0, y: Number = 0.0, z: Number = 0.0) -> np.ndarray:
    """Return the 3x3 matrix that turns by the angles (degrees) about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in ((0, x), (1, y), (2, z)):
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
        matrix = turn @ matrix
    return matrix


def to_frame(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, centre: Vector, turn: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Express points in the frame of a solid at ``centre`` whose axes are the columns of ``turn``."""
    x, y, z = x - np.float32(centre[0]), y - np.float32(centre[1]), z - np.float32(centre[2])
    if turn is None:
        return x, y, z
    t = turn.astype(np.float32)
    return tuple(t[0, a] * x + t[1, a] * y + t[2, a] * z for a in range(3))


def ellipsoid(x: np.ndarray, y: np.ndarray, z: np.ndarray, radii: Vector) -> np.ndarray:
    """Return the distance to an ellipsoid at the origin, exact to first order at its surface."""
    u, v, w = x / np.float32(radii[0]), y / np.float32(radii[1]), z / np.float32(radii[2])
    scaled = np.sqrt(u * u + v * v + w * w)
    u, v, w = u / np.float32(radii[0]), v / np.float32(radii[1]), w / np.float32(radii[2])
    slope = np.sqrt(u * u + v * v + w * w)
    return np.asarray(scaled * (scaled - 1) / (slope + np.float32(1e-6)))


def smooth_max(a: np.ndarray, b: np.ndarray, rounding_mm: Number) -> np.ndarray:
    """Return the intersection of two solids whose common edge is rounded over ``rounding_mm``."""
    apart = np.maximum(np.float32(rounding_mm) - np.abs(a - b), 0)
    return np.asarray(np.maximum(a, b) + apart * apart * np.float32(0.25 / rounding_mm))


def smooth_min(a: np.ndarray, b: np.ndarray, rounding_mm: Number) -> np.ndarray:
    """Return the union of two solids whose common groove is filled over ``rounding_mm``."""
    apart = np.maximum(np.float32(rounding_mm) - np.abs(a - b), 0)
    return np.asarray(np.minimum(a, b) - apart * apart * np.float32(0.25 / rounding_mm))


def oval(x: np.ndarray, y: np.ndarray, half_width: np.ndarray, half_depth: np.ndarray) -> np.ndarray:
    """Return the distance, along rays, to the cross-section of a trunk: between an ellipse and a rounded box."""
    u, v = np.abs(x / half_width), np.abs(y / half_depth)
    u, v = u * u, v * v
    ratio = np.float32(0.55) * np.sqrt(u + v) + np.float32(0.45) * np.sqrt(np.sqrt(u * u + v * v))
    reach = np.sqrt(x * x + y * y)
    # At the very axis the ray has no length; there the depth is what separates from the surface.
    return np.asarray(np.where(ratio > 0.05, reach - reach / np.maximum(ratio, np.float32(0.05)), -half_depth))


def smooth_path(points: Sequence[Sequence[Number]] | np.ndarray, *, step_mm: Number) -> np.ndarray:
    """Run a Catmull-Rom curve through points.

    Args:
        points: Rows of equal length; the first three columns are millimetres, the others (radii) follow along.
        step_mm: Distance between the points returned, about.
    """
    knots = np.asarray(points, dtype=np.float64)
    padded = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        count = max(1, int(np.ceil(np.linalg.norm(c[:3] - b[:3]) / step_mm)))
        t = (np.arange(count) / count)[:, None]
        curve = 2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
        pieces.append(0.5 * curve)
    return np.vstack([*pieces, knots[-1:]])
