"""Spine: vertebrae with body, arch and processes, the discs between them, the sacrum and the cord."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vesalius.data.anatomy.canvas import Canvas, Window
from vesalius.data.anatomy.capsules import Capsules, tube
from vesalius.data.anatomy.solids import Number, Vector, smooth_path
from vesalius.data.anatomy.subject import Subject

# name: (z, y of the body's centre, half width, half depth), mm. Heights follow a spine of 17 + 7 segments.
_BODIES: dict[str, tuple[Number, Number, Number, Number]] = {
    "C1": (438, -20, 10, 5), "C2": (420, -20, 9, 8), "C3": (402, -19, 9, 8), "C4": (385, -20, 9.5, 8),
    "C5": (368, -23, 10, 8), "C6": (351, -28, 11, 8.5), "C7": (334, -33, 13, 9), "T1": (315, -39, 14.5, 9.5),
    "T2": (294, -46, 14, 10.5), "T3": (272, -51, 13.5, 11.5), "T4": (250, -54, 13.5, 12.5),
    "T5": (227, -56, 13.5, 13.5), "T6": (203, -57, 14, 14), "T7": (178, -56, 14.5, 14.5),
    "T8": (152, -54, 15.5, 15),
    "T9": (125, -50, 16.5, 15.5), "T10": (96, -44, 17.5, 16), "T11": (66, -36, 19, 16), "T12": (34, -27, 20.5, 16),
    "L1": (0, -17, 21.5, 16.5), "L2": (-36, -8, 22.5, 17), "L3": (-73, -2, 23.5, 17), "L4": (-110, -1, 24.5, 17.5),
    "L5": (-146, -7, 25.5, 17.5),
}  # fmt: skip
# The sacrum and coccyx from above: (z, y, half width, half thickness).
_SACRUM = (
    (-178, -22, 48, 17), (-192, -30, 55, 17), (-210, -42, 48, 13), (-228, -53, 38, 10), (-247, -62, 27, 8),
    (-266, -66, 14, 6), (-284, -60, 7, 4.5), (-294, -54, 5, 4),
)  # fmt: skip
_REACH_MM = 80.0
"""More than any vertebra and its spinous process reach from its centre."""

_S1_END_MM = -206.0


@dataclass
class _Vertebra:
    name: str
    centre: np.ndarray
    tilt: tuple[float, float]
    """Cosine and sine of the forward lean of the body's axis."""
    half_width: Number
    half_depth: Number
    half_height: Number
    arch: Capsules


def spine_curve() -> np.ndarray:
    """Return ``(z, y)`` of the vertebral bodies' centres from the sacrum upward, z ascending."""
    rows = [(z, y) for z, y, *_ in (*_SACRUM, *_BODIES.values())]
    return np.array(sorted(rows), dtype=np.float64)


def body_centre(name: str) -> Vector:
    """Return ``(z, y, half width)`` of a vertebra such as ``"T7"``."""
    z, y, half_width, _ = _BODIES[name]
    return z, y, half_width


