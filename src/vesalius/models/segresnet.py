"""SegResNet: a residual encoder of 3-D windows, and a decoder of the same kind per branch.

Paper: Myronenko 2018, arXiv:1810.11654, in the variant of VISTA3D (arXiv:2406.05285): instance norm, added skips,
transposed convolutions. Agrees with MONAI's ``SegResNetDS2``; submodules have names of their own.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vesalius.models.layers import PreActivationBlock
from vesalius.models.layers.convolution import convolve_few_channels, downsample_planes, upsample_planes
from vesalius.models.layers.planes import empty_like_window, owned, slabs, streams, windows_of


class Encoder(nn.Module):
    """Windows to features of every level, finest first.

    Args:
        in_channels: Channels of the windows.
        width: Channels of the finest level; they double with every level.
        blocks: Residual blocks of each level.
    """

    def __init__(self, in_channels: int, *, width: int, blocks: Sequence[int]) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(len(blocks))]
        self.first_conv = nn.Conv3d(in_channels, width, 3, padding=1, bias=False)
        self.levels = nn.ModuleList(
            nn.ModuleList(PreActivationBlock(channels) for _ in range(count))
            for channels, count in zip(widths, blocks, strict=True)
        )
        self.downsamples = nn.ModuleList(
            nn.Conv3d(fine, coarse, 3, stride=2, padding=1, bias=False) for fine, coarse in pairwise(widths)
        )

    def forward(self, windows: Float[Tensor, "b c i j k"]) -> list[Tensor]:
        """Encode windows; level l is ``[b, width * 2**l, i / 2**l, j / 2**l, k / 2**l]``."""
        features = _start(windows, self.first_conv)
        skips = []
        for level, blocks in enumerate(self.levels):
            if level:
                features = _lower(features, self.downsamples[level - 1])
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                features = block(features, consume=True)
            skips.append(features)
        return skips


class Decoder(nn.Module):
    """Features of every level to features of the finest.

    Args:
        width: Channels of the finest level.
        levels: Levels of the encoder; the decoder climbs one step less.
    """

    def __init__(self, width: int, *, levels: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in reversed(range(levels - 1))]
        self.upsamples = nn.ModuleList(
            nn.ConvTranspose3d(2 * fine, fine, 3, stride=2, padding=1, output_padding=1, bias=False)
            for fine in widths
        )
        self.blocks = nn.ModuleList(PreActivationBlock(fine) for fine in widths)
        self.head = nn.Conv3d(width, width, 1)

    def forward(self, skips: list[Tensor], *, consume: bool = False) -> Float[Tensor, "b d i j k"]:
        """Decode what the encoder returned.

        Args:
            skips: Features of every level, finest first.
            consume: Whether ``skips`` may be emptied and its tensors overwritten, where no gradient is wanted.
        """
        skips = skips if consume else list(skips)
        features = skips.pop()
        for upsample, block in zip(self.upsamples, self.blocks, strict=True):
            assert isinstance(upsample, nn.ConvTranspose3d)
            features = _raise(features, upsample, skips.pop(), consume=consume)
            features = block(features, consume=True)
        return self._finish(features)

    def _finish(self, features: Tensor) -> Tensor:
        if not streams(features):
            decoded: Tensor = self.head(features)
            return decoded
        for window in windows_of(features):
            for (some,) in slabs(window):
                some.copy_(functional.conv2d(some, self.head.weight[..., 0], self.head.bias))
        return features


def _start(windows: Tensor, conv: nn.Conv3d) -> Tensor:
    """Run the first convolution."""
    if not streams(windows):
        features: Tensor = conv(windows)
        return features
    started = empty_like_window(windows, conv.out_channels, list(windows.shape[2:]))
    for window, target in zip(windows_of(windows), windows_of(started), strict=True):
        convolve_few_channels(window, conv.weight, target)
    return started


def _lower(features: Tensor, conv: nn.Module) -> Tensor:
    """Run a strided convolution."""
    if not streams(features):
        strided: Tensor = conv(features)
        return strided
    assert isinstance(conv, nn.Conv3d)
    lowered = empty_like_window(features, conv.out_channels, [side // 2 for side in features.shape[2:]])
    for window, target in zip(windows_of(features), windows_of(lowered), strict=True):
        downsample_planes(window, conv.weight, target)
    return lowered


def _raise(features: Tensor, upsample: nn.ConvTranspose3d, skip: Tensor, *, consume: bool) -> Tensor:
    """Upsample features and add the skip, in the skip's memory where that is allowed."""
    if not streams(features):
        upsampled: Tensor = upsample(features)
        return upsampled.add_(skip)
    raised = owned(skip, consume=consume)
    for window, target in zip(windows_of(features), windows_of(raised), strict=True):
        upsample_planes(window, upsample.weight, target, add=True)
    return raised
