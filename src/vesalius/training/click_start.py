"""How a new point head begins: answering a click with what lies near it and looks like it, not with anything.

A head with random weights first answers every click with all that is ever clicked on, and leaves that late: in 350
steps of two windows on frozen features, two clicks in one window gave masks with a Dice of 0.95 between them; begun
like this 0.10, at the same rate. Only values change: the network and its tensors are VISTA3D's, and nothing here is
meant for weights that have learnt.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vesalius.models.layers.attention import Attention
from vesalius.models.layers.two_way import TwoWayLayer
from vesalius.models.point_head import PointHead

SHARPNESS = 4.0
"""Scale of the projections that compare places: a click then stands out among a window's 32³ places."""
LOWEST = 0.3
"""Cycles in half a window of the lowest frequencies: across the whole of it their cosine hardly rises again."""
_NOISE = 0.1
"""Part that is kept of the random weights, so that no two channels or heads are alike."""


@torch.no_grad()
def begin_near_clicks(head: PointHead, *, seed: int) -> None:
    """Set a new point head's weights so that its masks follow the clicks before it has learnt anything.

    Frequencies: along the three axes and one diagonal, each four twice as high as the last. Attention between
    clicks and image: query and key compare places, values are carried across.
    Convolutions: each channel for itself.

    Args:
        head: With random weights; changed in place.
        seed: Of the directions in which values are carried, and of the diagonals.
    """
    generator = torch.Generator().manual_seed(seed)
    head.position.frequencies.copy_(low_frequencies(head.position.frequencies.shape[1], generator))
    compare_places(head)
    layers = [layer for layer in head.transformer.layers if isinstance(layer, TwoWayLayer)]
    for attention in [
        head.transformer.final_attention,
        *(layer.prompt_to_image for layer in layers),
        *(layer.image_to_prompt for layer in layers),
    ]:
        _carry_values(attention, generator)
    _keep_channels(head.downsample, _box(head.downsample))
    for convolution in (head.map_conv, head.mask_conv):
        _keep_channels(convolution, _centre(convolution))
    _keep_channels(head.upsample, _tent(head.upsample))


def low_frequencies(count: int, generator: torch.Generator) -> Tensor:
    """Return frequencies ``[3 count]`` in cycles per half a window, the lowest first.

    Their cosines add up to one broad hill around a click; random ones add up to many.
    """
    diagonals = torch.randint(0, 2, (math.ceil(count / 4), 3), generator=generator) * 2.0 - 1
    groups = [
        LOWEST * 2**octave * torch.cat([torch.eye(3), diagonal[:, None]], dim=1)
        for octave, diagonal in enumerate(diagonals)
    ]
    return torch.cat(groups, dim=1)[:, :count]


@torch.no_grad()
def compare_places(head: PointHead) -> None:
    """Have a new point head's attention between clicks and image compare places, before it has learnt anything.

    Query and key take sine and cosine of the same frequencies, so that their product is the sum of
    ``cos(2 pi f (x - c))``: high where the image token x lies near the click c. The lowest frequencies, which
    change least across a window, go to the first layer and the last look, the next to the second layer.
    """
    frequencies = head.position.frequencies
    order = frequencies.norm(dim=0).argsort(stable=True).tolist()
    layers = list(head.transformer.layers)
    looks = [(head.transformer.final_attention, order)]
    for depth, layer in enumerate(layers):
        assert isinstance(layer, TwoWayLayer)
        own = order[len(order) // len(layers) * depth :]
        looks += [(layer.prompt_to_image, own), (layer.image_to_prompt, own)]
    for attention, own in looks:
        for projection in (attention.query, attention.key):
            projection.weight.mul_(_NOISE)
            projection.bias.zero_()
            for row, frequency in zip(range(0, len(projection.weight) - 1, 2), own, strict=False):
                projection.weight[row, frequency] = SHARPNESS  # the sine of a position
                projection.weight[row + 1, frequency + frequencies.shape[1]] = SHARPNESS  # its cosine


def _carry_values(attention: Attention, generator: torch.Generator) -> None:
    """Let values pass through in as many directions as the attention is wide, and come out where they came from."""
    inner, width = attention.value.weight.shape
    directions, _ = torch.linalg.qr(torch.randn(width, inner, generator=generator))
    attention.value.weight.mul_(_NOISE).add_(directions.mT)
    attention.out.weight.mul_(_NOISE).add_(directions)


def _keep_channels(convolution: nn.Conv3d | nn.ConvTranspose3d, kernel: Tensor) -> None:
    weight = convolution.weight
    weight.mul_(_NOISE)
    weight.diagonal().add_(kernel[..., None])  # [k k k channel]


def _centre(convolution: nn.Conv3d) -> Tensor:
    kernel = torch.zeros(convolution.weight.shape[2:])
    kernel[1, 1, 1] = 1.0
    return kernel


def _box(convolution: nn.Conv3d) -> Tensor:
    """The mean of the eight voxels that lie in one of half the resolution."""
    kernel = torch.zeros(convolution.weight.shape[2:])
    kernel[1:, 1:, 1:] = 1 / 8
    return kernel


def _tent(convolution: nn.ConvTranspose3d) -> Tensor:
    """Linear interpolation to twice the resolution."""
    side = torch.tensor([0.5, 1.0, 0.5])
    kernel = side[:, None, None] * side[:, None] * side
    assert kernel.shape == convolution.weight.shape[2:]
    return kernel
