"""Where the body is in a scan, and what part of it a slice shows: simple rules on Hounsfield units, no model.

The rules are rough on purpose and say nothing of a patient: some slices of head and neck they call limb, and how
many was not counted. The region is a label that a store keeps beside each slice; no training reads it.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Num

from vesalius.data.slices import Region
from vesalius.geometry.boxes import Box
from vesalius.geometry.morphology import components
from vesalius.hounsfield import BODY_HU
from vesalius.shapes import MaskArray

LUNG_SHARE = 0.12
"""Of the body's outline: a slice with more air enclosed is of the chest."""
TRUNK_CM2 = 320.0
"""A slice with a larger outline is of the trunk."""
BONE_HU = 250.0
LIMB_BONE = 0.05
"""Of a narrow outline: with less bone it is of a limb, with more of head or neck. Medians: thighs 0.04, neck 0.08,
head 0.15."""

_PIECE = 0.05
"""Of the largest piece of the body: pieces from this on are body too, such as the other leg."""


def body_mask(scan_hu: Num[np.ndarray, "h w k"]) -> MaskArray:
    """Return the voxels of the body: what is denser than air and hangs together, without tables and blankets.

    Thin sheets are taken away first, by an erosion within slices, which costs the body's own border a pixel.

    Args:
        scan_hu: Of a CT.
    """
    dense = np.asarray(scan_hu > BODY_HU)
    numbered, count = components(_eroded(dense))
    if not count:
        return np.zeros(dense.shape, bool)
    sizes = np.bincount(numbered.ravel())
    sizes[0] = 0
    kept: np.ndarray = np.isin(numbered, np.flatnonzero(sizes >= _PIECE * sizes.max()))
    return kept


def _eroded(mask: MaskArray) -> MaskArray:
    """Return the voxels of a mask ``[h w k]`` whose neighbours in the slice belong to it, or lie outside."""
    kept = np.pad(mask, ((1, 1), (1, 1), (0, 0)), constant_values=True)
    kept = kept[:-2] & kept[1:-1] & kept[2:]
    return np.asarray(kept[:, :-2] & kept[:, 1:-1] & kept[:, 2:])


def slice_box(mask: Bool[np.ndarray, "h w"], margin: tuple[int, int]) -> Box:
    """Return the box of a mask ``[h w]`` with a margin, inside the slice; of an empty one the whole slice."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return Box((0, 0, 0), (*mask.shape, 1))
    top, left = max(int(rows[0]) - margin[0], 0), max(int(columns[0]) - margin[1], 0)
    bottom, right = int(rows[-1]) + 1 + margin[0], int(columns[-1]) + 1 + margin[1]
    return Box((top, left, 0), (min(bottom, mask.shape[0]), min(right, mask.shape[1]), 1))


def areas_cm2(mask: MaskArray, pixel_mm2: float) -> Float64[np.ndarray, " k"]:
    """Return the area of a mask ``[h w k]`` in every slice."""
    return np.asarray(mask.sum(axis=(0, 1)) * (pixel_mm2 / 100), dtype=np.float64)


def regions_of(scan_hu: Num[np.ndarray, "h w k"], mask: MaskArray, pixel_mm2: float) -> list[Region]:
    """Say what each axial slice shows.

    A wide slice with much air inside is of the chest, another wide one of abdomen or pelvis; but shoulders are wide
    and airless too, so what lies above a slice of the chest, or right below the neck, counts as chest. Narrow
    slices with little bone are of limbs, the others of head or neck.

    Args:
        scan_hu: Slices of a CT along the last axis, from feet to head.
        mask: Of the body in them.
        pixel_mm2: Area of a pixel.
    """
    found = [_region(scan_hu[:, :, k], mask[:, :, k], pixel_mm2 / 100) for k in range(mask.shape[2])]
    return ["chest" if one == "abdomen-pelvis" and _is_shoulder(found, k) else one for k, one in enumerate(found)]


def _region(slice_hu: Num[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"], pixel_cm2: float) -> Region:
    outline = filled(mask)
    pixels = max(int(outline.sum()), 1)
    if pixels * pixel_cm2 >= TRUNK_CM2:
        return "chest" if (outline & (slice_hu < BODY_HU)).sum() > LUNG_SHARE * pixels else "abdomen-pelvis"
    return "limb" if (outline & (slice_hu > BONE_HU)).sum() < LIMB_BONE * pixels else "head-neck"


def _is_shoulder(found: Sequence[Region], k: int) -> bool:
    above = [region for region in found[k + 1 :] if region != "abdomen-pelvis"]
    return "chest" in found[:k] or (bool(above) and above[0] == "head-neck" and "chest" not in found)


def filled(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return a mask ``[h w]`` with its holes filled: all that cannot be reached from the slice's border."""
    outside, _ = components(np.pad(~mask, 1, constant_values=True)[:, :, None])
    return np.asarray(outside[1:-1, 1:-1, 0] != outside[0, 0, 0])
