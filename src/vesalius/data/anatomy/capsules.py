"""Capsules: rounded cones joined into tubes and frames, the shape of vessels, bowel, ribs and processes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vesalius.data.anatomy.canvas import Canvas, Window
from vesalius.data.anatomy.solids import Number, Vector, smooth_path

FAR_MM = np.float32(1e3)

_TOGETHER_PIXELS = 12_000
"""Capsules with so few pixels to spare are measured in one sweep: on coarse grids the calls cost the most."""


class Capsules:
    """The union of rounded cones.

    Args:
        starts: Rows ``(x, y, z, radius)``, mm.
        ends: The other end of each.
        squash: How much distances along x, y and z count: ``(1, 1, 0.65)`` makes it taller than it is thick.
    """

    def __init__(self, starts: np.ndarray, ends: np.ndarray, *, squash: Vector = (1.0, 1.0, 1.0)) -> None:
        scale = np.asarray(squash)
        starts, ends = np.asarray(starts, dtype=np.float64), np.asarray(ends, dtype=np.float64)
        reach = np.maximum(starts[:, 3], ends[:, 3])[:, None] / scale
        low = np.minimum(starts[:, :3], ends[:, :3]) - reach
        high = np.maximum(starts[:, :3], ends[:, :3]) + reach
        self._low, self._high = low, high
        self.z_range = float(low[:, 2].min()), float(high[:, 2].max())
        self._start = (starts[:, :3] * scale).astype(np.float32)
        self._along = ((ends[:, :3] - starts[:, :3]) * scale).astype(np.float32)
        self._radius = starts[:, 3].astype(np.float32)
        self._widening = (ends[:, 3] - starts[:, 3]).astype(np.float32)
        self._squash = scale.astype(np.float32)
        self._inverse_square = (1 / np.maximum((self._along**2).sum(axis=1), 1e-6)).astype(np.float32)

    def distance(self, canvas: Canvas, *, margin_mm: Number = 2.0) -> tuple[Window, np.ndarray] | None:
        """Return the pixels near them and the signed distance to their union, or None where they miss the slice.

        Beyond ``margin_mm`` and the blur of a border from the surface, the distance may read as far away.
        """
        margin_mm += canvas.edge_mm / 2
        bottom, top = canvas.z_range[0] - margin_mm, canvas.z_range[1] + margin_mm
        if self.z_range[0] > top or self.z_range[1] < bottom:
            return None
        near = np.flatnonzero((self._low[:, 2] <= top) & (self._high[:, 2] >= bottom))
        spans = canvas.spans(self._low[near] - margin_mm, self._high[near] + margin_mm)
        sides = spans[:, 1::2] - spans[:, ::2]
        seen = (sides > 0).all(axis=1)
        if not seen.any():
            return None
        near, spans, sides = near[seen], spans[seen], sides[seen]
        (i0, j0), (i1, j1) = spans[:, ::2].min(axis=0).tolist(), spans[:, 1::2].max(axis=0).tolist()
        whole = slice(i0, i1), slice(j0, j1)
        if (i1 - i0) * (j1 - j0) * len(near) <= sides.prod(axis=1).sum() + _TOGETHER_PIXELS:
            return whole, self._nearest(canvas, whole, near)
        result = np.full((i1 - i0, j1 - j0), FAR_MM)
        for s, (a, b, c, d) in zip(near, spans.tolist(), strict=True):
            part = result[a - i0 : b - i0, c - j0 : d - j0]
            np.minimum(part, self._nearest(canvas, (slice(a, b), slice(c, d)), s[None]), out=part)
        return whole, result

    def _nearest(self, canvas: Canvas, window: Window, which: np.ndarray) -> np.ndarray:
        """Return the signed distance of a window's pixels to the nearest of some capsules."""
        a, d = self._start[which].T[:, :, None, None], self._along[which].T[:, :, None, None]  # [3 s 1 1]
        x, y, z = (p * scale - q for p, scale, q in zip(canvas.points(window), self._squash, a, strict=True))
        share = x * d[0] + y * d[1] + z * d[2]  # [s i j]
        share *= self._inverse_square[which][:, None, None]
        np.maximum(share, 0, out=share)
        np.minimum(share, 1, out=share)
        x -= share * d[0]
        y -= share * d[1]
        z -= share * d[2]
        squared = x * x
        squared += y * y
        squared += z * z
        share *= self._widening[which][:, None, None]
        share += self._radius[which][:, None, None]
        return np.asarray((np.sqrt(squared) - share).min(axis=0))


def tube(
    points: Sequence[Sequence[Number]] | np.ndarray,
    *,
    step_mm: Number | None = 9.0,
    squash: Vector = (1.0, 1.0, 1.0),
) -> Capsules:
    """Run a tube through points.

    Args:
        points: Rows ``(x, y, z, radius)``, mm.
        step_mm: Length of a capsule along a smooth curve through the points; None joins them by straight lines.
        squash: See ``Capsules``.
    """
    path = np.asarray(points, dtype=np.float64)
    if step_mm is not None:
        path = smooth_path(path, step_mm=step_mm)
        path[:, 3] = np.maximum(path[:, 3], 0.3)
    return Capsules(path[:-1], path[1:], squash=squash)
