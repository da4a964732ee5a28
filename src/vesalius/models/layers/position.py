"""Fourier position: where a point lies in a window, as sines and cosines of random frequencies.

Paper: Tancik et al. 2020, arXiv:2006.10739; used as in Segment Anything. The frequencies are drawn once and belong
to the weights.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FourierPosition(nn.Module):
    """Turns voxel positions into vectors of ``width`` channels, in float32.

    Args:
        width: Channels of the vectors; half sines, half cosines.
    """

    frequencies: Float[Tensor, "3 f"]

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(3, width // 2))

    def forward(self, points_ijk: Float[Tensor, "*n 3"], shape: Sequence[int]) -> Float[Tensor, "*n d"]:
        """Encode points.

        Args:
            points_ijk: Voxel indices; 0 is the centre of the first voxel.
            shape: Voxels of the window along i, j, k.

        Returns:
            Vectors that are equal for equal places of windows of any resolution.
        """
        size = torch.tensor(list(shape), dtype=torch.float32, device=points_ijk.device)
        places = 2 * ((points_ijk.float() + 0.5) / size) - 1  # [n 3], in -1..1
        phases = 2 * math.pi * (places @ self.frequencies.float())  # [n f]
        return torch.cat([phases.sin(), phases.cos()], dim=-1)

    def grid(self, shape: Sequence[int]) -> Float[Tensor, "t d"]:
        """Encode the centre of every voxel of a grid, k fastest."""
        axes = [torch.arange(side, dtype=torch.float32, device=self.frequencies.device) for side in shape]
        points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
        encoded: Tensor = self(points, shape)
        return encoded
