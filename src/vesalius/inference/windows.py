"""Run a network over windows and blend its features in one rolling slab.

Logits are linear in the features and blending weights do not depend on the class, so blending features first and
taking dot products afterwards equals blending logits, at a cost that does not grow with the number of classes.
The slab is as thick as one window; planes that no later window touches are handed on and forgotten.

On a processor several windows run at once, each on cores of its own: threads that share one window wait for each
other at every layer (on two busy cores one window at a time took six times as long as two at once).
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.geometry.boxes import Triple
from vesalius.models.threads import compute_with

Blending = Literal["partition", "gaussian", "constant"]

_SIGMA_OF_SIDE = 0.125
_PLANES_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class WindowLayout:
    """Where the windows of a grid stand and how they are blended.

    Args:
        shape: Voxels of the padded grid, at least ``window_size`` along every axis.
        window_size: Voxels of one window.
        starts: First voxel of the windows, for each axis; windows stand at every combination.
        axis: The axis along which the slab rolls.
        blending: ``partition``: Gaussian weights that add up to 1 in every voxel (ours). ``gaussian`` and
            ``constant``: the weights of the official pipelines, not normalised: no label depends on the sum.
    """

    shape: Triple
    window_size: Triple
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    axis: int
    blending: Blending = "partition"

    @property
    def num_windows(self) -> int:
        """How many windows there are."""
        return math.prod(len(starts) for starts in self.starts)

    @property
    def order(self) -> Triple:
        """The axes of the slab: the rolling one first, then the others from last to first."""
        first, second = (a for a in (2, 1, 0) if a != self.axis)
        return self.axis, first, second

    @property
    def slab_shape(self) -> Triple:
        """Voxels of the slab, axes in ``order``."""
        rolling, second, third = self.order
        return self.window_size[rolling], self.shape[second], self.shape[third]

    def rows(self) -> Iterator[tuple[int, int, list[Triple]]]:
        """Yield the rows of windows: first plane, planes finished by the row, window starts ``(i, j, k)``."""
        ends = (*self.starts[self.axis][1:], self.shape[self.axis])
        for start, end in zip(self.starts[self.axis], ends, strict=True):
            axes = [(start,) if a == self.axis else self.starts[a] for a in range(3)]
            yield start, end - start, [(i, j, k) for i, j, k in itertools.product(*axes)]

    def weights(self, start: Triple) -> Float[Tensor, "i j k"]:
        """Return the blending weights of the window that stands at ``start``."""
        if self.blending == "constant":
            return torch.ones(self.window_size)
        sides = [_gaussian(n) for n in self.window_size]
        if self.blending == "gaussian":
            return _outer(sides).clamp_(min=1e-3)
        return _outer([self._share(axis, start[axis], sides[axis]) for axis in range(3)])

    def _share(self, axis: int, start: int, side: Float[Tensor, " w"]) -> Float[Tensor, " w"]:
        total = torch.zeros(self.shape[axis])
        for other in self.starts[axis]:
            total[other : other + len(side)] += side
        return side / total[start : start + len(side)]


def _gaussian(side: int) -> Float[Tensor, " w"]:
    """Return MONAI's importance of each voxel of a window side (``compute_importance_map``), sigma side / 8."""
    offset = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
    return torch.exp(-(offset**2) / (2 * (_SIGMA_OF_SIDE * side) ** 2))


def _outer(sides: Sequence[Tensor]) -> Float[Tensor, "i j k"]:
    i, j, k = sides
    return i[:, None, None] * j[None, :, None] * k[None, None, :]


def spread_starts(length: int, side: int, overlap: float) -> tuple[int, ...]:
    """Place windows evenly over an axis, sharing at least ``overlap`` of their side with the next one."""
    if length <= side:
        return (0,)
    stride = max(1, int(side * (1 - overlap)))
    count = math.ceil((length - side) / stride) + 1
    return tuple(round(n * (length - side) / (count - 1)) for n in range(count))


def clamped_starts(length: int, side: int, overlap: float) -> tuple[int, ...]:
    """Place windows as MONAI does (``dense_patch_slices``): a fixed stride, the last one pushed inside."""
    stride = max(1, int(side * (1 - overlap)))
    count = max(1, math.ceil((length - side) / stride) + 1)
    return tuple(dict.fromkeys(max(0, min(n * stride, length - side)) for n in range(count)))


