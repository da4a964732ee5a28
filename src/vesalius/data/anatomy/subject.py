"""Subject: one imagined person, drawn from a seed: pose, size, fat, and how organs differ from the average."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np

from vesalius.data.anatomy.solids import Number, Vector, rotation

Contrast = Literal["none", "arterial", "portal"]


class Subject:
    """What is random about a person, the same for every region and voxel size.

    Each name draws from a generator of its own, so that one organ more changes nothing about the others.

    Args:
        seed: Which person.
        contrast: The phase of the contrast agent.
    """

    def __init__(self, seed: int, *, contrast: Contrast) -> None:
        self.seed = seed
        self.contrast: Contrast = contrast
        rng = self.rng("subject")
        self.is_female = bool(rng.random() < 0.5)
        height, girth = rng.normal(0.97 if self.is_female else 1.02, 0.04), rng.normal(1.0, 0.03)
        self.scale = np.clip([height * girth, height * girth, height], 0.9, 1.12)
        self.turn = rotation(**{axis: float(rng.normal(0, 2.0)) for axis in "xyz"})
        self.shift_mm = rng.normal(0, [6.0, 6.0, 10.0])
        self.fat_mm = float(np.clip(rng.lognormal(np.log(15.0), 0.5), 5.0, 45.0))
        self.muscle = float(np.clip(rng.normal(1.0, 0.12), 0.7, 1.25))
        self.dome_mm = float(rng.normal(0, 10.0))

    def rng(self, name: str) -> np.random.Generator:
        """Return the generator that belongs to a name."""
        return np.random.default_rng([self.seed & 0xFFFFFFFFFFFF, zlib.crc32(name.encode())])

    def moved(self, name: str, centre: Sequence[Number], *, by_mm: Number = 4.0) -> Vector:
        """Return a point displaced at random."""
        x, y, z = np.asarray(centre) + self.rng(f"{name}/centre").normal(0, by_mm, 3)
        return float(x), float(y), float(z)

    def resized(self, name: str, radii: Sequence[Number], *, by: Number = 0.07) -> Vector:
        """Return radii scaled at random: together, and each a little by itself."""
        rng = self.rng(f"{name}/radii")
        x, y, z = np.asarray(radii) * np.exp(rng.normal(0, by) + rng.normal(0, by / 2, 3))
        return float(x), float(y), float(z)

    def wandering(
        self, name: str, points: Sequence[Sequence[Number]], *, by_mm: Number = 4.0, widening: Number = 0.08
    ) -> np.ndarray:
        """Return the points ``(x, y, z, radius)`` of a tube, displaced at random, its radius scaled."""
        rng = self.rng(f"{name}/path")
        path = np.array(points, dtype=np.float64)
        path[:, :3] += rng.normal(0, by_mm, path[:, :3].shape)
        path[:, 3] *= np.exp(rng.normal(0, widening))
        return path
