"""Recipes: everything chosen about a training, as plain data without torch; each states what it differs in."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vesalius.engine.settings import LoopSettings, Optimisation
from vesalius.errors import UsageError
from vesalius.transforms.augment import Augmentation


@dataclass(frozen=True, kw_only=True)
class ClassPrompting:
    """What a window is asked for, beside the classes that lie in it."""

    absent_classes: int = 4
    """Classes that were looked for and are not in the window: the network learns to answer with nothing."""
    other_classes: int = 2
    """Classes that nobody looked for; only voxels of other structures are known not to be theirs."""

    def __post_init__(self) -> None:
        if self.absent_classes < 1 or self.other_classes < 0:
            raise UsageError(
                expected="at least one absent class, so that a window of background asks for something",
                got=str(self),
                do="change the prompting",
            )


@dataclass(frozen=True, kw_only=True)
class ClassPromptRecipe:
    """How a network learns from class prompts."""

    window_size: tuple[int, int, int]
    """Voxels of a window. The spec's own must come last, because instance norm sees the whole window; smaller
    ones before it learn faster."""
    shares: Mapping[str, float]
    """How often a window comes from each group of cases, in any unit."""
    mirror: Mapping[str, float] = field(default_factory=dict)
    """Group -> part of its windows that are mirrored left to right, classes renamed; 0 where not named."""
    recall: float = 0.1
    """Weight of the loss that wakes small structures, on the plateau of the rate; it falls with the rate."""
    prompting: ClassPrompting = field(default_factory=ClassPrompting)
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimisation: Optimisation = field(default_factory=Optimisation)
    loop: LoopSettings

    def __post_init__(self) -> None:
        if min(self.window_size) < 1 or self.recall < 0 or min(self.shares.values(), default=-1) < 0:
            raise _refused("a window of voxels, and shares and weights of at least 0", self)
        if set(self.mirror) - set(self.shares) or not all(0 <= part <= 1 for part in self.mirror.values()):
            raise _refused("parts in [0, 1] of groups that have a share", self.mirror)
        object.__setattr__(self, "shares", dict(self.shares))
        object.__setattr__(self, "mirror", dict(self.mirror))


def _refused(expected: str, got: object) -> UsageError:
    return UsageError(expected=expected, got=str(got), do="change the recipe")
