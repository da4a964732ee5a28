"""Distortions: intensities of a view changed as scanners, protocols and doses change them.

What is drawn comes from a numpy generator, on whatever device the image is. The chain after normalisation is that
of FlexiCT's slices (arXiv:2605.21906; noise, blur, brightness, coarser pixels, gamma), the only published one for
CT; the drift before it is ours. Meta's code for photographs blurs with inverted probabilities (its issue 286); here
a probability is how often something is done.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vesalius.hounsfield import AIR_HU
from vesalius.pretraining.settings import Distortion

Picture = Float[Tensor, "h w"]


def drifted(image_hu: Picture, settings: Distortion, rng: np.random.Generator) -> Picture:
    """Return an image whose Hounsfield scale is off, or the image."""
    if rng.random() >= settings.drift:
        return image_hu
    factor, shift = float(rng.uniform(*settings.drift_factor)), float(rng.normal(0, settings.drift_hu))
    return (image_hu - AIR_HU) * factor + AIR_HU + shift


def distorted(image: Picture, settings: Distortion, rng: np.random.Generator) -> Picture:
    """Return a normalised image as another scanner would have shown it; the drift is not in it."""
    if rng.random() < settings.noise:
        drawn = torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32))
        image = image + float(rng.uniform(0, settings.noise_strength)) * drawn.to(image.device)
    if rng.random() < settings.blur:
        image = blurred(image, float(rng.uniform(*settings.blur_pixels)))
    if rng.random() < settings.brightness:
        image = image * (1 + float(rng.uniform(-settings.brightness_change, settings.brightness_change)))
    if rng.random() < settings.low_resolution:
        image = coarsened(image, float(rng.uniform(*settings.coarseness)))
    if rng.random() < settings.contrast:
        image = with_gamma(image, float(rng.uniform(*settings.gamma)))
    return image


def blurred(image: Picture, deviation: float) -> Picture:
    """Return an image under a Gaussian of so many pixels; its edge goes on as it is."""
    radius = max(1, round(3 * deviation))
    places = torch.arange(-radius, radius + 1, dtype=torch.float32, device=image.device)
    kernel = (-0.5 * (places / deviation) ** 2).exp()
    kernel = kernel / kernel.sum()
    padded = functional.pad(image[None, None], (radius, radius, radius, radius), mode="replicate")
    rows = functional.conv2d(padded, kernel[None, None, :, None])
    return functional.conv2d(rows, kernel[None, None, None, :])[0, 0]


def coarsened(image: Picture, factor: float) -> Picture:
    """Sample an image down to ``factor`` of its size by the nearest pixel, and up again smoothly."""
    size = [max(1, round(side * factor)) for side in image.shape]
    small = functional.interpolate(image[None, None], size=size, mode="nearest")
    return functional.interpolate(small, size=list(image.shape), mode="bilinear", align_corners=False)[0, 0]


def with_gamma(image: Picture, gamma: float) -> Picture:
    """Return an image whose intensities, from 0 to 1 over their range, were taken to the power of gamma."""
    low, high = image.min(), image.max()
    extent = (high - low).clamp_min(1e-6)
    return ((image - low) / extent) ** gamma * extent + low
