"""Lumps painted into a window: objects that nobody named and no organ looks like, so that clicks are heeded.

After the synthetic tumours of Hu et al. (CVPR 2023, arXiv:2303.16052), for clicks instead of a class: of any size,
anywhere in the body, brighter or darker than what they replace, or not at all, in which case nothing but the clicks
says where they are, and a round thing about as large as these is the best answer. Ours, not VISTA3D's, which makes
objects without a name of supervoxels (``supervoxel_targets``).
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

RADIUS_MM = (6.0, 60.0)
"""Shortest and longest mean radius; as many lie between 6 and 12 mm as between 30 and 60."""
LARGEST_PART = 0.35
"""Longest mean radius, as a part of the window's shortest side."""
STRETCH = 0.25
"""Standard deviation of the logarithm of each half-axis's ratio to the mean radius."""
WOBBLE = 0.25
"""Standard deviation of the surface, as a part of the radius."""
CONTRAST_HU = 60.0
"""Standard deviation of the change of brightness."""
UNCHANGED = 0.2
"""Part of the lumps that are as bright as what they replace."""
AIR_BELOW_HU = -400.0
"""No lump reaches into what is darker: air and lungs."""
SMALLEST = 30
"""Voxels of a lump at least."""


def paint_lumps(
    image_hu: Float[Tensor, "i j k"], spacing_mm: tuple[float, float, float], count: int, rng: np.random.Generator
) -> tuple[Float[Tensor, "i j k"], Int[Tensor, "i j k"]]:
    """Paint lumps into a window, and return it with their numbers: 1 to ``count``, 0 where there is none.

    Later ones lie over earlier ones, of which something or nothing may be left. A window of air gets none.

    Args:
        image_hu: In Hounsfield units; it is not changed.
        spacing_mm: Of its voxels.
        count: How many are tried.
        rng: Where chance comes from.
    """
    numbers = torch.zeros(image_hu.shape, dtype=torch.long)
    body = (image_hu > AIR_BELOW_HU).flatten().nonzero().flatten()
    if len(body) < SMALLEST:
        return image_hu, numbers
    for number in range(1, count + 1):
        centre = np.unravel_index(int(body[int(rng.integers(len(body)))]), image_hu.shape)
        depth = _depth(tuple(image_hu.shape), np.asarray(centre), np.asarray(spacing_mm), rng)
        is_tissue = image_hu > AIR_BELOW_HU
        lump = (depth > 0) & is_tissue
        if int(lump.sum()) >= SMALLEST:
            image_hu = torch.where(is_tissue, _painted(image_hu, lump, depth, rng), image_hu)
            numbers[lump] = number
    return image_hu, numbers


def _depth(
    shape: tuple[int, ...], centre: np.ndarray, spacing_mm: np.ndarray, rng: np.random.Generator
) -> Float[Tensor, "i j k"]:
    """Return how deep each voxel lies in an uneven ellipsoid: 1 in its middle, 0 on its surface, less outside."""
    longest = min(RADIUS_MM[1], LARGEST_PART * float((np.asarray(shape) * spacing_mm).min()))
    radius_mm = float(np.exp(rng.uniform(np.log(RADIUS_MM[0]), np.log(max(longest, RADIUS_MM[0] + 1e-3)))))
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    half_axes = radius_mm * np.exp(rng.normal(0, STRETCH, 3))
    onto = torch.from_numpy((turn / half_axes[:, None] * spacing_mm).astype(np.float32))  # rows: a half-axis each
    i, j, k = (torch.arange(side) - float(at) for side, at in zip(shape, centre, strict=True))
    squared = torch.zeros(shape)
    for row in onto:
        squared += (row[0] * i[:, None, None] + row[1] * j[:, None] + row[2] * k) ** 2
    knots = [max(2, round(float(side * mm) / radius_mm)) for side, mm in zip(shape, spacing_mm, strict=True)]
    coarse = torch.from_numpy(rng.standard_normal((1, 1, *knots), dtype=np.float32))
    wobble = functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=False)[0, 0]
    return 1 - squared.sqrt() + WOBBLE * wobble


def _painted(
    image_hu: Float[Tensor, "i j k"],
    lump: Bool[Tensor, "i j k"],
    depth: Float[Tensor, "i j k"],
    rng: np.random.Generator,
) -> Float[Tensor, "i j k"]:
    """Return the window with one lump: part of what it replaces still seen in it, its border soft or sharp."""
    seen, soft = float(rng.uniform(0.1, 1.0)), float(rng.uniform(0.05, 0.3))
    is_unchanged, contrast_hu = bool(rng.random() < UNCHANGED), float(rng.normal(0, CONTRAST_HU))
    if is_unchanged:
        return image_hu
    mean = image_hu[lump].clamp(-150, 150).mean()
    inside = mean + contrast_hu + seen * (image_hu - mean)
    return torch.lerp(image_hu, inside, (depth / soft + 0.5).clamp(0, 1))
