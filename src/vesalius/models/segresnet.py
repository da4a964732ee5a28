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

from vesalius.models.layers import PreActivationBlock


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
        features = self.first_conv(windows)
        skips = []
        for level, blocks in enumerate(self.levels):
            if level:
                features = self.downsamples[level - 1](features)
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

    def forward(self, skips: list[Tensor]) -> Float[Tensor, "b d i j k"]:
        """Decode what the encoder returned."""
        features = skips[-1]
        for upsample, block, skip in zip(self.upsamples, self.blocks, reversed(skips[:-1]), strict=True):
            features = block(upsample(features) + skip, consume=True)
        decoded: Tensor = self.head(features)
        return decoded
