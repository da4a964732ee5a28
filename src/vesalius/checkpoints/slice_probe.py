"""One small slice, and what a vision transformer or a segmenter of slices answers to it: ``probe`` for slices.

The encoder of a network is compared with transformers' DINOv3, where that is installed. A decoder has no peer that
anybody publishes, and adapters are ours: of a segmenter only constancy can be shown, by the answers kept beside it.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.checkpoints.formats.transformers_vit import LAYOUT
from vesalius.errors import MissingExtraError
from vesalius.models.meddinov3 import MedDino
from vesalius.models.sam import Sam
from vesalius.models.vit import Vit, VitTokens
from vesalius.spec import ModelSpec, SamArchitecture, VitArchitecture

_PATCHES = (3, 5)
"""Rows and columns of patches: unlike, so that rows that are taken for columns are seen."""
_INSTALL = 'pip install "transformers>=5"'


def probe_slices(architecture: VitArchitecture | SamArchitecture, *, count: int = 1) -> Float[Tensor, "b c h w"]:
    """Return neighbouring slices in 0..1 with structure at several scales, of whole patches."""
    height, width = (patches * architecture.patch_size for patches in _PATCHES)
    i, j = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in (height, width)), indexing="ij")
    waves = torch.sin(0.31 * i + 0.013 * i * j) + torch.sin(0.7 * j - 0.21 * i) + torch.cos(0.05 * i * j)
    image = (waves / 6 + 0.5).float()
    channels = range(architecture.in_channels)
    return torch.stack(
        [torch.stack([image.roll((channel, number), (0, 1)) for channel in channels]) for number in range(count)]
    )


@torch.inference_mode()
def slice_answers(network: Vit | MedDino, spec: ModelSpec, *, brighter_by: float = 0.0) -> dict[str, Tensor]:
    """Return what our network answers: all tokens of some blocks, and of a segmenter the logits, in float32.

    Args:
        network: In float32.
        spec: Its spec, which says how many slices are seen together.
        brighter_by: Part by which the slices are made brighter, to learn how much rounding matters to the weights.
    """
    if isinstance(network, Vit):
        return _tokens(network, taps_of(network), probe_slices(network.architecture) * (1 + brighter_by), 1)
    slices = spec.window_size[2]
    images = probe_slices(network.architecture.encoder, count=slices) * (1 + brighter_by)
    tokens = _tokens(network.encoder, taps_of(network), images, slices)
    return {**tokens, "logits": network(images, slices=slices).float().contiguous()}


@torch.inference_mode()
def sam_answers(network: Sam, *, brighter_by: float = 0.0) -> dict[str, Tensor]:
    """Return what SAM's encoder answers: the features of every cell, in float32.

    Args:
        network: In float32.
        brighter_by: Part by which the slice is made brighter, to learn how much rounding matters to the weights.
    """
    image = probe_slices(network.architecture) * (1 + brighter_by)
    return {"features": network(image).float().contiguous()}


def taps_of(network: Vit | MedDino) -> tuple[int, ...]:
    """Return the blocks that are asked: those that are decoded, or the last of each quarter of a backbone."""
    if isinstance(network, MedDino):
        return network.architecture.taps
    depth = network.architecture.depth
    return tuple(sorted({max(round(depth * part / 4) - 1, 0) for part in (1, 2, 3, 4)}))


def _tokens(encoder: Vit, taps: Sequence[int], images: Tensor, slices: int) -> dict[str, Tensor]:
    found = encoder(images, taps, slices=slices)
    return {f"tokens_{tap}": _together(tokens) for tap, tokens in zip(taps, found, strict=True)}


def _together(tokens: VitTokens) -> Tensor:
    joined = torch.cat([tokens.class_token[:, None], tokens.registers, tokens.patches], dim=1)
    return joined.float().contiguous()


@torch.inference_mode()
def transformers_answers(network: Vit, taps: Sequence[int]) -> dict[str, Tensor]:
    """Return the tokens that transformers' DINOv3 answers with the same weights.

    Args:
        network: In float32, without adapters.
        taps: Which blocks are asked.

    Raises:
        MissingExtraError: If transformers 5 is not installed: version 4 names the blocks otherwise, and some of its
            releases hand out the last hidden state normed, so that other names alone would not do.
    """
    try:
        library = importlib.import_module("transformers")
        make, configure = library.DINOv3ViTModel, library.DINOv3ViTConfig
    except (ImportError, AttributeError):  # absent, or from before DINOv3
        raise MissingExtraError(
            expected="transformers with DINOv3, to compare with",
            got="an environment without it",
            do=_INSTALL,
        ) from None
    sizes = network.architecture
    settings = configure(
        patch_size=sizes.patch_size,
        hidden_size=sizes.width,
        intermediate_size=sizes.mlp_ratio * sizes.width,
        num_hidden_layers=sizes.depth,
        num_attention_heads=sizes.heads,
        num_channels=sizes.in_channels,
        num_register_tokens=sizes.registers,
        layer_norm_eps=sizes.norm_eps,
        rope_theta=sizes.rope_base,
        query_bias=sizes.qkv_bias,
        value_bias=sizes.qkv_bias,
    )
    with torch.random.fork_rng(devices=[]):
        peer = make(settings).eval()
    weights = to_transformers(network.state_dict())
    if strange := sorted(weights.keys() ^ peer.state_dict().keys()):
        raise MissingExtraError(
            expected="DINOv3 under the names of transformers 5, to compare with",
            got=f"transformers {library.__version__}, which names tensors otherwise ({strange[0]})",
            do=_INSTALL,
        )
    peer.load_state_dict(weights, strict=True)
    states = peer(probe_slices(sizes), output_hidden_states=True).hidden_states
    return {f"tokens_{tap}": peer.norm(states[tap + 1]).float() for tap in taps}


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a backbone's tensors under the names of transformers 5."""
    theirs: dict[str, Tensor] = {}
    for name, tensor in state.items():
        pieces = LAYOUT.pieces(name)
        for piece, part in zip(pieces, tensor.chunk(len(pieces)), strict=True):
            theirs[piece.name] = part
    for token in ("cls_token", "register_tokens", "mask_token"):
        theirs[f"embeddings.{token}"] = theirs[f"embeddings.{token}"][None]
    return theirs
