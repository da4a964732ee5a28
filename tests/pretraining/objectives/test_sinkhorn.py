"""Sinkhorn-Knopp: against loops, balanced, and safe where logits are sharp."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pretraining.objectives.loops import TOLERANCE, gap, numbers, sinkhorn, tensor
from vesalius.pretraining.objectives.sinkhorn import ITERATIONS, balanced, prototype_balance


def targets(logits: Tensor, temperature: float, iterations: int = ITERATIONS) -> Tensor:
    """Return what a teacher says of tokens that are balanced among themselves."""
    balance = prototype_balance([lambda: logits], temperature=temperature, iterations=iterations)
    return balanced(logits, balance, temperature=temperature)


@pytest.mark.parametrize("temperature", [0.04, 0.07, 1.0])
@pytest.mark.parametrize("shape", [(6, 4), (3, 9)])
def test_it_agrees_with_loops(temperature: float, shape: tuple[int, int]) -> None:
    logits = 0.3 * numbers(1, *shape)
    found = targets(tensor(logits), temperature)
    assert gap(found, sinkhorn(logits, temperature, 3)) <= TOLERANCE


@pytest.mark.parametrize("mutation", ["one iteration less", "no balance"])
def test_a_mutation_misses_the_tolerance_tenfold(mutation: str) -> None:
    logits = 0.3 * numbers(1, 6, 4)
    found = targets(tensor(logits), 0.07)
    assert gap(found, sinkhorn(logits, 0.07, 3, mutation)) > 10 * TOLERANCE


def test_every_token_is_whole_and_every_prototype_named_alike() -> None:
    logits = numbers(2, 40, 8)
    logits[:, 0] += 2.0  # that all prefer
    found = targets(tensor(logits), 0.5, iterations=50)
    assert torch.allclose(found.sum(dim=1), torch.ones(40), atol=1e-5)
    assert torch.allclose(found.sum(dim=0), torch.full((8,), 5.0), atol=1e-3)


def test_logits_so_sharp_that_their_exponentials_overflow_are_balanced() -> None:
    found = targets(tensor(300 * numbers(3, 6, 4)), 0.04)
    assert bool(found.isfinite().all())
    assert torch.allclose(found.sum(dim=1), torch.ones(6), atol=1e-4)


def test_nothing_is_learnt_through_it() -> None:
    assert not targets(tensor(numbers(4, 3, 4), learns=True), 0.1).requires_grad
