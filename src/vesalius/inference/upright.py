"""Scans of a tilted gantry: shown to a network upright, and labels put back on the slices as they were taken."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
from jaxtyping import Integer

from vesalius.geometry.affine import directions
from vesalius.geometry.grid import Grid
from vesalius.geometry.resample import is_orthogonal, resample_points
from vesalius.geometry.volume import Volume


def upright_grid(grid: Grid) -> Grid:
    """Return the grid of ``as_upright``: the same where it stands at right angles.

    Axes along which slices are shifted against one another get half the spacing, so that copying labels back to
    the tilted slices moves no border by more than a quarter of a voxel.
    """
    if is_orthogonal(grid):
        return grid
    unit = directions(grid.affine)
    slanted = np.abs(unit.T @ unit - np.eye(3)).max(axis=0) > 1e-3
    upright = grid.upright()
    i, j, k = upright.spacing_mm
    return upright.respaced((i / (1 + slanted[0]), j / (1 + slanted[1]), k))


def upright_bytes(grid: Grid) -> int:
    """Return what the copy takes in which a tilted volume is shown upright; 0 where it stands so by itself."""
    upright = upright_grid(grid)
    return 0 if upright is grid else 4 * upright.num_voxels


def as_upright(volume: Volume) -> Volume:
    """Return a volume whose axes stand at right angles: the same, or resampled where a gantry was tilted."""
    grid = upright_grid(volume.grid)
    if grid is volume.grid:
        return volume
    data = resample_points(volume.data[0], volume.grid, grid, outside=float(volume.data.min()))
    return Volume(data[None], grid, volume.modality, volume.source)


def put_back(labels: Integer[np.ndarray, "i j k"], *, made_on: Grid, grid: Grid) -> Integer[np.ndarray, "x y z"]:
    """Return labels made on an upright or respaced grid on the input's own; the same array where that is it.

    Those grids cover the input's, but for up to a quarter of a voxel at either end (``SHORT_BY``): its outermost
    slices may lie there, and take what is nearest.
    """
    return labels if made_on is grid else resample_points(labels, made_on, grid, nearest=True, outside=None)
