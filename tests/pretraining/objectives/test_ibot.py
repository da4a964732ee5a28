"""iBOT: value and gradient against loops; every masked image counts alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretraining.objectives.loops import TOLERANCE, gap, ibot, numbers, shares, slope, tensor
from vesalius.pretraining.objectives.ibot import IbotLoss
from vesalius.pretraining.settings import Ibot

MASKED = np.array([[1, 0, 0, 1, 1], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [1, 1, 1, 1, 0]], dtype=bool)
HIDDEN, TARGETS = 0.2 * numbers(1, int(MASKED.sum()), 6), shares(2, int(MASKED.sum()), 6)
MUTATIONS = ["no temperature", "every patch alike", "masked images only"]


def test_value_and_gradient_agree_with_loops() -> None:
    hidden = tensor(HIDDEN, learns=True)
    loss = IbotLoss(Ibot())(hidden, tensor(TARGETS), torch.from_numpy(MASKED))
    loss.backward()
    assert gap(loss, ibot(HIDDEN, TARGETS, MASKED)) <= TOLERANCE
    assert hidden.grad is not None
    assert gap(hidden.grad, slope(lambda x: ibot(x, TARGETS, MASKED), HIDDEN)) <= TOLERANCE


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutation_misses_the_tolerance_tenfold_in_value_and_gradient(mutation: str) -> None:
    hidden = tensor(HIDDEN, learns=True)
    loss = IbotLoss(Ibot())(hidden, tensor(TARGETS), torch.from_numpy(MASKED))
    loss.backward()
    assert hidden.grad is not None
    assert gap(loss, ibot(HIDDEN, TARGETS, MASKED, mutation)) > 10 * TOLERANCE
    assert gap(hidden.grad, slope(lambda x: ibot(x, TARGETS, MASKED, mutation), HIDDEN)) > 10 * TOLERANCE
