"""Move data from one grid to another: linear for images, nearest for labels.

Two grids are *aligned* when their axes point the same way; then an axis of the target runs along one axis of the
source and resampling is separable: two neighbours and a weight per index, axis after axis.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from vesalius.errors import GeometryError
from vesalius.geometry.grid import Grid

_CHUNK_VOXELS = 1 << 22


@dataclass(frozen=True)
class AxisMap:
    """Where the indices of one target axis fall on a source axis.

    Args:
        positions: Source coordinate of each target index, float64; may lie outside the source.
        length: Number of source voxels.
    """

    positions: Float[np.ndarray, " t"]
    length: int

    def neighbours(self) -> tuple[Int[Tensor, " t"], Float[Tensor, " t"]]:
        """Return the lower neighbour of each position and the weight of the upper one.

        Positions outside the source take the value of its border. The lower neighbour is at most
        ``length - 2`` (0 where there is one voxel), so that lower + 1 always exists where its weight is not 0.
        """
        inside = np.clip(self.positions, 0.0, self.length - 1)
        lower = np.minimum(np.floor(inside), max(self.length - 2, 0)).astype(np.int64)
        return torch.from_numpy(lower), torch.from_numpy((inside - lower).astype(np.float32))

    def nearest(self) -> Int[Tensor, " t"]:
        """Return the nearest source index of each position, clipped to the source; halves round up."""
        return torch.from_numpy(np.clip(np.floor(self.positions + 0.5), 0, self.length - 1).astype(np.int64))

    def within(self, start: int, stop: int) -> AxisMap:
        """Return the map of target indices ``start`` to ``stop`` alone."""
        return AxisMap(self.positions[start:stop], self.length)


def axis_maps(source: Grid, target: Grid) -> tuple[AxisMap, AxisMap, AxisMap]:
    """Say where each target index falls on the source, axis by axis.

    Raises:
        GeometryError: If the two grids are not aligned (reorient one first; shear and rotation need
            ``resample_points``).
    """
    to_source = np.linalg.inv(source.affine) @ target.affine
    linear = to_source[:3, :3]
    reach = np.abs(linear - np.diag(np.diag(linear))) @ (np.asarray(target.shape) - 1)
    if (reach > 0.01).any() or (np.diag(linear) <= 0).any():
        raise GeometryError(
            expected="grids whose axes point the same way",
            got=f"{source.axis_codes} and {target.axis_codes} grids at an angle (off by {reach.max():.2g} voxels)",
            do="reorient one to the other's axis codes, or resample through world points",
        )
    i, j, k = (
        AxisMap(linear[a, a] * np.arange(target.shape[a]) + to_source[a, 3], source.shape[a]) for a in range(3)
    )
    return i, j, k


def is_orthogonal(grid: Grid, *, tolerance: float = 1e-3) -> bool:
    """Say whether the axes of a grid stand at right angles (a tilted gantry makes them not)."""
    directions = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() <= tolerance)


def resample_linear(
    data: Num[np.ndarray, "i j k"], source: Grid, target: Grid, *, clip: tuple[float, float] | None = None
) -> Float[Tensor, "x y z"]:
    """Interpolate an image on an aligned grid; outside the source its border is repeated.

    Works through slabs in the order of memory: beside the result, only one slab is held in float.

    Args:
        data: Voxel values; any real dtype, any strides (views and memory maps are welcome).
        source: The grid of ``data``.
        target: Where values are wanted.
        clip: Lowest and highest value; what lies beyond is cut to them before it is interpolated.

    Raises:
        GeometryError: If the grids are not aligned.
    """
    maps = axis_maps(source, target)
    order = np.argsort([-abs(stride) for stride in data.strides], kind="stable")  # walk memory in its own order
    result = _resample_separably(data.transpose(order), [maps[a] for a in order], clip)
    return result.permute(*np.argsort(order))


def _resample_separably(
    data: Num[np.ndarray, "i j k"], maps: Sequence[AxisMap], clip: tuple[float, float] | None
) -> Float[Tensor, "x y z"]:
    result = torch.empty([len(m.positions) for m in maps], dtype=torch.float32)
    (lower_j, weight_j), (lower_k, weight_k) = maps[1].neighbours(), maps[2].neighbours()
    step = max(1, _CHUNK_VOXELS // (data.shape[1] * data.shape[2]))
    for start in range(0, result.shape[0], step):
        stop = min(start + step, result.shape[0])
        lower, weight = maps[0].within(start, stop).neighbours()
        first, last = int(lower[0]), min(int(lower[-1]) + 2, data.shape[0])
        slab = torch.from_numpy(np.ascontiguousarray(data[first:last], dtype=np.float32))
        slab = slab.clamp(*clip) if clip else slab  # not in place: it may be the image itself
        slab = _interpolate(slab, lower - first, weight, axis=0)
        slab = _interpolate(slab, lower_j, weight_j, axis=1)
        result[start:stop] = _interpolate(slab, lower_k, weight_k, axis=2)
    return result


def _interpolate(
    data: Float[Tensor, "i j k"], lower: Int[Tensor, " t"], weight: Float[Tensor, " t"], *, axis: int
) -> Float[Tensor, "x y z"]:
    size = data.shape[axis]
    if len(lower) == size and not weight.any() and bool((lower == torch.arange(size)).all()):
        return data
    upper = (lower + 1).clamp_(max=size - 1)
    shape = [1, 1, 1]
    shape[axis] = -1
    below = data.index_select(axis, lower)
    return below.lerp_(data.index_select(axis, upper), weight.view(shape))


def resample_points(
    data: Num[np.ndarray, "i j k"],
    source: Grid,
    target: Grid,
    *,
    nearest: bool = False,
    outside: float | None = 0.0,
) -> Num[np.ndarray, "x y z"]:
    """Sample an image or a label map on any other grid, at whatever angle, through world points.

    Args:
        data: Voxel values.
        source: The grid of ``data``.
        target: Where values are wanted.
        nearest: Take the nearest voxel (labels) instead of interpolating linearly (images).
        outside: The value of points beyond the source's voxels; None repeats its border.

    Returns:
        Values on ``target``: dtype of ``data`` where ``nearest``, float32 otherwise.
    """
    to_source = np.linalg.inv(source.affine) @ target.affine
    result = np.empty(target.shape, dtype=data.dtype if nearest else np.float32)
    for slab in _slabs(target.shape):
        points = _points_of(slab, target.shape, to_source)  # [x y z 3]
        inside = ((points >= -0.5) & (points <= np.asarray(source.shape) - 0.5)).all(axis=-1)
        points = np.clip(points, 0, np.asarray(source.shape) - 1)
        values = _nearest_at(data, points) if nearest else _linear_at(data, points)
        result[slab] = values if outside is None else np.where(inside, values, np.asarray(outside, values.dtype))
    return result


def _slabs(shape: tuple[int, int, int]) -> Iterator[slice]:
    step = max(1, _CHUNK_VOXELS // 4 // (shape[1] * shape[2]))
    return (slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step))


def _points_of(slab: slice, shape: tuple[int, int, int], to_source: np.ndarray) -> Float[np.ndarray, "x y z 3"]:
    axes = (np.arange(slab.start, slab.stop), np.arange(shape[1]), np.arange(shape[2]))
    i, j, k = np.meshgrid(*axes, indexing="ij", sparse=True)
    return np.stack([m[0] * i + m[1] * j + m[2] * k + m[3] for m in to_source[:3]], axis=-1)


def _nearest_at(data: np.ndarray, points: np.ndarray) -> np.ndarray:
    i, j, k = np.moveaxis(np.floor(points + 0.5).astype(np.int64), -1, 0)
    return np.asarray(data[i, j, k])


def _linear_at(data: np.ndarray, points: np.ndarray) -> np.ndarray:
    lower = np.floor(points).astype(np.int64)
    weight = (points - lower).astype(np.float32)
    upper = np.minimum(lower + 1, np.asarray(data.shape) - 1)
    ends = (lower, upper)
    value = np.zeros(points.shape[:-1], dtype=np.float32)
    for corner in np.ndindex(2, 2, 2):
        share = np.ones_like(value)
        for axis, high in enumerate(corner):
            share *= weight[..., axis] if high else 1 - weight[..., axis]
        i, j, k = (ends[high][..., axis] for axis, high in enumerate(corner))
        value += share * data[i, j, k]
    return value
