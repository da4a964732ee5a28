"""Residual blocks: norm before the convolution (encoder, decoders) and after it (class head)."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vesalius.models.layers.block_gradients import (
    Gradients,
    Normed,
    leaky_,
    leaky_backward_,
    learns_in_planes,
    learnt,
    relu_backward_,
    to_input,
    to_kernel,
)
from vesalius.models.layers.convolution import convolve_planes
from vesalius.models.layers.instance_norm import InstanceNorm
from vesalius.models.layers.planes import borrowed_like, owned, slabs, streams, windows_of


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
            return self.in_planes(owned(features, consume=consume))
        if learns_in_planes(features):
            return learnt(self, features)
        hidden = self.conv1(functional.relu(self.norm1(features), inplace=True))
        hidden = self.conv2(functional.relu(self.norm2(hidden), inplace=True))
        return torch.add(features, hidden)

    def in_planes(self, features: Tensor) -> Tensor:
        """Refine channels-last features in place, a few planes at a time."""
        with borrowed_like(features) as hidden:
            for window, buffer in zip(windows_of(features), windows_of(hidden), strict=True):
                entry = self.norm1.over(window, functional.relu_)
                convolve_planes(window, self.conv1.weight, buffer, entry=entry)
                entry = self.norm2.over(buffer, functional.relu_)
                convolve_planes(buffer, self.conv2.weight, window, entry=entry, add=True)
        return features

    def differentiated(
        self, x: Tensor, _y: Tensor, gradient: Tensor, target: Tensor, *, learns: Sequence[bool]
    ) -> Gradients:
        """Write the gradient to one window's features, and return those to the parameters, in their order.

        Args:
            x: The features, as planes ``[i c j k]``.
            _y: What the block made of them; of no use here.
            gradient: That to what the block made of them.
            target: Where that to ``x`` goes.
            learns: Which parameters' are wanted.
        """
        norm1 = Normed.of(self.norm1, x, functional.relu_)
        hidden = torch.empty_like(x)
        convolve_planes(x, self.conv1.weight, hidden, entry=norm1.entry)
        norm2 = Normed.of(self.norm2, hidden, functional.relu_)
        activated = norm2.into(torch.empty_like(x))
        kernel2 = to_kernel(gradient, activated, self.conv2, wanted=learns[5])
        through = relu_backward_(to_input(gradient, self.conv2, target), activated)
        through, scale2, shift2 = norm2.backward(through)
        del hidden, norm2
        activated = norm1.into(activated)
        kernel1 = to_kernel(through, activated, self.conv1, wanted=learns[2])
        through = relu_backward_(to_input(through, self.conv1, target), activated)
        del activated
        through, scale1, shift1 = norm1.backward(through)
        torch.add(through, gradient, out=target)
        return [scale1, shift1, kernel1, scale2, shift2, kernel2]


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
            return self.in_planes(owned(features, consume=consume))
        if learns_in_planes(features):
            return learnt(self, features)
        hidden = leaky_(self.norm1(self.conv1(features)))
        return leaky_(features + self.norm2(self.conv2(hidden)))

    def in_planes(self, features: Tensor) -> Tensor:
        """Refine channels-last features in place, a few planes at a time."""
        with borrowed_like(features) as hidden:
            for window, buffer in zip(windows_of(features), windows_of(hidden), strict=True):
                convolve_planes(window, self.conv1.weight, buffer)
                convolve_planes(buffer, self.conv2.weight, buffer, entry=self.norm1.over(buffer, leaky_))
                normalise = self.norm2.over(buffer)
                for some, change in slabs(window, buffer):
                    leaky_(some.add_(normalise(change)))
        return features

    def differentiated(
        self, x: Tensor, y: Tensor, gradient: Tensor, target: Tensor, *, learns: Sequence[bool]
    ) -> Gradients:
        """Write the gradient to one window's features; see ``PreActivationBlock.differentiated``."""
        first, second = torch.empty_like(x), torch.empty_like(x)
        convolve_planes(x, self.conv1.weight, first)
        norm1 = Normed.of(self.norm1, first, leaky_)
        convolve_planes(first, self.conv2.weight, second, entry=norm1.entry)
        gradient = leaky_backward_(gradient.clone(), y)
        through, *_ = Normed.of(self.norm2, second, leaky_).backward(gradient)
        activated = norm1.into(second)
        kernel2 = to_kernel(through, activated, self.conv2, wanted=learns[1])
        through = leaky_backward_(to_input(through, self.conv2, target), activated)
        del activated, second
        through, *_ = norm1.backward(through)
        del first, norm1
        kernel1 = to_kernel(through, x, self.conv1, wanted=learns[0])
        to_input(through, self.conv1, target)
        target.add_(gradient)
        return [kernel1, kernel2]
