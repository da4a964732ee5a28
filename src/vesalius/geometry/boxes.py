"""Integer boxes of voxels: half-open, start included, stop not."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vesalius.shapes import MaskArray

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    """The voxels from ``start`` up to, not including, ``stop``."""

    start: Triple
    stop: Triple

    @property
    def shape(self) -> Triple:
        """Voxels along each axis."""
        return (self.stop[0] - self.start[0], self.stop[1] - self.start[1], self.stop[2] - self.start[2])

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index into an ``(i, j, k)`` array."""
        return (
            slice(self.start[0], self.stop[0]),
            slice(self.start[1], self.stop[1]),
            slice(self.start[2], self.stop[2]),
        )

    @property
    def is_empty(self) -> bool:
        """Whether it holds no voxel."""
        return min(self.shape) <= 0

    def corners(self) -> np.ndarray:
        """Return the eight outermost voxel centres, ``(8, 3)`` float64."""
        ends = [(a, b - 1) for a, b in zip(self.start, self.stop, strict=True)]
        return np.array(list(itertools.product(*ends)), dtype=np.float64)

    def grown(self, margin: int | Triple) -> Box:
        """Return the box with ``margin`` voxels more on every side."""
        m = (margin, margin, margin) if isinstance(margin, int) else margin
        return Box(
            (self.start[0] - m[0], self.start[1] - m[1], self.start[2] - m[2]),
            (self.stop[0] + m[0], self.stop[1] + m[1], self.stop[2] + m[2]),
        )

    def holds(self, point_ijk: np.ndarray) -> bool:
        """Say whether a point lies on the box's voxels, the outer faces of its outermost voxels included."""
        low, high = np.asarray(self.start) - 0.5, np.asarray(self.stop) - 0.5
        return bool(((point_ijk >= low) & (point_ijk <= high)).all())

    def moved(self, by: Triple) -> Box:
        """Return the box ``by`` voxels further along each axis."""
        i, j, k = by
        start, stop = self.start, self.stop
        return Box((start[0] + i, start[1] + j, start[2] + k), (stop[0] + i, stop[1] + j, stop[2] + k))

    def transposed(self, order: Triple) -> Box:
        """Return the box in an array whose axes were put into an order, as ``numpy.transpose`` does."""
        i, j, k = order
        start, stop = self.start, self.stop
        return Box((start[i], start[j], start[k]), (stop[i], stop[j], stop[k]))

    def relative_to(self, origin: Triple) -> Box:
        """Return the same voxels, counted from ``origin``."""
        return self.moved((-origin[0], -origin[1], -origin[2]))

    def clipped(self, shape: Triple) -> Box:
        """Return the part of the box that lies inside an array of ``shape``."""
        start = [min(max(a, 0), n) for a, n in zip(self.start, shape, strict=True)]
        stop = [min(max(b, s), n) for b, s, n in zip(self.stop, start, shape, strict=True)]
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


NOWHERE = Box((0, 0, 0), (0, 0, 0))
"""The box of what has no voxel."""


def shared_box(one: Box, other: Box) -> Box | None:
    """Return the voxels that lie in both boxes, or None where there are none."""
    shared = Box(
        (max(one.start[0], other.start[0]), max(one.start[1], other.start[1]), max(one.start[2], other.start[2])),
        (min(one.stop[0], other.stop[0]), min(one.stop[1], other.stop[1]), min(one.stop[2], other.stop[2])),
    )
    return None if shared.is_empty else shared


def enclosing_box(boxes: Iterable[Box]) -> Box | None:
    """Return the smallest box around several, or None where all of them are empty."""
    filled = [box for box in boxes if not box.is_empty]
    if not filled:
        return None
    low = np.min([box.start for box in filled], axis=0).tolist()
    high = np.max([box.stop for box in filled], axis=0).tolist()
    return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def bounding_box(mask: MaskArray) -> Box | None:
    """Return the smallest box that holds every True voxel, or None where there is none."""
    starts, stops = [], []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        hits = np.flatnonzero(mask.any(axis=others))
        if hits.size == 0:
            return None
        starts.append(int(hits[0]))
        stops.append(int(hits[-1]) + 1)
    return Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))
