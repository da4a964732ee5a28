"""Learner: a network, its running average and its optimiser; what a step changes and a checkpoint holds."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from vesalius.engine.optim import (
    clipped_together,
    ema_decay,
    freeze,
    learning_parameters,
    make_optimiser,
    rate_factor,
    set_rate,
    shorten,
)
from vesalius.engine.settings import Optimisation
from vesalius.engine.shards import Shards
from vesalius.engine.team import ALONE, Team
from vesalius.errors import CheckpointError

Trained = TypeVar("Trained", bound=nn.Module)


class Learner(Generic[Trained]):
    """A network that learns.

    Args:
        network: Learns in place. The sizes of its tensors now set their rates for good.
        settings: Rates, their schedule, what is frozen, and the average's memory.

    Raises:
        UsageError: If the settings name parts that the network does not have, or leave nothing to learn.
    """

    def __init__(self, network: Trained, settings: Optimisation) -> None:
        freeze(network, settings.parts)
        self.network = network
        self.average = average_of(network)
        self.optimiser = make_optimiser(network, settings)
        self._clipped = clipped_together(network, settings)
        self._shards = Shards(learning_parameters(network), ALONE)
        self.settings = settings
        self.step = 0
        """Steps taken, those without effect included."""

    def join(self, team: Team) -> None:
        """Learn in a team from now on; where it is sharded, forget the moments that other processes keep."""
        self._shards = Shards(learning_parameters(self.network), team)
        self.optimiser.load_state_dict(self._shards.own(self.optimiser.state_dict()))

    def start_from(self, state: Mapping[str, Tensor]) -> None:
        """Begin with the weights of another training; rates stay those of the network as it was built."""
        self.network.load_state_dict(state)
        self.average.load_state_dict(state)

    def rate_factor(self, progress: float) -> float:
        """Return the factor of the learning rate when so much of the training is behind."""
        return rate_factor(progress, self.settings)

    def learn(self, gradients: Sequence[Tensor | None], *, rate: float, progress: float = 0.0) -> float:
        """Take one step against gradients, and let the average follow.

        A gradient with an infinite or undefined entry is thrown away: nothing changes but the count of steps.

        Args:
            gradients: One for each of ``learning_parameters``, in their order; a tensor with None stays as it is.
            rate: The factor of the learning rate.
            progress: Part of the training that is behind, in [0, 1]; what the settings schedule follows it.

        Returns:
            The norm of the gradients before they were shortened.
        """
        for parameter, gradient in zip(learning_parameters(self.network), gradients, strict=True):
            parameter.grad = gradient
        norms = [shorten(group, self.settings.clip_norm) for group in self._clipped]
        norm = norms[0] if len(norms) == 1 else math.hypot(*norms)
        if norm < float("inf"):  # False for an undefined norm, too
            set_rate(self.optimiser, rate, self.settings, progress=progress)
            self._shards.step(self.optimiser)
            follow(self.average, self.network, decay=ema_decay(self.step, progress, self.settings))
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        return norm

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a step changes.

        In a sharded team all processes have to ask at once, and all but the first get the moments that they keep.

        Raises:
            InterruptedRun: If another process of such a team is gone.
        """
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self._shards.whole(self.optimiser.state_dict()),
            "step": self.step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the place of the learner that gave ``state_dict``, sharded or not.

        Raises:
            CheckpointError: If it was a learner of another network.
        """
        try:
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(self._shards.own(state["optimiser"]))
            self.step = int(state["step"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                expected="a checkpoint of this very network and its optimiser",
                got=str(error).splitlines()[0],
                do="resume with the recipe the run began with, or begin a new run",
            ) from None


def average_of(network: Trained) -> Trained:
    """Return the running average of a network at its start: a copy, in which what is frozen is the network's own.

    A frozen encoder is held once: of VISTA3D's 0.87 GB in its third stage 0.8 GB are.
    """
    frozen = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=False)
        for parameter in network.parameters()
        if not parameter.requires_grad
    }
    return copy.deepcopy(network, frozen).requires_grad_(False).eval()


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, *, decay: float) -> None:
    """Move an average towards a network: ``average = decay average + (1 - decay) network``; buffers are copied."""
    for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
        if slow.data_ptr() != fast.data_ptr():  # what is frozen may be shared
            slow.lerp_(fast, 1 - decay)
    for old, new in zip(average.buffers(), network.buffers(), strict=True):
        old.copy_(new)
