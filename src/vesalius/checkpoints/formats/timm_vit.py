"""DINOv3 under timm's names (``vit_base_patch16_dinov3`` and its variants with ``qkvb``), without a mask token."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace

from vesalius.checkpoints.formats.dinov3_official import LAYOUT as DINOV3
from vesalius.checkpoints.formats.dinov3_official import NAMES
from vesalius.checkpoints.formats.vit_layout import Piece

LAYOUT = replace(
    DINOV3,
    name="timm",
    renames={"scale1.gamma": "gamma_1", "scale2.gamma": "gamma_2", **NAMES, "registers": "reg_token"},
    query_bias=Piece("attn.q_bias"),
    value_bias=Piece("attn.v_bias"),
    marks=("cls_token", "reg_token", "blocks.0.gamma_1", "blocks.0.attn.qkv.weight"),
    periods="",
    unused=(),
    optional=("mask_token",),
)