class Spine:
    """The vertebral column of one person."""

    def __init__(self, subject: Subject, hu: Mapping[str, float]) -> None:
        self._hu = hu
        self._size = float(np.exp(subject.rng("spine").normal(0.05, 0.04)))
        curve = spine_curve()
        self._vertebrae = [self._vertebra(name, curve) for name in _BODIES]
        cord = [(0, y - self._canal(z), z, 6.0 if z > 320 else 5.2) for z, y in curve[::-1] if z > -190]
        self._cord = tube([(0, -20, 470, 6.5), *cord], step_mm=12)
        self._canal_tube = tube([(0, -20, 470, 9.0), *[(x, y, z, 8.6) for x, y, z, _ in cord]], step_mm=12)
        depth = [(0, y, z, 3.0) for z, y in curve if -160 < z < 440]
        self._disc_column = smooth_path(depth, step_mm=2.0)
        self._sacrum = smooth_path([(0, y, z, w, t) for z, y, w, t in _SACRUM], step_mm=5.0)

    def _canal(self, z: Number) -> float:
        """Return how far behind the bodies' centres the canal runs."""
        return float(np.interp(z, [-220, -150, 0, 180, 320, 420], [20, 27, 26, 23, 18, 14])) * self._size

    def _vertebra(self, name: str, curve: np.ndarray) -> _Vertebra:
        z, y, half_width, half_depth = _BODIES[name]
        around = np.interp([z - 20, z + 20], curve[:, 0], curve[:, 1])
        lean = np.arctan2(around[1] - around[0], 40.0)
        gaps = np.abs(curve[:, 0] - z)
        pitch = float(np.sort(gaps)[1:3].mean())
        disc = 0.16 if name[0] == "T" else 0.24
        w, d = half_width * self._size, half_depth * self._size
        centre = np.array([0.0, y, z])
        tilt = (float(np.cos(lean)), float(np.sin(lean)))
        arch = self._arch(name, d, pitch, self._canal(z))
        for end in arch:
            y_local, z_local = end[:, 1].copy(), end[:, 2].copy()
            end[:, 1] = centre[1] + y_local * tilt[0] + z_local * tilt[1]
            end[:, 2] = centre[2] + z_local * tilt[0] - y_local * tilt[1]
        return _Vertebra(name, centre, tilt, w, d, pitch * (1 - disc) / 2, Capsules(*arch))

    @staticmethod
    def _arch(name: str, d: Number, pitch: Number, canal: Number) -> tuple[np.ndarray, np.ndarray]:
        """Return starts and ends ``(x, y, z, radius)`` of pedicles, laminae and processes about the centre."""
        lumbar, thoracic = name[0] == "L", name[0] == "T"
        reach = {"L": 42.0, "T": 32.0, "C": 22.0}[name[0]]
        drop = 0.55 * pitch if thoracic else 0.25 * pitch
        spur = {"L": 30.0, "T": 26.0, "C": 16.0}[name[0]]
        thick = 5.0 if lumbar else 3.8 if thoracic else 3.0
        side = canal * 0.56 if name[0] != "C" else 11.0
        back = -canal - 9.5
        transverse_back = -canal * (0.75 if lumbar else 1.05)
        parts: list[tuple[tuple[float, ...], tuple[float, ...]]] = [
            ((0, back - 1, -1, thick * 0.9), (0, back - spur, -drop, thick * 0.9)),
            ((0, back - spur * 0.4, -2, thick * 0.7), (0, back - spur, -drop - 5, thick * 0.9)),
        ]
        for s in (-1, 1):
            parts += [
                ((s * side, -d * 0.7, 4, thick), (s * side, -canal - 2, 3, thick)),
                ((s * side, -canal - 2, 0, thick * 0.9), (0, back, -3, thick * 0.8)),
                ((s * side, -canal - 2, -2, thick * 0.8), (0, back, -8, thick * 0.7)),
                ((s * side, transverse_back, 3, thick), (s * reach, transverse_back - 7, 2, thick * 0.6)),
                ((s * (side + 3), -canal - 6, 0.42 * pitch, 4.0), (s * (side + 2), -canal - 6, -0.45 * pitch, 4.2)),
            ]
        ends = np.array(parts, dtype=np.float64)
        return ends[:, 0], ends[:, 1]

    def draw(self, canvas: Canvas) -> None:
        """Paint discs, vertebrae, the sacrum, and the canal with its cord."""
        self._draw_discs(canvas)
        bottom, top = canvas.z_range[0] - _REACH_MM, canvas.z_range[1] + _REACH_MM
        for vertebra in self._vertebrae:
            if vertebra.centre[2] > top or vertebra.centre[2] < bottom:
                continue
            self._draw_vertebra(canvas, vertebra)
        self._draw_sacrum(canvas)
        found = self._canal_tube.distance(canvas)
        if found is not None:
            canvas.paint(*found, canvas.tissue(found[0], 5, grain=4), "")
        found = self._cord.distance(canvas)
        if found is not None:
            canvas.paint(*found, canvas.tissue(found[0], self._hu["cord"], grain=3), "spinal cord")

    def _draw_discs(self, canvas: Canvas) -> None:
        low, high = canvas.z_range
        column = self._disc_column
        used = column[(column[:, 2] > low - 8) & (column[:, 2] < high + 8)]
        if len(used) == 0:
            return
        y, z = float(used[:, 1].mean()), float(used[:, 2].mean())
        window = canvas.window((-40, y - 35, z - 60), (40, y + 35, z + 60))
        if window is None:
            return
        table = np.array([(b[0], b[2], b[3]) for b in sorted(_BODIES.values())])
        w = np.interp(z, table[:, 0], table[:, 1]) * self._size * 1.02
        d = np.interp(z, table[:, 0], table[:, 2]) * self._size * 1.02
        x, yy, zz = canvas.points(window)
        middle = np.interp(zz, column[:, 2], column[:, 1]).astype(np.float32)
        distance = _disc(x, yy - middle, float(w), float(d))
        canvas.paint(window, distance - np.float32(1.5), self._hu["fat"], "")
        canvas.paint(window, distance, canvas.tissue(window, self._hu["disc"], grain=5), "")

    def _draw_vertebra(self, canvas: Canvas, vertebra: _Vertebra) -> None:
        cx, cy, cz = vertebra.centre
        w, d, h = vertebra.half_width, vertebra.half_depth, vertebra.half_height
        reach = h + 0.35 * d
        body = canvas.window((cx - w - 4, cy - d - 5, cz - reach), (cx + w + 4, cy + d + 5, cz + reach))
        if body is not None:
            x, y, z = canvas.points(body)
            y, z = y - np.float32(cy), z - np.float32(cz)
            c, s = vertebra.tilt
            y, z = y * np.float32(c) - z * np.float32(s), y * np.float32(s) + z * np.float32(c)
            waist = np.float32(0.9) + np.float32(0.1 / h**2) * z * z
            distance = np.maximum(_disc(x, y, w, d) + w * (1 - waist), np.abs(z) - np.float32(h))
            self._paint_bone(
                canvas, body, distance + canvas.bump[body] * np.float32(0.4), vertebra.name, shell_mm=1.3
            )
        found = vertebra.arch.distance(canvas)
        if found is not None:
            self._paint_bone(canvas, *found, vertebra.name, shell_mm=2.0)

    def _paint_bone(
        self, canvas: Canvas, window: Window, distance: np.ndarray, name: str, *, shell_mm: Number
    ) -> None:
        hu = bone_hu(canvas, window, distance, hu=self._hu, shell_mm=shell_mm)
        canvas.paint(window, distance, hu, f"vertebrae {name}")

    def _draw_sacrum(self, canvas: Canvas) -> None:
        window = canvas.window((-70, -95, -305), (70, 10, -160))
        if window is None:
            return
        x, y, z = canvas.points(window)
        distance = np.full(x.shape, 1e3, dtype=np.float32)
        for a, b in zip(self._sacrum, self._sacrum[1:], strict=False):
            if b[2] - 25 > canvas.z_range[1] or a[2] + 25 < canvas.z_range[0]:
                continue
            dy, dz = np.float32(b[1] - a[1]), np.float32(b[2] - a[2])
            t = np.clip(((y - np.float32(a[1])) * dy + (z - np.float32(a[2])) * dz) / (dy * dy + dz * dz), 0, 1)
            v = y - np.float32(a[1]) - t * dy
            u = z - np.float32(a[2]) - t * dz
            half = np.float32(a[3]) + t * np.float32(b[3] - a[3])
            thick = np.float32(a[4]) + t * np.float32(b[4] - a[4])
            squared = (u * u + v * v) / (thick * thick) + (x / half) ** 2
            np.minimum(distance, (np.sqrt(squared) - 1) * thick, out=distance)
        distance = np.maximum(distance, z - np.float32(-163)) + canvas.bump[window] * np.float32(0.8)
        hu = bone_hu(canvas, window, distance, hu=self._hu, shell_mm=1.8)
        canvas.paint(window, distance, hu, "sacrum")
        canvas.paint(window, np.maximum(distance, np.float32(_S1_END_MM) - z), hu, "vertebrae S1")


def _disc(x: np.ndarray, y: np.ndarray, half_width: Number, half_depth: Number) -> np.ndarray:
    """Return the distance to the outline of a vertebral body: an ellipse, flat behind."""
    u, v = x / np.float32(half_width), y / np.float32(half_depth)
    flat = np.where(v < 0, v * v * v * v, v * v)
    ratio = np.sqrt(u * u + flat)
    return np.asarray((ratio - 1) * np.float32(0.5 * (half_width + half_depth)))


def bone_hu(
    canvas: Canvas, window: Window, distance: np.ndarray, *, hu: Mapping[str, float], shell_mm: Number
) -> np.ndarray:
    """Return HU of bone: a dense shell, and marrow with trabeculae inside it."""
    marrow = canvas.tissue(window, hu["marrow"], grain=40, mottle=25)
    shell = np.clip(np.float32(1.5) + distance * np.float32(1 / shell_mm), 0, 1)
    return np.asarray(marrow + shell * (np.float32(hu["cortex"]) - marrow))
