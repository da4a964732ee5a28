"""Convolutions of whole windows, plane by plane, into memory the caller chose.

They compute in the precision of the window, whatever that of the kernel.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vesalius.models.layers.planes import TILE, Entry, slab_length
from vesalius.models.layers.winograd import winograd_kernel, winograd_pays

PlanesOf = Callable[[slice], Tensor]
"""Makes some planes of a window ``[i c j k]``."""


def convolve_planes(
    source: Float[Tensor, "i c j k"],
    weight: Float[Tensor, "d c 3 3 3"],
    out: Float[Tensor, "i d j k"],
    *,
    entry: Entry | None = None,
    plus: Float[Tensor, "i d j k"] | None = None,
) -> None:
    """Convolve a window 3×3×3 with zero padding.

    Args:
        source: Planes of the window.
        weight: Kernel.
        out: Where the result goes; may be ``source`` itself.
        entry: Applied to the planes of ``source`` first; the padding stays 0.
        plus: Added to the result; may be ``out`` itself.
    """
    weight = weight.to(source.dtype)
    kernel = winograd_kernel(weight) if winograd_pays(source) else None
    for where, padded in padded_slabs(source, lambda some: _enter(source[some], entry)):
        target, more = out[where], None if plus is None else plus[where]
        if kernel is not None and len(target) % TILE == 0:
            kernel.convolve(padded, target, plus=more)
        else:
            convolved = functional.conv3d(rearrange(padded, "i c j k -> 1 c i j k"), weight, padding=(0, 0, 1))
            put(rearrange(convolved, "1 d i j k -> i d j k"), target, plus=more)


def padded_slabs(
    like: Float[Tensor, "i c j k"], planes_of: PlanesOf
) -> Iterator[tuple[slice, Float[Tensor, "i_plus_2 c j_plus_2 k"]]]:
    """Walk through a window: where some planes are, and they, with a plane and a row more at either end.

    The planes beyond a slab are its neighbours, those beyond the window and the rows are 0. A slab's memory is used
    again for the next. A plane is asked for once, before the slab in front of it is given: whoever asks may
    overwrite the planes he was given.

    Args:
        like: A window of this shape.
        planes_of: Makes the planes.
    """
    count, channels, j, k = like.shape
    length = min(slab_length(like), count)
    padded = torch.zeros(length + 2, j + 2, k, channels, dtype=like.dtype).permute(0, 3, 1, 2)
    inner = padded[:, :, 1:-1]  # [i c j k], one plane more at either end
    inner[1:2] = planes_of(slice(0, 1))
    for start in range(0, count, length):
        stop = min(start + length, count)
        fresh = slice(start + 1, min(stop + 1, count))
        if fresh.start < fresh.stop:
            inner[2 : 2 + fresh.stop - fresh.start] = planes_of(fresh)
        if stop == count:
            inner[stop - start + 1] = 0
        yield slice(start, stop), padded[: stop - start + 2]
        inner[:2] = inner[stop - start : stop - start + 2].clone()


def upsample_planes(
    source: Float[Tensor, "i c j k"],
    weight: Float[Tensor, "c d 3 3 3"],
    out: Float[Tensor, "i2 d j2 k2"],
    *,
    bias: Float[Tensor, " d"] | None = None,
    add: bool = False,
) -> None:
    """Double a window by a transposed convolution: kernel 3, stride 2, padding 1, output padding 1.

    Args:
        source: Planes of the window.
        weight: Kernel.
        out: Where the result goes.
        bias: Added to every channel of the result.
        add: Whether the result is added to ``out`` instead of replacing it.
    """
    length = max(1, slab_length(source) // TILE)
    raised = upsampled(torch.split(source, length), weight.to(source.dtype), bias=bias)
    for some, target in zip(raised, torch.split(out, 2 * length), strict=True):
        put(some, target, plus=target if add else None)


def upsampled(
    slabs: Sequence[Float[Tensor, "_ c j k"]],
    weight: Float[Tensor, "c d 3 3 3"],
    *,
    bias: Float[Tensor, " d"] | None = None,
) -> Iterator[Float[Tensor, "i2 d j2 k2"]]:
    """Double a window slab by slab, as ``upsample_planes`` does, for those who need not keep the result."""
    for some, beyond in zip(slabs, [*(slab[:1] for slab in slabs[1:]), None], strict=True):
        raised = functional.conv_transpose3d(
            rearrange(some, "i c j k -> 1 c i j k"), weight, bias, stride=2, padding=1, output_padding=1
        )
        raised = rearrange(raised, "1 d i j k -> i d j k")
        if beyond is not None:  # the last plane also sees the first of the next slab
            raised[-1:] += functional.conv_transpose2d(
                beyond, weight[:, :, 0], stride=2, padding=1, output_padding=1
            )
        yield raised


def downsample_planes(
    source: Float[Tensor, "i2 c j2 k2"],
    weight: Float[Tensor, "d c 3 3 3"],
    out: Float[Tensor, "i d j k"],
    *,
    bias: Float[Tensor, " d"] | None = None,
) -> None:
    """Halve a window by a convolution: kernel 3, stride 2, padding 1.

    Args:
        source: Planes of the window, an even number along each axis.
        weight: Kernel.
        out: Where the result goes.
        bias: Added to every channel of the result.
    """
    length, weight = slab_length(source), weight.to(source.dtype)
    for start in range(0, len(source), length):
        stop = min(start + length, len(source))
        planes = rearrange(source[max(start - 1, 0) : stop], "i c j k -> 1 c i j k")
        if start == 0:
            planes = functional.pad(planes, (0, 0, 0, 0, 1, 0)).contiguous(memory_format=torch.channels_last_3d)
        lowered = functional.conv3d(planes, weight, bias, stride=2, padding=(0, 1, 1))
        out[start // 2 : stop // 2] = rearrange(lowered, "1 d i j k -> i d j k")


def convolve_few_channels(
    source: Float[Tensor, "i c j k"], weight: Float[Tensor, "d c 3 3 3"], out: Float[Tensor, "i d j k"]
) -> None:
    """Convolve a window of one or a few channels 3×3×3: three planes at a time as channels of a 3×3 convolution.

    The 3-D convolution of one channel leaves channels-last, and takes seven times as long (measured at 128³).
    """
    padded = functional.pad(source, (0, 0, 0, 0, 0, 0, 1, 1))
    kernel = rearrange(weight.to(source.dtype), "d c i j k -> d (i c) j k").contiguous(
        memory_format=torch.channels_last
    )
    length = slab_length(out)
    for start in range(0, len(source), length):
        stop = min(start + length, len(source))
        near = torch.cat([padded[start + tap : stop + tap] for tap in range(3)], dim=1)  # [i (3 c) j k]
        near = near.contiguous(memory_format=torch.channels_last)
        out[start:stop] = functional.conv2d(near, kernel, padding=1)


def convolve_to_one_channel(
    slabs: Iterable[Float[Tensor, "_ c j k"]], weight: Float[Tensor, "1 c 3 3 3"], sides: Sequence[int]
) -> Float[Tensor, "x y z"]:
    """Convolve a window 3×3×3 to one channel: one matrix product for all 27 taps, then 27 shifted sums.

    The 3-D convolution to one channel does the work of sixteen; this takes an eighth of its time (128³, width 48).

    Args:
        slabs: Planes of the window, in order.
        weight: Kernel.
        sides: Voxels of the window along i, j, k; beyond them there are zeros.

    Returns:
        The result in float32.
    """
    i, j, k = sides
    taps = rearrange(weight, "1 c i j k -> (i j k) c").contiguous()
    padded = torch.zeros(i + 2, j + 2, k + 2)  # a voxel more all around, for what falls outside
    start = 0
    for planes in slabs:
        rows = rearrange(planes, "i c j k -> (i j k) c")
        products = (taps @ rows.T).view(3, 3, 3, len(planes), j, k)
        for tap_i, tap_j, tap_k in product(range(3), repeat=3):
            at_i, at_j, at_k = start + 2 - tap_i, 2 - tap_j, 2 - tap_k
            target = padded[at_i : at_i + len(planes), at_j : at_j + j, at_k : at_k + k]
            target += products[tap_i, tap_j, tap_k]
        start += len(planes)
    return padded[1:-1, 1:-1, 1:-1]


def _enter(planes: Tensor, entry: Entry | None) -> Tensor:
    return planes if entry is None else entry(planes)


def put(result: Tensor, out: Tensor, *, plus: Tensor | None) -> None:
    """Write a result, and add something."""
    if plus is None:
        out.copy_(result)
    else:
        torch.add(plus, result, out=out)
