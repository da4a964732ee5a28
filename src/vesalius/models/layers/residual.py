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
    Kept,
    leaky_,
    leaky_backward,
    learns_in_planes,
    learnt,
    through_leaky,
    through_relu,
)
from vesalius.models.layers.convolution import convolve_planes
from vesalius.models.layers.convolution_gradients import differentiate_planes
from vesalius.models.layers.instance_norm import InstanceNorm, Moments, NormGradient, measure_window
from vesalius.models.layers.planes import borrowed_like, owned, slab_slices, slabs, streams, windows_of


class PreActivationBlock(nn.Module):
    """``x + conv(relu(norm(conv(relu(norm(x))))))``, the block of SegResNet.

    Args:
        width: Channels in and out.
    """

    HIDDEN = 1
    """Maps that are kept for the gradients beside the features and the result."""

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
                self.refine(window, window, buffer)
        return features

    def refine(
        self, window: Float[Tensor, "i c j k"], out: Float[Tensor, "i c j k"], hidden: Float[Tensor, "i c j k"]
    ) -> list[Moments]:
        """Refine a window.

        Args:
            window: What to refine.
            out: Where the result goes; may be the window itself.
            hidden: Where the first convolution's result goes.

        Returns:
            What the norms measured.
        """
        first = measure_window(window)
        convolve_planes(window, self.conv1.weight, hidden, entry=self.norm1.by(first, functional.relu_))
        second = measure_window(hidden)
        convolve_planes(hidden, self.conv2.weight, out, entry=self.norm2.by(second, functional.relu_), plus=window)
        return [first, second]

    def differentiated(self, kept: Kept, gradient: Tensor, target: Tensor, *, learns: Sequence[bool]) -> Gradients:
        """Write the gradient to one window's features, and return those to the parameters, in their order.

        Args:
            kept: What ``refine`` read, measured and made.
            gradient: That to the result.
            target: Where that to the features goes.
            learns: Which parameters' are wanted.
        """
        norm1 = NormGradient(self.norm1, kept.source, kept.moments[0])
        norm2 = NormGradient(self.norm2, kept.hidden[0], kept.moments[1])
        kernel2 = differentiate_planes(
            gradient.__getitem__,
            self.conv2.weight,
            norm2.activated(functional.relu_),
            target,
            learns=learns[5],
            then=through_relu(norm2),
        )
        kernel1 = differentiate_planes(
            norm2.unscaled(target),
            self.conv1.weight,
            norm1.activated(functional.relu_),
            target,
            scale=norm2.scale,
            learns=learns[2],
            then=through_relu(norm1),
        )
        behind = norm1.scaled(target)
        for where in slab_slices(target):
            torch.add(behind(where), gradient[where], out=target[where])
        return [*norm1.to_parameters, kernel1, *norm2.to_parameters, kernel2]


class PostActivationBlock(nn.Module):
    """``leaky(x + norm(conv(leaky(norm(conv(x))))))``, the block of the class head; its norms learn nothing.

    Args:
        width: Channels in and out.
    """

    HIDDEN = 2
    """Maps that are kept for the gradients beside the features and the result."""

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
                self.refine(window, window, buffer, buffer)
        return features

    def refine(
        self,
        window: Float[Tensor, "i c j k"],
        out: Float[Tensor, "i c j k"],
        first: Float[Tensor, "i c j k"],
        second: Float[Tensor, "i c j k"],
    ) -> list[Moments]:
        """Refine a window.

        Args:
            window: What to refine.
            out: Where the result goes; may be the window itself.
            first: Where the first convolution's result goes.
            second: Where the second's goes; may be ``first`` itself.

        Returns:
            What the norms measured.
        """
        convolve_planes(window, self.conv1.weight, first)
        inner = measure_window(first)
        convolve_planes(first, self.conv2.weight, second, entry=self.norm1.by(inner, leaky_))
        outer = measure_window(second)
        normalise = self.norm2.by(outer)
        for some, change, result in slabs(window, second, out):
            leaky_(torch.add(some, normalise(change), out=result))
        return [inner, outer]

    def differentiated(self, kept: Kept, gradient: Tensor, target: Tensor, *, learns: Sequence[bool]) -> Gradients:
        """Write the gradient to one window's features, once; see ``PreActivationBlock.differentiated``."""
        norm1, norm2 = (
            NormGradient(*of) for of in zip((self.norm1, self.norm2), kept.hidden, kept.moments, strict=True)
        )
        for where in slab_slices(target):
            leaky_backward(gradient[where], kept.result[where], out=target[where])
            norm2.count(where, target[where])
        through = kept.hidden[1]  # read for the last time by the pass that overwrites it: new memory costs 0.1 s
        kernel2 = differentiate_planes(
            norm2.unscaled(target),
            self.conv2.weight,
            norm1.activated(leaky_),
            through,
            scale=norm2.scale,
            learns=learns[1],
            then=through_leaky(norm1),
        )
        kernel1 = differentiate_planes(
            norm1.unscaled(through),
            self.conv1.weight,
            kept.source.__getitem__,
            target,
            scale=norm1.scale,
            add=True,
            learns=learns[0],
        )
        return [kernel1, kernel2]
