"""KoLeo: value and gradient against loops; tokens that fall together are pushed apart."""

from __future__ import annotations

import pytest
import torch

from pretraining.objectives.loops import TOLERANCE, gap, koleo, numbers, slope, tensor
from vesalius.errors import UsageError
from vesalius.pretraining.objectives.koleo import KoleoLoss
from vesalius.pretraining.settings import Koleo

TOKENS = numbers(1, 2, 6, 4)


@pytest.mark.parametrize("group", [None, 3, 4])
def test_value_and_gradient_agree_with_loops(group: int | None) -> None:
    tokens = tensor(TOKENS, learns=True)
    loss = KoleoLoss(Koleo(group=group))(tokens)
    loss.backward()
    assert gap(loss, koleo(TOKENS, group)) <= TOLERANCE
    assert tokens.grad is not None
    assert gap(tokens.grad, slope(lambda x: koleo(x, group), TOKENS)) <= TOLERANCE


@pytest.mark.parametrize("mutation", ["not normalised", "the farthest", "squared"])
def test_a_mutation_misses_the_tolerance_tenfold_in_value_and_gradient(mutation: str) -> None:
    tokens = tensor(TOKENS, learns=True)
    loss = KoleoLoss(Koleo())(tokens)
    loss.backward()
    assert tokens.grad is not None
    assert gap(loss, koleo(TOKENS, mutation=mutation)) > 10 * TOLERANCE
    assert gap(tokens.grad, slope(lambda x: koleo(x, mutation=mutation), TOKENS)) > 10 * TOLERANCE


def test_tokens_that_are_all_alike_have_a_finite_loss_and_gradient() -> None:
    tokens = torch.ones(2, 5, 8).requires_grad_()
    loss = KoleoLoss(Koleo())(tokens)
    loss.backward()
    assert tokens.grad is not None
    assert bool(loss.isfinite())
    assert bool(tokens.grad.isfinite().all())
    assert float(loss.detach()) > 10 * abs(koleo(TOKENS))


def test_groups_of_one_are_refused() -> None:
    with pytest.raises(UsageError, match="at least two"):
        Koleo(group=1)
