"""How residual blocks learn on a processor: forward as without gradients; what each convolution gave is kept.

Plain differentiation keeps four or five maps of a block (at 128³ and 48 channels 200 MB each in bfloat16). Here the
normalised and activated ones are made again, a few planes at a time, while the gradients of a convolution are
taken: that to its input and that to its kernel by Winograd's convolution, that behind a norm on the way.

Agrees with plain differentiation to rounding. Gradients of gradients there are none, and a graph is gone through
once: memory that was kept is used again.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from vesalius.models.layers.convolution_gradients import Then
from vesalius.models.layers.instance_norm import Moments, NormGradient
from vesalius.models.layers.planes import windows_of

LEAK = 0.01
"""Slope of the leaky ReLU below zero."""

Gradients = list[Tensor | None]


class Kept(NamedTuple):
    """What is kept of one window for the gradients of a block, as planes.

    Args:
        source: The block's input.
        result: What the block made of it.
        hidden: What its convolutions gave, those the result does not say.
        moments: What its norms measured.
    """

    source: Float[Tensor, "i c j k"]
    result: Float[Tensor, "i c j k"]
    hidden: Sequence[Float[Tensor, "i c j k"]]
    moments: Sequence[Moments]


@runtime_checkable
class PlaneBlock(Protocol):
    """A residual block that says how it is computed and differentiated, window by window."""

    HIDDEN: int
    """Maps that are kept for the gradients beside the features and the result."""

    @property
    def refine(self) -> Callable[..., list[Moments]]:
        """Computes a window, given places for the result and each hidden map; returns what norms measured."""
        ...

    def differentiated(self, kept: Kept, gradient: Tensor, target: Tensor, *, learns: Sequence[bool]) -> Gradients:
        """Write the gradient to one window's features, and return those to the parameters, in their order."""
        ...

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Return what learns."""
        ...


def learns_in_planes(features: Tensor) -> bool:
    """Whether gradients are wanted where planes are the way."""
    return features.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling()


class _Block(torch.autograd.Function):
    """What both kinds of blocks have in common: precision, layout, and windows one after the other."""

    @staticmethod
    def forward(ctx: Any, block: PlaneBlock, features: Tensor, *_: Tensor) -> Tensor:
        kind = features.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else features.dtype
        with torch.autocast(kind, enabled=False):
            source = features.to(dtype, memory_format=torch.channels_last_3d)
            result, *hidden = (torch.empty_like(source) for _ in range(1 + block.HIDDEN))
            windows = zip(*map(windows_of, (source, result, *hidden)), strict=True)
            ctx.moments = [block.refine(*window) for window in windows]
        ctx.block, ctx.learns = block, ctx.needs_input_grad[2:]
        ctx.save_for_backward(features, result, *hidden)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        features, result, *hidden = ctx.saved_tensors
        given, source = (
            each.to(result.dtype).contiguous(memory_format=torch.channels_last_3d) for each in (given, features)
        )
        returned, totals = torch.empty_like(source), Gradients()
        windows = zip(*map(windows_of, (given, returned, source, result, *hidden)), strict=True)
        with torch.autocast(given.device.type, enabled=False):
            for moments, (gradient, target, x, y, *maps) in zip(ctx.moments, windows, strict=True):
                own = ctx.block.differentiated(Kept(x, y, maps, moments), gradient, target, learns=ctx.learns)
                totals = _added(totals, own) if totals else own
        return None, returned.to(features.dtype), *totals


def _added(one: Gradients, other: Gradients) -> Gradients:
    return [None if a is None or b is None else a + b for a, b in zip(one, other, strict=True)]


def learnt(block: PlaneBlock, features: Tensor) -> Tensor:
    """Return what a block makes of some windows; it learns, and what comes before it."""
    result: Tensor = _Block.apply(block, features, *block.parameters())  # type: ignore[no-untyped-call]
    return result


def through_relu(norm: NormGradient) -> Then:
    """Return what takes from a gradient what a ReLU did not let through, in place, and tells the norm before it."""

    def then(where: slice, gradient: Tensor, activated: Tensor) -> None:
        torch.ops.aten.threshold_backward.grad_input(gradient, activated, 0, grad_input=gradient)
        norm.count(where, gradient)

    return then


def through_leaky(norm: NormGradient) -> Then:
    """Return the same for the leaky ReLU of the class head."""

    def then(where: slice, gradient: Tensor, activated: Tensor) -> None:
        leaky_backward(gradient, activated, out=gradient)
        norm.count(where, gradient)

    return then


def leaky_(features: Tensor) -> Tensor:
    """Apply the leaky ReLU of the class head, in place."""
    return functional.leaky_relu_(features, LEAK)


def leaky_backward(gradient: Tensor, activated: Tensor, *, out: Tensor) -> None:
    """Write a gradient without what the leaky ReLU did not let through; ``out`` may be the gradient itself."""
    torch.ops.aten.leaky_relu_backward.grad_input(gradient, activated, LEAK, True, grad_input=out)
