"""A ball somewhere on a model's grid: what the point head says of it, and which voxels of any grid it holds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch

from vesalius.geometry.grid import Grid
from vesalius.inference.points import PointLogits
from vesalius.prompts import ClickTarget, ObjectClicks

MODEL_GRID = Grid((40, 32, 32), np.array([[2.0, 0, 0, -30], [0, 2, 0, -20], [0, 0, 2, 5], [0, 0, 0, 1]]))
WINDOW = (16, 16, 16)
TARGET = ClickTarget(1, "liver", supported=True, special=False, layer=None)


def ball_logits(starts: Sequence[tuple[int, int, int]], centre: Sequence[float], radius: float) -> PointLogits:
    """Say that a ball of the model's grid is the object: in every window its signed distance."""
    i, j, k = np.meshgrid(*[np.arange(side) for side in MODEL_GRID.shape], indexing="ij")
    distance = radius - np.sqrt(sum((axis - at) ** 2 for axis, at in zip((i, j, k), centre, strict=True)))
    whole = torch.from_numpy(distance.astype(np.float32))
    windows = tuple(whole[tuple(slice(a, a + n) for a, n in zip(start, WINDOW, strict=True))] for start in starts)
    return PointLogits(MODEL_GRID.shape, tuple(starts), windows)


def clicks(*points: tuple[float, float, float], positive: bool = True) -> ObjectClicks:
    return ObjectClicks(
        target=TARGET,
        points_ijk=np.array(points, dtype=np.float64),
        positive=np.full(len(points), positive),
    )


def placed(clicks: ObjectClicks, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return clicks in the voxels of any grid, and whether each lies in the object."""
    return grid.to_voxel(MODEL_GRID.to_world(clicks.points_ijk)), clicks.positive


def ball(grid: Grid, centre: Sequence[float], radius: float) -> np.ndarray:
    """Return the same ball on any grid."""
    voxels = np.stack(np.meshgrid(*[np.arange(side) for side in grid.shape], indexing="ij"), axis=-1)
    places = MODEL_GRID.to_voxel(grid.to_world(voxels))
    return np.sqrt(((places - centre) ** 2).sum(axis=-1)) < radius


OWN_GRID = MODEL_GRID.respaced((1.3, 2.9, 1.7))
ORIENTATIONS = ["".join(c) for p in itertools.permutations(["RL", "AP", "SI"]) for c in itertools.product(*p)]
