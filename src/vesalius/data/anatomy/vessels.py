"""Vessels: aorta and its branches, caval and portal veins."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vesalius.data.anatomy.canvas import LABEL_IDS, Canvas
from vesalius.data.anatomy.capsules import FAR_MM, Capsules, tube
from vesalius.data.anatomy.solids import Number
from vesalius.data.anatomy.subject import Subject

_REACH_MM = 15.0
"""More than any sleeve and blur about a vessel."""

_Path = tuple[tuple[Number, Number, Number, Number], ...]

# name: (blood, path of (x, y, z, radius) mm). An empty label paints a vessel that the table does not name.
_PATHS: tuple[tuple[str, str, _Path], ...] = (
    ("", "pulmonary vessel", (
        (-14, 34, 178, 13), (-18, 12, 205, 13), (-14, -4, 212, 11), (20, -8, 206, 10), (42, -14, 200,
        8))),
    ("", "pulmonary vessel", ((-18, 8, 208, 12), (-38, -14, 208, 9), (-52, -24, 196, 7), (-58, -30, 170, 5))),
    ("pulmonary vein", "pulmonary vessel", ((10, -12, 170, 8), (34, -14, 178, 6), (52, -10, 190, 4))),
    ("pulmonary vein", "pulmonary vessel", ((6, -14, 155, 8), (32, -24, 150, 6), (50, -30, 138, 4))),
    ("pulmonary vein", "pulmonary vessel", ((-28, -12, 172, 8), (-46, -10, 182, 6), (-58, -6, 192, 4))),
    ("pulmonary vein", "pulmonary vessel", ((-26, -16, 156, 8), (-46, -26, 150, 6), (-58, -32, 138, 4))),
    ("left atrial appendage", "left heart", ((-34, 2, 176, 9), (-46, 16, 180, 8), (-50, 28, 176, 5))),
    ("superior vena cava", "cava", ((30, 14, 158, 9), (31, 12, 190, 9), (29, 14, 225, 8.5), (27, 18, 250, 8))),
    ("left brachiocephalic vein", "cava", (
        (27, 18, 250, 7), (4, 30, 262, 7), (-20, 24, 278, 6.5), (-32, 10, 300, 6))),
    ("right brachiocephalic vein", "cava", ((27, 18, 250, 7.5), (30, 14, 275, 7), (33, 6, 302, 6.5))),
    ("brachiocephalic trunk", "aorta", ((2, 8, 250, 6.5), (8, 6, 272, 6), (16, 0, 296, 6))),
    ("right common carotid artery", "aorta", ((16, 0, 296, 4), (20, -4, 330, 3.6), (24, -4, 380, 3.4))),
    ("right subclavian artery", "aorta", (
        (16, 0, 296, 5), (34, -8, 312, 4.5), (62, -6, 308, 4), (95, -8, 296, 3.6))),
    ("left common carotid artery", "aorta", (
        (-7, -2, 252, 4.2), (-12, -6, 290, 4), (-20, -6, 330, 3.6), (-24, -4, 380, 3.4))),
    ("left subclavian artery", "aorta", (
        (-14, -12, 252, 5), (-22, -18, 290, 5), (-36, -12, 312, 4.5), (-64, -8, 308, 4), (-95, -8, 296,
        3.6))),
    ("aorta", "aorta", (
        (-2, 16, 160, 15), (8, 26, 185, 15.5), (10, 24, 215, 15), (4, 12, 238, 14), (-8, -6, 246, 13),
        (-18, -24, 238, 12.5), (-23, -34, 215, 12), (-23, -34, 160, 11.5), (-19, -26, 110, 11), (-11, -10,
        60, 10.5), (-7, 8, 20, 10), (-5, 22, -30, 9), (-4, 28, -75, 8.5), (-2, 27, -104, 8.5))),
    ("left iliac artery", "aorta", (
        (-2, 27, -104, 6), (-22, 20, -140, 5.5), (-44, 10, -175, 5), (-62, 26, -210, 4.5), (-80, 50, -250,
        4.5), (-86, 56, -300, 4.3))),
    ("right iliac artery", "aorta", (
        (-2, 27, -104, 6), (20, 20, -140, 5.5), (44, 10, -175, 5), (62, 26, -210, 4.5), (80, 50, -250,
        4.5), (86, 56, -300, 4.3))),
    ("left iliac vena", "cava", (
        (16, 20, -118, 7), (-10, 14, -146, 6.5), (-38, 2, -176, 6), (-56, 18, -212, 5.5), (-70, 42, -250,
        5.5), (-76, 50, -300, 5))),
    ("right iliac vena", "cava", (
        (16, 20, -118, 7), (24, 12, -146, 6.5), (40, 0, -176, 6), (56, 16, -212, 5.5), (70, 42, -250,
        5.5), (76, 50, -300, 5))),
    ("inferior vena cava", "cava", (
        (16, 20, -116, 10), (20, 23, -75, 10.5), (23, 22, -30, 11), (26, 18, 20, 11.5), (28, 12, 60, 12),
        (28, 12, 92, 12), (26, 16, 112, 11))),
    ("", "aorta", ((-5, 28, -12, 3.8), (-4, 40, -24, 3.6), (0, 46, -60, 3.2), (8, 46, -110, 2.6))),
    ("", "aorta", ((-6, 20, 4, 3.8), (-8, 34, 8, 3.4), (-36, 10, 22, 2.8), (-75, -14, 36, 2.4))),
    ("", "aorta", ((-5, 20, -28, 3), (-28, 6, -28, 2.8), (-46, -4, -26, 2.4))),
    ("", "aorta", ((-5, 20, -32, 3), (24, 4, -36, 2.8), (46, -6, -38, 2.4))),
    ("", "cava", ((22, 22, -30, 5), (-6, 34, -24, 4.5), (-28, 12, -26, 4.5), (-46, -2, -24, 4))),
    ("", "cava", ((24, 20, -36, 5), (34, 8, -38, 4.5), (46, -4, -38, 4))),
    ("portal vein and splenic vein", "portal vein", (
        (-84, -24, 40, 3.6), (-50, 4, 22, 4), (-16, 30, 2, 4.6), (10, 36, -8, 6.5), (24, 32, 14, 6.8),
        (40, 26, 36, 6.2), (58, 22, 46, 4.6))),
    ("portal vein and splenic vein", "portal vein", ((10, 36, -8, 6), (8, 44, -40, 5.2), (10, 48, -80, 4.4))),
)  # fmt: skip


@dataclass(frozen=True)
class _Vessel:
    label: str
    blood: str
    shape: Capsules


class Vessels:
    """The great vessels of one person, and smaller ones that lie between the organs."""

    def __init__(self, subject: Subject, hu: Mapping[str, float]) -> None:
        self._hu = hu
        widening = 0.05 if subject.is_female else 0.09
        self._vessels = []
        for number, (label, blood, path) in enumerate(_PATHS):
            points = subject.wandering(f"vessel {number}", path, by_mm=1.5, widening=widening)
            self._vessels.append(_Vessel(label, blood, tube(points)))

    def draw(self, canvas: Canvas) -> None:
        """Paint every vessel in a thin sleeve of fat; arteries after veins."""
        bottom, top = canvas.z_range[0] - _REACH_MM, canvas.z_range[1] + _REACH_MM
        for vessel in self._vessels:
            if vessel.shape.z_range[0] > top or vessel.shape.z_range[1] < bottom:
                continue
            found = vessel.shape.distance(canvas)
            if found is None:
                continue
            window, distance = found
            in_liver = canvas.labels[window] == LABEL_IDS["liver"]
            canvas.paint(window, np.where(in_liver, FAR_MM, distance - np.float32(1.2)), self._hu["fat"] + 30)
            hu = canvas.tissue(window, self._hu[vessel.blood], grain=3, mottle=3)
            canvas.paint(window, distance, hu, vessel.label)
