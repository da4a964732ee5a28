"""Change a window's picture as scanners do: blur, contrast, an uneven field; the work is MONAI's.

MONAI of the libraries that were compared (``benchmarks/augmentation.py``): batchgeneratorsv2 is as fast and TorchIO
half as fast, but both draw from generators of the whole process, so that two threads that draw windows at once do
not get the same ones twice; MONAI's transforms take their parameters, or a seed, and need only torch and NumPy.
Cuts, noise, coarser voxels and drift stay in ``deformation`` and ``degradation``: these read a turned window
straight out of a case on disk, or are faster.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from vesalius.errors import MissingExtraError, install_line
from vesalius.transforms.augment import Augmentation


def disturb(
    image: Float[Tensor, "i j k"], config: Augmentation, rng: np.random.Generator
) -> Float[Tensor, "i j k"]:
    """Return a window as another scanner would have shown it.

    Nothing is drawn for a change that never happens, so that a configuration without it draws what it drew before
    there was one.

    Args:
        image: Intensities in 0..1; a slice has one voxel along its last axis, and nothing is done along that.
        config: How often, and how far.
        rng: Where everything random comes from.

    Raises:
        MissingExtraError: If a change is asked for and MONAI is not installed.
    """
    if image.shape[2] == 1:
        return disturb_slices(image, config, rng)
    return _disturbed(image[None], config, rng)[0]


def disturb_slices(
    image: Float[Tensor, "h w k"], config: Augmentation, rng: np.random.Generator
) -> Float[Tensor, "h w k"]:
    """Return neighbouring slices as another scanner would have shown them, all in one way.

    What is drawn is drawn once; contrast is changed over the range of all of them, and blur stays in their plane.

    Args:
        image: Intensities in 0..1, slices along the last axis.
        config: How often, and how far.
        rng: Where everything random comes from; as much is drawn for many slices as for one.

    Raises:
        MissingExtraError: If a change is asked for and MONAI is not installed.
    """
    return _disturbed(image.permute(2, 0, 1), config, rng).permute(1, 2, 0)


def _disturbed(
    image: Float[Tensor, "*shape"], config: Augmentation, rng: np.random.Generator
) -> Float[Tensor, "*shape"]:
    """Change all channels, the first axis, alike; nothing passes from one to another."""
    if config.blur and rng.random() < config.blur:
        widths = rng.uniform(*config.blur_voxels, image.ndim - 1).tolist()
        image = _plain(_monai().GaussianSmooth(widths)(image))
    if config.contrast and rng.random() < config.contrast:
        gamma = float(np.exp(rng.uniform(*np.log(config.gamma))))
        image = _plain(_monai().AdjustContrast(gamma)(image))
    if config.field and rng.random() < config.field:
        uneven = _monai().RandBiasField(degree=3, coeff_range=(0.0, config.field_strength), prob=1.0)
        uneven.set_random_state(seed=int(rng.integers(2**32)))
        image = _plain(uneven(image)).clamp(0.0, 1.0)
    return image


def _plain(image: Any) -> Tensor:
    """Return MONAI's tensor without its metadata."""
    tensor: Tensor = image.as_tensor() if hasattr(image, "as_tensor") else image
    return tensor


def _monai() -> Any:
    try:
        return importlib.import_module("monai.transforms")
    except ImportError:
        raise MissingExtraError(
            expected="MONAI, which blurs windows and changes their contrast",
            got="a Python without it",
            do=f"{install_line('train')}, or set blur, contrast and field of the augmentation to 0",
        ) from None
