"""Segment Anything's checkpoints (``sam_vit_b_01ec64.pth`` and its kin, a flat state dict): the encoder's part.

Paper: Kirillov et al. 2023, arXiv:2304.02643. 314 tensors for ViT-B, 594 for ViT-H. Used are the image encoder and
``output_upscaling`` of the mask decoder, 183 for ViT-B; the rest of the decoder and the encoder of prompts are
known by name and left out. Strict: every tensor of a file is accounted for, by name and shape, before one is read.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from vesalius.checkpoints.catalog import SAM_SPECS
from vesalius.checkpoints.header import Shape
from vesalius.errors import CheckpointError
from vesalius.models.outline import outline
from vesalius.spec import LARGEST, ModelSpec, SamArchitecture

_POSITION = "image_encoder.pos_embed"
_STEM = "image_encoder.patch_embed.proj.weight"
_MARKS = (_POSITION, _STEM, "image_encoder.blocks.0.attn.qkv.weight")

_RENAMES: tuple[tuple[str, str], ...] = (
    (r"encoder\.position", _POSITION),
    (r"encoder\.patch_embedding\.projection", "image_encoder.patch_embed.proj"),
    (r"encoder\.blocks\.(\d+)\.attention\.qkv", r"image_encoder.blocks.\1.attn.qkv"),
    (r"encoder\.blocks\.(\d+)\.attention\.out", r"image_encoder.blocks.\1.attn.proj"),
    (r"encoder\.blocks\.(\d+)\.attention\.row_distances", r"image_encoder.blocks.\1.attn.rel_pos_h"),
    (r"encoder\.blocks\.(\d+)\.attention\.column_distances", r"image_encoder.blocks.\1.attn.rel_pos_w"),
    (r"encoder\.blocks\.(\d+)\.mlp\.expand", r"image_encoder.blocks.\1.mlp.lin1"),
    (r"encoder\.blocks\.(\d+)\.mlp\.contract", r"image_encoder.blocks.\1.mlp.lin2"),
    (r"encoder\.blocks\.(\d+)\.(norm[12])", r"image_encoder.blocks.\1.\2"),
    (r"encoder\.neck\.narrow", "image_encoder.neck.0"),
    (r"encoder\.neck\.norm1", "image_encoder.neck.1"),
    (r"encoder\.neck\.mix", "image_encoder.neck.2"),
    (r"encoder\.neck\.norm2", "image_encoder.neck.3"),
    (r"upscaling\.upsample_again", "mask_decoder.output_upscaling.3"),
    (r"upscaling\.upsample", "mask_decoder.output_upscaling.0"),
    (r"upscaling\.norm", "mask_decoder.output_upscaling.1"),
)
"""Our modules -> theirs, matched at the start of a name; the first that fits counts."""

_ATTENTION = r"(q|k|v|out)_proj"
_UNUSED = tuple(
    re.compile(pattern)
    for pattern in (
        r"prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix",
        r"prompt_encoder\.(point_embeddings\.[0-3]|not_a_point_embed|no_mask_embed)\.weight",
        r"prompt_encoder\.mask_downscaling\.[01346]\.(weight|bias)",
        r"mask_decoder\.(iou_token|mask_tokens)\.weight",
        r"mask_decoder\.output_hypernetworks_mlps\.[0-3]\.layers\.[0-2]\.(weight|bias)",
        r"mask_decoder\.iou_prediction_head\.layers\.[0-2]\.(weight|bias)",
        rf"mask_decoder\.transformer\.layers\.[01]\.(self_attn|cross_attn_\w+)\.{_ATTENTION}\.(weight|bias)",
        r"mask_decoder\.transformer\.layers\.[01]\.(norm[1-4]|mlp\.lin[12])\.(weight|bias)",
        rf"mask_decoder\.transformer\.final_attn_token_to_image\.{_ATTENTION}\.(weight|bias)",
        r"mask_decoder\.transformer\.norm_final_attn\.(weight|bias)",
    )
)
"""Of prompts and masks."""


@dataclass(frozen=True, kw_only=True)
class SamTranslation:
    """What a file in SAM's layout holds, in our words."""

    architecture: SamArchitecture
    names: Mapping[str, str]
    """Name in the file -> our name, of every tensor that is used."""
    dropped: tuple[str, ...]
    """Tensors of prompts and masks, left out."""


def recognises(names: Iterable[str]) -> bool:
    """Say whether these are the names of a checkpoint of Segment Anything."""
    return set(names).issuperset(_MARKS)


