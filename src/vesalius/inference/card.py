"""The memory of a CUDA card: what is free there, which part of a plan lies there, and whether it fits.

No card was at hand: bytes were counted as torch allocates them on its ``meta`` device, which computes nothing
(``tests/inference/test_card.py``); what a card's own libraries take beside them was not seen.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Collection

import torch

from vesalius.allowance import available_bytes
from vesalius.errors import MemoryBudgetError
from vesalius.inference.phases import Phases, gigabytes, largest_phase, peak_of
from vesalius.precision import Precision


def has_own_memory(device: str) -> bool:
    """Whether a device has memory of its own; Apple's GPUs share the machine's."""
    return device.startswith("cuda")


def free_bytes(device: str) -> int:
    """Return what a device can still take: of a card what its driver has free and what torch holds in reserve."""
    if not has_own_memory(device):
        return available_bytes()
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def parted(phases: Phases, device: str, on_card: Collection[str]) -> tuple[Phases, Phases]:
    """Return what each phase takes of the machine's memory, and what of a card's; nothing where there is no card.

    Args:
        phases: Phase -> part -> bytes.
        device: That the network is on.
        on_card: Parts that lie where the network is.
    """
    if not has_own_memory(device):
        return phases, {}
    here = {
        phase: {part: size for part, size in parts.items() if part not in on_card}
        for phase, parts in phases.items()
    }
    there = {
        phase: {part: size for part, size in parts.items() if part in on_card} for phase, parts in phases.items()
    }
    return here, {phase: parts for phase, parts in there.items() if parts}


def check_card(card: Phases, device: str, precision: Precision) -> None:
    """Refuse a run that needs more of a card's memory than is free there.

    Nothing gives way to it: what happens to be free must not decide a result.

    Raises:
        MemoryBudgetError: If it does.
    """
    free = free_bytes(device) if card else 0
    if card and peak_of(card) > free:
        smaller = "use --precision bf16, " if precision == "fp32" else ""
        raise MemoryBudgetError(
            expected=f"at most {gigabytes(free)} of the memory of {device}, which are free",
            got=f"a run that needs {gigabytes(peak_of(card))} there ({largest_phase(card)})",
            do=f"use --device cpu, {smaller}close what else runs on the card, or crop the scan",
        )
