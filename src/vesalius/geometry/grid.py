"""Grid: a shape and an affine, the space of a volume, a window or a crop."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vesalius.errors import GeometryError
from vesalius.geometry import affine as affines
from vesalius.geometry.boxes import Box
from vesalius.shapes import Affine, Points

SHORT_BY = 0.25
"""Of a voxel of the grid that ``Grid.respaced`` gives: so far the first and last of the other may lie beyond it."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels are.

    Args:
        shape: Voxels along i, j and k.
        affine: Maps voxel centres to RAS millimetres; copied, float64, read-only afterwards.
    """

    shape: tuple[int, int, int]
    affine: Affine

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError(
                expected="three axes of at least one voxel",
                got=f"shape {tuple(self.shape)}",
                do="give one 3-D volume; split a time series into its volumes first",
            )
        affine = affines.as_affine(self.affine)
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along i, j and k."""
        return affines.spacing_mm(self.affine)

    @property
    def axis_codes(self) -> str:
        """Where each axis points, such as ``"RAS"``."""
        return affines.axis_codes(self.affine)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000.0)

    @property
    def num_voxels(self) -> int:
        """How many voxels there are."""
        i, j, k = self.shape
        return i * j * k

    def to_world(self, points_ijk: Points) -> Points:
        """Map voxel coordinates ``(..., 3)`` to RAS millimetres."""
        return affines.apply(self.affine, np.asarray(points_ijk, dtype=np.float64))

    def to_voxel(self, points_ras: Points) -> Points:
        """Map RAS millimetres ``(..., 3)`` to (fractional) voxel coordinates."""
        return affines.apply(np.linalg.inv(self.affine), np.asarray(points_ras, dtype=np.float64))

    def reoriented(self, codes: str) -> Grid:
        """Return the same voxels with axes permuted and flipped towards ``codes``; nothing is rotated."""
        order, flips = affines.axes_between(self.axis_codes, codes)
        to_self = np.zeros((4, 4))
        to_self[3, 3] = 1.0
        for target, (source, flip) in enumerate(zip(order, flips, strict=True)):
            to_self[source, target] = -1.0 if flip else 1.0
            to_self[source, 3] = self.shape[source] - 1 if flip else 0.0
        shape = (self.shape[order[0]], self.shape[order[1]], self.shape[order[2]])
        return Grid(shape, self.affine @ to_self)

    def cropped(self, box: Box) -> Grid:
        """Return the grid of a box of this one; the box may reach outside (padding)."""
        return Grid(box.shape, self.affine @ affines.translation(box.start))

    def respaced(self, spacing_mm: Sequence[float] | Sequence[int] | np.ndarray) -> Grid:
        """Return the grid that covers the same extent with another spacing.

        The outer faces of the corner voxels coincide with this grid's as nearly as a whole number of voxels
        allows; the centre of the volume stays where it is.

        Args:
            spacing_mm: Along i, j and k; 0 leaves the voxels of an axis where they are.
        """
        old, wanted = np.asarray(self.spacing_mm), np.asarray(spacing_mm, dtype=np.float64)
        factors = np.where(wanted > 0, wanted / old, 1.0)
        shape = np.maximum(1, np.round(np.asarray(self.shape) / factors)).astype(int)
        centre = (np.asarray(self.shape) - 1) / 2
        offset = centre - factors * (shape - 1) / 2
        to_self = affines.translation(offset) @ affines.scaling(factors)
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), self.affine @ to_self)

    def upright(self) -> Grid:
        """Return a grid at right angles that covers this one: i and j as they are, k along their normal.

        For a tilted gantry, whose slices are shifted against one another. The spacing along k becomes the
        distance between the planes.
        """
        directions = affines.directions(self.affine)
        normal = np.cross(directions[:, 0], directions[:, 1])
        normal *= np.sign(normal @ directions[:, 2])
        across = np.cross(normal, directions[:, 0])
        across *= np.sign(across @ directions[:, 1])
        i, j, k = self.spacing_mm
        frame = np.eye(4)
        step = (i, j * float(across @ directions[:, 1]), k * float(normal @ directions[:, 2]))
        frame[:3, :3] = np.column_stack([directions[:, 0], across, normal]) * step
        corners = Box((0, 0, 0), self.shape).corners()
        reach = affines.apply(np.linalg.inv(frame), self.to_world(corners))
        low = reach.min(axis=0)
        shape = np.ceil(reach.max(axis=0) - low - 1e-6).astype(int) + 1
        frame[:3, 3] = frame[:3, :3] @ low
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), frame)

    def is_close(self, other: Grid, *, tolerance_voxels: float = 1e-3) -> bool:
        """Say whether two grids put every voxel at the same place, within a fraction of a voxel."""
        if self.shape != other.shape:
            return False
        corners = Box((0, 0, 0), self.shape).corners()
        apart_mm = np.abs(self.to_world(corners) - other.to_world(corners)).max()
        return bool(apart_mm <= tolerance_voxels * min(self.spacing_mm))
