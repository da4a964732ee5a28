"""Weights for parity tests: every tensor drawn by itself from a generator seeded by its name.

Default initialisation hides faults (zero biases, unit scales); here no affine, bias or token stays at its initial
value, and kernels keep the variance of what passes through them, so that each tensor matters.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

TRANSPOSED = ("deconv", "output_upscaling.0")
"""Kernels stored with the input channels first; with stride 2 an output voxel sees an eighth of their taps."""

TOKENS = ("embed", "tokens", "gaussian_matrix")


def seeded_tensor(name: str, like: Tensor) -> Tensor:
    """Draw the values of one tensor from its name and shape alone."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
    drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    if any(part in name for part in TOKENS):
        return drawn
    if like.dim() == 1:
        return 1 + 0.3 * drawn if name.endswith("weight") else 0.3 * drawn
    inputs = like.shape[0] * like[0, 0].numel() / 8 if any(part in name for part in TRANSPOSED) else like[0].numel()
    return drawn * (1.0 / inputs) ** 0.5


def seeded_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Draw every tensor of a state dict."""
    return {name: seeded_tensor(name, tensor) for name, tensor in state.items()}
