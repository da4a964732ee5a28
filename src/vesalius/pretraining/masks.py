"""Masks: which patches of the global views are hidden from the student, in blocks.

BEiT's blocks (Bao et al. 2021, arXiv:2106.08254, Alg. 1) as DINOv2 draws them: half of the views are masked, their
ratios spread evenly over a batch; every mask is topped up one patch at a time to exactly the number it was to have.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool

from vesalius.pretraining.settings import Masking

_TRIES = 10
"""Blocks that are drawn in vain before a mask is topped up."""

Mask = Bool[np.ndarray, "y x"]


def draw_masks(
    count: int, grid: tuple[int, int], settings: Masking, rng: np.random.Generator
) -> Bool[np.ndarray, "b t"]:
    """Return which patches of each view are hidden, w fastest.

    Args:
        count: Views; of these, ``settings.images`` are masked.
        grid: Patches along h and w.
        settings: How much is hidden, and in which blocks.
        rng: Decides which views, how much within their share of the ratio's range, and where.
    """
    masks = np.zeros((count, *grid), bool)
    masked = int(count * settings.images)
    bounds = np.linspace(*settings.ratio, masked + 1)
    for view, low, high in zip(rng.permutation(count), bounds[:-1], bounds[1:], strict=False):
        masks[view] = draw_mask(int(rng.uniform(low, high) * grid[0] * grid[1]), grid, settings, rng)
    return masks.reshape(count, -1)


def draw_mask(hidden: int, grid: tuple[int, int], settings: Masking, rng: np.random.Generator) -> Mask:
    """Return a mask of exactly so many hidden patches: blocks, and single patches for the rest."""
    mask = np.zeros(grid, bool)
    in_vain = 0
    while in_vain < _TRIES and (left := hidden - int(mask.sum())) >= settings.smallest_block:
        largest = min(left, mask.size // 2)
        block = _block(max(largest, settings.smallest_block), grid, settings, rng)
        added = int((~mask[block]).sum()) if block else 0
        if block and 0 < added <= left:
            mask[block] = True
        else:
            in_vain += 1
    free = np.flatnonzero(~mask)
    mask.flat[rng.choice(free, hidden - int(mask.sum()), replace=False)] = True
    return mask


def _block(
    largest: int, grid: tuple[int, int], settings: Masking, rng: np.random.Generator
) -> tuple[slice, slice] | None:
    """Return a block of about ``smallest_block`` to ``largest`` patches, or None where its shape does not fit."""
    area = rng.uniform(settings.smallest_block, largest)
    stretch = abs(math.log(settings.narrowest))
    aspect = math.exp(rng.uniform(-stretch, stretch))
    height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    if not (0 < height <= grid[0] and 0 < width <= grid[1]):
        return None
    top, left = int(rng.integers(grid[0] - height + 1)), int(rng.integers(grid[1] - width + 1))
    return slice(top, top + height), slice(left, left + width)
