"""Export: what a training writes on its way for others to use, beside the checkpoint from which it goes on."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vesalius.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Export:
    """How what has been learnt becomes a model.

    Args:
        write: Writes what has been learnt so far into a folder, under a name; whoever reads meanwhile finds the
            model before or this one, whole. Called in the process that writes the run, after every checkpoint.
        keep_every: Also write the model of every so many steps into a folder of its own, ``at-STEP``, which stays.
            None: none is kept.

    Raises:
        UsageError: If models are to be kept more often than every step.
    """

    write: Callable[[Path, str], None]
    keep_every: int | None = None

    def __post_init__(self) -> None:
        if self.keep_every is not None and self.keep_every < 1:
            raise UsageError(
                expected="models to be kept every step at most",
                got=f"every {self.keep_every} steps",
                do="name a number of steps of at least 1, such as 10000",
            )

    def so_far(self, run: Path) -> None:
        """Replace the model in a run folder."""
        self.write(run, run.resolve().name)

    def keep(self, run: Path, step: int) -> None:
        """Write the model of a step, if it is one to keep."""
        if self.keep_every is not None and step % self.keep_every == 0:
            self.write(run / f"at-{step}", f"{run.resolve().name}-at-{step}")
