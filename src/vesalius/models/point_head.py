"""Point head: segments what a user clicks on.

Paper: VISTA3D (He et al., CVPR 2025, arXiv:2406.05285), interactive branch, after Segment Anything. Agrees with
MONAI's ``PointMappingSAM``, with three deliberate differences: the image map is offered apart, because it depends
on the image alone and a session keeps it; the last convolution is multiplied with the object's vector before it
runs (dot(h, conv(x)) is one convolution with the weights h·W: 5 GFLOP instead of 261 at 128³); tensors no gradient
ever reaches (mask downsampling, class embeddings) are not here.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from vesalius.models.layers import FourierPosition, InstanceNorm, TwoWayTransformer
from vesalius.models.layers.convolution import (
    convolve_planes,
    convolve_to_one_channel,
    downsample_planes,
    upsampled,
)
from vesalius.models.layers.instance_norm import measure
from vesalius.models.layers.planes import empty_like_window, slabs, streams, windows_of
from vesalius.spec import ClickLabel

PLANES_AT_ONCE = 2
"""Of the image map: what is made of two planes of 64² and 48 channels stays in a processor's cache."""

OBJECTS_AT_ONCE = 4
"""Objects that attend to the whole map at once, with gradients or on a GPU; each holds a few copies of the map."""


