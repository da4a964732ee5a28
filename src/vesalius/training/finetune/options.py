"""What may be chosen about a fine-tuning, as plain data without torch."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vesalius.errors import UsageError
from vesalius.training.recipes import Preset

Freeze = Literal["encoder", "none"]

FEWEST_TO_FOLD = 4
"""With cases of fewer patients than this a fold would leave next to nothing to learn from."""
_FOLDS = 3


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions:
    """How to fine-tune, beside from which model and on which list."""

    minutes: float = 30.0
    """All trainings together, folds included; measured steps say how many steps that is."""
    steps: int | None = None
    """Of each training instead: a run of so many steps is the same on any machine."""
    folds: int | None = None
    """Parts of a cross-validation, each held out of one training; 0 is none. By default, where the list has no
    validation cases, as many as it states, or else 3 if it has labelled cases of at least 4 patients."""
    patience: int = 5
    """Validations in a row that may bring nothing better; then a training that is validated is over."""
    validations: int = 10
    """Of a training, where it is validated; fewer where they would take more than a fifth of the time."""
    freeze: Freeze = "none"
    """What does not learn."""
    keep_names: bool = False
    """Also name what the model knew before. No case holds it to that, so it may have forgotten it."""
    new: tuple[str, ...] = ()
    """Names that are new, although they look like names that the model knows."""
    like: Mapping[str, str] = field(default_factory=dict)
    """New name -> known class as which it begins."""
    preset: Preset = "cpu"
    """What the machine can bear."""
    seed: int = 0
    """Folds, new rows and everything drawn follow from it."""

    def __post_init__(self) -> None:
        if self.minutes <= 0 or (self.steps or 1) < 1 or self.seed < 0:
            raise _refused("some minutes, or at least one step, and a seed of at least 0", self)
        if self.folds is not None and (self.folds < 0 or self.folds == 1):
            raise _refused("0 or at least 2 folds", self.folds)
        if min(self.patience, self.validations) < 1:
            raise _refused("patience for at least one validation", self)

    def folds_of(self, patients: int, *, has_validation: bool, stated: int = 0) -> int:
        """Return how many folds a list is cut into.

        Args:
            patients: With labelled training cases; cases whose patient the list does not tell count as one each.
            has_validation: Whether the list has validation cases.
            stated: How many folds it states; one alone cannot be held out of others.

        Raises:
            UsageError: If it is asked for more than there are patients.
        """
        if self.folds is None and stated > 1 and not has_validation:
            return stated
        if self.folds is None:
            return 0 if has_validation or patients < FEWEST_TO_FOLD else _FOLDS
        if self.folds > patients:
            raise _refused(
                f"at most a fold for each of {patients} patients with labelled training cases", self.folds
            )
        return self.folds


def _refused(expected: str, got: object) -> UsageError:
    return UsageError(expected=expected, got=str(got), do="see `vesalius finetune --help`")
