"""VISTA3D's official checkpoints, in both layouts, into our names and back.

Paper: He et al., CVPR 2025, arXiv:2406.05285. The layouts are those of MONAI >= 1.4 (``vista3d132``, 259 tensors;
the NV-Segment-CT file has them under ``network.``) and of the research repository (275 tensors); they differ by two
renames and by tensors that no gradient ever reached. Those are dropped here and filled with zeros on the way back.
Strict: every tensor of a file is accounted for, by name and shape, before one is read.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from vesalius.checkpoints.catalog import VISTA3D_SPEC
from vesalius.checkpoints.header import Shape
from vesalius.errors import CheckpointError
from vesalius.models.outline import outline
from vesalius.spec import ModelSpec, VistaArchitecture

Layout = Literal["monai", "research"]

PREFIXES = ("module.", "network.")
"""What may stand before every name: data-parallel training, and the hub's model class."""

_FIRST_CONV = "image_encoder.encoder.conv_init.weight"

_MODULES: tuple[tuple[str, str], ...] = (
    (r"encoder\.first_conv", "image_encoder.encoder.conv_init"),
    (r"encoder\.levels\.(\d+)\.(\d+)", r"image_encoder.encoder.layers.\1.blocks.\2"),
    (r"encoder\.downsamples\.(\d+)", r"image_encoder.encoder.layers.\1.downsample"),
    (r"point_decoder\.head", "image_encoder.up_layers.{last}.head"),
    (r"point_decoder\.upsamples\.(\d+)", r"image_encoder.up_layers.\1.upsample.deconv"),
    (r"point_decoder\.blocks\.(\d+)", r"image_encoder.up_layers.\1.blocks.0"),
    (r"automatic_decoder\.head", "image_encoder.up_layers_auto.{last}.head"),
    (r"automatic_decoder\.upsamples\.(\d+)", r"image_encoder.up_layers_auto.\1.upsample.deconv"),
    (r"automatic_decoder\.blocks\.(\d+)", r"image_encoder.up_layers_auto.\1.blocks.0"),
    (r"class_head\.class_embedding", "class_head.class_embeddings"),
    (r"class_head\.mlp_in", "class_head.mlp.0"),
    (r"class_head\.mlp_out", "class_head.mlp.3"),
    (r"class_head\.feature_blocks\.(\d)\.(conv\d)", r"class_head.image_post_mapping.\1.layer.\2.conv"),
    (r"point_head\.downsample", "point_head.feat_downsample.0"),
    (r"point_head\.map_conv", "point_head.feat_downsample.3"),
    (r"point_head\.upsample", "point_head.output_upscaling.0"),
    (r"point_head\.mask_conv", "point_head.output_upscaling.3"),
    (r"point_head\.mask_mlp\.0", "point_head.output_hypernetworks_mlps.layers.0"),
    (r"point_head\.mask_mlp\.2", "point_head.output_hypernetworks_mlps.layers.1"),
    (r"point_head\.mask_mlp\.4", "point_head.output_hypernetworks_mlps.layers.2"),
    (r"point_head\.position\.frequencies", "point_head.pe_layer.positional_encoding_gaussian_matrix"),
    (r"point_head\.tokens\.negative", "point_head.point_embeddings.0.weight"),
    (r"point_head\.tokens\.positive", "point_head.point_embeddings.1.weight"),
    (r"point_head\.tokens\.padding", "point_head.not_a_point_embed.weight"),
    (r"point_head\.tokens\.special", "point_head.special_class_embed.weight"),
    (r"point_head\.tokens\.mask", "point_head.mask_tokens.weight"),
    (r"point_head\.tokens\.supported", "point_head.supported_embed.weight"),
    (r"point_head\.tokens\.zero_shot", "point_head.zeroshot_embed.weight"),
    (r"point_head\.transformer", "point_head.transformer"),
)
"""Our modules -> theirs, matched at the start of a name; ``{last}`` is the last decoder level."""

_IN_TRANSFORMER: tuple[tuple[str, str], ...] = (
    ("self_attention", "self_attn"),
    ("prompt_to_image", "cross_attn_token_to_image"),
    ("image_to_prompt", "cross_attn_image_to_token"),
    ("final_attention", "final_attn_token_to_image"),
    ("final_norm", "norm_final_attn"),
    ("query", "q_proj"),
    ("key", "k_proj"),
    ("value", "v_proj"),
    ("out", "out_proj"),
    ("mlp_in", "mlp.linear1"),
    ("mlp_out", "mlp.linear2"),
)
"""Parts of names below ``point_head.transformer``: ours, theirs."""


@dataclass(frozen=True, kw_only=True)
class Translation:
    """What a file in an official layout holds, in our words."""

    layout: Layout
    prefix: str
    """What stood before every name and was stripped."""
    architecture: VistaArchitecture
    names: Mapping[str, str]
    """Name in the file -> our name, of every tensor that is used."""
    dropped: tuple[str, ...]
    """Dead tensors of the file, left out."""
    absent: tuple[str, ...]
    """Dead tensors of the layout that the file does not have."""


