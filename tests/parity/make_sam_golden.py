"""Write ``golden/sam.safetensors``: what transformers' SAM answers for weights seeded by name.

It runs by hand in an environment of its own, because transformers is no dependency, and what it writes is kept:

    pip install --no-deps transformers huggingface_hub tokenizers regex pyyaml
    pip install --no-deps httpx2 httpcore2 truststore h11 anyio
    PYTHONPATH=tests:src python tests/parity/make_sam_golden.py

A network that sees images of another size than it learnt with has tables of distances of another length there,
which transformers interpolates; positions it does not, so here torch does.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from parity.seeded_sam import (
    TOY,
    TOY_GLOBAL,
    VIT_B,
    VIT_B_GLOBAL,
    encoder_shapes,
    grey_images,
    seeded_sam,
    toy_shapes,
    vit_b_shapes,
)

GOLDEN = Path(__file__).parent / "golden"
EVERY = 16
"""Of ViT-B only every sixteenth row, column and channel is kept."""
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)

ENCODER = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.blocks\.", ".layers."),
    (r"patch_embed\.proj", "patch_embed.projection"),
    (r"\.norm([12])\.", r".layer_norm\1."),
    (r"neck\.0", "neck.conv1"),
    (r"neck\.1", "neck.layer_norm1"),
    (r"neck\.2", "neck.conv2"),
    (r"neck\.3", "neck.layer_norm2"),
)
UPSCALING = (
    (r"^mask_decoder\.output_upscaling\.0", "upscale_conv1"),
    (r"^mask_decoder\.output_upscaling\.1", "upscale_layer_norm"),
    (r"^mask_decoder\.output_upscaling\.3", "upscale_conv2"),
)


def renamed(state: dict[str, Tensor], table: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    """Return the tensors that the first row of a table is for, under transformers' names."""
    found = {}
    for name, tensor in state.items():
        if re.match(table[0][0].split(r"\.0")[0], name):
            for pattern, theirs in table:
                name = re.sub(pattern, theirs, name)  # noqa: PLW2901 - step by step
            found[name] = tensor
    return found


def encoder_of(sizes: dict[str, int], image_side: int, global_blocks: tuple[int, ...]) -> Any:
    """Return transformers' encoder for images of one size."""
    from transformers import SamVisionConfig, SamVisionModel

    return SamVisionModel(
        SamVisionConfig(
            hidden_size=sizes["width"],
            output_channels=sizes["neck"],
            num_hidden_layers=sizes["depth"],
            num_attention_heads=sizes["heads"],
            image_size=image_side,
            patch_size=sizes["patch"],
            window_size=sizes["window"],
            global_attn_indexes=list(global_blocks),
        )
    ).eval()


def upscaling_of(neck: int) -> Any:
    """Return transformers' mask decoder, of which three layers are used."""
    from transformers.models.sam.configuration_sam import SamMaskDecoderConfig
    from transformers.models.sam.modeling_sam import SamMaskDecoder

    return SamMaskDecoder(SamMaskDecoderConfig(hidden_size=neck)).eval()


def answers(
    state: dict[str, Tensor], sizes: dict[str, int], blocks: tuple[int, ...], side: int
) -> dict[str, Tensor]:
    """Return what the encoder and the upscaling say of a grey image of so many pixels a side."""
    network, decoder = encoder_of(sizes, side, blocks), upscaling_of(sizes["neck"])
    weights = renamed(state, ENCODER)
    grid = side // sizes["patch"]
    positions = weights["vision_encoder.pos_embed"]
    if positions.shape[1] != grid:
        learnt = positions.permute(0, 3, 1, 2)
        wanted = functional.interpolate(learnt, size=(grid, grid), mode="bicubic", antialias=True)
        weights["vision_encoder.pos_embed"] = wanted.permute(0, 2, 3, 1)
        for number in blocks:
            for which in ("rel_pos_h", "rel_pos_w"):
                table = weights[f"vision_encoder.layers.{number}.attn.{which}"]
                setattr(network.vision_encoder.layers[number].attn, which, nn.Parameter(torch.zeros_like(table)))
    network.load_state_dict(weights, strict=True)
    missing = decoder.load_state_dict(renamed(state, UPSCALING), strict=False)
    assert not missing.unexpected_keys
    assert not [name for name in missing.missing_keys if name.startswith("upscale")]
    mean, deviation = (torch.tensor(three)[:, None, None] for three in (PIXEL_MEAN, PIXEL_STD))
    features = network((255 * grey_images(side, side) - mean) / deviation).last_hidden_state
    finer = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(features)))
    return {"encoded": features, "upscaled": decoder.activation(decoder.upscale_conv2(finer))}


@torch.no_grad()
def main() -> None:
    """Ask transformers and write its answers."""
    import transformers

    golden: dict[str, Tensor] = {}
    for case, grid in (("padded", 10), ("interpolated", 6)):
        assert encoder_shapes(**TOY, grid=grid, global_blocks=TOY_GLOBAL).items() <= toy_shapes(grid).items()
        found = answers(seeded_sam(toy_shapes(grid)), TOY, TOY_GLOBAL, 10 * TOY["patch"])
        golden |= {f"{case}/{name}": tensor for name, tensor in found.items()}
    found = answers(seeded_sam(vit_b_shapes()), VIT_B, VIT_B_GLOBAL, 1024)
    golden["vit_b/encoded"] = found["encoded"][:, ::EVERY, ::EVERY, ::EVERY]
    golden["vit_b/upscaled"] = found["upscaled"][:, ::EVERY, ::EVERY, ::EVERY]
    versions = {"torch": str(torch.__version__), "transformers": transformers.__version__}
    save_file({name: tensor.contiguous() for name, tensor in golden.items()}, GOLDEN / "sam.safetensors", versions)


if __name__ == "__main__":
    main()
