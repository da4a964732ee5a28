"""What a task is to the loop: it draws samples, and says in named losses how wrong a network is about one."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from torch import Tensor, nn

from vesalius.engine.company import Company

Network_contra = TypeVar("Network_contra", bound=nn.Module, contravariant=True)
Sample = TypeVar("Sample")
Lesson = TypeVar("Lesson")


@dataclass(frozen=True)
class Outcome:
    """How wrong a network is about one sample.

    Args:
        terms: Name -> scalar, at least 0; their weighted sum is lowered, and each is logged.
        watched: Name -> number that is logged and lowers nothing.
        unasked: Terms that the sample had no question for: they are 0, and would dilute the means that are logged.
    """

    terms: Mapping[str, Tensor]
    watched: Mapping[str, float] = field(default_factory=dict)
    unasked: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Validation:
    """How good a network is on cases that it does not learn from.

    Args:
        score: Higher is better; it chooses the weights that are kept, and ends a training that gains no more.
        numbers: Name -> number that is logged beside it.
        pictures: Name -> picture to look at, such as predictions beside labels; the name becomes part of a file's.
        by_case: Case -> name -> number: logged as well, and drawn in no curve.
    """

    score: float
    numbers: Mapping[str, float] = field(default_factory=dict)
    pictures: Mapping[str, UInt8[np.ndarray, "height width 3"]] = field(default_factory=dict)
    by_case: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@runtime_checkable
class Task(Protocol[Network_contra, Sample]):
    """What is learnt. A task holds cases and choices, but no network and no random state."""

    def draw(self, rng: np.random.Generator) -> Sample:
        """Draw one sample; whatever is random about it comes from ``rng``."""
        ...

    def outcome(self, network: Network_contra, sample: Sample) -> Outcome:
        """Ask the network about a sample. Called from several threads at once, each with a sample of its own."""
        ...

    def weights(self, rate: float) -> Mapping[str, float]:
        """Return the weight of every term.

        Args:
            rate: The factor of the learning rate now, in [0, 1]: 1 on the plateau, near 0 at the end.
        """
        ...


@runtime_checkable
class Taught(Protocol[Network_contra, Sample, Lesson]):
    """What is learnt from the network's own running average, its teacher; in the place of ``Task``.

    The teacher is asked about all samples of a step before the network is asked about one, so that what it teaches
    of one may depend on the others, those of other processes too.
    """

    def draw(self, rng: np.random.Generator) -> Sample:
        """Draw one sample, as ``Task`` does."""
        ...

    def lessons(
        self, teacher: Network_contra, samples: Sequence[Sample], company: Company, *, progress: float
    ) -> Sequence[Lesson]:
        """Ask the teacher about a step's samples, and return what it teaches of each; called once a step.

        Args:
            teacher: The running average, in eval mode; nothing is to be learnt through it.
            samples: Those of this process; they and their lessons are held until they are learnt from.
            company: Asks about several at once, and says what other processes found of theirs.
            progress: Part of the training that is behind, in [0, 1].
        """
        ...

    def taught_outcome(self, network: Network_contra, sample: Sample, lesson: Lesson) -> Outcome:
        """Ask the network about a sample whose lesson is known; called from threads, as ``Task.outcome``."""
        ...

    def weights(self, rate: float) -> Mapping[str, float]:
        """Return the weight of every term, as ``Task`` does."""
        ...


@runtime_checkable
class Validating(Protocol[Network_contra]):
    """What a task can do beside, where the training's settings ask for it."""

    def validate(self, network: Network_contra) -> Validation:
        """Judge a network, without changing it.

        Called between steps, without gradients, with the running average in eval mode. Nothing about it may be
        random but by a seed of its own, or a resumed run could choose other weights.
        """
        ...
