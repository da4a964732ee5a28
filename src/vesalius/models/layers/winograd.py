"""Winograd's F(4, 3) along one axis: half the multiplications of a 3×3×3 convolution.

Paper: Lavin & Gray 2015, arXiv:1509.09308, with the points 0, ±3/4, ±3/2 and infinity, for which every coefficient
of the planes' transforms is exact in bfloat16. Six 3×3 products of mixed planes give four planes of the result,
where twelve products are needed otherwise. Both transforms are matrix products, so that each rounds once.

In float32 the result differs from the direct sum by 2e-6 of the largest value. In bfloat16 one layer's rounding
noise is two to three times that of the direct sum; that of the whole VISTA3D network is 1.3 times (0.021 against
0.017 of the logits' spread, seeded weights, 32³).
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

from vesalius.models.layers.planes import TILE, borrowed

BLOCK_BYTES = 5 << 20
"""The mixed planes of one block fill about this much; with products, input and output they stay in the cache."""

A, B = 0.75, 1.5
P, Q = A * A, B * B
INTO = (  # four planes and one more at either end -> six mixed planes
    (P * Q, 0, -(P + Q), 0, 1, 0),
    (0, -A * Q, -Q, A, 1, 0),
    (0, A * Q, -Q, -A, 1, 0),
    (0, -B * P, -P, B, 1, 0),
    (0, B * P, -P, -B, 1, 0),
    (0, P * Q, 0, -(P + Q), 0, 1),
)
POINTS = ((A, 2 * P * (P - Q)), (B, 2 * Q * (Q - P)))
"""Each with what divides the kernels mixed for it and for its negative."""
BACK = (  # six products -> four planes
    (1, 1, 1, 1, 1, 0),
    (0, A, -A, B, -B, 0),
    (0, P, P, Q, Q, 0),
    (0, A * P, -A * P, B * Q, -B * Q, 1),
)


_kept: MutableMapping[Tensor, tuple[tuple[int, int], WinogradKernel]] = WeakTensorKeyDictionary()


_sums_directly: ContextVar[bool] = ContextVar("sums_directly", default=False)


@contextmanager
def direct_sums() -> Iterator[None]:
    """Convolve without Winograd in this block: twice the multiplications, for equality with published numbers."""
    token = _sums_directly.set(True)
    try:
        yield
    finally:
        _sums_directly.reset(token)


def winograd_pays(planes: Float[Tensor, "i c j k"]) -> bool:
    """Whether multiplying is what costs, and enough voxels share the cost of mixing the weights."""
    count, channels, j, k = planes.shape
    if _sums_directly.get():
        return False
    return winograd_serves(planes.dtype) and count >= TILE and count * j * k >= 4 * channels


def winograd_serves(dtype: torch.dtype) -> bool:
    """Whether multiplying in this precision is what costs on this processor."""
    return dtype != torch.bfloat16 or not _has_tiles()


@cache
def _has_tiles() -> bool:
    """Whether the processor multiplies bf16 tiles (AMX): many times faster than vectors, so mixing costs more.

    Taken from the instruction set's stated rates; no such processor was at hand to measure on.
    """
    supported: Callable[[], bool] = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return bool(supported())


def winograd_kernel(weight: Float[Tensor, "d c 3 3 3"]) -> WinogradKernel:
    """Return the kernel of a weight: kept from one window to the next, and mixed anew where the weight changed.

    Mixing the 384 channels of the fourth level takes 3 % of a window's time. A weight that learns is not kept.
    """
    if weight.requires_grad or weight.is_inference():
        return WinogradKernel(weight)
    state = (weight.data_ptr(), weight._version)
    kept = _kept.get(weight)
    if kept is None or kept[0] != state:
        kept = _kept[weight] = (state, WinogradKernel(weight))
    return kept[1]


class WinogradKernel:
    """A 3×3×3 kernel as six 3×3 kernels.

    Args:
        weight: The kernel; its first spatial axis becomes the six products.
    """

    def __init__(self, weight: Float[Tensor, "d c 3 3 3"]) -> None:
        first, middle, last = weight.float().unbind(2)  # [d c 3 3]
        mixed = [first / (P * Q)]
        for point, scale in POINTS:
            even = torch.add(first, last, alpha=point * point).div_(scale)
            odd = middle * (point / scale)
            mixed += [even + odd, even - odd]
        mixed.append(last)
        self.kernels = [kernel.to(weight.dtype, memory_format=torch.channels_last) for kernel in mixed]
        self.into = torch.tensor(INTO, dtype=weight.dtype)
        self.back = torch.tensor(BACK, dtype=weight.dtype)

    def convolve(
        self,
        padded: Float[Tensor, "i_plus_2 c j_plus_2 k"],
        out: Float[Tensor, "i d j k"],
        *,
        plus: Float[Tensor, "i d j k"] | None,
    ) -> None:
        """Convolve some planes, a multiple of ``TILE``, given with a plane and a row more at either end.

        What is added to the result may be what it replaces.
        """
        for block, target, more in blocks(padded, out, out if plus is None else plus):
            with mixed_planes(self.into, block) as mixed:
                self.products_into(mixed, target, plus=None if plus is None else more)

    def products_into(
        self,
        mixed: Float[Tensor, "6 t j_plus_2 k c"],
        target: Float[Tensor, "i j k d"],
        *,
        plus: Float[Tensor, "i j k d"] | None,
    ) -> None:
        """Multiply the mixed planes of a block, and unmix the products."""
        _, tiles, j, k, _ = mixed.shape
        shape = (6, tiles, j - 2, k, target.shape[-1])
        with borrowed(shape, mixed.dtype) as products:
            for kernel, part, product in zip(self.kernels, mixed, products, strict=True):
                convolved = functional.conv2d(part.permute(0, 3, 1, 2), kernel, padding=(0, 1))
                product.copy_(convolved.permute(0, 2, 3, 1))
            for tile in range(tiles):
                where, made = slice(TILE * tile, TILE * (tile + 1)), products[:, tile].view(6, -1)
                some = target[where].view(TILE, -1)
                if plus is None:
                    torch.mm(self.back, made, out=some)
                else:
                    torch.addmm(plus[where].view(TILE, -1), self.back, made, out=some)


class WinogradGradient:
    """The gradients of a 3×3×3 convolution: that to its input, and that to its kernel from the same mixed planes.

    The gradient to the input is that to the output, convolved with the kernel turned round. Convolutions are linear
    in the kernel, so that to the kernel takes six 3×3 products of planes mixed by the transposes, where twelve are
    needed otherwise.

    Args:
        turned: The kernel turned round.
        learns: Whether the gradient to the kernel is wanted.
    """

    def __init__(self, turned: Float[Tensor, "c d 3 3 3"], *, learns: bool) -> None:
        self._kernel = WinogradKernel(turned)
        self._found = torch.zeros(6, *turned.shape[:2], 3, 3) if learns else None
        self._unmixed = self._kernel.back.T.contiguous()

    def differentiate(
        self,
        padded: Float[Tensor, "i_plus_2 d j_plus_2 k"],
        source: Float[Tensor, "i c j k"],
        out: Float[Tensor, "i c j k"],
        *,
        plus: Float[Tensor, "i c j k"] | None,
    ) -> None:
        """Write the gradient to some planes of the input, a multiple of ``TILE``, and add up that to the kernel.

        Args:
            padded: The gradient to the output, with a plane and a row more at either end.
            source: The input.
            out: Where the gradient to it goes.
            plus: Added to that; may be what it replaces.
        """
        for block, target, some, more in blocks(padded, out, source, out if plus is None else plus):
            with mixed_planes(self._kernel.into, block) as mixed:
                if self._found is not None:
                    self._learn(mixed, some, self._found)
                self._kernel.products_into(mixed, target, plus=None if plus is None else more)

    def _learn(self, mixed: Tensor, source: Tensor, found: Tensor) -> None:
        count, j, k, c = source.shape
        tiles = count // TILE
        ones, zeros = [1, 1], [0, 0]
        with borrowed((6, tiles, j, k, c), mixed.dtype) as spread:
            for tile in range(tiles):
                planes = source[TILE * tile : TILE * (tile + 1)].view(TILE, -1)
                torch.mm(self._unmixed, planes, out=spread[:, tile].view(6, -1))
            for kernel, part, planes, total in zip(self._kernel.kernels, mixed, spread, found, strict=True):
                _, own, _ = torch.ops.aten.convolution_backward(
                    planes.permute(0, 3, 1, 2),
                    part.permute(0, 3, 1, 2),
                    kernel,
                    None,
                    ones,
                    [0, 1],
                    ones,
                    False,
                    zeros,
                    1,
                    [False, True, False],
                )
                total.add_(own)

    def to_turned(self) -> Float[Tensor, "c d 3 3 3"]:
        """Return the gradient to the kernel turned round, in float32."""
        assert self._found is not None
        low, *pairs, high = self._found.unbind()
        first, middle, last = low / (P * Q), torch.zeros_like(low), high
        for (plus, minus), (point, scale) in zip((pairs[:2], pairs[2:]), POINTS, strict=True):
            even = (plus + minus) / scale
            first, middle, last = (
                first + even,
                middle + (plus - minus) * (point / scale),
                torch.add(last, even, alpha=point * point),
            )
        return torch.stack([first, middle, last], dim=2)


def blocks(
    padded: Float[Tensor, "i_plus_2 _ j_plus_2 k"], *windows: Float[Tensor, "i _ j k"]
) -> Iterator[tuple[Tensor, ...]]:
    """Walk through padded planes, and some that go along, in blocks that fill a cache; channels come last."""
    source = padded.permute(0, 2, 3, 1)  # [i j k c]
    beside = [window.permute(0, 2, 3, 1) for window in windows]
    tiles, j = len(beside[0]) // TILE, beside[0].shape[1]
    size = 6 * source[0].numel() * source.element_size()
    some_tiles = max(1, BLOCK_BYTES // size)
    some_rows = -(-j // -(-size // BLOCK_BYTES))
    for tile in range(0, tiles, some_tiles):
        planes = slice(TILE * tile, min(TILE * (tile + some_tiles), TILE * tiles))
        for row in range(0, j, some_rows):
            rows = slice(row, min(row + some_rows, j))
            block = source[planes.start : planes.stop + 2, rows.start : rows.stop + 2]
            yield block, *(window[planes, rows] for window in beside)


@contextmanager
def mixed_planes(into: Float[Tensor, "6 6"], block: Float[Tensor, "i_plus_2 j k c"]) -> Iterator[Tensor]:
    """Lend the mixed planes of a block."""
    count, j, k, c = block.shape
    tiles = (count - 2) // TILE
    with borrowed((6, tiles, j, k, c), block.dtype) as mixed:  # [6 t j k c]
        for tile in range(tiles):
            planes = block[TILE * tile : TILE * tile + 6].view(6, -1)
            torch.mm(into, planes, out=mixed[:, tile].view(6, -1))
        yield mixed
