"""The memory of a CUDA card: what is free there, and which part of a plan lies there.

No card was at hand: bytes were counted as torch allocates them on its ``meta`` device, which computes nothing
(``tests/inference/test_card.py``); what a card's own libraries take beside them was not seen.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch

from vesalius.allowance import available_bytes

Phases = Mapping[str, Mapping[str, int]]
"""Phase -> part -> bytes."""


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
