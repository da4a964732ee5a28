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

from vesalius.errors import MissingExtraError
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
        return _disturbed(image[:, :, 0], config, rng)[:, :, None]
    return _disturbed(image, config, rng)


def _disturbed(
    image: Float[Tensor, "*shape"], config: Augmentation, rng: np.random.Generator
) -> Float[Tensor, "*shape"]:
    if config.blur and rng.random() < config.blur:
        image = _plain(_monai().GaussianSmooth(rng.uniform(*config.blur_voxels, image.ndim).tolist())(image[None]))
    if config.contrast and rng.random() < config.contrast:
        gamma = float(np.exp(rng.uniform(*np.log(config.gamma))))
        image = _plain(_monai().AdjustContrast(gamma)(image[None]))
    if config.field and rng.random() < config.field:
        uneven = _monai().RandBiasField(degree=3, coeff_range=(0.0, config.field_strength), prob=1.0)
        uneven.set_random_state(seed=int(rng.integers(2**32)))
        image = _plain(uneven(image[None])).clamp(0.0, 1.0)
    return image


def _plain(image: Any) -> Tensor:
    """Return MONAI's tensor without its metadata, and without its axis of channels."""
    tensor: Tensor = image.as_tensor()[0] if hasattr(image, "as_tensor") else image[0]
    return tensor


def _monai() -> Any:
    try:
        return importlib.import_module("monai.transforms")
    except ImportError:
        raise MissingExtraError(
            expected="MONAI, which blurs windows and changes their contrast",
            got="a Python without it",
            do="pip install 'vesalius[train]', or set blur, contrast and field of the augmentation to 0",
        ) from None
