"""Balls around the clicks: the answer that never reads the image, which every interactive model has to beat."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from vesalius.geometry.boxes import Box
from vesalius.geometry.grid import Grid
from vesalius.prompts.simulate import Click
from vesalius.shapes import MaskArray


def ball_radius_mm(volume_ml: float) -> float:
    """Return the radius of the ball of a volume."""
    return math.cbrt(3000 * volume_ml / (4 * math.pi))


def balls(clicks: Sequence[Click], grid: Grid, radius_mm: float) -> MaskArray:
    """Return the voxels within ``radius_mm`` of a positive click that have no negative click nearer.

    Args:
        clicks: In the voxels of ``grid``.
        grid: Of the scan; its axes are taken to stand at right angles.
        radius_mm: Of every ball.
    """
    mask = np.zeros(grid.shape, dtype=bool)
    spacing = np.asarray(grid.spacing_mm)
    positive = [click.point_ijk for click in clicks if click.positive]
    negative = [click.point_ijk for click in clicks if not click.positive]
    for point in positive:
        box = _around(point, radius_mm / spacing, grid)
        squared = _squared_mm(point, box, spacing)
        inside = squared <= radius_mm**2
        for other in negative:
            inside &= squared <= _squared_mm(other, box, spacing)
        mask[box.slices] |= inside
    return mask


def brushed(mask: MaskArray, click: Click, grid: Grid, radius_mm: float) -> MaskArray:
    """Return a mask after one stroke of a round brush: the voxels within ``radius_mm`` of a click join or leave it.

    Args:
        mask: On ``grid``.
        click: In the voxels of ``grid``.
        grid: Of the scan; its axes are taken to stand at right angles.
        radius_mm: Of the brush.
    """
    spacing = np.asarray(grid.spacing_mm)
    box = _around(click.point_ijk, radius_mm / spacing, grid)
    after = mask.copy()
    after[box.slices][_squared_mm(click.point_ijk, box, spacing) <= radius_mm**2] = click.positive
    return after


def _around(point: tuple[float, float, float], reach: np.ndarray, grid: Grid) -> Box:
    low, high = np.floor(point - reach).astype(int), np.ceil(point + reach).astype(int) + 1
    start, stop = (tuple(int(at) for at in end) for end in (low, high))
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])).clipped(grid.shape)


def _squared_mm(point: tuple[float, float, float], box: Box, spacing: np.ndarray) -> np.ndarray:
    axes = [
        ((np.arange(low, high) - at) * side) ** 2
        for low, high, at, side in zip(box.start, box.stop, point, spacing, strict=True)
    ]
    return np.asarray(axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :])
