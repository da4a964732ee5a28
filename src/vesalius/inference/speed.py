"""Speed: how many operations a pass takes, and how many of them this machine makes in a second."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import cache, partial

import torch

from vesalius.geometry.boxes import Triple
from vesalius.inference.vit_costs import as_slices, slice_flops
from vesalius.precision import Precision
from vesalius.spec import PromptArchitecture, PromptedVitArchitecture

DTYPES: Mapping[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}

SECONDS_OF_START = 3.0
"""What a run takes before its first pass, in every plan."""
_TIMED_SIDES = (16, 48)
"""Voxels along the sides of the convolutions that are timed; the last tells, unless it would take too long."""
_LONGEST_TIMING_S = 10.0
_TIMINGS = 4
_LONG_ENOUGH_S = 1.0


def window_flops(architecture: PromptArchitecture, window_size: Triple) -> int:
    """Count the floating-point operations (2 per multiply-add) of one automatic pass.

    Written out, because torch's counter takes a second to load, a sixth of a short run; a test holds the two equal.
    """
    if isinstance(architecture, PromptedVitArchitecture):
        i, j, k = window_size
        head = 2 * 4 * 27 * architecture.width**2 * i * j * k
        return head + k * sum(slice_flops(as_slices(architecture), (i, j)))
    levels = len(architecture.blocks_down)
    width = [architecture.width << level for level in range(levels)]
    voxels = [math.prod(window_size) >> 3 * level for level in range(levels)]
    convolution = [27 * width[level] ** 2 * voxels[level] for level in range(levels)]  # of a residual block
    between = [27 * width[level] * width[level - 1] * voxels[level] for level in range(1, levels)]  # down, and up
    blocks = sum(2 * count * one for count, one in zip(architecture.blocks_down, convolution, strict=True))
    first, last = 27 * architecture.in_channels * width[0] * voxels[0], width[0] ** 2 * voxels[0]
    return 2 * (first + blocks + 2 * sum(between) + 2 * sum(convolution[:-1]) + last + 4 * convolution[0])


@cache
def measure_flops_per_second(architecture: PromptArchitecture, precision: Precision) -> float:
    """Time the convolution that dominates a pass, for a fraction of a second; the best of a few, once a process.

    Every run plans three times, and a batch for every scan. Where a device imitates a precision, which can be two
    hundred times slower, a small convolution has to tell.
    """
    width, dtype = architecture.width, DTYPES[precision]
    weight = torch.randn(width, width, 3, 3, 3).to(dtype).to(memory_format=torch.channels_last_3d)
    speed = 0.0
    for side in _TIMED_SIDES:
        flops = 2 * 27 * width * width * side**3
        if speed and flops / speed > _LONGEST_TIMING_S:
            break
        image = torch.randn(1, width, side, side, side).to(dtype).to(memory_format=torch.channels_last_3d)
        speed = flops / fastest(partial(torch.nn.functional.conv3d, image, weight, padding=1))
    return speed


def fastest(run: Callable[[], object]) -> float:
    """Return the least of a few times of a computation, in seconds; after a second of it, of those it took."""
    times: list[float] = []
    with torch.inference_mode():
        while len(times) < _TIMINGS and sum(times) < _LONG_ENOUGH_S:
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return min(times)
