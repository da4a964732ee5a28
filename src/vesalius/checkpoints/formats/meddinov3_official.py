"""MedDINOv3's and FlexiCT's checkpoints: a pretraining's teacher, with the heads that only pretraining uses.

Papers: MedDINOv3 (Li et al. 2025, arXiv:2509.02379), FlexiCT (Li et al. 2026, arXiv:2605.21906). The files hold
``{"teacher": {"backbone.*", "dino_head.*", "ibot_head.*"}}``. FlexiCT's encoder has a stem for slices and one for
volumes before the same blocks; only that for slices is read, as ViT with patches of 8 pixels.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace

from vesalius.checkpoints.catalog import FLEXICT_SPEC, MEDDINOV3_SPEC
from vesalius.checkpoints.formats.dinov3_official import LAYOUT as DINOV3
from vesalius.checkpoints.formats.dinov3_official import MARKS, NAMES
from vesalius.checkpoints.formats.vit_layout import VitLayout

LAYOUT = replace(
    DINOV3,
    name="meddinov3",
    prefix="backbone.",
    marks=MARKS,
    heads=("dino_head.", "ibot_head."),
    norm_eps=1e-6,
    specs=(MEDDINOV3_SPEC,),
)

ENCODER = replace(LAYOUT, name="meddinov3 encoder", prefix="", heads=(), lacks=("blocks.0.attn.qkv.bias",))
"""The encoder stored by itself, with Meta's names; theirs have biases of queries and values, and it has none."""

FLEXICT: VitLayout = replace(
    LAYOUT,
    name="flexict",
    renames={**NAMES, "patch_embedding.projection": "patch_embed_2D.proj"},
    marks=("cls_token", "rope_embed_2D.periods", "patch_embed_2D.proj.weight", "blocks.0.attn.qkv.weight"),
    periods="rope_embed_2D.periods",
    unused=(r"rope_embed_[23]D\.periods", r"patch_embed_3D\.proj\.(weight|bias)"),
    specs=(FLEXICT_SPEC,),
)
