"""Abdomen: liver, spleen, kidneys, adrenals, pancreas, gallbladder and bladder."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vesalius.data.anatomy.canvas import Canvas
from vesalius.data.anatomy.capsules import Capsules, tube
from vesalius.data.anatomy.solids import Number, Vector, ellipsoid, rotation, smooth_max, to_frame
from vesalius.data.anatomy.subject import Subject
from vesalius.data.anatomy.trunk import Cavity


class Liver:
    """The liver: what lies under the diaphragm and above a visceral surface that rises to the left."""

    def __init__(self, subject: Subject, hu: Mapping[str, float]) -> None:
        self._hu = hu
        rng = subject.rng("liver")
        drop, left = float(rng.normal(0, 14)), float(rng.normal(0, 10))
        x = np.array([-140.0, -85, -55, -20, 20, 55, 85, 115, 150])
        z = np.array([150.0, 104, 66, 32, 6, -22, -46, -72, -90])
        z = z + drop * np.interp(x, [-40, 90], [0.2, 1.0]) + left * np.interp(x, [-80, 20], [1.0, 0.0])
        self._edge = _Curve(x, z)
        self._lean = float(rng.normal(0.10, 0.08))

    def draw(self, canvas: Canvas, cavity: Cavity | None) -> None:
        """Paint the liver."""
        window = canvas.window((-110, -100, -120), (145, 125, 135))
        if window is None or cavity is None:
            return
        inner = cavity.window
        x, y, z = canvas.points(inner)
        under = smooth_max(cavity.wall + np.float32(3.5), cavity.dome + np.float32(3.0), 12.0)
        visceral, slope = self._edge.at(x)
        visceral = (visceral + np.float32(self._lean) * y - z) / np.sqrt(1 + slope * slope)
        liver = smooth_max(under, visceral, 14.0)
        # Left of the cava the liver keeps to the front; behind it are spine, stomach and spleen.
        beside = np.float32(24) - x
        behind = np.float32(8) - y + np.where(beside > 0, np.float32(0.22), np.float32(1.6)) * beside
        liver = smooth_max(liver, behind, 16.0) + canvas.bump[inner] * np.float32(2.0)
        hu = canvas.tissue(inner, self._hu["liver"], grain=4, mottle=3)
        thread = np.sqrt(canvas.branches[0][inner] ** 2 + canvas.branches[1][inner] ** 2)
        vessel = np.clip((np.float32(0.2) - thread) * np.float32(12), 0, 1)
        vessel *= liver < -4
        hu += vessel * np.float32(self._hu["portal vein"] - self._hu["liver"])
        canvas.paint(inner, liver - np.float32(1.0), self._hu["fat"] + 20, None)
        canvas.paint(inner, liver, hu, "liver")
        canvas.mark(inner, np.where((thread < 0.16) & (liver < -4), -1.0, 1.0), "hepatic vessel")


class _Curve:
    """A smooth function of one coordinate and its slope, from a table."""

    def __init__(self, x: np.ndarray, values: np.ndarray) -> None:
        self._low = float(x[0])
        fine = np.arange(x[0], x[-1], 0.5)
        width = 30
        padded = np.pad(np.interp(fine, x, values), width, mode="edge")
        smooth = np.convolve(padded, np.full(2 * width + 1, 1 / (2 * width + 1)), mode="valid")
        self._values = smooth.astype(np.float32)
        self._slopes = np.gradient(smooth, 0.5).astype(np.float32)

    def at(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        index = np.clip((x - self._low) * 2, 0, len(self._values) - 1).astype(np.int32)
        return self._values[index], self._slopes[index]


class Spleen:
    """The spleen, behind and to the left under the diaphragm."""

    def __init__(self, subject: Subject, hu: Mapping[str, float]) -> None:
        self._hu = hu
        self._arterial = subject.contrast == "arterial"
        self._centre = subject.moved("spleen", (-98, -38, 16), by_mm=5)
        self._radii = subject.resized("spleen", (46, 54, 64), by=0.1)
        self._turn = rotation(x=float(subject.rng("spleen/turn").normal(-20, 8)), z=18)

    def draw(self, canvas: Canvas, cavity: Cavity | None) -> None:
        """Paint the spleen; in the arterial phase its pulp is patchy."""
        if cavity is None or canvas.around(self._centre, 75) is None:
            return
        window = cavity.window
        spleen = ellipsoid(*to_frame(*canvas.points(window), self._centre, self._turn), self._radii)
        under = smooth_max(cavity.wall + np.float32(3.0), cavity.dome + np.float32(3.0), 10.0)
        spleen = smooth_max(spleen, under, 10.0)
        x, y, z = canvas.points(window)
        hollow = np.float32(28) - np.sqrt((x + 46) ** 2 + (y - 2) ** 2 + ((z - 30) * np.float32(0.6)) ** 2)
        spleen = smooth_max(spleen, hollow, 10.0) + canvas.bump[window] * np.float32(1.5)
        hu = canvas.tissue(window, self._hu["spleen"], grain=4, mottle=22 if self._arterial else 3)
        canvas.paint(window, spleen - np.float32(1.5), self._hu["fat"], None)
        canvas.paint(window, spleen, hu, "spleen")


@dataclass(frozen=True)
class _Kidney:
    name: str
    sign: int
    centre: Vector
    radii: Vector
    turn: np.ndarray


class Kidneys:
    """Kidneys in their fat, with sinus and medulla, and the adrenals above them."""

    def __init__(self, subject: Subject, hu: Mapping[str, float]) -> None:
        self._hu = hu
        self._sides = []
        for name, sign, z in (("right", 1, -34), ("left", -1, -20)):
            centre = subject.moved(f"{name} kidney", (sign * 64, -16, z), by_mm=5)
            radii = subject.resized(f"{name} kidney", (29, 26, 55))
            roll = subject.rng(f"{name} kidney/turn").normal(0, 5, 3)
            turn = rotation(x=16 + roll[0], y=sign * (14 + roll[1]), z=sign * (28 + roll[2]))
            self._sides.append(_Kidney(name, sign, centre, radii, turn))
        self._adrenals = [(kidney.name, self._adrenal(kidney.sign)) for kidney in self._sides]

    @staticmethod
    def _adrenal(sign: int) -> list[Capsules]:
        x, y = sign * 26.0, -4.0
        top = 34.0 if sign > 0 else 24.0
        ends = [
            (x - 2 * sign, y + 8, top + 8, 4.2),
            (x + 4 * sign, y - 8, top, 4.2),
            (x + 14 * sign, y - 16, top - 14, 3.4),
        ]
        limb = [(x + 2 * sign, y - 4, top + 4, 4.0), (x + 2 * sign, y - 18, top - 10, 3.4)]
        return [tube(ends), tube(limb)]

    def draw_fat(self, canvas: Canvas, cavity: Cavity | None) -> None:
        """Paint the fat around the kidneys, in front of which the other organs come to lie."""
        if cavity is None:
            return
        for kidney in self._sides:
            window = canvas.around(kidney.centre, kidney.radii[2] + 22)
            if window is not None:
                frame = to_frame(*canvas.points(window), kidney.centre, kidney.turn)
                shell = ellipsoid(*frame, _grown(kidney.radii, 9))
                canvas.paint(window, shell, canvas.tissue(window, self._hu["fat"], grain=4, mottle=5), "")

    def draw(self, canvas: Canvas) -> None:
        """Paint kidneys and adrenals."""
        for side in self._sides:
            self._draw_kidney(canvas, side)
        for name, limbs in self._adrenals:
            for limb in limbs:
                found = limb.distance(canvas)
                if found is not None:
                    hu = canvas.tissue(found[0], self._hu["adrenal"], grain=4)
                    canvas.paint(*found, hu, f"{name} adrenal gland")

    def _draw_kidney(self, canvas: Canvas, side: _Kidney) -> None:
        radii, label = side.radii, f"{side.name} kidney"
        window = canvas.around(side.centre, radii[2] + 8)
        if window is None:
            return
        x, y, z = to_frame(*canvas.points(window), side.centre, side.turn)
        a, b, c = radii
        kidney = ellipsoid(x, y, z, radii)
        medial = np.float32(side.sign) * x + np.float32(a)
        sinus = ellipsoid(medial, y, z, (0.95 * a, 0.42 * b, 0.5 * c))
        kidney = smooth_max(kidney, -sinus, 7.0) + canvas.bump[window] * np.float32(1.2)
        canvas.paint(window, kidney - np.float32(2), canvas.tissue(window, self._hu["fat"], grain=4), "")
        hu = canvas.tissue(window, self._hu["renal cortex"], grain=4, mottle=3)
        pyramids = (
            np.float32(0.5)
            + np.float32(0.5) * np.cos(z * np.float32(0.42))
            + canvas.mottle[window] * np.float32(0.4)
        )
        depth = np.clip((-kidney - np.float32(6.5)) * np.float32(0.5), 0, 1) * np.clip(pyramids * 1.6, 0, 1)
        hu += depth * np.float32(self._hu["renal medulla"] - self._hu["renal cortex"])
        canvas.paint(window, kidney, hu, label)
        pelvis = ellipsoid(medial + np.float32(0.05 * a), y, z, (0.55 * a, 0.22 * b, 0.22 * c))
        canvas.paint(window, pelvis, self._hu["urine"], None)


def _grown(radii: Vector, by_mm: Number) -> Vector:
    return radii[0] + by_mm, radii[1] + by_mm, radii[2] + by_mm


class Glands:
    """Pancreas and gallbladder, and in the pelvis bladder and prostate."""

    def __init__(self, subject: Subject, hu: Mapping[str, float]) -> None:
        self._hu = hu
        path = [(32, 34, -52, 9), (32, 36, -34, 14), (24, 40, -16, 13), (2, 47, -4, 10), (-22, 40, 4, 10),
                (-50, 16, 14, 10), (-74, -8, 26, 8), (-82, -16, 30, 6)]  # fmt: skip
        self._pancreas = tube(subject.wandering("pancreas", path, by_mm=3))
        self._fatty = float(subject.rng("pancreas/fat").uniform(4, 26))
        self._gallbladder = (
            subject.moved("gallbladder", (50, 54, -16), by_mm=5),
            subject.resized("gallbladder", (14, 17, 31), by=0.15),
        )
        fill = float(np.exp(subject.rng("bladder").normal(0, 0.22)))
        radii = subject.resized("bladder", (40 * fill, 33 * fill, 30 * fill))
        self._bladder: tuple[Vector, Vector] = (0.0, 26.0, -282 + radii[2]), radii
        self._prostate = None if subject.is_female else subject.resized("prostate", (23, 17, 18))

    def draw_pancreas(self, canvas: Canvas) -> None:
        """Paint the pancreas, lobulated by fat."""
        found = self._pancreas.distance(canvas, margin_mm=7)
        if found is None:
            return
        window, distance = found
        distance = distance + canvas.mottle[window] * np.float32(1.3) + canvas.bump[window]
        canvas.paint(window, distance - np.float32(1.5), self._hu["fat"] + 10, None)
        hu = canvas.tissue(window, self._hu["pancreas"], grain=4, mottle=self._fatty)
        canvas.paint(window, distance, hu, "pancreas")

    def draw(self, canvas: Canvas) -> None:
        """Paint gallbladder, bladder and prostate."""
        self._draw_sac(canvas, *self._gallbladder, wall_mm=1.2, content="bile", label="gallbladder")
        if self._prostate is None:
            self._draw_uterus(canvas)
        else:
            window = canvas.around((0, 6, -284), 40)
            if window is not None:
                x, y, z = canvas.points(window)
                gland = ellipsoid(x, y - np.float32(6), z + np.float32(284), self._prostate)
                hu = canvas.tissue(window, self._hu["prostate"], grain=4, mottle=6)
                canvas.paint(window, gland - np.float32(2), self._hu["fat"], None)
                canvas.paint(window, gland + canvas.bump[window], hu, "prostate")
        self._draw_sac(canvas, *self._bladder, wall_mm=3.0, content="urine", label="bladder")

    def _draw_uterus(self, canvas: Canvas) -> None:
        window = canvas.around((0, -6, -236), 50)
        if window is not None:
            x, y, z = to_frame(*canvas.points(window), (0, -6, -236), rotation(x=-50))
            uterus = ellipsoid(x, y, z, (26, 19, 36)) + canvas.bump[window] * np.float32(1.5)
            canvas.paint(window, uterus - np.float32(2), self._hu["fat"], "")
            canvas.paint(window, uterus, canvas.tissue(window, self._hu["prostate"], grain=4, mottle=6), "")

    def _draw_sac(
        self, canvas: Canvas, centre: Vector, radii: Vector, *, wall_mm: Number, content: str, label: str
    ) -> None:
        window = canvas.around(centre, max(radii) + 8)
        if window is None:
            return
        sac = ellipsoid(*to_frame(*canvas.points(window), centre, None), radii) + canvas.bump[window] * np.float32(
            1.2
        )
        canvas.paint(window, sac - np.float32(2), self._hu["fat"], None)
        canvas.paint(window, sac, self._hu["bowel wall"], label)
        canvas.paint(window, sac + np.float32(wall_mm), canvas.tissue(window, self._hu[content], grain=3), None)
