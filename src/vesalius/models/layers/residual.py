"""Residual blocks: norm before the convolution (encoder, decoders) and after it (class head)."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vesalius.models.layers.convolution import convolve_planes
from vesalius.models.layers.instance_norm import InstanceNorm
from vesalius.models.layers.planes import borrowed_like, owned, slabs, streams, windows_of

LEAK = 0.01
"""Slope of the leaky ReLU below zero."""


class PreActivationBlock(nn.Module):
    """``x + conv(relu(norm(conv(relu(norm(x))))))``, the block of SegResNet.

    Args:
        width: Channels in and out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = InstanceNorm(width, affine=True)
        self.conv1 = nn.Conv3d(width, width, 3, padding=1, bias=False)
        self.norm2 = InstanceNorm(width, affine=True)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1, bias=False)

    def forward(self, features: Float[Tensor, "b d i j k"], *, consume: bool = False) -> Float[Tensor, "b d i j k"]:
        """Refine features.

        Args:
            features: What to refine.
            consume: Whether the result may take the memory of ``features``, where no gradient is wanted.
        """
        if streams(features):
            return self._streamed(owned(features, consume=consume))
        hidden = self.conv1(functional.relu(self.norm1(features), inplace=True))
        hidden = self.conv2(functional.relu(self.norm2(hidden), inplace=True))
        return torch.add(features, hidden)

    def _streamed(self, features: Tensor) -> Tensor:
        with borrowed_like(features) as hidden:
            for window, buffer in zip(windows_of(features), windows_of(hidden), strict=True):
                entry = self.norm1.over(window, functional.relu_)
                convolve_planes(window, self.conv1.weight, buffer, entry=entry)
                entry = self.norm2.over(buffer, functional.relu_)
                convolve_planes(buffer, self.conv2.weight, window, entry=entry, add=True)
        return features


class PostActivationBlock(nn.Module):
    """``leaky(x + norm(conv(leaky(norm(conv(x))))))``, the block of the class head; its norms learn nothing.

    Args:
        width: Channels in and out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(width, width, 3, padding=1, bias=False)
        self.norm1 = InstanceNorm(width, affine=False)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1, bias=False)
        self.norm2 = InstanceNorm(width, affine=False)

    def forward(self, features: Float[Tensor, "b d i j k"], *, consume: bool = False) -> Float[Tensor, "b d i j k"]:
        """Refine features; ``consume`` as for ``PreActivationBlock``."""
        if streams(features):
            return self._streamed(owned(features, consume=consume))
        hidden = _leaky(self.norm1(self.conv1(features)))
        return _leaky(features + self.norm2(self.conv2(hidden)))

    def _streamed(self, features: Tensor) -> Tensor:
        with borrowed_like(features) as hidden:
            for window, buffer in zip(windows_of(features), windows_of(hidden), strict=True):
                convolve_planes(window, self.conv1.weight, buffer)
                convolve_planes(buffer, self.conv2.weight, buffer, entry=self.norm1.over(buffer, _leaky))
                normalise = self.norm2.over(buffer)
                for some, change in slabs(window, buffer):
                    _leaky(some.add_(normalise(change)))
        return features


def _leaky(features: Tensor) -> Tensor:
    return functional.leaky_relu(features, LEAK, inplace=True)