def recognises(names: Iterable[str]) -> bool:
    """Say whether these are the names of a VISTA3D checkpoint in an official layout."""
    names = list(names)
    return _prefix_of(names) + _FIRST_CONV in names


def translate(shapes: Mapping[str, Shape]) -> Translation:
    """Match the tensors of a file, by name and shape, with those of the network they make.

    Args:
        shapes: Name -> shape, as in the file.

    Raises:
        CheckpointError: If a tensor is missing, unknown, or of a wrong shape; with the names.
    """
    prefix = _prefix_of(shapes)
    theirs = {name.removeprefix(prefix): tuple(shape) for name, shape in shapes.items()}
    layout: Layout = "research" if any(_is_research_only(name) for name in theirs) else "monai"
    architecture = _infer_architecture(theirs)
    our_shapes = _live_shapes(architecture)
    ours = {official_name(name, architecture, layout): name for name in our_shapes}
    live = {name: our_shapes[ours[name]] for name in ours}
    dead = _dead_shapes(architecture, layout)
    _check(theirs, live, dead)
    return Translation(
        layout=layout,
        prefix=prefix,
        architecture=architecture,
        names={prefix + name: ours[name] for name in live},
        dropped=tuple(sorted(prefix + name for name in set(theirs) & set(dead))),
        absent=tuple(sorted(prefix + name for name in set(dead) - set(theirs))),
    )


def convert(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], ModelSpec]:
    """Turn an official state dict into ours and the spec of its model.

    Raises:
        CheckpointError: If a tensor is missing, unknown, or of a wrong shape.
    """
    translation = translate({name: tuple(tensor.shape) for name, tensor in state.items()})
    return {ours: state[name] for name, ours in translation.names.items()}, spec_of(translation)


def spec_of(translation: Translation) -> ModelSpec:
    """Return the spec of a checkpoint in an official layout.

    The layout carries no name, classes or licence: a network of the published sizes is taken to speak the published
    classes (a fine-tuned one may not), any other is called unnamed and keeps the classes its table has rows for.
    """
    architecture = translation.architecture
    provenance = (
        f"a checkpoint in VISTA3D's {translation.layout} layout; `vesalius models verify` says whether it is the "
        "published file"
    )
    if architecture == VISTA3D_SPEC.architecture:
        return replace(VISTA3D_SPEC, provenance=provenance)
    rows = architecture.num_embeddings if architecture.class_branch else 0
    return replace(
        VISTA3D_SPEC,
        name="vista3d-unnamed",
        version="unknown",
        architecture=architecture,
        vocabulary=tuple((label, name) for label, name in VISTA3D_SPEC.vocabulary if label < rows),
        everything=tuple(label for label in VISTA3D_SPEC.everything if label < rows),
        regions=(),
        licence="unknown",
        provenance=provenance,
    )


def to_official(
    state: Mapping[str, Tensor], layout: Layout = "monai", *, prefix: str = "network."
) -> dict[str, Tensor]:
    """Turn our state dict into an official one; dead tensors are zeros.

    Args:
        state: Our names, of a whole network.
        layout: Which official code is to read it.
        prefix: ``network.`` for the hub's model class, nothing for ``load_state_dict`` of the bare network.

    Raises:
        CheckpointError: If these are not our tensors.
    """
    architecture = _infer_our_architecture(state)
    live = _live_shapes(architecture)
    _check({name: tuple(tensor.shape) for name, tensor in state.items()}, live, {})
    official = {prefix + official_name(name, architecture, layout): state[name] for name in live}
    dtype = state["encoder.first_conv.weight"].dtype
    for name, shape in _dead_shapes(architecture, layout).items():
        official[prefix + name] = torch.zeros(shape, dtype=dtype)
    return official


def official_shapes(architecture: VistaArchitecture, layout: Layout = "monai") -> dict[str, Shape]:
    """Return name -> shape of every tensor of an official checkpoint, dead ones too, without a prefix."""
    live = _live_shapes(architecture)
    return {official_name(name, architecture, layout): live[name] for name in live} | _dead_shapes(
        architecture, layout
    )


def official_name(name: str, architecture: VistaArchitecture, layout: Layout) -> str:
    """Translate one of our names.

    Raises:
        CheckpointError: If it is none of ours.
    """
    for ours, theirs in _MODULES:
        match = re.match(rf"{ours}(?=\.|$)", name)
        if match is None:
            continue
        rest = name[match.end() :]
        if ours == r"point_head\.transformer":
            names = dict(_IN_TRANSFORMER)
            rest = ".".join(names.get(part, part) for part in rest.split("."))
        if layout == "research":
            rest = rest.replace(".mlp.linear", ".mlp.lin")
        return match.expand(theirs.replace("{last}", str(len(architecture.blocks_down) - 2))) + rest
    raise CheckpointError(
        expected="a tensor of a VISTA3D network", got=repr(name), do="give the network's own state dict"
    )


