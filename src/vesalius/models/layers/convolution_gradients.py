"""Gradients of convolutions of whole windows, plane by plane: to the input and to the kernel in one pass.

The gradient to the output and the input are made a few planes at a time by whoever knows how, so that neither the
normalised map nor the gradient behind a norm is ever stored.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vesalius.models.layers.convolution import PlanesOf, padded_slabs, put
from vesalius.models.layers.planes import TILE
from vesalius.models.layers.winograd import WinogradGradient, winograd_pays

Then = Callable[[slice, Float[Tensor, "i c j k"], Float[Tensor, "i c j k"]], object]
"""What happens to planes of the gradient to the input while they are in the cache: where, they, the input."""

LEAST_PRODUCTS = 3e8
"""Smaller convolutions in bfloat16 take less time than the many calls of Winograd's. In float32, where oneDNN's
gradient of a kernel is four times as slow, Winograd pays always (measured with 8 to 128 channels, 8³ to 64³)."""


def differentiate_planes(
    gradient_of: PlanesOf,
    weight: Float[Tensor, "d c 3 3 3"],
    source_of: PlanesOf,
    out: Float[Tensor, "i c j k"],
    *,
    scale: Float[Tensor, " d"] | None = None,
    add: bool = False,
    learns: bool = True,
    then: Then | None = None,
) -> Float[Tensor, "d c 3 3 3"] | None:
    """Differentiate a 3×3×3 convolution with zero padding.

    Args:
        gradient_of: Makes planes of the gradient to the output, which are convolved before they are written over if
            they lie in ``out``.
        weight: Kernel.
        source_of: Makes planes of the input.
        out: Where the gradient to the input goes.
        scale: Factors of the channels of the gradient to the output.
        add: Whether the gradient to the input is added to ``out`` instead of replacing it.
        learns: Whether the gradient to the kernel is wanted.
        then: Called with each slab that is done.

    Returns:
        The gradient to the kernel, in the kernel's precision; None where it is not wanted.
    """
    kernel = turned(_scaled(weight.detach(), scale)).to(out.dtype).contiguous(memory_format=torch.channels_last_3d)
    winograd = WinogradGradient(kernel, learns=learns) if _winograd_pays(out, kernel) else None
    direct = _Direct(kernel, learns=learns)
    for where, padded in padded_slabs(_like(out, weight), gradient_of):
        source, target = source_of(where), out[where]
        way = direct if winograd is None or len(target) % TILE else winograd
        way.differentiate(padded, source, target, plus=target if add else None)
        if then is not None:
            then(where, target, source)
    if not learns:
        return None
    found = direct.to_turned() if winograd is None else winograd.to_turned() + direct.to_turned()
    return _scaled(turned(found), scale).to(weight.dtype)


def turned(weight: Float[Tensor, "d c 3 3 3"]) -> Float[Tensor, "c d 3 3 3"]:
    """Return the kernel of the convolution that gives the gradient to the input; turned twice it is as it was."""
    return weight.flip(2, 3, 4).transpose(0, 1)


def _scaled(weight: Float[Tensor, "d c 3 3 3"], scale: Float[Tensor, " d"] | None) -> Float[Tensor, "d c 3 3 3"]:
    return weight if scale is None else weight * scale[:, None, None, None, None]


def _winograd_pays(planes: Float[Tensor, "i c j k"], kernel: Float[Tensor, "c d 3 3 3"]) -> bool:
    products = planes[:, 0].numel() * kernel.numel()
    return winograd_pays(planes) and (planes.dtype == torch.float32 or products >= LEAST_PRODUCTS)


class _Direct:
    """``WinogradGradient`` without Winograd, for any number of planes."""

    def __init__(self, kernel: Float[Tensor, "c d 3 3 3"], *, learns: bool) -> None:
        self._kernel, self._learns = kernel, learns
        self._found: Tensor | None = None

    def differentiate(self, padded: Tensor, source: Tensor, out: Tensor, *, plus: Tensor | None) -> None:
        planes, seen = (rearrange(each, "i c j k -> 1 c i j k") for each in (padded, source))
        ones, padding = [1, 1, 1], [0, 0, 1]
        if self._learns:
            _, own, _ = torch.ops.aten.convolution_backward(
                seen, planes, self._kernel, None, ones, padding, ones, False, [0, 0, 0], 1, [False, True, False]
            )
            self._found = own.float() if self._found is None else self._found.add_(own)
        convolved = functional.conv3d(planes, self._kernel, padding=(0, 0, 1))
        put(rearrange(convolved, "1 c i j k -> i c j k"), out, plus=plus)

    def to_turned(self) -> Tensor:
        return self._kernel.new_zeros((), dtype=torch.float32) if self._found is None else self._found


def _like(out: Float[Tensor, "i c j k"], weight: Float[Tensor, "d c 3 3 3"]) -> Float[Tensor, "i d j k"]:
    """Return an empty tensor of the shape of the gradient to the output, which costs no memory."""
    return out[:, :1].expand(-1, len(weight), -1, -1)
