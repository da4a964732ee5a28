"""Trunk: skin, fat, the muscle wall, and the cavity inside it, divided by the diaphragm."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vesalius.data.anatomy.canvas import Canvas, Profile, Window
from vesalius.data.anatomy.solids import Number, ellipsoid, oval, smooth_max, smooth_min
from vesalius.data.anatomy.subject import Subject

# Rows: height z; then half width, front y, back y, all mm. Heights: L1 is 0, T1 315, the symphysis -285.
# Inner surface of the ribs, the abdominal wall and the true pelvis:
_CAVITY = (
    (-310, 34, 38, -42), (-280, 48, 50, -56), (-250, 55, 66, -68), (-200, 88, 84, -78), (-150, 118, 90, -60),
    (-100, 129, 92, -42), (-50, 131, 94, -48), (0, 132, 96, -64), (50, 132, 99, -80), (100, 132, 101, -89),
    (150, 130, 99, -92), (200, 122, 86, -90), (250, 104, 62, -84), (290, 74, 30, -72), (318, 40, 5, -60),
)  # fmt: skip
# Outer surface of the muscles:
_MUSCLE = (
    (-330, 165, 62, -88), (-260, 166, 84, -92), (-200, 162, 97, -97), (-140, 150, 103, -90),
    (-80, 145, 104, -85), (0, 147, 107, -88), (60, 147, 111, -94), (120, 148, 113, -102), (200, 152, 108, -110),
    (250, 158, 88, -110), (290, 150, 56, -102), (315, 105, 34, -92), (342, 58, 32, -80), (400, 52, 40, -64),
)  # fmt: skip
# Share of the subcutaneous fat at the sides, in front and behind:
_FAT = (
    (-330, 1.3, 0.9, 1.2), (-230, 1.3, 1.1, 1.5), (-120, 1.2, 1.2, 1.6), (-40, 1.0, 1.1, 1.3), (60, 0.8, 0.8, 0.9),
    (160, 0.7, 0.6, 0.7), (300, 0.6, 0.4, 0.6), (400, 0.3, 0.3, 0.4),
)  # fmt: skip

_PERINEUM_MM = -325.0
_HEAD = (0.0, 12.0, 500.0)
_HEAD_RADII = (75.0, 95.0, 112.0)


@dataclass
class Cavity:
    """The inside of the trunk on one slice: distances to its wall and to the diaphragm."""

    window: Window
    wall: np.ndarray
    dome: np.ndarray
    """Positive above the diaphragm."""


class _Outline:
    def __init__(self, rows: tuple[tuple[Number, ...], ...], grown: np.ndarray | Number = 0.0) -> None:
        table = np.asarray(rows, dtype=np.float64)
        z, (a, front, back) = table[:, 0], (table[:, 1:] + np.array([1, 1, -1]) * grown).T
        self.half_width = Profile(z, a)
        self.middle = Profile(z, (front + back) / 2)
        self.half_depth = Profile(z, (front - back) / 2)

    def distance(self, canvas: Canvas, window: Window) -> np.ndarray:
        x, y = canvas.x[window], canvas.y[window] - canvas.look_up(self.middle, window)
        return oval(x, y, canvas.look_up(self.half_width, window), canvas.look_up(self.half_depth, window))


class Trunk:
    """Skin, fat, muscle, cavity and diaphragm of one person, with stumps of thighs, neck and head."""

    def __init__(self, subject: Subject, hu: Mapping[str, float]) -> None:
        self._hu, self._fat_mm = hu, subject.fat_mm
        self.cavity = _Outline(_CAVITY)
        muscle = np.asarray(_MUSCLE)
        extra = np.array([np.interp(muscle[:, 0], [r[0] for r in _FAT], [r[c] for r in _FAT]) for c in (1, 2, 3)]).T
        thicker = (subject.muscle - 1) * 10
        self._muscle = _Outline(_MUSCLE, thicker)
        self._skin = _Outline(_MUSCLE, thicker + extra * subject.fat_mm)
        self._dome_mm = subject.dome_mm

    def draw(self, canvas: Canvas) -> Cavity | None:
        """Paint the trunk; return its cavity where the slice meets it."""
        window = canvas.window((-235, -190, -1e4), (235, 210, 1e4))
        if window is None:
            return None
        skin = self._with_limbs(canvas, window, self._skin.distance(canvas, window), self._fat_mm)
        skin += canvas.bump[window] * np.float32(0.3)
        canvas.paint(window, skin, self._hu["skin"])
        canvas.paint(window, skin + np.float32(1.8), canvas.tissue(window, self._hu["fat"], grain=4, mottle=5))
        muscle = self._with_limbs(canvas, window, self._muscle.distance(canvas, window), 0.0)
        muscle += canvas.bump[window] * np.float32(0.8)
        canvas.paint(window, muscle, self._muscle_hu(canvas, window))
        return self._draw_cavity(canvas, window, muscle)

    def _muscle_hu(self, canvas: Canvas, window: Window) -> np.ndarray:
        hu = canvas.tissue(window, self._hu["muscle"], grain=5, mottle=5)
        streak = np.float32(1) - np.abs(canvas.branches[0][window]) * np.float32(9)
        hu -= np.maximum(streak, 0) * np.float32(60)
        return hu

    def _with_limbs(self, canvas: Canvas, window: Window, trunk: np.ndarray, fat_mm: Number) -> np.ndarray:
        """Join thighs and head to the trunk, which ends at the perineum and in the neck."""
        x, y, z = canvas.points(window)
        if canvas.z_range[0] < -200:
            trunk = smooth_max(trunk, np.float32(_PERINEUM_MM - 0.5 * fat_mm) - z, 30.0)
            beside, ahead = np.abs(x) - np.float32(90), y + np.float32(8)
            radius = np.float32(78 + 0.7 * fat_mm) + np.clip(z + 300, -400, 0) * np.float32(0.06)
            thigh = np.sqrt(beside * beside + ahead * ahead) - radius
            thigh = np.maximum(thigh, z + np.float32(225))
            trunk = smooth_min(trunk, thigh, 12.0)
        if canvas.z_range[1] > 230:
            beside, ahead, above = np.abs(x) - np.float32(150), y + np.float32(22), z - np.float32(286)
            shoulder = np.sqrt(beside * beside + ahead * ahead + np.float32(0.5) * above * above)
            trunk = smooth_min(trunk, shoulder - np.float32(40 + 0.5 * fat_mm), 25.0)
        if canvas.z_range[1] > 360:
            trunk = np.maximum(trunk, z - np.float32(470))
            radii = (_HEAD_RADII[0] + 0.2 * fat_mm, _HEAD_RADII[1] + 0.2 * fat_mm, _HEAD_RADII[2] + 0.2 * fat_mm)
            head = ellipsoid(x - _HEAD[0], y - np.float32(_HEAD[1]), z - np.float32(_HEAD[2]), radii)
            trunk = smooth_min(trunk, head, 25.0)
        return trunk

    def _draw_cavity(self, canvas: Canvas, window: Window, muscle: np.ndarray) -> Cavity | None:
        trunk, inner = window, canvas.window((-150, -110, -330), (150, 125, 335))
        if inner is None:
            return None
        window = inner
        rows, columns = (
            slice(part.start - whole.start, part.stop - whole.start)
            for part, whole in zip(window, trunk, strict=True)
        )
        wall = self.cavity.distance(canvas, window)
        z = canvas.z[window]
        wall = np.maximum(wall, np.abs(z - np.float32(8)) - np.float32(318)) + canvas.bump[window] * np.float32(0.6)
        dome = self._dome(canvas, window)
        self._draw_layers(canvas, window, wall, muscle[rows, columns])
        fat = canvas.tissue(window, self._hu["fat"] + 4, grain=6, mottle=10)
        thread = canvas.branches[0][window] ** 2 + canvas.branches[1][window] ** 2
        fat += np.clip(np.float32(1.6) - thread * np.float32(60), 0, 1) * np.float32(self._hu["vein"] + 60)
        inside = np.where(dome > 0, canvas.tissue(window, self._hu["mediastinum"], grain=8, mottle=12), fat)
        canvas.paint(window, wall, inside)
        leaf = smooth_max(np.abs(dome) - np.float32(1.6), wall, 3.0)
        canvas.paint(window, leaf, self._hu["muscle"])
        return Cavity(window, wall, dome)

    def _draw_layers(self, canvas: Canvas, window: Window, wall: np.ndarray, muscle: np.ndarray) -> None:
        """Paint the thin fat between the three flat muscles of the flank."""
        x, y, z = canvas.points(window)
        if canvas.z_range[0] > 40 or canvas.z_range[1] < -150:
            return
        depth = muscle / np.minimum(muscle - wall, np.float32(-0.5))
        gap = np.minimum(np.abs(depth - np.float32(0.36)), np.abs(depth - np.float32(0.68)))
        flank = (np.abs(x) > 62) & (y > -45) & (np.abs(z + np.float32(55)) < 95)
        seam = np.where(flank, gap * np.maximum(wall - muscle, 1) - np.float32(0.6), np.float32(9))
        canvas.paint(window, seam, self._hu["fat"] + 20)

    def _dome(self, canvas: Canvas, window: Window) -> np.ndarray:
        """Return the height above the diaphragm, along its normal: two domes, the right one higher."""
        x, y, z = canvas.points(window)
        if canvas.z_range[0] > 150:
            return np.full(z.shape, 50.0, dtype=np.float32)
        if canvas.z_range[1] < -60:
            return np.full(z.shape, -50.0, dtype=np.float32)
        right, left = (x - np.float32(62)) / 48, (x + np.float32(62)) / 48
        top = np.float32(86 + self._dome_mm) + 22 * np.exp(-right * right) + 12 * np.exp(-left * left)
        u, v = x * np.float32(1 / 134), (y - np.float32(6)) * np.float32(1 / 100)
        out = np.minimum(u * u + v * v, np.float32(1.3))
        edge = np.float32(5) + np.clip(y, -80, 95) * np.float32(0.5)
        fall = (top - edge) * out * out * np.sqrt(out)
        slope = 5 * (top - edge) * out * out * np.float32(1 / 115)
        return np.asarray((z - (top - fall)) / np.sqrt(1 + slope * slope))