def _prefix_of(names: Iterable[str]) -> str:
    names, prefix = list(names), ""
    while names:
        found = next((known for known in PREFIXES if all(name.startswith(prefix + known) for name in names)), None)
        if found is None:
            break
        prefix += found
    return prefix


def _is_research_only(name: str) -> bool:
    return name.startswith(("weight_mapper.", "point_head.output_add_")) or ".mlp.lin1." in name


def _infer_architecture(shapes: Mapping[str, Shape]) -> VistaArchitecture:
    first = shapes.get(_FIRST_CONV, ())
    blocks: dict[int, set[int]] = {}
    for name in shapes:
        if match := re.match(r"image_encoder\.encoder\.layers\.(\d{1,2})\.blocks\.(\d{1,2})\.", name):
            blocks.setdefault(int(match[1]), set()).add(int(match[2]))
    if len(first) != 5 or not 2 <= len(blocks) <= 8 or not 2 <= first[0] <= 1024 or first[0] % 2:
        raise CheckpointError(
            expected=f"{_FIRST_CONV} and the encoder levels of a VISTA3D network",
            got=f"{_FIRST_CONV} of shape {list(first)} and {len(blocks)} levels",
            do="take a VISTA3D checkpoint in MONAI's or the research repository's layout",
        )
    tables = ("class_head.class_embeddings.weight", "point_head.class_embeddings.weight")
    rows = next((shapes[name][0] for name in tables if shapes.get(name)), VistaArchitecture().num_embeddings)
    return VistaArchitecture(
        in_channels=first[1],
        width=first[0],
        blocks_down=tuple(len(blocks[level]) for level in sorted(blocks)),
        num_embeddings=rows,
        class_branch=any(name.startswith("class_head.") for name in shapes),
        point_branch=any(name.startswith("point_head.") for name in shapes),
    )


def _infer_our_architecture(state: Mapping[str, Tensor]) -> VistaArchitecture:
    """Read the sizes off our own state dict by way of the official names of its encoder and tables."""
    sizes: dict[str, Shape] = {}
    for name, tensor in state.items():
        if name.startswith(("encoder.", "class_head.", "point_head.")):
            sizes[official_name(name, VistaArchitecture(), "monai")] = tuple(tensor.shape)
    return _infer_architecture(sizes)


@lru_cache(maxsize=8)
def _live_shapes(architecture: VistaArchitecture) -> Mapping[str, Shape]:
    state = outline(architecture).state_dict()
    return MappingProxyType({name: tuple(tensor.shape) for name, tensor in state.items()})


def _dead_shapes(architecture: VistaArchitecture, layout: Layout) -> dict[str, Shape]:
    """Return the official tensors that no gradient ever reaches, so that they mean nothing."""
    width = architecture.width
    dead: dict[str, Shape] = {}
    if not architecture.point_branch:
        return dead
    dead["point_head.mask_downsample.weight"] = (2, 2, 3, 3, 3)
    dead["point_head.mask_downsample.bias"] = (2,)
    dead["point_head.class_embeddings.weight"] = (architecture.num_embeddings, width)
    if layout == "research":
        for mlp in range(2):
            for layer in range(3):
                name = f"point_head.output_add_hypernetworks_mlps.{mlp}.layers.{layer}"
                dead |= {f"{name}.weight": (width, width), f"{name}.bias": (width,)}
        dead |= {"weight_mapper.0.weight": (4 * width, width), "weight_mapper.0.bias": (4 * width,)}
        dead |= {"weight_mapper.3.weight": (1, 4 * width), "weight_mapper.3.bias": (1,)}
    return dead


def _check(theirs: Mapping[str, Shape], live: Mapping[str, Shape], dead: Mapping[str, Shape]) -> None:
    known = {**dead, **live}
    faults = {
        "missing": [name for name in live if name not in theirs],
        "unknown": [name for name in theirs if name not in known],
        "of a wrong shape": [
            f"{name} {list(theirs[name])} instead of {list(known[name])}"
            for name in known
            if name in theirs and theirs[name] != known[name]
        ],
    }
    said = [
        f"{len(names)} {what} ({', '.join(sorted(names)[:6])}{', ...' if len(names) > 6 else ''})"
        for what, names in faults.items()
        if names
    ]
    if said:
        raise CheckpointError(
            expected=f"the {len(live)} tensors of a VISTA3D network and no others, besides {len(dead)} dead ones",
            got="; ".join(said),
            do="take a whole VISTA3D checkpoint in MONAI's or the research repository's layout",
        )
