"""Balls on a grid: the voxels around a point, and how far from it they lie in mm; axes may stand at any angle."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

from vesalius.geometry.boxes import Box
from vesalius.geometry.grid import Grid


def ball_box(point_ijk: Float[np.ndarray, " 3"], radius_mm: float, grid: Grid) -> Box:
    """Return the voxels of a grid around a ball.

    Args:
        point_ijk: Its centre, in voxels of the grid.
        radius_mm: Its radius.
        grid: The grid.
    """
    reach = radius_mm * np.linalg.norm(np.linalg.inv(grid.affine[:3, :3]), axis=1)
    start, stop = (
        np.floor(point_ijk - reach).astype(int).tolist(),
        (np.ceil(point_ijk + reach) + 1).astype(int).tolist(),
    )
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])).clipped(grid.shape)


def squared_mm(point_ijk: Float[np.ndarray, " 3"], box: Box, grid: Grid) -> Float32[np.ndarray, "x y z"]:
    """Return the squared distance in mm of each voxel of a box from a point.

    Args:
        point_ijk: In voxels of the grid.
        box: Of the grid.
        grid: The grid.
    """
    steps = [(axis - at).astype(np.float32) for axis, at in zip(np.ogrid[box.slices], point_ijk, strict=True)]
    squared = np.zeros(box.shape, dtype=np.float32)
    for row in grid.affine[:3, :3].astype(np.float32):  # one axis of the world after the other: less is held
        squared += (row[0] * steps[0] + row[1] * steps[1] + row[2] * steps[2]) ** 2
    return squared
