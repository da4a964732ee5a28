"""Losses: against loops over voxels, numbers worked out by hand, and what must have no gradient."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from vesalius.training.losses import (
    FEWEST_VOXELS,
    cross_entropy_loss,
    dice_loss,
    recall_loss,
    squared_dice_loss,
)
from vesalius.training.mask_sums import sums_of_logits


def random_masks(seed: int, shape: tuple[int, ...] = (3, 4, 5, 6)) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(0, 3, shape), dtype=torch.float32)
    return logits, torch.tensor(rng.random(shape) < 0.3), torch.tensor(rng.random(shape) < 0.8)


def voxels(mask: int, *tensors: Tensor) -> zip[tuple[float, ...]]:
    return zip(*(tensor[mask].flatten().tolist() for tensor in tensors), strict=True)


@pytest.mark.parametrize("seed", range(3))
def test_dice_agrees_with_loops(seed: int) -> None:
    logits, targets, known = random_masks(seed)
    losses = []
    for mask in range(3):
        overlap = total = 0.0
        for logit, target, is_known in voxels(mask, logits, targets, known):
            if is_known:
                p = 1 / (1 + math.exp(-logit))
                overlap += p * target
                total += p + target
        losses.append(1 - (2 * overlap + 1) / (total + 1))
    assert float(dice_loss(sums_of_logits(logits, targets, known))) == pytest.approx(sum(losses) / 3, rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (3, 12, 13, 14)], ids=["few voxels", "many"])
def test_cross_entropy_agrees_with_loops(seed: int, shape: tuple[int, ...]) -> None:
    logits, targets, known = random_masks(seed, shape)
    losses = []
    for mask in range(3):
        total, count = 0.0, 0
        for logit, target, is_known in voxels(mask, logits, targets, known):
            if is_known:
                p = 1 / (1 + math.exp(-logit))
                total -= math.log(p) if target else math.log(1 - p)
                count += 1
        assert (count > FEWEST_VOXELS) == (shape[1] == 12)
        losses.append(total / max(count, FEWEST_VOXELS))
    assert float(cross_entropy_loss(sums_of_logits(logits, targets, known))) == pytest.approx(
        sum(losses) / 3, rel=1e-5
    )


def test_recall_agrees_with_loops() -> None:
    logits, targets, _ = random_masks(7)
    losses = []
    for mask in range(3):
        own = [math.log(1 + math.exp(-logit)) for logit, target in voxels(mask, logits, targets) if target]
        losses.append(sum(own) / len(own))
    assert float(recall_loss(sums_of_logits(logits, targets, targets))) == pytest.approx(sum(losses) / 3, rel=1e-5)


def test_numbers_by_hand() -> None:
    logits = torch.tensor([0.0, 0.0, math.log(3.0), -math.log(3.0)]).reshape(1, 1, 1, 4)  # p = 1/2 1/2 3/4 1/4
    targets = torch.tensor([True, False, True, False]).reshape(1, 1, 1, 4)
    known = torch.ones_like(targets)
    # overlap 5/4, sum of p 2, of y 2: 1 - (5/2 + 1) / 5 = 0.3
    assert float(dice_loss(sums_of_logits(logits, targets, known))) == pytest.approx(0.3)
    assert float(recall_loss(sums_of_logits(logits, targets, targets))) == pytest.approx(
        (math.log(2) + math.log(4 / 3)) / 2
    )
    entropy = (2 * math.log(2) + 2 * math.log(4 / 3)) / FEWEST_VOXELS
    assert float(cross_entropy_loss(sums_of_logits(logits, targets, known))) == pytest.approx(entropy)


def test_a_perfect_answer_costs_nothing_and_the_opposite_nearly_one() -> None:
    _, targets, _ = random_masks(1)
    known = torch.ones_like(targets)
    sure = torch.where(targets, 40.0, -40.0)
    assert float(dice_loss(sums_of_logits(sure, targets, known))) == pytest.approx(0, abs=1e-6)
    assert float(cross_entropy_loss(sums_of_logits(sure, targets, known))) == pytest.approx(0, abs=1e-6)
    assert float(recall_loss(sums_of_logits(sure, targets, targets))) == pytest.approx(0, abs=1e-6)
    assert 0.98 < float(dice_loss(sums_of_logits(-sure, targets, known))) < 1


def monai_loss(logits: Tensor, targets: Tensor, **changes: object) -> Tensor:
    """VISTA3D's loss as its training script builds it: a channel each, prompts along the batch."""
    from monai.losses import DiceCELoss

    settings: dict[str, object] = {"sigmoid": True, "squared_pred": True, "smooth_nr": 0, "smooth_dr": 1e-5}
    loss: Tensor = DiceCELoss(**{**settings, **changes})(logits[:, None], targets[:, None].float())
    return loss


