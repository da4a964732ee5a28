"""MONAI's ``connected_components_combine``, callable without the rest of its network and without scikit-image."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from types import SimpleNamespace

import monai.transforms.utils as monai_utils
import numpy as np
import pytest
import torch
from monai.networks.nets.vista3d import VISTA3D
from scipy import ndimage
from torch import Tensor


def label(mask: np.ndarray, *, connectivity: int, return_num: bool) -> tuple[np.ndarray, int]:
    """Number components in the order of memory, as ``skimage.measure.label`` does."""
    numbered, count = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, connectivity))
    return numbered, count


def monai_combine(
    patch: pytest.MonkeyPatch, earlier: Tensor, clicked: Tensor, points: Tensor, labels: Tensor
) -> Tensor:
    """Merge logits ``[o 1 i j k]`` of clicks ``[o n 3]`` into earlier ones, as MONAI does."""
    patch.setattr(monai_utils, "measure", SimpleNamespace(label=label))
    patch.setattr(monai_utils, "has_measure", True)
    everyone = torch.ones(len(earlier), dtype=torch.bool)
    merged: Tensor = VISTA3D.connected_components_combine(
        SimpleNamespace(NINF_VALUE=-9999), earlier.clone(), clicked.clone(), points, labels, everyone
    )
    return merged