def rolling_axis(shape: Triple) -> int:
    """Return the axis that gives the smallest slab: the longest one, the last of several."""
    return max(range(3), key=lambda a: (shape[a], a))


def blended_features(
    run: Callable[[Float[Tensor, "1 1 i j k"]], Float[Tensor, "1 d i j k"]],
    image: Float[Tensor, "i j k"],
    layout: WindowLayout,
    *,
    width: int,
    dtype: torch.dtype,
    device: torch.device | None = None,
    at_once: int = 1,
    threads_each: int | None = None,
    is_empty: Callable[[Float[Tensor, "i j k"]], bool] = lambda _: False,
    on_window: Callable[[bool], None] = lambda _: None,
) -> Iterator[Float[Tensor, "p y x d"]]:
    """Run every window and yield blended features, plane by plane along the rolling axis.

    Args:
        run: The network: one window to its features.
        image: What the network sees, already padded to ``layout.shape``.
        layout: Where the windows stand.
        width: Channels ``d`` of the features.
        dtype: In which features are accumulated.
        device: Where they are accumulated; None is where the image is.
        at_once: Windows that run at the same time; they are blended in their order.
        threads_each: Threads that each of them computes with, which rounding depends on; None leaves torch's own.
        is_empty: Says of a window whether running it can be spared (its features count as 0).
        on_window: Called after each window, with whether it ran.

    Yields:
        Blocks of finished planes, axes in ``layout.order``; every block but the first begins with the last plane
        of the block before it. Valid until the next block is asked for.
    """
    thickness, *plane = layout.slab_shape
    slab = torch.zeros((1 + thickness, *plane, width), dtype=dtype, device=device or image.device)
    window_area = slab[1:]  # the plane before it is the last finished one

    def features_at(corner: Triple) -> Float[Tensor, "d i j k"] | None:
        window = image[tuple(slice(a, a + n) for a, n in zip(corner, layout.window_size, strict=True))]
        return None if is_empty(window) else run(window[None, None])[0]

    corners = [corner for _, _, windows in layout.rows() for corner in windows]
    with closing(_in_order(features_at, corners, at_once, threads_each)) as results:
        for start, finished, windows in layout.rows():
            for corner in windows:
                features = next(results)
                if features is not None:
                    _, y, x = (corner[a] for a in layout.order)
                    _, ny, nx = (layout.window_size[a] for a in layout.order)
                    _accumulate(window_area[:, y : y + ny, x : x + nx], features, layout, corner)
                on_window(features is not None)
                del features
            yield slab[0 if start else 1 : 1 + finished]
            _roll(slab, finished)


def _in_order(
    task: Callable[[Triple], Tensor | None], corners: Sequence[Triple], at_once: int, threads_each: int | None
) -> Generator[Tensor | None]:
    """Yield the result of each task in order; ``at_once`` of them run at a time, and one more may be waiting."""
    if threads_each is None:
        yield from map(task, corners)
        return

    def infer(corner: Triple) -> Tensor | None:
        with torch.inference_mode():
            return task(corner)

    under_way: deque[Future[Tensor | None]] = deque()
    with ThreadPoolExecutor(at_once, initializer=compute_with, initargs=(threads_each,)) as pool:
        try:
            for corner in corners:
                under_way.append(pool.submit(copy_context().run, infer, corner))
                if len(under_way) > at_once:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def _accumulate(
    target: Float[Tensor, "p y x d"], features: Float[Tensor, "d i j k"], layout: WindowLayout, corner: Triple
) -> None:
    order = layout.order
    added = features.permute(*(1 + a for a in order), 0)  # [p y x d]
    weights = layout.weights(corner).permute(order).to(target.device, target.dtype)[..., None]
    for first in range(0, target.shape[0], _PLANES_AT_ONCE):
        planes = slice(first, first + _PLANES_AT_ONCE)
        target[planes].addcmul_(added[planes].to(target.dtype), weights[planes])


def _roll(slab: Float[Tensor, "p y x d"], planes: int) -> None:
    """Forget the first planes, move the others to the front, clear the rest.

    As many at a time as are forgotten: where they come from and where they go share no plane then, so that no copy
    is needed.
    """
    kept = slab.shape[0] - planes
    for first in range(0, kept, planes):
        stop = min(first + planes, kept)
        slab[first:stop] = slab[first + planes : stop + planes]
    slab[kept:] = 0