def ours_as_vista3d(logits: Tensor, targets: Tensor) -> Tensor:
    known = torch.ones_like(targets)
    return squared_dice_loss(sums_of_logits(logits, targets, known)) + cross_entropy_loss(
        sums_of_logits(logits, targets, known)
    )


def agreeing(seed: int) -> tuple[Tensor, Tensor]:
    logits, targets, _ = random_masks(seed, (4, 11, 12, 13))
    targets[3] = False  # absent: Dice is 1 and cross-entropy teaches it
    return logits.requires_grad_(), targets


@pytest.mark.parametrize("seed", range(3))
def test_vista3d_s_loss_and_its_gradient_are_monai_s(seed: int) -> None:
    logits, targets = agreeing(seed)
    ours, theirs = ours_as_vista3d(logits, targets), monai_loss(logits, targets)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-6)
    (own,), (official,) = torch.autograd.grad(ours, logits), torch.autograd.grad(theirs, logits)
    assert float((own - official).abs().max() / official.abs().max()) < 1e-5  # float32 sums of 1,716 voxels


@pytest.mark.parametrize(
    "mutation", [{"squared_pred": False}, {"smooth_nr": 1.0}, {"batch": True}, {"lambda_ce": 0.99}], ids=str
)
def test_the_parity_with_monai_notices_another_loss(mutation: dict[str, object]) -> None:
    logits, targets = agreeing(0)
    ours, theirs = ours_as_vista3d(logits, targets), monai_loss(logits, targets, **mutation)
    assert abs(float(ours.detach()) / float(theirs.detach()) - 1) > 1e-5
    (own,), (official,) = torch.autograd.grad(ours, logits), torch.autograd.grad(theirs, logits)
    assert float((own - official).abs().max() / official.abs().max()) > 1e-4


def test_an_absent_mask_has_no_gradient_by_the_squared_dice() -> None:
    logits, targets = agreeing(1)
    (gradient,) = torch.autograd.grad(
        squared_dice_loss(sums_of_logits(logits, targets, torch.ones_like(targets))), logits
    )
    assert gradient[3].eq(0).all()
    assert gradient[:3].ne(0).any(dim=(1, 2, 3)).all()


@pytest.mark.parametrize("loss", [dice_loss, squared_dice_loss, cross_entropy_loss])
def test_voxels_that_are_not_known_have_no_gradient_and_no_weight(loss: object) -> None:
    assert callable(loss)
    logits, targets, known = random_masks(2)
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(sums_of_logits(logits, targets, known)), logits)
    assert gradient[~known].eq(0).all()
    assert gradient[known].ne(0).all()
    moved = torch.where(known, logits.detach(), torch.full_like(logits, 30.0))
    flipped = torch.where(known, targets, ~targets)
    before, after = sums_of_logits(logits.detach(), targets, known), sums_of_logits(moved, flipped, known)
    assert float(loss(after)) == float(loss(before))


def test_no_mask_costs_nothing() -> None:
    none, masks = torch.zeros(0, 2, 2, 2), torch.zeros(0, 2, 2, 2, dtype=torch.bool)
    assert (
        float(dice_loss(sums_of_logits(none, masks, masks)))
        == float(recall_loss(sums_of_logits(none, masks, masks)))
        == 0
    )
    assert (
        float(squared_dice_loss(sums_of_logits(none, masks, masks)))
        == float(cross_entropy_loss(sums_of_logits(none, masks, masks)))
        == 0
    )


def test_a_mask_of_which_nothing_is_known_costs_nothing() -> None:
    logits, targets, _ = random_masks(3)
    nothing = torch.zeros_like(targets)
    assert float(dice_loss(sums_of_logits(logits, targets, nothing))) == 0
    assert float(cross_entropy_loss(sums_of_logits(logits, targets, nothing))) == 0
