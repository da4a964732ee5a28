"""Thorax: lungs with their lobes and vessels, heart, trachea and oesophagus."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vesalius.data.anatomy.canvas import Canvas, Profile
from vesalius.data.anatomy.capsules import tube
from vesalius.data.anatomy.solids import Vector, ellipsoid, rotation, smooth_max, smooth_min, to_frame
from vesalius.data.anatomy.subject import Subject
from vesalius.data.anatomy.trunk import Cavity

_HILUM_MM = (42.0, -22.0, 195.0)


class Lungs:
    """Both lungs: what the cavity above the diaphragm leaves beside the mediastinum."""

    def __init__(self, subject: Subject, hu: Mapping[str, float], heart: Heart) -> None:
        self._hu, self._heart = hu, heart
        rng = subject.rng("lungs")
        z = np.array([40.0, 110, 150, 200, 240, 280, 315])
        self._half_width = Profile(z, np.array([30, 26, 27, 30, 33, 33, 34]) * np.exp(rng.normal(0, 0.06)))
        self._middle = Profile(z, np.array([-4, -2, 0, 3, 2, 0, 0]) + rng.normal(0, 2.0))
        self._oblique = rng.normal(0, 6.0, 2)
        self._horizontal_mm = 168 + float(rng.normal(0, 7.0))

    def draw(self, canvas: Canvas, cavity: Cavity | None) -> None:
        """Paint both lungs and label their lobes."""
        if cavity is None or canvas.z_range[1] < -60:
            return
        window = cavity.window
        x, y = canvas.x[window], canvas.y[window]
        outer = smooth_max(cavity.wall + np.float32(2), np.float32(1.6) - cavity.dome, 6.0)
        middle = canvas.look_up(self._middle, window)
        half = canvas.look_up(self._half_width, window)
        # The mediastinum narrows towards the sternum and behind the heart, where the lungs nearly meet.
        taper = np.clip((y - np.float32(10)) * np.float32(1 / 70), 0, 1)
        between = half * (1 - np.float32(0.75) * taper * taper) - np.abs(x - middle)
        lung = smooth_max(outer, between, 12.0)
        heart = self._heart.distance(canvas, window) if canvas.z_range[1] < 240 else None
        if heart is not None:
            lung = smooth_max(lung, np.float32(5) - heart, 8.0)
        lung = np.maximum(lung, np.float32(28) - np.sqrt(x * x + (y + np.float32(46)) ** 2))
        lung = lung + canvas.bump[window] * np.float32(0.8)
        self._paint(canvas, cavity, lung)

    def _paint(self, canvas: Canvas, cavity: Cavity, lung: np.ndarray) -> None:
        window = cavity.window
        x, y, z = canvas.points(window)
        hu = canvas.tissue(window, self._hu["lung"], grain=18, mottle=14)
        hu += np.clip(-y, -60, 90) * np.float32(0.6)
        hilum = np.sqrt(
            (np.abs(x) - np.float32(_HILUM_MM[0])) ** 2
            + (y - np.float32(_HILUM_MM[1])) ** 2
            + (z - np.float32(_HILUM_MM[2])) ** 2
        )
        thread = np.sqrt(canvas.branches[0][window] ** 2 + canvas.branches[1][window] ** 2)
        bore = np.clip(np.float32(0.34) - hilum * np.float32(0.0019), 0.1, 0.4)
        vessel = np.clip((bore - thread) * np.float32(14), 0, 1)
        hu += vessel * (np.float32(self._hu["pulmonary vessel"]) * np.float32(0.8) - hu)
        oblique = (y - np.float32(-75 + self._oblique[0])) * np.float32(0.72) + (
            z - np.float32(232 + self._oblique[1])
        ) * np.float32(0.69)
        horizontal = (z - np.float32(self._horizontal_mm)) + np.float32(0.12) * y
        right = x > 0
        horizontal = np.where(right, horizontal, np.float32(50))
        fissure = np.minimum(np.abs(oblique), np.where(oblique > 0, np.abs(horizontal), np.float32(50)))
        hu += np.clip(np.float32(1.2) - fissure, 0, 1) * np.float32(90)
        share = np.clip(np.float32(0.5) - lung * np.float32(1 / canvas.edge_mm), 0, 1)
        below = canvas.hu[window]
        below += share * (hu - below)
        inside, upper = lung < 0, oblique > 0
        lobes = np.where(right, np.where(upper, np.where(horizontal > 0, 30, 31), 32), np.where(upper, 28, 29))
        np.copyto(canvas.labels[window], lobes.astype(np.uint8), where=inside)


class Heart:
    """The heart in its fat: ventricles in muscle, atria behind them."""

    def __init__(self, subject: Subject, hu: Mapping[str, float]) -> None:
        self._hu = hu
        lift = 0.5 * subject.dome_mm
        x, y, z = subject.moved("heart", (-20, 28, 132))
        self._centre: Vector = (x, y, z + lift)
        self._radii = subject.resized("heart", (62, 43, 46))
        # The long axis points to the left, forwards and down.
        self._turn = rotation(y=-28) @ rotation(z=float(subject.rng("heart/turn").normal(-38, 6)))

    def distance(self, canvas: Canvas, window: tuple[slice, slice]) -> np.ndarray:
        """Return the distance to the outside of the heart."""
        x, y, z = to_frame(*canvas.points(window), self._centre, self._turn)
        ventricles = ellipsoid(x, y, z, self._radii)
        a, b, c = self._radii
        atria = ellipsoid(
            x - np.float32(0.55 * a), y + np.float32(0.25 * b), z - np.float32(12), (0.62 * a, 0.8 * b, 0.85 * c)
        )
        return smooth_min(ventricles, atria, 14.0)

    def draw(self, canvas: Canvas) -> None:
        """Paint the pericardial fat, the muscle and the chambers."""
        window = canvas.around(self._centre, 112)
        if window is None:
            return
        outer = self.distance(canvas, window) + canvas.bump[window]
        canvas.paint(window, np.where(outer < 8, outer - np.float32(4), 9), self._hu["fat"], None)
        canvas.paint(window, outer, canvas.tissue(window, self._hu["myocardium"], grain=4, mottle=4), "heart")
        x, y, z = to_frame(*canvas.points(window), self._centre, self._turn)
        a, b, c = self._radii
        chambers = (
            ((-0.25 * a, -0.25 * b, -0.12 * c), (0.52 * a, 0.4 * b, 0.5 * c), "left heart"),
            ((-0.1 * a, 0.48 * b, 0.08 * c), (0.6 * a, 0.32 * b, 0.6 * c), "right heart"),
            ((0.68 * a, 0.18 * b, 0.1 * c), (0.32 * a, 0.48 * b, 0.55 * c), "right heart"),
            ((0.55 * a, -0.62 * b, 0.35 * c), (0.38 * a, 0.36 * b, 0.5 * c), "left heart"),
        )
        for (cx, cy, cz), radii, blood in chambers:
            chamber = ellipsoid(x - np.float32(cx), y - np.float32(cy), z - np.float32(cz), radii)
            hu = canvas.tissue(window, self._hu[blood], grain=3, mottle=4)
            canvas.paint(window, chamber + canvas.bump[window], hu, None)


class Airways:
    """Trachea, main bronchi and oesophagus."""

    def __init__(self, subject: Subject, hu: Mapping[str, float]) -> None:
        self._hu = hu
        fork = subject.moved("carina", (0, -16, 226), by_mm=3)
        radius = 7.2 if subject.is_female else 8.8
        self._trachea = tube([(0, -4, 395, radius), (0, -6, 340, radius), (0, -12, 280, radius), (*fork, radius)])
        x, y, z = fork
        self._bronchi = [
            tube(
                [
                    (x, y, z, radius * 0.8),
                    (24, y - 4, z - 24, 6.0),
                    (44, y - 8, z - 42, 4.5),
                    (60, y - 14, z - 62, 3),
                ]
            ),
            tube(
                [
                    (x, y, z, radius * 0.75),
                    (-28, y - 6, z - 26, 5.5),
                    (-50, y - 12, z - 40, 4),
                    (-64, y - 20, z - 62, 3),
                ]
            ),
        ]
        path = [(-2, -24, 370, 6), (-3, -26, 320, 7), (-5, -34, 250, 7.5), (-4, -34, 190, 8), (-8, -24, 130, 9),
                (-16, -4, 92, 9.5), (-30, 4, 80, 10)]  # fmt: skip
        self._oesophagus = tube(subject.wandering("oesophagus", path, by_mm=2))
        self._lumen = float(subject.rng("oesophagus/air").uniform(0, 4.5))

    def draw(self, canvas: Canvas) -> None:
        """Paint the oesophagus, then the airways with their thin walls."""
        found = self._oesophagus.distance(canvas)
        if found is not None:
            window, distance = found
            hu = canvas.tissue(window, self._hu["bowel wall"], grain=5)
            canvas.paint(window, distance + canvas.bump[window] * np.float32(0.7), hu, "esophagus")
            inside = distance + np.float32(9.5 - self._lumen) + canvas.mottle[window]
            canvas.paint(window, inside, -600.0, None)
        for part, name in ((self._trachea, "trachea"), *((b, "") for b in self._bronchi)):
            found = part.distance(canvas)
            if found is not None:
                window, distance = found
                canvas.paint(window, distance - np.float32(1.4), self._hu["muscle"], "")
                canvas.paint(window, distance, -985.0, name)
                canvas.mark(window, distance, "airway")
