"""Pelvis and muscles: hips, femurs, gluteal muscles, iliopsoas and the erectors of the spine."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vesalius.data.anatomy.canvas import Canvas, Window
from vesalius.data.anatomy.capsules import Capsules, tube
from vesalius.data.anatomy.solids import Vector, ellipsoid, smooth_max, smooth_min
from vesalius.data.anatomy.spine import bone_hu, spine_curve
from vesalius.data.anatomy.subject import Subject

_HEAD = (88.0, -4.0, -248.0)
_HEAD_RADIUS = 23.5


class Pelvis:
    """Hip bones and femurs of one person, with the muscles about them."""

    def __init__(self, subject: Subject, hu: Mapping[str, float]) -> None:
        self._hu = hu
        self._crest_mm = float(subject.rng("hips").normal(-106, 5))
        self._femurs = {sign: self._femur(sign) for sign in (-1, 1)}
        self._rings = {sign: self._ring(sign) for sign in (-1, 1)}
        self._muscles = [(f"{side} {name}", tube(path)) for side, sign in (("left", -1), ("right", 1))
                         for name, path in self._strands(subject, sign)]  # fmt: skip

    @staticmethod
    def _femur(sign: int) -> Capsules:
        x, y, z = _HEAD
        parts = [
            ((x, y, z, _HEAD_RADIUS), (x + 1, y, z, _HEAD_RADIUS)),
            ((x + 4, y - 1, z - 4, 16), (x + 34, y - 8, z - 28, 15)),
            ((x + 40, y - 14, z - 12, 12), (x + 40, y - 10, z - 40, 17)),
            ((x + 38, y - 8, z - 40, 17), (x + 32, y - 4, z - 90, 14)),
            ((x + 32, y - 4, z - 90, 14), (x + 14, y + 4, -700, 13.5)),
            ((x + 20, y - 20, z - 62, 8), (x + 26, y - 12, z - 76, 10)),
        ]
        ends = np.array(parts, dtype=np.float64)
        ends[:, :, 0] *= sign
        return Capsules(ends[:, 0], ends[:, 1])

    @staticmethod
    def _ring(sign: int) -> Capsules:
        """Return pubic and ischial bone and the body of the ilium above the socket."""
        parts = [
            ((78, 26, -240, 12), (46, 44, -258, 8.5)),
            ((46, 44, -258, 8.5), (9, 46, -272, 10)),
            ((9, 44, -272, 9), (12, 40, -290, 8)),
            ((12, 40, -290, 7), (42, -4, -318, 8)),
            ((42, -4, -318, 9), (58, -34, -312, 15)),
            ((58, -34, -312, 15), (70, -34, -262, 14)),
            ((70, -34, -262, 14), (66, -36, -232, 11)),
            ((76, 10, -226, 14), (74, -18, -222, 15)),
            ((74, -18, -222, 15), (58, -46, -200, 13)),
            ((80, 14, -222, 13), (88, 28, -206, 9)),
        ]
        ends = np.array(parts, dtype=np.float64)
        ends[:, :, 0] *= sign
        return Capsules(ends[:, 0], ends[:, 1])

    @staticmethod
    def _strands(subject: Subject, sign: int) -> list[tuple[str, np.ndarray]]:
        m = subject.muscle
        psoas = [(26, 4, 10, 6), (30, 2, -40, 14 * m), (38, 6, -90, 20 * m), (50, 12, -140, 24 * m),
                 (68, 30, -190, 24 * m), (84, 42, -232, 19 * m), (96, 20, -280, 14 * m),
                 (104, -8, -305, 9)]  # fmt: skip
        curve = spine_curve()
        heights = np.array([-215.0, -170, -110, -50, 20, 90, 160, 230, 300])
        back = np.interp(heights, curve[:, 0], curve[:, 1])
        widths = np.array([11, 17, 25, 25, 24, 20, 17, 15, 14]) * m
        depth = np.array([30.0, 45, 50, 50, 48, 44, 40, 37, 34])
        erector = [(w + 6, y - d, z, w) for z, y, w, d in zip(heights, back, widths, depth, strict=True)]
        found = []
        for name, path in (("iliopsoas", psoas), ("autochthon", erector)):
            points = subject.wandering(f"{sign} {name}", path, by_mm=1.5, widening=0.05)
            points[:, 0] *= sign
            found.append((name, points))
        return found

    def draw_muscles(self, canvas: Canvas) -> None:
        """Paint the muscles that the table names, each in a thin layer of fat."""
        for side, sign in (("left", -1), ("right", 1)):
            self._draw_gluteals(canvas, side, sign)
        for label, strand in self._muscles:
            found = strand.distance(canvas)
            if found is not None:
                window, distance = found
                self._paint_muscle(canvas, window, distance + canvas.bump[window] * np.float32(0.8), label)

    def _paint_muscle(self, canvas: Canvas, window: Window, distance: np.ndarray, label: str) -> None:
        canvas.paint(window, distance - np.float32(1.2), self._hu["fat"] + 40, "")
        hu = canvas.tissue(window, self._hu["muscle"], grain=6, mottle=5)
        canvas.paint(window, distance, hu, label)

    def _draw_gluteals(self, canvas: Canvas, side: str, sign: int) -> None:
        window = self._half(canvas, sign, (0, -130, -330), (175, 80, -90))
        if window is None:
            return
        x, y, z = canvas.points(window)
        out = x * np.float32(sign)
        maximus = ellipsoid(out - 78, (y + 78) + (out - 78) * np.float32(-0.3), z + 232, (60, 20, 72))
        self._paint_muscle(canvas, window, maximus + canvas.bump[window], f"{side} gluteus maximus")
        off, rim = self._wing(canvas, window, sign)
        front = (y - np.float32(38)) + (z + np.float32(160)) * np.float32(-0.25)
        medius = smooth_max(np.abs(off - np.float32(22)) - np.float32(12), smooth_max(rim, front, 25.0), 22.0)
        medius = np.maximum(medius, -maximus)
        self._paint_muscle(canvas, window, medius, f"{side} gluteus medius")
        minimus = smooth_max(np.abs(off - np.float32(10)) - np.float32(6), smooth_max(rim + 6, z + 165, 15.0), 10.0)
        minimus = np.maximum(minimus, -maximus)
        self._paint_muscle(canvas, window, minimus, f"{side} gluteus minimus")

    @staticmethod
    def _half(canvas: Canvas, sign: int, low: Vector, high: Vector) -> Window | None:
        if sign > 0:
            return canvas.window(low, high)
        return canvas.window((-high[0], low[1], low[2]), (-low[0], high[1], high[2]))

    def _wing(self, canvas: Canvas, window: Window, sign: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the distance outwards from the iliac wing's middle, and beyond its rim."""
        x, y, z = canvas.points(window)
        rise = np.clip((z + np.float32(228)) * np.float32(1 / 118), 0, 1.1)
        along = np.clip((y + np.float32(62)) * np.float32(1 / 108), -0.3, 1.3)
        inner = np.float32(46) + 18 * (1 - rise)
        outer = np.float32(84) + 46 * rise
        reach = inner + (outer - inner) * along + 14 * along * (1 - along)
        lean = np.sqrt(1 + ((outer - inner) / 108) ** 2)
        off = (x * np.float32(sign) - reach) / lean
        crest = np.float32(self._crest_mm) - 190 * (along - np.float32(0.45)) ** 2
        rim = np.maximum(z - crest, np.float32(-235) - z)
        front, back = (along - 1) * 108, -along * 108
        return off, np.maximum(rim, np.maximum(front, back))

    def draw_bones(self, canvas: Canvas) -> None:
        """Paint hip bones and femurs."""
        for side, sign in (("left", -1), ("right", 1)):
            self._draw_hip(canvas, f"{side} hip", sign)
            found = self._femurs[sign].distance(canvas)
            if found is not None:
                window, distance = found
                shell = 1.6 if canvas.z_range[1] > -300 else 4.5
                canvas.paint(window, distance - np.float32(1.5), self._hu["muscle"], "")
                canvas.paint(
                    window, distance, bone_hu(canvas, *found, hu=self._hu, shell_mm=shell), f"{side} femur"
                )

    def _draw_hip(self, canvas: Canvas, label: str, sign: int) -> None:
        window = self._half(canvas, sign, (0, -90, -340), (160, 75, -85))
        if window is None:
            return
        off, rim = self._wing(canvas, window, sign)
        thick = np.float32(4.5) + np.clip(rim + np.float32(14), 0, 14) * np.float32(0.28)
        distance = np.maximum(np.abs(off) - thick, rim)
        found = self._rings[sign].distance(canvas, margin_mm=12)
        if found is not None:
            (i, j), ring = found
            whole = np.full(canvas.x.shape, np.float32(50))
            whole[i, j] = ring
            distance = smooth_min(distance, whole[window], 8.0)
        x, y, z = canvas.points(window)
        ball = np.sqrt((x - np.float32(sign * _HEAD[0])) ** 2 + (y - _HEAD[1]) ** 2 + (z - _HEAD[2]) ** 2)
        socket = np.maximum(
            ball - np.float32(_HEAD_RADIUS + 10), (x * np.float32(sign) - 92) + (z + 248) * np.float32(-0.6)
        )
        distance = np.maximum(smooth_min(distance, socket, 6.0), np.float32(_HEAD_RADIUS + 2.5) - ball)
        distance = distance + canvas.bump[window] * np.float32(0.6)
        canvas.paint(window, distance - np.float32(1.0), self._hu["muscle"], None)
        canvas.paint(window, distance, bone_hu(canvas, window, distance, hu=self._hu, shell_mm=1.8), label)
