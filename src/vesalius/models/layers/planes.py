"""Work on a window a few planes at a time: the fast path where no gradient is wanted.

A map of 128³ voxels and 48 channels is many times larger than the processor's caches, so every pass over it (norm,
activation, residual) is paid in memory traffic, and every map kept is paid in memory. Here norm, activation and
convolution run on a few planes (along i) while these are in the cache, the normalised map is never stored, and
results overwrite what is no longer needed: a residual block needs two maps, not four.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from jaxtyping import Float
from torch import Tensor

Entry = Callable[[Tensor], Tensor]
"""What happens to planes before they are convolved: a norm and an activation. Gives new memory."""

SLAB_BYTES = 6 << 20
"""Planes taken at once fill about this much: with what is made of them they stay in a shared cache of 32 MB."""

TILE = 4
"""Slabs are a multiple of this many planes, which is what ``winograd`` makes at once."""


def streams(features: Tensor) -> bool:
    """Whether planes are the way: no gradient is wanted, and the processor's caches decide the speed."""
    return features.device.type == "cpu" and not torch.is_grad_enabled()


def owned(features: Float[Tensor, "b c i j k"], *, consume: bool) -> Float[Tensor, "b c i j k"]:
    """Return features in channels-last memory that may be overwritten."""
    if consume:
        return features.contiguous(memory_format=torch.channels_last_3d)
    return features.clone(memory_format=torch.channels_last_3d)


@contextmanager
def borrowed_like(features: Float[Tensor, "b c i j k"]) -> Iterator[Float[Tensor, "b c i j k"]]:
    """Lend channels-last memory of the shape of some windows."""
    b, c, i, j, k = features.shape
    with borrowed((b, i, j, k, c), features.dtype) as memory:
        yield memory.permute(0, 4, 1, 2, 3)


def empty_like_window(like: Float[Tensor, "b c i j k"], channels: int, sides: Sequence[int]) -> Tensor:
    """Return channels-last memory for windows of another width or size."""
    shape = (like.shape[0], channels, *sides)
    return torch.empty(shape, dtype=like.dtype, memory_format=torch.channels_last_3d)


def windows_of(features: Float[Tensor, "b c i j k"]) -> list[Tensor]:
    """Look at each window of a channels-last batch as planes ``[i c j k]``, channels-last too; memory is shared."""
    return [window.permute(1, 0, 2, 3) for window in features]


class Workspace:
    """Memory that is lent again and again: new memory costs a page fault per 4 kB, 7 % of a window's time.

    Threads may share one.
    """

    def __init__(self) -> None:
        self._free: list[Tensor] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> Tensor:
        """Return at least ``size`` bytes: the smallest block that was given back and fits, else a new one."""
        with self._lock:
            fitting = [number for number, block in enumerate(self._free) if len(block) >= size]
            if fitting:
                return self._free.pop(min(fitting, key=lambda number: len(self._free[number])))
        return torch.empty(size, dtype=torch.uint8)

    def give_back(self, block: Tensor) -> None:
        """Keep a block for whoever asks next."""
        with self._lock:
            self._free.append(block)


_workspace: ContextVar[Workspace | None] = ContextVar("workspace", default=None)


@contextmanager
def workspace() -> Iterator[None]:
    """Let all passes over windows in this block share their memory; it is freed at the end."""
    token = _workspace.set(Workspace())
    try:
        yield
    finally:
        _workspace.reset(token)


@contextmanager
def borrowed(shape: Sequence[int], dtype: torch.dtype) -> Iterator[Tensor]:
    """Lend memory of some shape, from the ``workspace`` where there is one; it must not be used afterwards."""
    lender = _workspace.get() or Workspace()
    size = math.prod(shape) * dtype.itemsize
    block = lender.take(size)
    yield block[:size].view(dtype).view(*shape)
    lender.give_back(block)


def slab_length(planes: Float[Tensor, "i c j k"]) -> int:
    """Return how many planes to take at once, a multiple of ``TILE``."""
    size = planes[0].numel() * planes.element_size()
    return TILE * max(1, round(SLAB_BYTES / (TILE * size)))


def slabs(*windows: Float[Tensor, "i c j k"]) -> Iterator[tuple[Tensor, ...]]:
    """Walk through windows of as many planes together, some planes at a time."""
    for where in slab_slices(windows[0]):
        yield tuple(window[where] for window in windows)


def slab_slices(planes: Float[Tensor, "i c j k"]) -> Iterator[slice]:
    """Say where the slabs of a window lie."""
    count, length = len(planes), slab_length(planes)
    for start in range(0, count, length):
        yield slice(start, min(start + length, count))
