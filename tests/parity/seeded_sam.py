"""Weights for parity tests of SAM: names and shapes of its official files, each tensor seeded by its name.

The names and shapes are written out from their description, not taken from the code under test. Tables of distances
and positions, which begin at zero in the official code, are drawn like any other tensor.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from parity.seeded_vit import seeded_tensor

TOY = {"width": 48, "depth": 4, "heads": 2, "patch": 8, "window": 4, "neck": 32}
"""Of which blocks 1 and 3 look at the whole image; ``grid`` is given where it is used."""
TOY_GLOBAL = (1, 3)
VIT_B = {"width": 768, "depth": 12, "heads": 12, "patch": 16, "grid": 64, "window": 14, "neck": 256}
VIT_B_GLOBAL = (2, 5, 8, 11)


def encoder_shapes(
    *,
    width: int,
    depth: int,
    heads: int,
    patch: int,
    grid: int,
    window: int,
    neck: int,
    global_blocks: Sequence[int],
) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of the part of an official file that is used."""
    shapes: dict[str, tuple[int, ...]] = {
        "image_encoder.pos_embed": (1, grid, grid, width),
        "image_encoder.patch_embed.proj.weight": (width, 3, patch, patch),
        "image_encoder.patch_embed.proj.bias": (width,),
    }
    for number in range(depth):
        side = grid if number in global_blocks else window
        block = {
            "norm1.weight": (width,),
            "norm1.bias": (width,),
            "attn.rel_pos_h": (2 * side - 1, width // heads),
            "attn.rel_pos_w": (2 * side - 1, width // heads),
            "attn.qkv.weight": (3 * width, width),
            "attn.qkv.bias": (3 * width,),
            "attn.proj.weight": (width, width),
            "attn.proj.bias": (width,),
            "norm2.weight": (width,),
            "norm2.bias": (width,),
            "mlp.lin1.weight": (4 * width, width),
            "mlp.lin1.bias": (4 * width,),
            "mlp.lin2.weight": (width, 4 * width),
            "mlp.lin2.bias": (width,),
        }
        shapes |= {f"image_encoder.blocks.{number}.{name}": shape for name, shape in block.items()}
    after = {
        "image_encoder.neck.0.weight": (neck, width, 1, 1),
        "image_encoder.neck.1.weight": (neck,),
        "image_encoder.neck.1.bias": (neck,),
        "image_encoder.neck.2.weight": (neck, neck, 3, 3),
        "image_encoder.neck.3.weight": (neck,),
        "image_encoder.neck.3.bias": (neck,),
        "mask_decoder.output_upscaling.0.weight": (neck, neck // 4, 2, 2),
        "mask_decoder.output_upscaling.0.bias": (neck // 4,),
        "mask_decoder.output_upscaling.1.weight": (neck // 4,),
        "mask_decoder.output_upscaling.1.bias": (neck // 4,),
        "mask_decoder.output_upscaling.3.weight": (neck // 4, neck // 8, 2, 2),
        "mask_decoder.output_upscaling.3.bias": (neck // 8,),
    }
    return shapes | after


def prompt_shapes(neck: int = 256) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of the rest of an official file: prompts, the two-way transformer, masks."""
    shapes: dict[str, tuple[int, ...]] = {
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (2, neck // 2),
        "prompt_encoder.not_a_point_embed.weight": (1, neck),
        "prompt_encoder.no_mask_embed.weight": (1, neck),
        "mask_decoder.iou_token.weight": (1, neck),
        "mask_decoder.mask_tokens.weight": (4, neck),
    }
    shapes |= {f"prompt_encoder.point_embeddings.{number}.weight": (1, neck) for number in range(4)}
    layers: dict[str, tuple[int, ...]] = {  # weights; each has a bias
        "prompt_encoder.mask_downscaling.0": (4, 1, 2, 2),
        "prompt_encoder.mask_downscaling.1": (4,),
        "prompt_encoder.mask_downscaling.3": (16, 4, 2, 2),
        "prompt_encoder.mask_downscaling.4": (16,),
        "prompt_encoder.mask_downscaling.6": (neck, 16, 1, 1),
        "mask_decoder.transformer.norm_final_attn": (neck,),
    }

    def attention(name: str, inner: int) -> None:
        layers.update({f"{name}.{which}_proj": (inner, neck) for which in "qkv"})
        layers[f"{name}.out_proj"] = (neck, inner)

    for number in range(2):
        layer = f"mask_decoder.transformer.layers.{number}"
        attention(f"{layer}.self_attn", neck)
        attention(f"{layer}.cross_attn_token_to_image", neck // 2)
        attention(f"{layer}.cross_attn_image_to_token", neck // 2)
        layers |= {f"{layer}.norm{norm}": (neck,) for norm in (1, 2, 3, 4)}
        layers |= {f"{layer}.mlp.lin1": (2048, neck), f"{layer}.mlp.lin2": (neck, 2048)}
    attention("mask_decoder.transformer.final_attn_token_to_image", neck // 2)
    for token in range(4):
        sizes = ((neck, neck), (neck, neck), (neck // 8, neck))
        name = f"mask_decoder.output_hypernetworks_mlps.{token}.layers"
        layers |= {f"{name}.{place}": size for place, size in enumerate(sizes)}
    sizes = ((256, neck), (256, 256), (4, 256))
    layers |= {f"mask_decoder.iou_prediction_head.layers.{place}": size for place, size in enumerate(sizes)}
    for name, shape in layers.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def toy_shapes(grid: int) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of a whole file of the toy that learnt with so many patches along each side."""
    return encoder_shapes(**TOY, grid=grid, global_blocks=TOY_GLOBAL) | prompt_shapes(TOY["neck"])


def vit_b_shapes() -> dict[str, tuple[int, ...]]:
    """Return name -> shape of the published ViT-B."""
    return encoder_shapes(**VIT_B, global_blocks=VIT_B_GLOBAL) | prompt_shapes()


def seeded_sam(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Draw every tensor of a layout; positions are as large as what they are added to."""
    state = {name: seeded_tensor(name, shape) for name, shape in shapes.items()}
    name = "image_encoder.pos_embed"
    state[name] = state[name] * torch.Size(shapes[name][1:]).numel() ** 0.5
    return state


def grey_images(height: int, width: int, *, batch: int = 1) -> Tensor:
    """Draw images of one channel in 0..1, of larger and smaller structures."""
    generator = torch.Generator().manual_seed(1000 * height + width)
    coarse = torch.rand(batch, 1, height // 8, width // 8, generator=generator)
    fine = torch.rand(batch, 1, height, width, generator=generator)
    return (coarse.repeat_interleave(8, 2).repeat_interleave(8, 3) + fine) / 2
