"""Meta's DINOv3 checkpoints (``.pth``, a flat state dict), as published for ViT-S, B and L of patch 16.

Paper: Siméoni et al. 2025, arXiv:2508.10104. 188 tensors for ViT-B, of which 175 are used: the rest are the periods
of the rotary position and the masks that zero the keys' biases. Loaders that ignore what does not fit drop the
registers of these files without a word; here every tensor is accounted for.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from vesalius.checkpoints.catalog import DINOV3_SPECS
from vesalius.checkpoints.formats.vit_layout import Piece, VitLayout

NAMES = {
    "patch_embedding.projection": "patch_embed.proj",
    "class_token": "cls_token",
    "registers": "storage_tokens",
    "attention.qkv": "attn.qkv",
    "attention.out": "attn.proj",
    "scale1": "ls1",
    "scale2": "ls2",
    "mlp.expand": "mlp.fc1",
    "mlp.contract": "mlp.fc2",
}
"""Our names -> Meta's."""

MARKS = ("cls_token", "rope_embed.periods", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight")
"""Names of every encoder of this family."""

LAYOUT = VitLayout(
    name="dinov3",
    renames=NAMES,
    query_bias=Piece("attn.qkv.bias", 0, 3),
    value_bias=Piece("attn.qkv.bias", 2, 3),
    marks=(*MARKS, "blocks.0.attn.qkv.bias"),
    periods="rope_embed.periods",
    unused=(r"rope_embed\.periods", r"blocks\.\d+\.attn\.qkv\.bias_mask", r"local_cls_norm\.(weight|bias)"),
    norm_eps=1e-5,
    specs=DINOV3_SPECS,
)
