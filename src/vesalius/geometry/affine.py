"""Voxel indices and world millimetres: the maths of 4x4 affines.

An affine maps voxel centres (i, j, k) to RAS millimetres: +x right, +y anterior, +z superior, as in NIfTI.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from vesalius.errors import GeometryError
from vesalius.shapes import Affine, Points

_POSITIVE, _NEGATIVE = "RAS", "LPI"


def as_affine(matrix: object) -> Affine:
    """Check a 4x4 matrix and return it as float64.

    Raises:
        GeometryError: If it is not a finite, invertible affine.
    """
    affine = np.array(matrix, dtype=np.float64)
    problem = None
    if affine.shape != (4, 4):
        problem = f"an array of shape {affine.shape}"
    elif not np.isfinite(affine).all():
        problem = "NaN or infinite entries"
    elif not np.allclose(affine[3], [0, 0, 0, 1]):
        problem = f"a last row of {affine[3].tolist()}"
    elif (np.linalg.norm(affine[:3, :3], axis=0) < 1e-6).any():
        problem = "an axis of zero length"
    elif abs(np.linalg.det(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))) < 1e-3:
        problem = "axes that lie in one plane"
    if problem:
        raise GeometryError(
            expected="a 4x4 affine that maps voxels to millimetres, with three independent axes",
            got=problem,
            do="check the header of the file, or write it again with the program that made it",
        )
    return affine


def spacing_mm(affine: Affine) -> tuple[float, float, float]:
    """Return the distance between neighbouring voxel centres along i, j and k, in mm."""
    i, j, k = np.linalg.norm(affine[:3, :3], axis=0)
    return float(i), float(j), float(k)


def directions(affine: Affine) -> np.ndarray:
    """Return the unit vectors of the voxel axes in RAS, as the columns of a 3x3 matrix."""
    return np.asarray(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))


def axis_codes(affine: Affine) -> str:
    """Return where each voxel axis points, to the nearest body axis: ``"RAS"``, ``"LPI"``, ``"SAR"``...

    Each body axis is used once: the assignment with the largest sum of absolute cosines wins.
    """
    cosines = directions(affine)
    order = max(itertools.permutations(range(3)), key=lambda p: sum(abs(cosines[p[a], a]) for a in range(3)))
    return "".join(_POSITIVE[w] if cosines[w, a] > 0 else _NEGATIVE[w] for a, w in enumerate(order))


def axes_between(source: str, target: str) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Say how to permute and flip axes to go from one set of axis codes to another.

    Returns:
        For each target axis, the source axis it comes from, and whether that axis is to be flipped.

    Raises:
        GeometryError: If either is not an axis order such as ``"RAS"`` or ``"LPI"``.
    """
    for codes in (source, target):
        if sorted(_body_axis(c) for c in codes) != [0, 1, 2]:
            raise GeometryError(
                expected='three letters, one of each pair R/L, A/P, S/I, such as "RAS"',
                got=repr(codes),
                do="name an axis order of the 48 that exist",
            )
    order = tuple(next(a for a in range(3) if _body_axis(source[a]) == _body_axis(t)) for t in target)
    flips = tuple(source[order[a]] != target[a] for a in range(3))
    return (order[0], order[1], order[2]), (flips[0], flips[1], flips[2])


def _body_axis(code: str) -> int:
    for letters in (_POSITIVE, _NEGATIVE):
        if code in letters:
            return letters.index(code)
    return -1


def apply(affine: Affine, points: Points) -> Points:
    """Map points ``(..., 3)`` through an affine."""
    return np.asarray(points @ affine[:3, :3].T + affine[:3, 3])


def translation(offset: Sequence[float] | Sequence[int] | np.ndarray) -> Affine:
    """Return the affine that adds ``offset``."""
    affine = np.eye(4)
    affine[:3, 3] = offset
    return affine


def scaling(factors: Sequence[float] | Sequence[int] | np.ndarray) -> Affine:
    """Return the affine that multiplies each axis by its factor."""
    return np.diag([*factors, 1.0])
