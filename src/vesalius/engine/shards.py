"""Shards: each process of a team keeps AdamW's moments of some tensors, steps those, and is told the rest.

As the first stage of ZeRO (Rajbhandari et al. 2020, arXiv:1910.02054). A tensor is kept whole, by one process.
AdamW moves every weight by itself, so a tensor's step has the same bits wherever it is taken, and a run the same
weights. VISTA3D's 255 tensors divide well: of eight processes the fullest has 1.02 of an eighth, of sixteen 1.17
of a sixteenth.

The optimiser is torch's own, over all tensors, in every process. It makes moments of a tensor when it first sees
a gradient of it, and here it sees those of its own tensors only. That is all: rates, groups and the numbers by
which a checkpoint knows tensors are what they are without shards.

``torch.distributed.optim.ZeroRedundancyOptimizer`` was tried (torch 2.13, two processes, gloo). It has the same
bits and gives the same checkpoint, but after the first checkpoint its first process keeps a whole copy of the
moments for good (``consolidate_state_dict``; 61 of 283 kB before, 283 after), every process is sent every shard
on the way, and after a step each tensor is sent by itself.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from vesalius.engine.team import Team


def keepers(sizes: Sequence[int], processes: int) -> list[int]:
    """Return which process keeps each tensor: from the largest on, each goes to the one that has least so far.

    Args:
        sizes: Weights of each tensor.
        processes: How many there are.
    """
    kept, keeper = [0] * processes, [0] * len(sizes)
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        keeper[number] = kept.index(min(kept))
        kept[keeper[number]] += sizes[number]
    return keeper


class Shards:
    """Which of a team's processes keeps which tensor; where the team is not sharded, each keeps all.

    Args:
        parameters: What learns, in the order of the optimiser's groups.
        team: The processes.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], team: Team) -> None:
        self._parameters, self._team = list(parameters), team
        self._keepers = keepers([one.numel() for one in parameters], team.size)

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """Take a step: each process of its own tensors, and then every process has the weights of all.

        Raises:
            InterruptedRun: If another process is gone.
        """
        for number, parameter in enumerate(self._parameters):
            if not self._keeps(number):
                parameter.grad = None
        optimiser.step()
        if self._team.is_sharded:
            for process in range(self._team.size):
                kept = zip(self._parameters, self._keepers, strict=True)
                self._team.fill([one for one, keeper in kept if keeper == process], source=process)

    def whole(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the state of an unsharded optimiser, in the first process; in others the part that each keeps.

        All processes have to ask at once.

        Args:
            state: What this process's optimiser gives as its own.

        Raises:
            InterruptedRun: If another process is gone.
        """
        if not self._team.is_sharded:
            return dict(state)
        moments = {
            number: self._team.at_first(state["state"].get(number), source=keeper)
            for number, keeper in enumerate(self._keepers)
        }
        return {**state, "state": {number: own for number, own in moments.items() if own is not None}}

    def own(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return what this process keeps of the state of an unsharded optimiser."""
        return {**state, "state": {number: own for number, own in state["state"].items() if self._keeps(number)}}

    def _keeps(self, number: int) -> bool:
        return not self._team.is_sharded or self._keepers[number] == self._team.rank
