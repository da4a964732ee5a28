"""The machine a run stands on: processor, memory, torch, what will be slow and why, and whether torch adds up.

3-D convolutions of some torch builds were slow, hungry or silently wrong (pytorch issues 163539, 166122, 166643):
so the one that is installed is compared with a convolution written out here in float64, on every device that is
there; none but the processor was at hand.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import os
import platform
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from jaxtyping import Float64

import vesalius
from vesalius.allowance import available_bytes, usable_cores
from vesalius.errors import UsageError, is_out_of_memory
from vesalius.inference.speed import DTYPES, measure_flops_per_second
from vesalius.precision import Precision, best_precision
from vesalius.spec import VistaArchitecture

_TOLERANCE: dict[Precision, float] = {"fp32": 1e-5, "bf16": 2e-2}
"""Largest difference over largest value that rounding alone explains: bf16 keeps 8 bits (4e-3 a value)."""
_TF32_TOLERANCE = 5e-3
"""Of fp32 beside the processor: cards multiply it with 10 bits (5e-4 a value) unless torch is told otherwise."""
_LITTLE_MEMORY = 4e9
_SIDE = 13


@dataclass(frozen=True, kw_only=True)
class ConvolutionCheck:
    """One convolution of torch against the same in float64.

    Args:
        device: Where it was made.
        precision: Of the convolution.
        layout: Of its memory.
        stride: 1, or 2 as between the levels of the network.
        difference: Largest difference over largest value.
        tolerance: What rounding explains.
        refused: Why the device did not make it, in torch's words, and then the difference is NaN; empty if it did.
    """

    device: str
    precision: Precision
    layout: str
    stride: int
    difference: float
    tolerance: float
    refused: str = ""

    @property
    def is_right(self) -> bool:
        """Whether it adds up; NaN does not."""
        return self.difference <= self.tolerance

    @property
    def is_wrong(self) -> bool:
        """Whether it was made and does not add up."""
        return not self.refused and not self.is_right


def check_convolutions(
    device: str = "cpu", precisions: Collection[Precision] = tuple(DTYPES)
) -> tuple[ConvolutionCheck, ...]:
    """Compare torch's 3-D convolution with the definition, in every layout and stride the networks use.

    What a device refuses is neither right nor wrong: it would not be wrong in silence.

    Args:
        device: Where torch convolves.
        precisions: In which.

    Raises:
        RuntimeError: If memory runs out, as torch says it; a device's other errors are refusals.
    """
    generator = np.random.default_rng(0)
    image = generator.standard_normal((3, _SIDE, _SIDE + 2, _SIDE + 5))
    weight = generator.standard_normal((17, 3, 3, 3, 3))
    checks = []
    for precision, layout, stride in product(precisions, ("contiguous", "channels last"), (1, 2)):
        difference, refused = math.nan, ""
        try:
            difference = _difference(image, weight, precision, layout, stride, device=device)
        except (TypeError, RuntimeError) as error:  # NotImplementedError is one of these
            if is_out_of_memory(error):
                raise
            refused = str(error).strip().partition("\n")[0] or type(error).__name__
        is_rounded_more = precision == "fp32" and device != "cpu"
        checks.append(
            ConvolutionCheck(
                device=device,
                precision=precision,
                layout=layout,
                stride=stride,
                difference=difference,
                tolerance=_TF32_TOLERANCE if is_rounded_more else _TOLERANCE[precision],
                refused=refused,
            )
        )
    return tuple(checks)


@cache
def require_right_convolutions(device: str, precision: Precision) -> None:
    """Refuse a device whose 3-D convolution is wrong; found out once a process.

    Raises:
        UsageError: If it is.
    """
    wrong = [check for check in check_convolutions(device, (precision,)) if check.is_wrong]
    if wrong:
        raise UsageError(
            expected=f"a 3-D convolution on {device} that is off by rounding alone ({wrong[0].tolerance:.0e})",
            got=f"one that is off by {wrong[0].difference:.1e}, with torch {torch.__version__}",
            do="use --device cpu, or install another version of torch; `vesalius doctor` tries all devices",
        )


def devices() -> tuple[str, ...]:
    """Return every device of this machine that torch can use, the processor first."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0  # counted under too old a driver, too
    cards = [f"cuda:{number}" for number in range(count)]
    return ("cpu", *cards, *(("mps",) if torch.backends.mps.is_available() else ()))


