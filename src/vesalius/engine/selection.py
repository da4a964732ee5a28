"""Which weights are the best so far, and whether waiting for better ones is still worth it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping


class Selection:
    """The validations of a training, as far as its course depends on them."""

    def __init__(self) -> None:
        self.validated = -1
        """The step of the last validation; -1 before the first."""
        self.best_step = -1
        self.best_score = float("-inf")
        self.in_vain = 0
        """Validations since the best, which brought nothing better."""

    def note(self, step: int, score: float) -> bool:
        """Count a validation in, and say whether it is the best; an equal or undefined score is not better."""
        self.validated = step
        is_best = score > self.best_score
        if is_best:
            self.best_step, self.best_score = step, score
        self.in_vain = 0 if is_best else self.in_vain + 1
        return is_best

    def state_dict(self) -> dict[str, int | float]:
        """Return everything ``note`` changes."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, int | float]) -> None:
        """Take the place of the selection that gave ``state_dict``."""
        for name in vars(self):
            setattr(self, name, state[name])
