"""Gram: value and gradient against loops; a finer map of the teacher is brought to the student's grid."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from pretraining.objectives.loops import TOLERANCE, gap, gram, numbers, slope, tensor
from vesalius.pretraining.objectives.gram import GramLoss
from vesalius.pretraining.settings import Gram

PATCHES, TEACHER = numbers(1, 2, 6, 4), numbers(2, 2, 6, 5)
GRID = (2, 3)


def as_map(patches: torch.Tensor) -> torch.Tensor:
    return patches.mT.reshape(len(patches), -1, *GRID)


def test_value_and_gradient_agree_with_loops() -> None:
    patches = tensor(PATCHES, learns=True)
    loss = GramLoss(Gram())(patches, as_map(tensor(TEACHER)), GRID)
    loss.backward()
    assert gap(loss, gram(PATCHES, TEACHER)) <= TOLERANCE
    assert patches.grad is not None
    assert gap(patches.grad, slope(lambda x: gram(x, TEACHER), PATCHES)) <= TOLERANCE


@pytest.mark.parametrize("mutation", ["not normalised", "no negatives"])
def test_a_mutation_misses_the_tolerance_tenfold_in_value_and_gradient(mutation: str) -> None:
    patches = tensor(PATCHES, learns=True)
    loss = GramLoss(Gram())(patches, as_map(tensor(TEACHER)), GRID)
    loss.backward()
    assert patches.grad is not None
    assert gap(loss, gram(PATCHES, TEACHER, mutation)) > 10 * TOLERANCE
    assert gap(patches.grad, slope(lambda x: gram(x, TEACHER, mutation), PATCHES)) > 10 * TOLERANCE


def test_a_patch_counts_with_itself_too() -> None:
    loss = GramLoss(Gram())(tensor(PATCHES), as_map(tensor(TEACHER)), GRID)
    assert gap(loss, gram(PATCHES, TEACHER, "not with itself")) > 10 * TOLERANCE


def test_a_finer_map_is_sampled_down_without_averaging() -> None:
    fine = torch.randn(2, 5, 6, 9, generator=torch.Generator().manual_seed(3))
    coarse = functional.interpolate(fine, size=GRID, mode="bicubic", align_corners=False)
    loss = GramLoss(Gram())
    assert float(loss(tensor(PATCHES), fine, GRID)) == pytest.approx(float(loss(tensor(PATCHES), coarse, GRID)))
    averaged = functional.interpolate(fine, size=GRID, mode="bicubic", align_corners=False, antialias=True)
    assert abs(float(loss(tensor(PATCHES), averaged, GRID)) / float(loss(tensor(PATCHES), fine, GRID)) - 1) > 1e-3


def test_a_student_that_agrees_with_its_earlier_teacher_has_nothing_to_learn() -> None:
    same = as_map(tensor(PATCHES))
    assert float(GramLoss(Gram())(2.5 * tensor(PATCHES), same, GRID)) < 1e-12
