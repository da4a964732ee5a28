"""Point head: segments what a user clicks on.

Paper: VISTA3D (He et al., CVPR 2025, arXiv:2406.05285), interactive branch, after Segment Anything. Agrees with
MONAI's ``PointMappingSAM``, with three deliberate differences: the image map is offered apart, because it depends
on the image alone and a session keeps it; the last convolution is multiplied with the object's vector before it
runs (dot(h, conv(x)) is one convolution with the weights h·W: 5 GFLOP instead of 261 at 128³); tensors no gradient
ever reaches (mask downsampling, class embeddings) are not here.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

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
    upsample_planes,
)
from vesalius.models.layers.planes import empty_like_window, slabs, streams, windows_of
from vesalius.spec import ClickLabel


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
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.downsample = nn.Conv3d(width, width, 3, stride=2, padding=1)
        self.downsample_norm = InstanceNorm(width, affine=False)
        self.map_conv = nn.Conv3d(width, width, 3, padding=1)
        self.map_norm = InstanceNorm(width, affine=False)
        self.position = FourierPosition(width)
        self.tokens = PromptTokens(width)
        self.transformer = TwoWayTransformer(width)
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
        *,
        chunk: int = 4,
    ) -> Float[Tensor, "1 o i j k"]:
        """Segment the clicked objects of one window.

        Args:
            image_map: What ``image_map`` returned for the window.
            points_ijk: Clicks as voxel indices of the window; 0 is the centre of the first voxel.
            point_labels: ``ClickLabel`` of each click.
            supported: Whether the object's class is one the model was trained on.
            chunk: Objects that attend to the image at once; each holds a few copies of the map.

        Returns:
            Mask logits of the whole window; a voxel belongs to the object where its logit is above 0.
        """
        window = [2 * side for side in image_map.shape[2:]]
        tokens = self.tokens(self.position(points_ijk, window), point_labels, supported)  # [o s d]
        image = rearrange(image_map, "1 d i j k -> (i j k) d").to(tokens.dtype)
        position = self.position.grid(image_map.shape[2:]).to(tokens.dtype)
        logits = []
        for some in tokens.split(chunk):
            prompt, seen = self.transformer(some, image, position)
            vectors = self.mask_mlp(prompt[:, 0])  # [o d]
            for vector, view in zip(vectors, seen, strict=True):
                logits.append(self._mask(vector, view, image_map))
        return torch.cat(logits, dim=1) if logits else image_map.new_empty(1, 0, *window)

    def _mask(
        self, vector: Float[Tensor, " d"], view: Float[Tensor, "t d"], like: Float[Tensor, "1 d i2 j2 k2"]
    ) -> Float[Tensor, "1 1 i j k"]:
        i, j, k = like.shape[2:]
        hidden = rearrange(view, "(i j k) d -> 1 d i j k", i=i, j=j, k=k).to(like.dtype)
        fused = einsum(vector, self.mask_conv.weight.to(vector.dtype), "o, o d i j k -> d i j k")[None]
        fused = fused.to(hidden.dtype)
        assert self.mask_conv.bias is not None
        bias = vector @ self.mask_conv.bias.to(vector.dtype)
        if streams(hidden):
            return self._streamed_mask(hidden, fused).add_(bias).to(like.dtype)
        hidden = functional.gelu(self.upsample_norm(self.upsample(hidden)))
        return functional.conv3d(hidden, fused, bias[None].to(hidden.dtype), padding=1)

    def _streamed_mask(self, hidden: Tensor, fused: Tensor) -> Tensor:
        raised = empty_like_window(hidden, hidden.shape[1], [2 * side for side in hidden.shape[2:]])
        (source,), (target,) = windows_of(hidden), windows_of(raised)
        upsample_planes(source, self.upsample.weight, target)
        entry = self.upsample_norm.over(target, functional.gelu)
        return convolve_to_one_channel(target, fused, entry=entry)[None, None]


def _token(width: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(1, width))
