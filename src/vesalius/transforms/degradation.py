"""Change intensities as scanners and protocols do: resolution, noise, Hounsfield scale."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vesalius.transforms.augment import Augmentation

_CORRELATED_GAIN = 3.0 / 27**0.5
"""Brings noise that was averaged over n voxels back, times the root of n, to about its strength in an organ."""


def degrade(
    image_hu: Float[Tensor, "i j k"], config: Augmentation, rng: np.random.Generator
) -> Float[Tensor, "i j k"]:
    """Return a window as a worse scanner would have shown it."""
    if rng.random() < config.low_resolution:
        factors = np.where(rng.random(3) < 0.5, rng.uniform(*config.coarseness, 3), 1.0)
        image_hu = coarsened(image_hu, factors)
    if rng.random() < config.noise:
        image_hu = image_hu + float(rng.uniform(0, config.noise_hu)) * _noise(image_hu, rng)
    if rng.random() < config.drift:
        factor, shift = float(rng.uniform(*config.drift_factor)), float(rng.normal(0, config.drift_hu))
        image_hu = (image_hu + 1000) * factor - 1000 + shift
    return image_hu


def coarsened(image_hu: Float[Tensor, "i j k"], factors: np.ndarray) -> Float[Tensor, "i j k"]:
    """Sample a window on voxels larger by ``factors``, and interpolate back."""
    size = image_hu.shape
    small = [max(1, round(n / float(factor))) for n, factor in zip(size, factors, strict=True)]
    coarse = functional.interpolate(image_hu[None, None], size=small, mode="trilinear", align_corners=False)
    return functional.interpolate(coarse, size=size, mode="trilinear", align_corners=False)[0, 0]


def _noise(like: Tensor, rng: np.random.Generator) -> Tensor:
    """Return noise of about unit variance: independent, or as smooth as a soft kernel leaves it."""
    noise = torch.from_numpy(rng.standard_normal(tuple(like.shape), dtype=np.float32))
    if rng.random() < 0.5:
        return noise
    kernel = [3 if side >= 3 else 1 for side in like.shape]  # a slice has one voxel along its last axis
    smooth: Tensor = functional.avg_pool3d(noise[None, None], kernel, 1, [side // 2 for side in kernel])[0, 0]
    return smooth * (_CORRELATED_GAIN * math.sqrt(math.prod(kernel)))
