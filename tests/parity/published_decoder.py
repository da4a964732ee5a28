"""MedDINOv3's decoder as published, written out: names, sizes and the layer norm in four steps.

Layout: Li et al. 2025 (arXiv:2509.02379) and its code, class ``PatchDecode``: per doubling a transposed convolution
of kernel and stride 2, a layer norm over channels (as Segment Anything's), an exact GELU; then a convolution of
kernel 1.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch
from torch import Tensor, nn


class LayerNormNd(nn.Module):
    """Layer norm over the channels of each pixel, step by step as published."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class PatchDecode(nn.Module):
    """The decoder; its state dict has the published names below ``up_projection``."""

    def __init__(self, width: int, *, patch_size: int, num_classes: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        while patch_size > 1:
            up = nn.ConvTranspose2d(width, width // 2, kernel_size=2, stride=2)
            stages.append(nn.Sequential(up, LayerNormNd(width // 2), nn.GELU()))
            width, patch_size = width // 2, patch_size // 2
        self.decode = nn.Sequential(*stages, nn.Conv2d(width, num_classes, kernel_size=1))

    def forward(self, features: Tensor) -> Tensor:
        """Map features of all taps, side by side, to logits."""
        logits: Tensor = self.decode(features)
        return logits
