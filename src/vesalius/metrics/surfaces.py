"""How far two surfaces lie from one another: normalised surface Dice (NSD) and the 95 % Hausdorff distance (HD95).

The surface of a mask is its voxels with a face towards a voxel outside it; what lies outside the array is outside.
Distances run between voxel centres, in mm, by exact Euclidean distance transforms (the package ``edt``). With this
surface and these distances both numbers are MONAI's (``compute_surface_dice`` and ``compute_hausdorff_distance``,
percentile 95), which the tests hold; DeepMind's NSD weighs marching-cubes surface elements and differs slightly.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vesalius.geometry.boxes import bounding_box
from vesalius.geometry.morphology import depth_mm, eroded
from vesalius.shapes import MaskArray


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """From every surface voxel of one mask to the nearest of the other; empty where a mask is.

    Args:
        from_found_mm: Of the surface of what was found; infinite where the truth is empty.
        from_truth_mm: Of the surface of the truth; infinite where nothing was found.
    """

    from_found_mm: Float[np.ndarray, " n"]
    from_truth_mm: Float[np.ndarray, " m"]

    def nsd(self, tolerance_mm: float) -> float:
        """Return the share of both surfaces that lies within ``tolerance_mm`` of the other one, in 0..1.

        NSD = (|{d <= t} of found| + |{d <= t} of truth|) / (|found| + |truth|), in surface voxels
        (Nikolov et al. 2018). Both empty: 1. One of them empty: 0. A distance that is the tolerance but for the
        rounding of float32, in which distances are, lies within it, along every axis alike.
        """
        within_mm = tolerance_mm * (1 + 1e-5) + 1e-6
        total = self.from_found_mm.size + self.from_truth_mm.size
        near = sum(int((d <= within_mm).sum()) for d in (self.from_found_mm, self.from_truth_mm))
        return near / total if total else 1.0

    @property
    def hd95_mm(self) -> float:
        """The larger of the two 95th percentiles of distances, in mm.

        HD95 = max(P95(d of found), P95(d of truth)). Both empty: 0. One of them empty: infinite.
        """
        sides = [d for d in (self.from_found_mm, self.from_truth_mm) if d.size]
        if any(math.isinf(d[0]) for d in sides):
            return math.inf
        return max((float(np.percentile(d, 95)) for d in sides), default=0.0)


def surface_distances(
    found: MaskArray, truth: MaskArray, spacing_mm: tuple[float, float, float]
) -> SurfaceDistances:
    """Measure from each surface to the other.

    Args:
        found: What was found, ``(i, j, k)``.
        truth: What should have been found, in the same shape.
        spacing_mm: Of the voxels, along i, j and k.
    """
    box = bounding_box(found | truth)
    if box is None:
        return SurfaceDistances(np.zeros(0, np.float32), np.zeros(0, np.float32))
    found_surface, truth_surface = (_surface(mask[box.slices]) for mask in (found, truth))
    return SurfaceDistances(
        _distances_to(truth_surface, spacing_mm)[found_surface],
        _distances_to(found_surface, spacing_mm)[truth_surface],
    )


def _surface(mask: MaskArray) -> MaskArray:
    return np.asarray(mask & ~eroded(mask, connectivity=6))


def _distances_to(surface: MaskArray, spacing_mm: tuple[float, float, float]) -> Float[np.ndarray, "i j k"]:
    if not surface.any():
        return np.full(surface.shape, np.inf, np.float32)
    return depth_mm(~surface, spacing_mm, outside=True)
