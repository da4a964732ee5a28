"""Rib cage: twelve pairs of ribs, their cartilages, sternum, clavicles and shoulder blades."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vesalius.data.anatomy.canvas import Canvas
from vesalius.data.anatomy.capsules import Capsules, tube
from vesalius.data.anatomy.solids import Number, Vector
from vesalius.data.anatomy.spine import body_centre, bone_hu
from vesalius.data.anatomy.subject import Subject
from vesalius.data.anatomy.trunk import Trunk

# Each rib: how far round it goes (degrees; -90 is behind, 0 the side, 90 in front) and how far down, mm.
_RIBS = ((58, 34), (62, 52), (60, 66), (57, 76), (53, 84), (48, 90), (42, 94), (32, 92), (22, 88), (10, 78),
         (-18, 52), (-48, 34))  # fmt: skip
_REACH_MM = 15.0
"""More than any blur about a bone."""

_SQUASH = (1.0, 1.0, 0.62)


class Ribcage:
    """The bones of the chest wall of one person."""

    def __init__(self, subject: Subject, hu: Mapping[str, float], trunk: Trunk) -> None:
        self._hu, self._trunk = hu, trunk
        rng = subject.rng("ribs")
        thick = 4.0 * float(np.exp(rng.normal(0, 0.07)))
        self._bones: list[tuple[str, Capsules]] = []
        self._cartilages: list[Capsules] = []
        for side, sign in (("left", -1), ("right", 1)):
            for number, (end, drop) in enumerate(_RIBS, start=1):
                path = self._rib(sign, number, end + rng.normal(0, 2), drop + rng.normal(0, 3), thick)
                self._bones.append((f"{side} rib {number}", tube(path, step_mm=9, squash=_SQUASH)))
                if number <= 10:
                    self._cartilages.append(self._cartilage(sign, number, path[-1]))
            self._bones.append((f"{side} clavicula", self._clavicle(sign)))
        self._sternum = tube([(0, self._front(z) - 2, z, r) for z, r in
                              ((246, 11), (232, 14), (214, 11), (190, 11), (150, 13), (118, 12), (100, 7))],
                             squash=(0.55, 1.5, 0.7))  # fmt: skip
        self._blades = [(side, *self._blade(sign)) for side, sign in (("left", -1), ("right", 1))]

    def _wall(self, angle: Number, z: Number, out_mm: Number) -> Vector:
        """Return the point of the chest wall at an angle and a height, some way outside the cavity."""
        cavity = self._trunk.cavity
        a, d = cavity.half_width.at(z) + out_mm, cavity.half_depth.at(z) + out_mm
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        ratio = 0.55 + 0.45 * (c**4 + s**4) ** 0.25  # as solids.oval
        return float(a * c / ratio), float(cavity.middle.at(z) + d * s / ratio), z

    def _front(self, z: Number) -> float:
        return self._wall(90, z, 4)[1]

    def _rib(self, sign: int, number: int, end: Number, drop: Number, thick: Number) -> np.ndarray:
        z, y, w = body_centre(f"T{number}")
        z += 7 if number < 11 else 0
        points = [(sign * (w + 1), y - 14, z, thick), (sign * 34, y - 27, z + 1, thick)]
        first = -62.0
        for t in np.linspace(0.0, 1.0, 9):
            angle = first + (end - first) * t
            height = z - 4 - drop * (0.25 * t + 0.75 * t**1.4)
            x, yy, zz = self._wall(angle, height, 5.0)
            points.append((sign * max(x, 44.0 if t == 0 else 0.0), yy, zz, thick * (0.95 if number > 10 else 1.0)))
        return np.array(points)

    def _cartilage(self, sign: int, number: int, end: np.ndarray) -> Capsules:
        x, y, z, r = (float(v) for v in end)
        if number <= 6:
            target = 238 - 21 * (number - 1)
            goal: Vector = (sign * 15.0, self._front(target), target)
            middle = ((abs(x) * 0.55) * sign, self._front(0.6 * z + 0.4 * target) + 1, 0.6 * z + 0.4 * target - 4)
        else:
            angle, height = 62 - 7 * (number - 7), 104 - 14 * (number - 7)
            wx, wy, wz = self._wall(angle + 14, height + 8, 5)
            goal = (sign * wx, wy, wz)
            mx, my, mz = self._wall(angle, height - 6, 5)
            middle = (sign * 0.5 * (mx + abs(x)), 0.5 * (my + y), 0.5 * (mz + z) - 3)
        return tube([(x, y, z, r), (*middle, r), (*goal, r * 0.9)], squash=_SQUASH)

    @staticmethod
    def _clavicle(sign: int) -> Capsules:
        return tube(
            [(sign * 20, 34, 256, 7), (sign * 58, 34, 274, 5), (sign * 100, 4, 292, 5), (sign * 132, -18, 300, 6)]
        )

    @staticmethod
    def _blade(sign: int) -> tuple[np.ndarray, Capsules]:
        """Return the corners of the blade's triangle, and its spine with the acromion."""
        corners = np.array(
            [(sign * 84, -102, 272), (sign * 90, -112, 158), (sign * 138, -44, 268)], dtype=np.float64
        )
        ridge = tube([(sign * 86, -106, 258, 3.5), (sign * 116, -92, 276, 4.5), (sign * 144, -52, 294, 6),
                      (sign * 138, -24, 302, 6)])  # fmt: skip
        return corners, ridge

    def draw(self, canvas: Canvas) -> None:
        """Paint cartilages, then bones."""
        bottom, top = canvas.z_range[0] - _REACH_MM, canvas.z_range[1] + _REACH_MM
        for cartilage in self._cartilages:
            if cartilage.z_range[0] > top or cartilage.z_range[1] < bottom:
                continue
            found = cartilage.distance(canvas)
            if found is not None:
                hu = canvas.tissue(found[0], self._hu["cartilage"], grain=8)
                canvas.paint(*found, hu, "costal cartilages")
        for label, bone in self._bones:
            if bone.z_range[0] > top or bone.z_range[1] < bottom:
                continue
            self._paint(canvas, label, bone, shell_mm=1.3)
        self._paint(canvas, "sternum", self._sternum, shell_mm=1.0)
        for side, corners, ridge in self._blades:
            self._draw_blade(canvas, side, corners)
            self._paint(canvas, f"{side} scapula", ridge, shell_mm=1.6)

    def _paint(self, canvas: Canvas, label: str, bone: Capsules, *, shell_mm: Number) -> None:
        found = bone.distance(canvas)
        if found is not None:
            canvas.paint(*found, bone_hu(canvas, *found, hu=self._hu, shell_mm=shell_mm), label)

    def _draw_blade(self, canvas: Canvas, side: str, corners: np.ndarray) -> None:
        low, high = corners.min(axis=0) - 8, corners.max(axis=0) + 8
        window = canvas.window(tuple(low.tolist()), tuple(high.tolist()))
        if window is None:
            return
        a, b, c = corners
        normal = np.cross(b - a, c - a)
        normal /= np.linalg.norm(normal)
        points = [p - np.float32(v) for p, v in zip(canvas.points(window), a, strict=True)]
        off = sum(p * np.float32(n) for p, n in zip(points, normal, strict=True))
        distance = np.abs(np.asarray(off)) - np.float32(2.6)
        middle = (a + b + c) / 3
        for p, q in ((a, b), (b, c), (c, a)):
            outward = np.cross(q - p, normal)
            outward /= np.linalg.norm(outward)
            outward *= -np.sign(outward @ (middle - p))
            edge = sum((v - np.float32(o)) * np.float32(n) for v, o, n in zip(points, p - a, outward, strict=True))
            distance = np.maximum(distance, np.asarray(edge))
        hu = bone_hu(canvas, window, distance, hu=self._hu, shell_mm=1.6)
        canvas.paint(window, distance, hu, f"{side} scapula")