def _difference(
    image: Float64[np.ndarray, "c i j k"],
    weight: Float64[np.ndarray, "d c 3 3 3"],
    precision: Precision,
    layout: str,
    stride: int,
    *,
    device: str,
) -> float:
    dtype = DTYPES[precision]
    memory = torch.channels_last_3d if layout == "channels last" else torch.contiguous_format
    inputs = [torch.from_numpy(array).to(dtype) for array in (image[None], weight)]
    laid_out, kernel = (tensor.to(device).to(memory_format=memory) for tensor in inputs)
    with torch.inference_mode():
        ours = torch.nn.functional.conv3d(laid_out, kernel, padding=1, stride=stride)
    rounded = [tensor.double().numpy() for tensor in inputs]  # the reference starts from the same numbers
    reference = convolve(rounded[0][0], rounded[1])[:, ::stride, ::stride, ::stride]
    return float(np.abs(ours[0].cpu().double().numpy() - reference).max() / np.abs(reference).max())


def convolve(
    image: Float64[np.ndarray, "c i j k"], weight: Float64[np.ndarray, "d c 3 3 3"]
) -> Float64[np.ndarray, "d i j k"]:
    """Convolve by the definition: ``y[d, x] = sum_{c, t} w[d, c, t] image[c, x + t - 1]``, zero outside."""
    _, i, j, k = image.shape
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1), (1, 1)))
    result = np.zeros((weight.shape[0], i, j, k))
    for a, b, c in np.ndindex(3, 3, 3):
        shifted = padded[:, a : a + i, b : b + j, c : c + k]
        result += np.einsum("dc,cijk->dijk", weight[:, :, a, b, c], shifted)
    return result


def environment() -> dict[str, Any]:
    """Say what a run ran on: versions, processor, threads, memory; nothing that names a person or the machine."""
    return {
        "vesalius": vesalius.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": int(psutil.virtual_memory().total),
    }


def describe_machine() -> dict[str, Any]:
    """Say what this machine has and how fast it convolves; takes a second or two, whatever it imitates."""
    speeds = {name: measure_flops_per_second(VistaArchitecture(), name) for name in DTYPES}
    return {
        **environment(),
        "processors": os.cpu_count() or 1,
        "available_bytes": available_bytes(),
        "bf16_in_hardware": best_precision("cpu") == "bf16",
        "amx": "amx_bf16" in _processor_flags(),
        "gpu": _gpu_name(),
        "gflops": {name: round(speed / 1e9, 1) for name, speed in speeds.items()},
    }


def slow_because(machine: dict[str, Any]) -> tuple[str, ...]:
    """Say what will be slow on a machine (``describe_machine``), and why."""
    return tuple(_slow_because(machine))


def _slow_because(machine: dict[str, Any]) -> Iterator[str]:
    speeds = machine["gflops"]
    if not machine["bf16_in_hardware"]:
        yield "the processor does not multiply bf16 in hardware: networks run in fp32, 2 to 8 times slower"
    elif speeds["bf16"] < 1.2 * speeds["fp32"]:
        yield f"bf16 is hardly faster than fp32 here ({speeds['bf16']} against {speeds['fp32']} GFLOP/s)"
    if machine["threads"] < machine["cores"]:
        yield f"torch uses {machine['threads']} of {machine['cores']} cores: raise --threads or OMP_NUM_THREADS"
    elif machine["threads"] > machine["cores"]:
        yield f"torch uses {machine['threads']} threads on {machine['cores']} cores: they wait for each other"
    if machine["cores"] < machine["processors"]:
        why = "by its affinity, or by what its container or job is given"
        yield f"this process may use {machine['cores']} of {machine['processors']} cores, {why}"
    if machine["cores"] < 4:
        yield f"{machine['cores']} cores: a large scan takes minutes with the small model, much longer with vista3d"
    if machine["available_bytes"] < _LITTLE_MEMORY:
        yield f"{machine['available_bytes'] / 1e9:.1f} GB of free memory: large scans may not fit (see --dry-run)"
    if machine["gpu"] is None:
        yield "no GPU that torch can use: everything runs on the processor"


def processor_name() -> str:
    """Return what the processor calls itself."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _processor_flags() -> frozenset[str]:
    cpuinfo = Path("/proc/cpuinfo")
    return frozenset(cpuinfo.read_text().split()) if cpuinfo.is_file() else frozenset()


def _gpu_name() -> str | None:
    if torch.cuda.is_available():
        try:
            return str(torch.cuda.get_device_name())
        except RuntimeError:  # a card that is there and does not start
            return "a CUDA card that does not say its name"
    return "Apple GPU (MPS)" if torch.backends.mps.is_available() else None
