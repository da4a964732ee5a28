"""How residual blocks learn on a processor: forward as without gradients, and only the block's input is kept.

What plain differentiation would keep of a block (four or five maps, at 128³ and 48 channels 200 MB each in
bfloat16) is made again when its gradient is asked for, plane by plane and by Winograd's convolution; so is the
gradient to the input of a convolution, which is a convolution with the kernel turned round. Gradients of kernels
are oneDNN's.

Agrees with plain differentiation to rounding. Gradients of gradients there are none.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from vesalius.models.layers.convolution import convolve_planes
from vesalius.models.layers.instance_norm import InstanceNorm, Moments, measure
from vesalius.models.layers.planes import Entry, slabs, windows_of

if TYPE_CHECKING:
    from vesalius.models.layers.residual import PostActivationBlock, PreActivationBlock

LEAK = 0.01
"""Slope of the leaky ReLU below zero."""

Gradients = list[Tensor | None]


def learns_in_planes(features: Tensor) -> bool:
    """Whether gradients are wanted where planes are the way."""
    return features.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling()


def leaky_(features: Tensor) -> Tensor:
    """Apply the leaky ReLU of the class head, in place."""
    return functional.leaky_relu_(features, LEAK)


class _Block(torch.autograd.Function):
    """What both kinds of blocks have in common: precision, layout, and windows one after the other."""

    @staticmethod
    def forward(ctx: Any, block: PreActivationBlock | PostActivationBlock, features: Tensor, *_: Tensor) -> Tensor:
        kind = features.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else features.dtype
        with torch.autocast(kind, enabled=False):
            result = features.to(dtype, copy=True, memory_format=torch.channels_last_3d)
            block.in_planes(result)
        ctx.block, ctx.learns = block, ctx.needs_input_grad[2:]
        ctx.save_for_backward(features, result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        features, result = ctx.saved_tensors
        given, source = (
            each.to(result.dtype).contiguous(memory_format=torch.channels_last_3d) for each in (given, features)
        )
        returned, totals = torch.empty_like(source), Gradients()
        with torch.autocast(given.device.type, enabled=False):
            for x, y, gradient, target in zip(*map(windows_of, (source, result, given, returned)), strict=True):
                own = ctx.block.differentiated(x, y, gradient, target, learns=ctx.learns)
                totals = _added(totals, own) if totals else own
        return None, returned.to(features.dtype), *totals


def _added(one: Gradients, other: Gradients) -> Gradients:
    return [None if a is None or b is None else a + b for a, b in zip(one, other, strict=True)]


def learnt(block: PreActivationBlock | PostActivationBlock, features: Tensor) -> Tensor:
    """Return what a block makes of some windows; it learns, and what comes before it."""
    result: Tensor = _Block.apply(block, features, *block.parameters())  # type: ignore[no-untyped-call]
    return result


class Normed(NamedTuple):
    """A norm and an activation over a whole window that was measured."""

    norm: InstanceNorm
    source: Float[Tensor, "i c j k"]
    moments: Moments
    activation: Entry

    @classmethod
    def of(cls, norm: InstanceNorm, source: Float[Tensor, "i c j k"], activation: Entry) -> Normed:
        """Measure a window."""
        return cls(norm, source, measure(some for (some,) in slabs(source)), activation)

    @property
    def entry(self) -> Entry:
        """What normalises and activates planes of the window."""
        return self.norm.by(self.moments, self.activation)

    def into(self, target: Float[Tensor, "i c j k"]) -> Float[Tensor, "i c j k"]:
        """Write the normalised and activated window."""
        for some, out in slabs(self.source, target):
            out.copy_(self.entry(some))
        return target

    def backward(self, gradient: Float[Tensor, "i c j k"]) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the gradients to the source, the scale and the shift, of that to the normalised window."""
        affine = self.norm.weight is not None
        deviation = (self.moments.variance + self.norm.eps).rsqrt()
        return torch.ops.aten.native_batch_norm_backward(  # type: ignore[no-any-return]
            gradient,
            self.source,
            self.norm.weight,
            None,
            None,
            self.moments.mean,
            deviation,
            True,
            self.norm.eps,
            [True, affine, affine],
        )


def to_input(gradient: Float[Tensor, "i d j k"], conv: nn.Conv3d, target: Float[Tensor, "i c j k"]) -> Tensor:
    """Write the gradient to a convolution's input, of that to its output; they may share memory."""
    turned = conv.weight.detach().to(gradient.dtype).flip(2, 3, 4).transpose(0, 1)
    convolve_planes(gradient, turned.contiguous(memory_format=torch.channels_last_3d), target)
    return target


def to_kernel(
    gradient: Float[Tensor, "i d j k"], source: Float[Tensor, "i c j k"], conv: nn.Conv3d, *, wanted: bool
) -> Tensor | None:
    """Return the gradient to a convolution's kernel, where it is wanted."""
    if not wanted:
        return None
    whole, windows = (rearrange(each, "i c j k -> 1 c i j k") for each in (gradient, source))
    kernel = conv.weight.detach().to(gradient.dtype)
    ones, zeros = [1, 1, 1], [0, 0, 0]
    _, found, _ = torch.ops.aten.convolution_backward(
        whole, windows, kernel, None, ones, ones, ones, False, zeros, 1, [False, True, False]
    )
    return found.to(conv.weight.dtype)  # type: ignore[no-any-return]


def relu_backward_(gradient: Tensor, activated: Tensor) -> Tensor:
    """Take from a gradient what a ReLU did not let through, in place."""
    return torch.ops.aten.threshold_backward.grad_input(gradient, activated, 0, grad_input=gradient)  # type: ignore[no-any-return]


def leaky_backward_(gradient: Tensor, activated: Tensor) -> Tensor:
    """Take from a gradient what the leaky ReLU did not let through, in place."""
    return torch.ops.aten.leaky_relu_backward.grad_input(  # type: ignore[no-any-return]
        gradient, activated, LEAK, True, grad_input=gradient
    )
