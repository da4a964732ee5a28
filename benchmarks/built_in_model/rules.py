"""Labels from Hounsfield units and anatomy alone, for structures that a scan shows but nobody drew.

Lungs are recognised as aerated tissue (darker than soft tissue, brighter than the air of the windpipe), the right
kidney by its enhancement opposite the left one. Each result was looked at; it is called *rule* in the model card.
To a stomach that was drawn in part a rule adds the swallowed contrast that fills it.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import cc3d
import numpy as np
from scipy import ndimage

VOXEL_ML = 0.027
"""Volume of a voxel of 3 mm."""


def lungs(
    image_hu: np.ndarray, *, middle_i: float, smallest_ml: float = 30.0, has_outside: bool = True
) -> np.ndarray:
    """Find aerated lung in a scan of 3 mm: True where it is.

    The local mean separates lung (about -850 HU) from the gut and outside air (about -1000); the windpipe is the
    small round hole near the midline of a slice.

    Args:
        image_hu: Hounsfield units (i, j, k).
        middle_i: Where the spine is, along i.
        smallest_ml: Components smaller than this are gas of something else.
        has_outside: Whether the scan shows air around the body (a crop inside the chest does not).
    """
    smooth = ndimage.uniform_filter(image_hu.astype(np.float32), 3)
    outside = _outside(image_hu) if has_outside else np.zeros(image_hu.shape, dtype=bool)
    outside |= _windpipe(image_hu, middle_i)
    core = (smooth > -945) & (smooth < -600) & ~ndimage.binary_dilation(outside, iterations=2)
    core = ndimage.binary_opening(core, iterations=1)
    components = cc3d.connected_components(core.astype(np.uint8), connectivity=6)
    sizes = np.bincount(components.ravel()) * VOXEL_ML
    found = np.isin(components, [c for c in range(1, len(sizes)) if sizes[c] >= smallest_ml])
    if not found.any():
        return found
    aerated = (image_hu < -450) & (smooth > -965) & ~outside
    grown = ndimage.binary_dilation(found, iterations=2, mask=aerated)
    return np.asarray(ndimage.binary_closing(np.pad(grown, 3), iterations=2)[3:-3, 3:-3, 3:-3] | grown)


def _windpipe(image_hu: np.ndarray, middle_i: float) -> np.ndarray:
    """Air of less than 7 square centimetres within 24 mm of the midline, slice by slice, and its wall."""
    result = np.zeros(image_hu.shape, dtype=bool)
    for k in range(image_hu.shape[2]):
        labels, count = ndimage.label(image_hu[:, :, k] < -500)
        for label in range(1, count + 1):
            part = labels == label
            if part.sum() * 9 < 700 and abs(np.argwhere(part)[:, 0].mean() - middle_i) * 3 < 24:
                result[:, :, k] |= ndimage.binary_dilation(part)
    return result


def _outside(image_hu: np.ndarray) -> np.ndarray:
    """Air that is connected to the faces left, right, front and back of the scan, slice by slice."""
    air = image_hu < -700
    result = np.zeros_like(air)
    for k in range(air.shape[2]):
        labels, _ = ndimage.label(np.pad(air[:, :, k], 1, constant_values=True))
        result[:, :, k] = (labels == labels[0, 0])[1:-1, 1:-1]
    return result


def sides(mask: np.ndarray, middle_i: float) -> tuple[np.ndarray, np.ndarray]:
    """Split a mask into its left and right half of the body; i runs towards the right of the patient in RAS.

    Each component goes wholly to the side where most of it lies.
    """
    components = cc3d.connected_components(mask.astype(np.uint8), connectivity=6)
    i = np.arange(mask.shape[0])[:, None, None]
    left = np.zeros_like(mask)
    for label in range(1, int(components.max()) + 1):
        part = components == label
        share = float((part & (i < middle_i)).sum() / part.sum())
        left |= part if share > 0.9 else (part & (i < middle_i) if share > 0.1 else False)
    return left, mask & ~left


def opposite_kidney(image_hu: np.ndarray, left: np.ndarray, middle_i: float) -> np.ndarray:
    """Find the enhanced right kidney of a portal-venous scan: the bright blob opposite the left kidney."""
    smooth = ndimage.uniform_filter(image_hu.astype(np.float32), 3)
    threshold = 0.5 * (float(np.median(image_hu[left])) + 90.0)
    bright = ndimage.binary_opening((smooth > threshold) & (smooth < 320), iterations=2)
    components = cc3d.connected_components(bright.astype(np.uint8), connectivity=6)
    centre = np.array(ndimage.center_of_mass(left))
    wanted = np.array([2 * middle_i - centre[0], centre[1], centre[2] - 3])
    best, nearest = 0, 20.0
    for label in range(1, int(components.max()) + 1):
        part = components == label
        apart = float(np.linalg.norm(np.array(ndimage.center_of_mass(part)) - wanted))
        box = np.ptp(np.argwhere(part), axis=0) + 1
        compact = part.sum() / box.prod() > 0.22  # a kidney fills 0.29 of its box, filled colon 0.14
        if 40 <= part.sum() * VOXEL_ML <= 400 and apart < nearest and compact:
            best, nearest = label, apart
    if best == 0:
        return np.zeros_like(left)
    grown = ndimage.binary_dilation(components == best, iterations=2, mask=smooth > threshold)
    return np.asarray(ndimage.binary_fill_holes(ndimage.binary_closing(grown, iterations=3)))


def filled_stomach(image_hu: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Add to a stomach the swallowed contrast that touches it, in a scan of 3 mm.

    A network that never saw swallowed contrast draws the part of a stomach that it does not fill. Gas over it, and
    what contrast does not touch, stay as they were drawn. 300 HU is brighter than an organ of the portal-venous
    phase; with 200 to 400 HU the one stomach that this was made for has 124 to 86 ml before it is smoothed.

    Args:
        image_hu: Hounsfield units (i, j, k).
        drawn: The stomach without its contrast.
    """
    components = cc3d.connected_components(ndimage.binary_opening(image_hu > 300).astype(np.uint8), connectivity=6)
    beside = np.unique(components[ndimage.binary_dilation(drawn)])
    contrast = np.isin(components, beside[beside > 0])
    if not contrast.any():
        return drawn
    filled = np.pad(drawn | contrast, 3)
    return np.asarray(ndimage.binary_closing(filled, iterations=2)[3:-3, 3:-3, 3:-3] | drawn)
