"""Bowel: stomach, duodenum, small bowel and colon, with gas that rises, fluid and stool."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vesalius.data.anatomy.canvas import Canvas, Window
from vesalius.data.anatomy.capsules import Capsules, tube
from vesalius.data.anatomy.solids import Number, smooth_path
from vesalius.data.anatomy.subject import Subject

_GAS = -970.0

_STOMACH = ((-60, -20, 64, 24), (-62, -8, 54, 34), (-66, 18, 38, 34), (-60, 40, 16, 30), (-42, 56, -10, 25),
            (-16, 62, -18, 19), (8, 58, -12, 15), (24, 48, -6, 9))  # fmt: skip
_DUODENUM = ((26, 47, -6, 11), (42, 40, 0, 12.5), (54, 30, -22, 12.5), (52, 28, -58, 12.5), (36, 32, -78, 12),
             (6, 37, -80, 11.5), (-22, 38, -70, 11.5), (-30, 46, -48, 11.5))  # fmt: skip
_COLON = ((72, 38, -182, 20), (84, 36, -160, 27), (96, 18, -120, 25), (100, 6, -80, 24), (98, 14, -46, 23),
          (80, 42, -34, 22), (50, 68, -50, 21), (10, 80, -62, 20), (-34, 80, -52, 20), (-70, 62, -18, 20),
          (-96, 34, 8, 20), (-108, 14, -8, 18), (-110, -4, -44, 16), (-106, 0, -90, 15), (-102, 14, -140, 15),
          (-90, 34, -176, 15), (-58, 40, -200, 15), (-22, 34, -190, 15), (6, 12, -186, 15), (14, -10, -206, 16),
          (4, -28, -232, 18), (0, -38, -262, 19), (0, -38, -292, 14), (0, -44, -315, 9))  # fmt: skip


class Bowel:
    """Stomach and bowel of one person."""

    def __init__(self, subject: Subject, hu: Mapping[str, float]) -> None:
        self._hu = hu
        rng = subject.rng("bowel")
        self._oral_contrast = float(rng.uniform(80, 320)) if rng.random() < 0.3 else 0.0
        self._gas_level = float(rng.normal(52, 14))
        self._colon_gas, self._stool = rng.uniform(0.0, 0.9), rng.uniform(0.2, 1.0)
        self._stomach = tube(subject.wandering("stomach", _STOMACH, by_mm=4, widening=0.14))
        self._duodenum = tube(subject.wandering("duodenum", _DUODENUM, by_mm=3))
        self._colon = Capsules(*_haustra(subject))
        self._small = [tube(path, step_mm=9.0) for path in _loops(subject)]

    def draw_small(self, canvas: Canvas) -> None:
        """Paint the loops of the small bowel."""
        for loop in self._small:
            self._draw_gut(canvas, loop, "small bowel", wall_mm=2.2, gas=-0.9, folds=1.3)

    def draw(self, canvas: Canvas) -> None:
        """Paint colon, duodenum and stomach."""
        self._draw_colon(canvas)
        self._draw_gut(canvas, self._duodenum, "duodenum", wall_mm=2.8, gas=-1.2, folds=1.0)
        self._draw_stomach(canvas)

    def _draw_gut(
        self, canvas: Canvas, shape: Capsules, label: str, *, wall_mm: Number, gas: Number, folds: Number
    ) -> None:
        found = shape.distance(canvas, margin_mm=5)
        if found is None:
            return
        window, distance = found
        distance = distance + canvas.bump[window] * np.float32(0.8)
        self._coat(canvas, window, distance, label)
        lumen = distance + np.float32(wall_mm) + canvas.mottle[window] * np.float32(folds)
        content = canvas.tissue(window, self._hu["bowel fluid"] + 0.4 * self._oral_contrast, grain=5, mottle=8)
        content = np.where(canvas.branches[1][window] < gas, np.float32(_GAS), content)
        canvas.paint(window, lumen, content, None)

    def _coat(self, canvas: Canvas, window: Window, distance: np.ndarray, label: str) -> None:
        canvas.paint(window, distance - np.float32(2.0), self._hu["fat"], "")
        canvas.paint(window, distance, canvas.tissue(window, self._hu["bowel wall"], grain=5), label)

    def _draw_colon(self, canvas: Canvas) -> None:
        found = self._colon.distance(canvas, margin_mm=5)
        if found is None:
            return
        window, distance = found
        distance = distance + canvas.bump[window]
        self._coat(canvas, window, distance, "colon")
        lumps = canvas.grain[window] * np.float32(0.8) + canvas.mottle[window] * np.float32(0.6)
        stool = np.float32(25) + np.clip(lumps - np.float32(0.7), -0.15, 1.5) * np.float32(-380 * self._stool)
        y = canvas.y[window]
        rise = canvas.branches[0][window] * np.float32(0.9) + (y - np.float32(30)) * np.float32(0.012)
        content = np.where(rise > np.float32(1.1 - self._colon_gas), np.float32(_GAS), stool)
        canvas.paint(window, distance + np.float32(2.4), content, None)

    def _draw_stomach(self, canvas: Canvas) -> None:
        found = self._stomach.distance(canvas, margin_mm=5)
        if found is None:
            return
        window, distance = found
        distance = distance + canvas.bump[window] * np.float32(1.5)
        self._coat(canvas, window, distance, "stomach")
        rugae = canvas.mottle[window] * np.float32(1.4)
        content = canvas.tissue(window, self._hu["bowel fluid"] + self._oral_contrast, grain=7, mottle=16)
        above = canvas.y[window] - np.float32(self._gas_level)
        gas = np.clip(np.float32(0.5) + above / np.float32(canvas.edge_mm), 0, 1)
        content += gas * (np.float32(_GAS) - content)
        canvas.paint(window, distance + np.float32(4.0) + rugae, content, None)


def _haustra(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Return starts and ends of the colon's capsules: a tube pinched every three centimetres."""
    points = subject.wandering("colon", _COLON, by_mm=6, widening=0.07)
    rng = subject.rng("colon/width")
    points[:, 3] *= np.exp(rng.normal(0, 0.09, len(points)))
    path = smooth_path(points, step_mm=5.0)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path[:, :3], axis=0), axis=1))])
    path[:, 3] *= 1 + 0.13 * np.sin(2 * np.pi * length / 32.0) * (path[:, 2] > -225)
    return path[:-1], path[1:]


def _loops(subject: Subject) -> list[np.ndarray]:
    """Return paths that snake through the middle of the abdomen in two layers, front and back."""
    rng = subject.rng("small bowel")
    paths = []
    for y, top, bottom, half in ((34.0, -52.0, -168.0, 66.0), (64.0, -84.0, -196.0, 72.0)):
        points = []
        rows = np.arange(top, bottom, -float(rng.uniform(25, 29)))
        for number, z in enumerate(rows):
            x = np.linspace(-half, half, 7) * (1 if number % 2 else -1)
            wave = rng.uniform(0, 2 * np.pi)
            for step, at in enumerate(x):
                lift = 9 * np.sin(wave + 1.9 * step)
                sway = 8 * np.cos(wave + 1.3 * step)
                points.append((at + 4, y + sway, z + lift, rng.uniform(9.5, 13.5)))
        path = np.array(points)
        path[:, :3] += rng.normal(0, 3.5, path[:, :3].shape)
        paths.append(path)
    return paths
