"""Precision: in which numbers networks compute, and which of them a device multiplies in hardware."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

Precision = Literal["fp32", "bf16"]
_TOLD = Path("/proc/cpuinfo")
"""Where Linux tells what a processor can."""


def best_precision(device: str) -> Precision:
    """Return bf16 where the device multiplies it in hardware, fp32 elsewhere.

    Where it does not, bf16 is imitated, and slower than fp32: ``vesalius doctor`` measures both. What a processor
    can is read where Linux tells it; elsewhere it counts as not having it.
    """
    if device.startswith("cuda"):
        import torch  # noqa: PLC0415 - plain data, which names a precision, needs no torch

        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device == "cpu" and _has_fast_bf16() else "fp32"


@cache
def _has_fast_bf16() -> bool:
    """Say whether this processor multiplies bf16 in hardware (AVX-512 BF16, AMX, or Arm's equivalent)."""
    known = _TOLD.read_text().split() if _TOLD.is_file() else ()
    return any(flag in known for flag in ("avx512_bf16", "amx_bf16", "bf16"))