class PromptTokens(nn.Module):
    """Turns clicks into tokens.

    Args:
        width: Channels of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mask = _token(width)
        self.negative = _token(width)
        self.positive = _token(width)
        self.padding = _token(width)
        self.special = _token(width)
        self.supported = _token(width)
        self.zero_shot = _token(width)

    def forward(
        self,
        positions: Float[Tensor, "o n d"],
        point_labels: Int[Tensor, "o n"],
        supported: Bool[Tensor, " o"],
    ) -> Float[Tensor, "o s d"]:
        """Return the mask token, a token per click and one that says whether the class is known, s = n + 2."""
        label = point_labels[..., None]  # [o n 1]
        sign = torch.where(
            (label == ClickLabel.POSITIVE) | (label == ClickLabel.SPECIAL_POSITIVE), self.positive, self.negative
        )
        special = torch.where(label >= ClickLabel.SPECIAL_NEGATIVE, self.special, torch.zeros_like(self.special))
        clicks = torch.where(label == ClickLabel.PADDING, self.padding, positions + sign + special)  # [o n d]
        status = torch.where(supported[:, None], self.supported, self.zero_shot)  # [o d]
        return torch.cat([self.mask.expand_as(status)[:, None], clicks, status[:, None]], dim=1)


class PointHead(nn.Module):
    """Segments one object per set of clicks.

    Args:
        width: Channels ``d`` of the image features.
        heads: Attention heads; they divide half the width.
    """

    def __init__(self, width: int, *, heads: int = 4) -> None:
        super().__init__()
        self.downsample = nn.Conv3d(width, width, 3, stride=2, padding=1)
        self.downsample_norm = InstanceNorm(width, affine=False)
        self.map_conv = nn.Conv3d(width, width, 3, padding=1)
        self.map_norm = InstanceNorm(width, affine=False)
        self.position = FourierPosition(width)
        self.tokens = PromptTokens(width)
        self.transformer = TwoWayTransformer(width, heads=heads)
        self.upsample = nn.ConvTranspose3d(width, width, 3, stride=2, padding=1, output_padding=1)
        self.upsample_norm = InstanceNorm(width, affine=False)
        self.mask_conv = nn.Conv3d(width, width, 3, padding=1)
        self.mask_mlp = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )

    def image_map(self, features: Float[Tensor, "1 d i j k"]) -> Float[Tensor, "1 d i2 j2 k2"]:
        """Return the half-resolution map that clicks are compared with; it depends on the image alone."""
        if streams(features):
            return self._streamed_map(features.contiguous(memory_format=torch.channels_last_3d))
        hidden = functional.gelu(self.downsample_norm(self.downsample(features)))
        mapped: Tensor = self.map_norm(self.map_conv(hidden))
        return mapped

    def _streamed_map(self, features: Tensor) -> Tensor:
        # biases are left out: the norm after each takes them away again
        halves = [side // 2 for side in features.shape[2:]]
        hidden = empty_like_window(features, features.shape[1], halves)
        mapped = torch.empty_like(hidden)
        for source, half, target in zip(*map(windows_of, (features, hidden, mapped)), strict=True):
            downsample_planes(source, self.downsample.weight, half)
            entry = self.downsample_norm.over(half, functional.gelu)
            convolve_planes(half, self.map_conv.weight, target, entry=entry)
            normalise = self.map_norm.over(target)
            for (some,) in slabs(target):
                some.copy_(normalise(some))
        return mapped

    def logits(
        self,
        image_map: Float[Tensor, "1 d i2 j2 k2"],
        points_ijk: Float[Tensor, "o n 3"],
        point_labels: Int[Tensor, "o n"],
        supported: Bool[Tensor, " o"],
    ) -> Float[Tensor, "1 o i j k"]:
        """Segment the clicked objects of one window.

        Without gradients on a processor, objects go one after the other, each a few planes at a time, and nothing
        larger than the map itself is kept: fresh memory would cost more than the arithmetic.

        Args:
            image_map: What ``image_map`` returned for the window.
            points_ijk: Clicks as voxel indices of the window; 0 is the centre of the first voxel.
            point_labels: ``ClickLabel`` of each click.
            supported: Whether the object's class is one the model was trained on.

        Returns:
            Mask logits of the whole window; a voxel belongs to the object where its logit is above 0.
        """
        window = [2 * side for side in image_map.shape[2:]]
        if len(points_ijk) == 0:
            return image_map.new_empty(1, 0, *window)
        tokens = self.tokens(self.position(points_ijk, window), point_labels, supported)  # [o s d]
        planes = PLANES_AT_ONCE if streams(image_map) else image_map.shape[2]
        image = [rearrange(some, "1 d i j k -> 1 (i j k) d") for some in torch.split(image_map, planes, dim=2)]
        places = partial(self.position.compare, shape=image_map.shape[2:], planes=planes)
        logits = []
        for some in torch.split(tokens, 1 if streams(image_map) else OBJECTS_AT_ONCE):
            prompt, seen = self.transformer(some, image, places)
            for row, vector in enumerate(self.mask_mlp(prompt[:, 0])):  # [d]
                logits.append(self._mask(vector, [slab[row] for slab in seen], image_map))
        return torch.cat(logits, dim=1)

    def _mask(
        self, vector: Float[Tensor, " d"], seen: Sequence[Float[Tensor, "_ d"]], like: Float[Tensor, "1 d i2 j2 k2"]
    ) -> Float[Tensor, "1 1 i j k"]:
        _, _, _, j, k = like.shape
        parts = [rearrange(slab.to(like.dtype), "(i j k) d -> i d j k", j=j, k=k) for slab in seen]
        fused = einsum(vector, self.mask_conv.weight.to(vector.dtype), "o, o d i j k -> d i j k")[None]
        fused = fused.to(like.dtype)
        assert self.mask_conv.bias is not None
        bias = vector @ self.mask_conv.bias.to(vector.dtype)
        if streams(like):
            return self._streamed_mask(parts, fused).add_(bias)
        hidden = rearrange(torch.cat(parts), "i d j k -> 1 d i j k")
        hidden = functional.gelu(self.upsample_norm(self.upsample(hidden)))
        return functional.conv3d(hidden, fused, bias[None].to(hidden.dtype), padding=1)

    def _streamed_mask(
        self, parts: Sequence[Float[Tensor, "_ d j k"]], fused: Float[Tensor, "1 d 3 3 3"]
    ) -> Float[Tensor, "1 1 x y z"]:
        """Raise the map twice, once to measure and once to use it: a 200 MB map to keep would take longer."""
        moments = measure(upsampled(parts, self.upsample.weight))
        entry = self.upsample_norm.by(moments, functional.gelu)
        raised = (entry(some) for some in upsampled(parts, self.upsample.weight))
        _, _, j, k = parts[0].shape
        sides = (2 * sum(len(part) for part in parts), 2 * j, 2 * k)
        return convolve_to_one_channel(raised, fused, sides)[None, None]


def _token(width: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(1, width))
