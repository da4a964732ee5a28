"""Capsules: rounded cones joined into tubes and frames, the shape of vessels, bowel, ribs and processes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vesalius.data.anatomy.canvas import Canvas, Window
from vesalius.data.anatomy.solids import Number, Vector, smooth_path

FAR_MM = np.float32(1e3)


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
        self._boxes = [(tuple(a), tuple(b)) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
        self._z_range = float(low[:, 2].min()), float(high[:, 2].max())
        self._start = (starts[:, :3] * scale).astype(np.float32)
        self._along = ((ends[:, :3] - starts[:, :3]) * scale).astype(np.float32)
        self._radius = starts[:, 3].astype(np.float32)
        self._widening = (ends[:, 3] - starts[:, 3]).astype(np.float32)
        self._squash = scale.astype(np.float32)

    def distance(self, canvas: Canvas, *, margin_mm: Number = 2.0) -> tuple[Window, np.ndarray] | None:
        """Return the pixels near them and the signed distance to their union, or None where they miss the slice.

        Beyond ``margin_mm`` and the blur of a border from the surface, the distance may read as far away.
        """
        margin_mm += canvas.edge_mm / 2
        bottom, top = canvas.z_range[0] - margin_mm, canvas.z_range[1] + margin_mm
        if self._z_range[0] > top or self._z_range[1] < bottom:
            return None
        found = []
        for s, ((x0, y0, z0), (x1, y1, z1)) in enumerate(self._boxes):
            if z0 <= top and z1 >= bottom:
                m = margin_mm
                window = canvas.window((x0 - m, y0 - m, z0 - m), (x1 + m, y1 + m, z1 + m))
                if window is not None:
                    found.append((s, window))
        if not found:
            return None
        whole = _hull([window for _, window in found])
        result = np.full((whole[0].stop - whole[0].start, whole[1].stop - whole[1].start), FAR_MM)
        for s, window in found:
            part = result[_within(window, whole)]
            np.minimum(part, self._one(canvas, window, s), out=part)
        return whole, result

    def _one(self, canvas: Canvas, window: Window, s: int) -> np.ndarray:
        a, d, scale = self._start[s], self._along[s], self._squash
        x, y, z = canvas.points(window)
        x, y, z = x * scale[0] - a[0], y * scale[1] - a[1], z * scale[2] - a[2]
        share = x * d[0] + y * d[1] + z * d[2]
        share *= np.float32(1 / max(float(d @ d), 1e-6))
        np.maximum(share, 0, out=share)
        np.minimum(share, 1, out=share)
        x -= share * d[0]
        y -= share * d[1]
        z -= share * d[2]
        squared = x * x
        squared += y * y
        squared += z * z
        return np.asarray(np.sqrt(squared) - (self._radius[s] + share * self._widening[s]))


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


def _hull(windows: Sequence[Window]) -> Window:
    rows, columns = [w[0] for w in windows], [w[1] for w in windows]
    return (
        slice(min(r.start for r in rows), max(r.stop for r in rows)),
        slice(min(c.start for c in columns), max(c.stop for c in columns)),
    )


def _within(window: Window, whole: Window) -> Window:
    i, j = whole[0].start, whole[1].start
    return slice(window[0].start - i, window[0].stop - i), slice(window[1].start - j, window[1].stop - j)
