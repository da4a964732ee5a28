"""Weights for parity tests: every tensor drawn by itself from a generator seeded by its name.

Default initialisation hides faults (zero biases, unit scales); here no affine, bias or token stays at its initial
value, and activations stay near 1, so that each tensor matters.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def seeded_tensor(name: str, like: Tensor) -> Tensor:
    """Draw the values of one tensor: kernels scaled to keep variance, scales near 1, biases and tokens about 0.3."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
    drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    if like.dim() >= 2 and like.shape[0] > 3 and "embedding" not in name:
        inputs = like.shape[0] if "deconv" in name or "output_upscaling.0" in name else like[0].numel() / 1
        fan_in = inputs * like[0, 0].numel() / 8 if "deconv" in name else inputs
        return drawn * (2.0 / fan_in) ** 0.5
    if like.dim() == 1 and name.endswith("weight"):
        return 1 + 0.3 * drawn
    if "gaussian" in name or like.dim() >= 2:
        return drawn
    return 0.3 * drawn


def seeded_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Draw every tensor of a state dict."""
    return {name: seeded_tensor(name, tensor) for name, tensor in state.items()}
