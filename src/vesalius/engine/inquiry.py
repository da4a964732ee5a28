"""Inquiry: one sample, what the network gets wrong about it, and the gradient of that; and their sums.

A step looks at as many samples as it is told to, whatever the memory: each is differentiated on its own, and its
gradient is added to the sum as soon as those before it are in (gradient accumulation). Sums are taken in float64:
in float32 their last bit depends on who adds what first, and AdamW, which divides a gradient by its own size, makes
steps of it where a gradient is next to nothing. (A small VISTA3D in two processes, 20 steps of four windows: with
float32 sums about 1e-4 off the weights of one process, with float64 the same bits.)
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from vesalius.engine.drawing import Seed
from vesalius.engine.optim import learning_parameters
from vesalius.engine.task import Outcome
from vesalius.engine.wide import widest
from vesalius.precision import Precision

Trained = TypeVar("Trained", bound=nn.Module)
Sample = TypeVar("Sample")

Gradients = Sequence[Tensor | None]
"""One for each parameter that learns, in their order; None where the loss does not depend on it."""
Numbers = dict[str, float]
"""What is logged of a sample, by name."""


@dataclass(frozen=True)
class Inquiry(Generic[Trained, Sample]):
    """Draws a sample, asks the network about it, and differentiates what it got wrong; knows nothing it changes."""

    draw: Callable[[Seed], Sample]
    ask: Callable[[Trained, Sample], Outcome]
    network: Trained
    weights: Mapping[str, float]
    precision: Precision

    def __call__(self, seed: Seed) -> tuple[Gradients, Numbers]:
        """Return the gradients of a sample's loss, and the numbers to log."""
        sample = self.draw(seed)
        parameters = learning_parameters(self.network)
        kind = parameters[0].device.type
        # No weight is used twice in a forward pass, and a cache would be shared between the threads.
        with torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16", cache_enabled=False):
            outcome = self.ask(self.network, sample)
        assert outcome.terms.keys() == self.weights.keys(), "a task weighs exactly the terms it returns"
        loss = torch.stack([self.weights[name] * term for name, term in outcome.terms.items()]).sum()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        asked = outcome.terms.keys() - outcome.unasked
        numbers = {name: float(term.detach()) for name, term in outcome.terms.items() if name in asked}
        return gradients, {"loss": float(loss.detach()), **numbers, **outcome.watched}


def accumulated(
    inquiry: Inquiry[Trained, Sample], seeds: Iterable[Seed], pool: Executor, *, ahead: int
) -> tuple[Gradients, list[Numbers]]:
    """Return the sum of samples' gradients in float64, in the order of their seeds, and the numbers of each.

    Args:
        inquiry: What to ask.
        seeds: One for each sample; at least one.
        pool: Works on several samples at once.
        ahead: Samples that may be in work or wait to be added: what bounds the memory.
    """
    total: Gradients = ()
    everyone: list[Numbers] = []
    for gradients, numbers in _in_order(inquiry, seeds, pool, ahead=ahead):
        total = added(total or [None] * len(gradients), gradients)
        everyone.append(numbers)
        del gradients  # or they would be held while the next sample is looked at
    return total, everyone


def mean(total: Gradients, count: int, like: Sequence[Tensor]) -> Gradients:
    """Return sums over so many samples as means, in the precision of their tensors; the sums are spent."""
    return [
        None if gradient is None else gradient.div_(count).to(tensor.dtype)
        for gradient, tensor in zip(total, like, strict=True)
    ]


def _in_order(
    inquiry: Inquiry[Trained, Sample], seeds: Iterable[Seed], pool: Executor, *, ahead: int
) -> Iterator[tuple[Gradients, Numbers]]:
    waiting: deque[Future[tuple[Gradients, Numbers]]] = deque()
    for seed in seeds:
        if len(waiting) == ahead:
            yield waiting.popleft().result()
        waiting.append(pool.submit(inquiry, seed))
    while waiting:
        yield waiting.popleft().result()


def added(total: Gradients, gradients: Gradients) -> Gradients:
    """Return a sum in float64 with one sample's gradients more; None counts as 0, and stays where both are.

    Args:
        total: What this gave before, which is changed; or None for each.
        gradients: Of one sample; they stay as they are.
    """
    return [
        old if new is None else new.to(widest(new.device), copy=True) if old is None else old.add_(new)
        for old, new in zip(total, gradients, strict=True)
    ]
