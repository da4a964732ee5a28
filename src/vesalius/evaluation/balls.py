"""Balls around the clicks: the answer that never reads the image, which every interactive model has to beat."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from vesalius.geometry.balls import ball_box, squared_mm
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
        grid: Of the scan.
        radius_mm: Of every ball.
    """
    mask = np.zeros(grid.shape, dtype=bool)
    positive, negative = ([np.array(c.point_ijk) for c in clicks if c.positive is sign] for sign in (True, False))
    for point in positive:
        box = ball_box(point, radius_mm, grid)
        squared = squared_mm(point, box, grid)
        inside = squared <= radius_mm**2
        for other in negative:
            inside &= squared <= squared_mm(other, box, grid)
        mask[box.slices] |= inside
    return mask


def brushed(mask: MaskArray, click: Click, grid: Grid, radius_mm: float) -> MaskArray:
    """Return a mask after one stroke of a round brush: the voxels within ``radius_mm`` of a click join or leave it.

    Args:
        mask: On ``grid``.
        click: In the voxels of ``grid``.
        grid: Of the scan.
        radius_mm: Of the brush.
    """
    point = np.array(click.point_ijk)
    box = ball_box(point, radius_mm, grid)
    after = mask.copy()
    after[box.slices][squared_mm(point, box, grid) <= radius_mm**2] = click.positive
    return after
