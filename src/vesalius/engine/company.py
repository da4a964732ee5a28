"""Company: who works on one step, the threads of this process and the other processes of its team."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from vesalius.engine.team import ALONE, Team
from vesalius.precision import Precision

Thing = TypeVar("Thing")
Done = TypeVar("Done")


@dataclass(frozen=True)
class Company:
    """What a task is given to ask about all samples of a step together, before any is learnt from.

    Args:
        pool: Threads of this process; None: the caller's own.
        team: The processes that share the step's samples.
        precision: In which networks compute.
        kind: Of device on which they do.
    """

    pool: Executor | None = None
    team: Team = ALONE
    precision: Precision = "fp32"
    kind: str = "cpu"

    def each(self, work: Callable[[Thing], Done], things: Sequence[Thing]) -> list[Done]:
        """Do something with each thing, several at once, and return what comes of it in their order.

        Nothing is learnt through it.
        """
        own = partial(self._done, work)
        return list(map(own, things) if self.pool is None else self.pool.map(own, things))

    def everyone(self, things: Sequence[Thing]) -> list[Thing]:
        """Return one thing of each sample of the whole step, in their order, in every process.

        Args:
            things: Of each sample of this process, in their order; tensors on the CPU.

        Raises:
            InterruptedRun: If another process is gone.
        """
        ranks = self.team.gather(list(things))
        return [ranks[n % self.team.size][n // self.team.size] for n in range(sum(map(len, ranks)))]

    def _done(self, work: Callable[[Thing], Done], thing: Thing) -> Done:
        is_narrow = self.precision == "bf16"
        with torch.no_grad(), torch.autocast(self.kind, torch.bfloat16, enabled=is_narrow, cache_enabled=False):
            return work(thing)
