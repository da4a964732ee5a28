"""Head and neck: skull, brain, thyroid, and the tops of the arms; what a long field of view also meets."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vesalius.data.anatomy.canvas import Canvas
from vesalius.data.anatomy.capsules import Capsules, tube
from vesalius.data.anatomy.solids import Vector, ellipsoid, smooth_max
from vesalius.data.anatomy.spine import bone_hu
from vesalius.data.anatomy.subject import Subject

_SKULL: Vector = (0.0, 8.0, 515.0)
_SKULL_RADII = (68.0, 86.0, 92.0)
_BASE_MM = 460.0


class Head:
    """Skull, brain and thyroid of one person, and the upper ends of the humeri."""

    def __init__(self, subject: Subject, hu: Mapping[str, float]) -> None:
        self._hu = hu
        self._thyroid: list[tuple[str, Capsules]] = []
        self._humeri: list[tuple[str, Capsules]] = []
        for side, sign in (("left", -1), ("right", 1)):
            lobe = [(sign * 15, 2, 322, 6), (sign * 17, 2, 340, 8), (sign * 19, -2, 362, 5)]
            self._thyroid.append(("thyroid gland", tube(subject.wandering(f"{side} thyroid", lobe, by_mm=1.5))))
            bone = np.array([(sign * 156, -24, 284, 21), (sign * 160, -22, 300, 18)])
            self._humeri.append((f"{side} humerus", tube(bone)))

    def draw(self, canvas: Canvas) -> None:
        """Paint them."""
        for label, lobe in self._thyroid:
            found = lobe.distance(canvas)
            if found is not None:
                canvas.paint(*found, canvas.tissue(found[0], self._hu["thyroid"], grain=5, mottle=6), label)
        for label, bone in self._humeri:
            found = bone.distance(canvas)
            if found is not None:
                canvas.paint(*found, bone_hu(canvas, *found, hu=self._hu, shell_mm=2.4), label)
        self._draw_skull(canvas)

    def _draw_skull(self, canvas: Canvas) -> None:
        window = canvas.around(_SKULL, max(_SKULL_RADII) + 6)
        if window is None:
            return
        x, y, z = canvas.points(window)
        skull = ellipsoid(
            x - np.float32(_SKULL[0]), y - np.float32(_SKULL[1]), z - np.float32(_SKULL[2]), _SKULL_RADII
        )
        skull = smooth_max(skull, np.float32(_BASE_MM) + np.float32(0.25) * y - z, 12.0)
        skull = skull + canvas.bump[window] * np.float32(0.5)
        hu = bone_hu(canvas, window, np.maximum(skull, -skull - np.float32(7)), hu=self._hu, shell_mm=2.2)
        canvas.paint(window, skull, hu, "skull")
        brain = skull + np.float32(7)
        canvas.paint(window, brain, 12.0, "")
        folds = brain + np.float32(2.5) + np.abs(canvas.branches[0][window]) * np.float32(1.5)
        canvas.paint(window, folds, canvas.tissue(window, self._hu["brain"], grain=2, mottle=3), "brain")
