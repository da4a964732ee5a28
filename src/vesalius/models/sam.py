"""SAM's image encoder, and what its mask decoder does to the image before it is asked: features of photographs.

Paper: Kirillov et al. 2023, Segment Anything, arXiv:2304.02643, appendix A; the encoder is ViTDet's
(arXiv:2203.16527): most blocks look inside windows, some at the whole image. Agrees with transformers'
SamVisionModel to rounding. VISTA3D (arXiv:2406.05285) makes supervoxels of these features; prompts and masks are
no part of it. Deliberate differences from the official code: images of other sizes are accepted, whose positions
are interpolated; one channel in 0..1 goes in, and is normalised here.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vesalius.models.decoders import ChannelNorm
from vesalius.models.layers.patch_embedding import PatchEmbedding
from vesalius.models.layers.relative_attention import RelativeAttention
from vesalius.models.layers.transformer import Mlp
from vesalius.spec import SamArchitecture

_NORM_EPS = 1e-6


class Sam(nn.Module):
    """The network, in tensors only.

    Args:
        architecture: Sizes.
    """

    def __init__(self, architecture: SamArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = SamEncoder(architecture)
        self.upscaling = Upscaling(architecture.neck_width)

    def forward(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b e y x"]:
        """Return features four times as fine as the patches.

        Args:
            images: Black is 0, white 1; of any size, filled up to whole patches at the far ends.
        """
        mean, deviation = (
            torch.tensor(three, device=images.device)[:, None, None]
            for three in (self.architecture.pixel_mean, self.architecture.pixel_std)
        )
        upscaled: Tensor = self.upscaling(self.encoder((255 * images.float() - mean) / deviation))
        return upscaled


class SamEncoder(nn.Module):
    """From a normalised image to features at the grid of patches.

    Args:
        architecture: Sizes.
    """

    def __init__(self, architecture: SamArchitecture) -> None:
        super().__init__()
        width, side = architecture.width, architecture.side // architecture.patch_size
        self.patch_embedding = PatchEmbedding(3, width, patch_size=architecture.patch_size)
        self.position = nn.Parameter(torch.zeros(1, side, side, width))
        self.blocks = nn.ModuleList(
            WindowBlock(
                width,
                heads=architecture.heads,
                inner_width=architecture.mlp_ratio * width,
                window=None if number in architecture.global_blocks else architecture.window,
                side=side,
            )
            for number in range(architecture.depth)
        )
        self.neck = Neck(width, architecture.neck_width)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b e y x"]:
        """Return the features of every patch.

        Args:
            images: Normalised red, green and blue.
        """
        embedded = rearrange(self.patch_embedding(images).float(), "b d y x -> b y x d")
        grid = embedded + self._positions(embedded.shape[1], embedded.shape[2])
        for block in self.blocks:
            grid = block(grid)
        features: Tensor = self.neck(rearrange(grid, "b y x d -> b d y x"))
        return features

    def _positions(self, rows: int, columns: int) -> Float[Tensor, "1 y x d"]:
        if self.position.shape[1:3] == (rows, columns):
            return self.position
        learnt = rearrange(self.position, "one y x d -> one d y x")
        wanted = functional.interpolate(learnt, size=(rows, columns), mode="bicubic", antialias=True)
        return rearrange(wanted, "one d y x -> one y x d")


class WindowBlock(nn.Module):
    """Attention inside windows or over the whole grid, then an MLP, each on normalised tokens and added to them.

    Args:
        width: Channels of the tokens.
        heads: Number of heads.
        inner_width: Inner width of the MLP.
        window: Tokens along each side of a window; None looks at the whole grid.
        side: Tokens along each side of the grid it learns with.
    """

    def __init__(self, width: int, *, heads: int, inner_width: int, window: int | None, side: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.attention = RelativeAttention(width, heads=heads, side=side if window is None else window)
        self.norm2 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.mlp = Mlp(width, inner_width=inner_width)

    def forward(self, grid: Float[Tensor, "b y x d"]) -> Float[Tensor, "b y x d"]:
        """Return the tokens after both branches."""
        grid = grid + self._attended(self.norm1(grid))
        branch = self.mlp(rearrange(self.norm2(grid), "b y x d -> b (y x) d"))
        added: Tensor = grid + rearrange(branch, "b (y x) d -> b y x d", x=grid.shape[2])
        return added

    def _attended(self, grid: Tensor) -> Tensor:
        if self.window is None:
            seen: Tensor = self.attention(grid)
            return seen
        rows, columns = grid.shape[1:3]
        padded = in_whole_windows(grid, self.window)
        windows = rearrange(padded, "b (r y) (c x) d -> (b r c) y x d", y=self.window, x=self.window)
        across = {"r": padded.shape[1] // self.window, "c": padded.shape[2] // self.window}
        attended = rearrange(self.attention(windows), "(b r c) y x d -> b (r y) (c x) d", **across)
        inside: Tensor = attended[:, :rows, :columns]
        return inside


def in_whole_windows(grid: Float[Tensor, "b y x d"], window: int) -> Float[Tensor, "b y2 x2 d"]:
    """Fill a grid up to whole windows at its far ends, with zeros, which tokens look at as at any others."""
    below, beyond = (-side % window for side in grid.shape[1:3])
    return functional.pad(grid, (0, 0, 0, beyond, 0, below))


class Neck(nn.Module):
    """To fewer channels, and a look at the neighbouring patches; each is normalised."""

    def __init__(self, width: int, neck_width: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(width, neck_width, kernel_size=1, bias=False)
        self.norm1 = ChannelNorm(neck_width)
        self.mix = nn.Conv2d(neck_width, neck_width, kernel_size=3, padding=1, bias=False)
        self.norm2 = ChannelNorm(neck_width)

    def forward(self, features: Float[Tensor, "b d y x"]) -> Float[Tensor, "b e y x"]:
        """Return the features that a mask decoder sees."""
        narrow = self.norm1(self.narrow(features.to(self.narrow.weight.dtype)))
        mixed: Tensor = self.norm2(self.mix(narrow))
        return mixed


class Upscaling(nn.Module):
    """Four times the resolution along each side and an eighth of the channels (``output_upscaling``)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2)
        self.norm = ChannelNorm(width // 4)
        self.upsample_again = nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2)

    def forward(self, features: Float[Tensor, "b d y x"]) -> Float[Tensor, "b e y4 x4"]:
        """Return the features with which masks are compared."""
        finer = functional.gelu(self.norm(self.upsample(features.to(self.upsample.weight.dtype))))
        return functional.gelu(self.upsample_again(finer))