def translate(shapes: Mapping[str, Shape]) -> SamTranslation:
    """Match the tensors of a file, by name and shape, with those of the network they make.

    Args:
        shapes: Name -> shape, as in the file.

    Raises:
        CheckpointError: If a tensor is missing, unknown, or of a wrong shape; with the names.
    """
    architecture = _infer_architecture(shapes)
    ours = {name: tuple(tensor.shape) for name, tensor in outline(architecture).state_dict().items()}
    names = {official_name(name): name for name in ours}
    dropped = {name for name in shapes if any(pattern.fullmatch(name) for pattern in _UNUSED)}
    faults = {
        "missing": sorted(set(names) - set(shapes)),
        "unknown": sorted(set(shapes) - set(names) - dropped),
        "of a wrong shape": sorted(
            name for name in set(names) & set(shapes) if tuple(shapes[name]) != ours[names[name]]
        ),
    }
    said = [f"{len(some)} {what} ({', '.join(some[:6])})" for what, some in faults.items() if some]
    if said:
        raise CheckpointError(
            expected=f"the {len(names)} tensors of SAM's image encoder and of its decoder's upscaling, and beside "
            "them only those of prompts and masks",
            got="; ".join(said),
            do="take a whole, unchanged checkpoint of Segment Anything",
        )
    return SamTranslation(architecture=architecture, names=names, dropped=tuple(sorted(dropped)))


def spec_of(translation: SamTranslation) -> ModelSpec:
    """Return the spec of a checkpoint, named by its sizes if they are published ones.

    The layout does not say who made a file, and under what licence: one that was trained on (MedSAM) has the same
    names.
    """
    architecture = translation.architecture
    for published in SAM_SPECS:
        if published.architecture == architecture:
            return published
    return replace(
        SAM_SPECS[0],
        name="sam-unnamed",
        architecture=architecture,
        window_size=(architecture.side, architecture.side, 1),
    )


def official_name(ours: str) -> str:
    """Translate one of our names."""
    for pattern, theirs in _RENAMES:
        match = re.match(pattern + r"(?=\.|$)", ours)
        if match:
            return match.expand(theirs) + ours[match.end() :]
    raise AssertionError(ours)


def _infer_architecture(shapes: Mapping[str, Shape]) -> SamArchitecture:
    """Read the sizes off the shapes; blocks whose distances fit no window look at the whole image."""
    stem, position = shapes[_STEM], shapes[_POSITION]
    tables: list[Shape] = []
    while len(tables) <= LARGEST["depth"]:
        table = shapes.get(f"image_encoder.blocks.{len(tables)}.attn.rel_pos_h")
        if table is None:
            break
        tables.append(table)
    expand, neck = (shapes.get(f"image_encoder.{name}.weight", ()) for name in ("blocks.0.mlp.lin1", "neck.0"))
    try:
        _, grid, _, width = position
        patch, head_width = stem[-1], tables[0][1]
        lengths = [rows for rows, _ in tables]
        windows = {rows for rows in lengths if rows != 2 * grid - 1} or {2 * grid - 1}
        (window,) = windows
        sizes = {
            "patch_size": patch,
            "width": width,
            "depth": len(tables),
            "heads": width // head_width,
            "mlp_ratio": expand[0] // width,
            "side": grid * patch,
            "window": (window + 1) // 2,
            "neck_width": neck[0],
        }
    except (ValueError, IndexError, ZeroDivisionError):
        raise _no_sizes(stem, position, tables) from None
    if any(size > LARGEST[name] for name, size in sizes.items()):
        raise _no_sizes(stem, position, tables)
    return SamArchitecture(
        patch_size=sizes["patch_size"],
        width=sizes["width"],
        depth=sizes["depth"],
        heads=sizes["heads"],
        mlp_ratio=sizes["mlp_ratio"],
        side=sizes["side"],
        window=sizes["window"],
        global_blocks=tuple(number for number, rows in enumerate(lengths) if rows == 2 * grid - 1),
        neck_width=sizes["neck_width"],
    )


def _no_sizes(stem: Shape, position: Shape, tables: list[Shape]) -> CheckpointError:
    return CheckpointError(
        expected="the stem, the positions and the blocks of SAM's image encoder, with windows of one size",
        got=f"a stem of shape {list(stem)}, positions of shape {list(position)}, distances of shapes "
        f"{sorted({*tables})}",
        do="take a whole checkpoint of Segment Anything",
    )
