"""Decoders of a vision transformer: features at the grid of its patches -> logits of every pixel.

``primus`` is MedDINOv3's (Li et al. 2025, arXiv:2509.02379, after Primus, Wald et al. 2025, arXiv:2503.01835) as
published, for features of one depth or of several side by side. ``fused`` first brings those of all depths to the
encoder's width, as FlexiCT does. ``linear`` is one map and interpolation, as probes have. Layer norms over channels
are the library's own, which keep fewer maps for the gradient than the published ones, written out, do.

Every doubling looks at one pixel alone. So where no gradient is wanted a processor decodes depth first: some
patches all the way to logits, then the next. No map of the whole slice but the logits is ever held, what is held
stays in the caches, and transposed convolutions become plain products of matrices.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vesalius.errors import UsageError
from vesalius.models.layers.planes import streams

_NEGATIVE_SLOPE = 1e-2
"""Of the leaky rectifier that the published initialisation reckons with."""
ROWS_AT_ONCE = 2048
"""Pixels that pass a doubling together: with what is made of them they stay in a shared cache of 32 MB."""


class PrimusDecoder(nn.Module):
    """Doubles the resolution and halves the channels until a patch is a pixel's size, then maps to classes.

    Args:
        width: Channels of all features together; halved once for every doubling.
        patch_size: A power of two.
        num_classes: Channels of the logits.
    """

    def __init__(self, width: int, *, patch_size: int, num_classes: int) -> None:
        super().__init__()
        doublings = int(math.log2(patch_size))
        if 2**doublings != patch_size or width % 2**doublings:
            raise UsageError(
                expected="patches of 2, 4, 8, 16 pixels, and a width they divide",
                got=f"patches of {patch_size}, width {width}",
                do="use the linear decoder: vesalius train meddinov3-linear",
            )
        self.stages = nn.ModuleList(Doubling(width // 2**number) for number in range(doublings))
        self.classify = nn.Conv2d(width // 2**doublings, num_classes, kernel_size=1)
        initialise(self)

    def forward(self, features: Sequence[Float[Tensor, "b d y x"]]) -> Float[Tensor, "b o h w"]:
        """Return the logits of every pixel of the padded image.

        Args:
            features: Of every tap; side by side they have ``width`` channels.
        """
        first = self.stages[0]
        assert isinstance(first, Doubling)
        decoded = side_by_side(features, like=first.upsample.weight)
        if streams(decoded):
            return self._depth_first(decoded)
        for stage in self.stages:
            decoded = stage(decoded)
        logits: Tensor = self.classify(decoded)
        return logits

    def _depth_first(self, features: Float[Tensor, "b d y x"]) -> Float[Tensor, "b o h w"]:
        """Decode some patches to the end before the next; differs from the way over whole maps by rounding."""
        batch, _, y, x = features.shape
        doublings = len(self.stages)
        kernels = [stage.row_kernel() for stage in self.stages if isinstance(stage, Doubling)]
        rows = self._rows_from(0, rearrange(features, "b d y x -> (b y x) d"), kernels)
        places = rows.view(batch, y, x, *[2] * (2 * doublings), -1)  # [b y x i j i j ... o], the last doubling last
        first = range(3, 3 + 2 * doublings, 2)
        pixels = places.permute(0, -1, 1, *first, 2, *(place + 1 for place in first))
        return pixels.reshape(batch, -1, y << doublings, x << doublings)

    def _rows_from(
        self, number: int, rows: Float[Tensor, "p d"], kernels: Sequence[Tensor]
    ) -> Float[Tensor, "q o"]:
        """Return the logits of what pixels become by the stages from one on; the last doubling lies fastest."""
        if number == len(self.stages):
            return functional.linear(rows, self.classify.weight[:, :, 0, 0], self.classify.bias)
        stage = self.stages[number]
        assert isinstance(stage, Doubling)
        parts = torch.split(rows, ROWS_AT_ONCE)
        doubled = (stage.doubled_rows(part, kernels[number]) for part in parts)
        return torch.cat([self._rows_from(number + 1, part, kernels) for part in doubled])


class FusedDecoder(nn.Module):
    """One map from all depths to the encoder's width, then ``PrimusDecoder``.

    Args:
        width: Channels of the features of one tap.
        taps: Number of taps.
        patch_size: A power of two.
        num_classes: Channels of the logits.
    """

    def __init__(self, width: int, *, taps: int, patch_size: int, num_classes: int) -> None:
        super().__init__()
        self.fuse = nn.Conv2d(taps * width, width, kernel_size=1, bias=False)
        self.norm = ChannelNorm(width)
        self.decoder = PrimusDecoder(width, patch_size=patch_size, num_classes=num_classes)

    def forward(self, features: Sequence[Float[Tensor, "b d y x"]]) -> Float[Tensor, "b o h w"]:
        """Return the logits of every pixel of the padded image."""
        fused = self.norm(self.fuse(side_by_side(features, like=self.fuse.weight)))
        logits: Tensor = self.decoder([fused])
        return logits


class LinearDecoder(nn.Module):
    """One map from features to classes at the grid of patches, interpolated to pixels.

    Args:
        width: Channels of all features together.
        patch_size: Pixels along each side of a patch.
        num_classes: Channels of the logits.
    """

    def __init__(self, width: int, *, patch_size: int, num_classes: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.classify = nn.Conv2d(width, num_classes, kernel_size=1)
        initialise(self)

    def forward(self, features: Sequence[Float[Tensor, "b d y x"]]) -> Float[Tensor, "b o h w"]:
        """Return the logits of every pixel of the padded image."""
        coarse = self.classify(side_by_side(features, like=self.classify.weight))
        return functional.interpolate(coarse, scale_factor=float(self.patch_size), mode="bilinear")


class Doubling(nn.Module):
    """A transposed convolution that doubles the resolution and halves the channels; then norm and exact GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose2d(width, width // 2, kernel_size=2, stride=2)
        self.norm = ChannelNorm(width // 2)

    def forward(self, features: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d2 h2 w2"]:
        """Return twice the pixels along each side and half the channels."""
        return functional.gelu(self.norm(self.upsample(features)))

    def row_kernel(self) -> Float[Tensor, "e d"]:
        """Return the transposed convolution as a matrix: from a pixel to the four it becomes, w fastest."""
        return rearrange(self.upsample.weight, "d e i j -> (i j e) d")

    def doubled_rows(self, rows: Float[Tensor, "p d"], kernel: Float[Tensor, "e d"]) -> Float[Tensor, "q d2"]:
        """Return ``forward`` of pixels in a row, by ``row_kernel``."""
        assert self.upsample.bias is not None
        mapped = functional.linear(rows, kernel, self.upsample.bias.repeat(4))
        return functional.gelu(self.norm.of_rows(rearrange(mapped, "p (four e) -> (p four) e", four=4)))


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, features: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        """Normalise; the result lies in memory with channels last."""
        return self.of_rows(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def of_rows(self, pixels: Float[Tensor, "*p d"]) -> Float[Tensor, "*p d"]:
        """Normalise pixels whose channels lie last."""
        return functional.layer_norm(
            pixels, (pixels.shape[-1],), self.weight.to(pixels), self.bias.to(pixels), eps=1e-6
        )


def side_by_side(features: Sequence[Float[Tensor, "b d y x"]], *, like: Tensor) -> Float[Tensor, "b d2 y x"]:
    """Join the features of all taps along their channels, in the precision of the weights that meet them."""
    return torch.cat(list(features), dim=1).to(like.dtype)


def initialise(decoder: nn.Module) -> None:
    """Draw the kernels as the published decoder does: He's, for a leaky rectifier; biases are zero."""
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, a=_NEGATIVE_SLOPE)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
