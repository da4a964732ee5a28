"""Body: one person's organs in the order in which they are painted on a slice."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np

from vesalius.data.anatomy.abdomen import Glands, Kidneys, Liver, Spleen
from vesalius.data.anatomy.bowel import Bowel
from vesalius.data.anatomy.canvas import Canvas
from vesalius.data.anatomy.head import Head
from vesalius.data.anatomy.lesions import Lesions
from vesalius.data.anatomy.noise import SmoothNoise
from vesalius.data.anatomy.pelvis import Pelvis
from vesalius.data.anatomy.ribcage import Ribcage
from vesalius.data.anatomy.solids import Number
from vesalius.data.anatomy.spine import Spine
from vesalius.data.anatomy.subject import Subject
from vesalius.data.anatomy.thorax import Airways, Heart, Lungs
from vesalius.data.anatomy.tissues import tissue_hu
from vesalius.data.anatomy.trunk import Trunk
from vesalius.data.anatomy.vessels import Vessels

# name: (distance between knots in mm, knots before the field repeats)
_NOISES = {
    "bump": (14.0, 48), "grain": (2.2, 64), "mottle": (5.0, 64), "branch a": (9.0, 48), "branch b": (9.0, 48),
}  # fmt: skip
# Displacements of space along x, y and z: (distance between knots, standard deviation), mm.
_WARPS = ((85.0, 5.0), (34.0, 1.3))


class Body:
    """Everything inside one person's skin.

    Args:
        subject: Who.
        tumours: Whether lesions grow in some organs.
    """

    def __init__(self, subject: Subject, *, tumours: bool = False) -> None:
        hu = tissue_hu(subject)
        self.subject, self.hu = subject, hu
        self._trunk = Trunk(subject, hu)
        self._spine, self._ribcage = Spine(subject, hu), Ribcage(subject, hu, self._trunk)
        self._pelvis, self._vessels = Pelvis(subject, hu), Vessels(subject, hu)
        self._head = Head(subject, hu)
        self._lesions = Lesions(subject, hu) if tumours else None
        self._heart = Heart(subject, hu)
        self._lungs, self._airways = Lungs(subject, hu, self._heart), Airways(subject, hu)
        self._liver, self._spleen = Liver(subject, hu), Spleen(subject, hu)
        self._kidneys, self._glands, self._bowel = Kidneys(subject, hu), Glands(subject, hu), Bowel(subject, hu)
        self.noises = {
            name: SmoothNoise(subject.rng(name), knot_mm=knot, knots=knots)
            for name, (knot, knots) in _NOISES.items()
        }
        self.warps = [
            (
                float(std),
                [SmoothNoise(subject.rng(f"warp {knot} {axis}"), knot_mm=knot, knots=16) for axis in "xyz"],
            )
            for knot, std in _WARPS
        ]

    def painter(self, x_mm: np.ndarray, y_mm: np.ndarray, *, edge_mm: Number) -> Painter:
        """Prepare to paint slices of constant z.

        Args:
            x_mm: World coordinates (RAS) of the pixels along the first axis.
            y_mm: The same along the second.
            edge_mm: Width of the blur of borders.
        """
        return Painter(self, x_mm, y_mm, edge_mm)

    def draw(self, canvas: Canvas) -> None:
        """Paint from the skin inwards; what comes later lies over what came before."""
        cavity = self._trunk.draw(canvas)
        self._pelvis.draw_muscles(canvas)
        self._kidneys.draw_fat(canvas, cavity)
        self._bowel.draw_small(canvas)
        self._liver.draw(canvas, cavity)
        self._spleen.draw(canvas, cavity)
        self._lungs.draw(canvas, cavity)
        self._heart.draw(canvas)
        self._bowel.draw(canvas)
        self._glands.draw_pancreas(canvas)
        self._kidneys.draw(canvas)
        self._vessels.draw(canvas)
        self._airways.draw(canvas)
        self._glands.draw(canvas)
        self._spine.draw(canvas)
        self._ribcage.draw(canvas)
        self._pelvis.draw_bones(canvas)
        self._head.draw(canvas)
        canvas.keep_marks("hepatic vessel", "liver")
        if self._lesions is not None:
            self._lesions.draw(canvas)


class Painter:
    """Paints slices of one body on one lattice of pixels; see ``Body.painter``."""

    def __init__(self, body: Body, x_mm: np.ndarray, y_mm: np.ndarray, edge_mm: Number) -> None:
        self._body, self._edge_mm = body, edge_mm
        self._noises = {name: noise.over(x_mm, y_mm) for name, noise in body.noises.items()}
        self._warps = [(std, [noise.over(x_mm, y_mm) for noise in axes]) for std, axes in body.warps]
        self._x, self._y = x_mm[:, None].astype(np.float64), y_mm[None, :].astype(np.float64)

    def paint(self, z_mm: Number) -> Canvas:
        """Paint the slice at one height of the world."""
        canvas = self._empty(z_mm)
        self._body.draw(canvas)
        return canvas

    def _empty(self, z_mm: Number) -> Canvas:
        subject = self._body.subject
        to_body = (subject.turn / subject.scale).T
        x, y, z = self._x - subject.shift_mm[0], self._y - subject.shift_mm[1], z_mm - subject.shift_mm[2]
        points: list[np.ndarray] = []
        for axis in range(3):
            row = to_body[axis]
            point = (row[0] * x + (row[1] * y + row[2] * z)).astype(np.float32)
            for std, planes in self._warps:
                point += np.float32(std) * planes[axis].at(z_mm)
            points.append(point)
        fields = {name: planes.at(z_mm) for name, planes in self._noises.items()}
        return Canvas(
            x=points[0],
            y=points[1],
            z=points[2],
            edge_mm=self._edge_mm,
            bump=fields["bump"],
            grain=fields["grain"],
            mottle=fields["mottle"],
            branches=(fields["branch a"], fields["branch b"]),
        )
