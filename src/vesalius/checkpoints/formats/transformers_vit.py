"""DINOv3 under the names of transformers (``DINOv3ViTModel``), of version 5 and of files written by version 4."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace

from vesalius.checkpoints.formats.dinov3_official import LAYOUT as DINOV3
from vesalius.checkpoints.formats.vit_layout import Piece

LAYOUT = replace(
    DINOV3,
    name="transformers",
    renames={
        "patch_embedding.projection": "embeddings.patch_embeddings",
        "class_token": "embeddings.cls_token",
        "registers": "embeddings.register_tokens",
        "mask_token": "embeddings.mask_token",
        "attention.out": "attention.o_proj",
        "scale1.gamma": "layer_scale1.lambda1",
        "scale2.gamma": "layer_scale2.lambda1",
        "mlp.expand": "mlp.up_proj",
        "mlp.contract": "mlp.down_proj",
    },
    block="model.layer.",
    splits_qkv=True,
    query_bias=Piece("attention.q_proj.bias"),
    value_bias=Piece("attention.v_proj.bias"),
    marks=("embeddings.cls_token", "embeddings.register_tokens", "model.layer.0.attention.q_proj.weight"),
    periods="",
    unused=(),
)

VERSION_4 = replace(
    LAYOUT,
    name="transformers 4",
    block="layer.",
    marks=("embeddings.cls_token", "embeddings.register_tokens", "layer.0.attention.q_proj.weight"),
)
