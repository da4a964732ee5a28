"""Recipes: everything chosen about a training, as plain data without torch; each states what it differs in."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

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


VESALIUS_SMALL_BEGIN = ClassPromptRecipe(
    window_size=(48, 48, 48),
    shares={"head-neck": 0.55, "abdomen": 0.16, "chest": 0.08, "atlas": 0.09, "phantom": 0.1, "limb": 0.02},
    mirror={"head-neck": 0.5, "limb": 0.5, "abdomen": 0.25, "chest": 0.25, "atlas": 0.25, "phantom": 0.25},
    loop=LoopSettings(minutes=47.0),
)
"""The built-in model's first stage: small windows, of which one core learns from one a second.

Torsos are mirrored more seldom than heads and limbs: a mirrored torso has its liver on the left.

Command and data: ``benchmarks/built_in_model`` of the repository. Time: its minutes, on any machine. Score: not
meant to be used alone.
"""

VESALIUS_SMALL = replace(
    VESALIUS_SMALL_BEGIN,
    window_size=(64, 64, 64),
    shares={"head-neck": 0.42, "abdomen": 0.3, "chest": 0.08, "atlas": 0.08, "phantom": 0.1, "limb": 0.02},
    optimisation=replace(VESALIUS_SMALL_BEGIN.optimisation, learning_rate=0.006, warm_up=0.01, plateau=0.01),
    loop=replace(VESALIUS_SMALL_BEGIN.loop, minutes=19.0),
)
"""The second stage, from the average of the first: the spec's own window, more torsos, a rate that only falls.

Command and data: as before it. Time: its minutes. Score: not measured with this recipe yet. The weights inside the
package come from one run with these windows and shares, changed on the way under a single schedule; their scores
are in their ``MODEL_CARD.md``.
"""
