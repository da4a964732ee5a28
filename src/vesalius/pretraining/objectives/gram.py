"""Gram: patches of an image should resemble one another as they did to an earlier teacher, whose maps were cleaner.

Siméoni et al. 2025, arXiv:2508.10104, Sec. 4.2; official file ``gram_loss.py``. MedDINOv3's author saw no fading of
patch features on CT, so the objective is an option.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vesalius.pretraining.settings import Gram


class GramLoss(nn.Module):
    """Mean squared difference of the cosines between the patches of an image: in [0, 4]."""

    def __init__(self, settings: Gram) -> None:
        super().__init__()
        self.settings = settings

    def forward(
        self, patches: Float[Tensor, "b t d"], teacher_map: Float[Tensor, "b e y x"], grid: tuple[int, int]
    ) -> Float[Tensor, ""]:
        """Compare the patches' likenesses with the earlier teacher's.

        ``mean over images and pairs of patches of (x_i . x_j - y_i . y_j)^2``, all brought to length 1.

        Args:
            patches: The student's, of the global views; w fastest.
            teacher_map: The earlier teacher's, of the same crops undistorted, usually at a higher resolution;
                brought to the student's grid by bicubic interpolation without antialiasing, as officially.
            grid: The student's patches along h and w.
        """
        with torch.autocast(patches.device.type, enabled=False):
            teacher = teacher_map.float()
            if teacher.shape[2:] != grid:
                teacher = functional.interpolate(teacher, size=grid, mode="bicubic", align_corners=False)
            return (_likeness(patches.float()) - _likeness(teacher.flatten(2).mT)).square().mean()


def _likeness(patches: Float[Tensor, "b t d"]) -> Float[Tensor, "b t t"]:
    """Return the cosine of every pair of an image's patches."""
    x = functional.normalize(patches, dim=-1)
    return x @ x.mT
