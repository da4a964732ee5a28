"""Patch embedding: an image, patch by patch, as tokens."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class PatchEmbedding(nn.Module):
    """A linear map of patches that do not overlap.

    Sides that are no multiple of the patch are filled up at their far ends with the image's edge.

    Args:
        in_channels: Channels of the stem.
        width: Channels of the tokens.
        patch_size: Pixels along each side of a patch.
    """

    def __init__(self, in_channels: int, width: int, *, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Conv2d(in_channels, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d y x"]:
        """Return a token for every patch.

        Args:
            images: With the channels of the stem, or one channel, which stands for all of them: its kernels are
                added up, which gives what the repeated channel would, for a part of the work.
        """
        weight = self.projection.weight
        if images.shape[1] == 1 != weight.shape[1]:
            weight = fold_channels(weight, 1)
        right, bottom = (-side % self.patch_size for side in (images.shape[3], images.shape[2]))
        if right or bottom:
            images = functional.pad(images, (0, right, 0, bottom), mode="replicate")
        return functional.conv2d(images.to(weight.dtype), weight, self.projection.bias, stride=self.patch_size)

    def set_channels(self, channels: int) -> None:
        """Give the stem another number of channels (``fold_channels``)."""
        weight = self.projection.weight
        self.projection.in_channels = channels
        self.projection.weight = nn.Parameter(
            fold_channels(weight.detach(), channels), requires_grad=weight.requires_grad
        )


def fold_channels(weight: Float[Tensor, "d c h w"], channels: int) -> Float[Tensor, "d e h w"]:
    """Return the kernels of a stem for another number of channels.

    An image repeated over the new channels gives what the same image repeated over the old ones gave. That is where
    learning to use different channels starts: phases, sequences, or neighbouring slices.

    Args:
        weight: Kernels of the old stem.
        channels: Channels of the new one; the old number changes nothing.
    """
    if channels == weight.shape[1]:
        return weight
    return (weight.sum(dim=1, keepdim=True) / channels).repeat(1, channels, 1, 1)
