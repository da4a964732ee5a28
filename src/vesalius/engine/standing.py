"""Where a training stands: all that a checkpoint holds, so that it can go on as if it had not stopped."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from torch import nn

from vesalius.engine.averages import Averages
from vesalius.engine.learner import Learner
from vesalius.engine.selection import Selection
from vesalius.errors import CheckpointError

Trained = TypeVar("Trained", bound=nn.Module)


@dataclass
class Standing(Generic[Trained]):
    """What has been learnt, what was logged of it since the last line, and how good it was."""

    learner: Learner[Trained]
    averages: Averages = field(default_factory=Averages)
    selection: Selection = field(default_factory=Selection)
    trained_s: float = 0.0
    """Seconds spent, validations and earlier processes included."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {
            **self.learner.state_dict(),
            "averages": self.averages.state_dict(),
            "selection": self.selection.state_dict(),
            "trained_s": self.trained_s,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the place of what gave ``state_dict``.

        Raises:
            CheckpointError: If it was the training of another network, or of an older version.
        """
        self.learner.load_state_dict(state)
        try:
            self.averages.load_state_dict(state["averages"])
            self.selection.load_state_dict(state["selection"])
            self.trained_s = float(state["trained_s"])
        except KeyError as error:
            raise CheckpointError(
                expected="a checkpoint of this version",
                got=f"one without {error}",
                do="begin a new run; Learner.start_from takes the old one's weights",
            ) from None

    def best(self) -> dict[str, Any]:
        """Return the running average, as the best weights so far, with their step and score."""
        selection = self.selection
        return {
            "network": self.learner.average.state_dict(),
            "step": selection.best_step,
            "score": selection.best_score,
        }
