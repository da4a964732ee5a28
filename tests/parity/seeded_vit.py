"""Weights for parity tests of vision transformers: each tensor drawn from a generator seeded by its name.

LayerScale lies in [0.1, 1]: at its start of 1e-5, deleting all attention moves the output by a millionth. The names
and shapes of Meta's files are written out here from their description, not taken from the code under test.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def meta_shapes(
    *, width: int, depth: int, heads: int, patch: int, channels: int = 3, registers: int = 4, qkv_bias: bool = True
) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of a file in Meta's layout."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "storage_tokens": (1, registers, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, channels, patch, patch),
        "patch_embed.proj.bias": (width,),
        "rope_embed.periods": (width // heads // 4,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for number in range(depth):
        block = {
            "norm1.weight": (width,),
            "norm1.bias": (width,),
            "attn.qkv.weight": (3 * width, width),
            "attn.proj.weight": (width, width),
            "attn.proj.bias": (width,),
            "ls1.gamma": (width,),
            "norm2.weight": (width,),
            "norm2.bias": (width,),
            "mlp.fc1.weight": (4 * width, width),
            "mlp.fc1.bias": (4 * width,),
            "mlp.fc2.weight": (width, 4 * width),
            "mlp.fc2.bias": (width,),
            "ls2.gamma": (width,),
        }
        if qkv_bias:
            block |= {"attn.qkv.bias": (3 * width,), "attn.qkv.bias_mask": (3 * width,)}
        shapes |= {f"blocks.{number}.{name}": shape for name, shape in block.items()}
    return shapes


def seeded_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """Draw the values of one tensor from its name and shape alone; constants of the layout are what they are."""
    if name.endswith("periods"):
        return 100 ** (torch.arange(shape[0]) / shape[0])
    if name.endswith("bias_mask"):
        return torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(shape[0] // 3)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
    generator = torch.Generator().manual_seed(seed)
    if "gamma" in name or "lambda" in name:
        return 0.1 + 0.9 * torch.rand(shape, generator=generator)
    drawn = torch.randn(shape, generator=generator)
    if "token" in name:
        return drawn
    if len(shape) == 1:
        return 1 + 0.3 * drawn if name.endswith("weight") else 0.3 * drawn
    return drawn * (torch.Size(shape[1:]).numel()) ** -0.5


def seeded_vit(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Draw every tensor of a layout."""
    return {name: seeded_tensor(name, tuple(shape)) for name, shape in shapes.items()}


def seeded_images(height: int, width: int, *, batch: int = 1) -> Tensor:
    """Draw images of three different channels."""
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1000 * height + width))
