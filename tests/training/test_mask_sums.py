"""Mask sums: losses of logits that were never kept, and their gradients, are those of the plain formulas."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vesalius.models.class_head import compare
from vesalius.training import mask_sums
from vesalius.training.losses import cross_entropy_loss, dice_loss, recall_loss, squared_dice_loss
from vesalius.training.mask_sums import MaskSums, sums_of_features, sums_of_logits

LOSSES: dict[str, Callable[[MaskSums], Tensor]] = {
    "dice": dice_loss,
    "squared dice": squared_dice_loss,
    "cross-entropy": cross_entropy_loss,
    "recall": recall_loss,
}


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, vectors, targets, known: of a window that is walked through in parts, the last one shorter."""
    monkeypatch.setattr(mask_sums, "VOXELS_AT_ONCE", 2 * 6 * 4)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 8, 7, 6, 4, generator=generator).contiguous(memory_format=torch.channels_last_3d)
    vectors = torch.randn(3, 8, generator=generator)
    targets, known = (torch.rand(3, 7, 6, 4, generator=generator) < share for share in (0.3, 0.8))
    return features[0].requires_grad_(), vectors.requires_grad_(), targets, known


def plain(features: Tensor, vectors: Tensor, targets: Tensor, known: Tensor) -> MaskSums:
    return sums_of_logits(compare(vectors, features[None])[0].float(), targets, known)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_are_those_of_the_plain_formula(
    name: str, window: tuple[Tensor, Tensor, Tensor, Tensor]
) -> None:
    features, vectors, *_ = window
    found, expected = (LOSSES[name](sums(*window)) for sums in (sums_of_features, plain))
    torch.testing.assert_close(found, expected)
    ours, theirs = (torch.autograd.grad(3 * loss, (features, vectors)) for loss in (found, expected))
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-7)
        assert own.abs().max() > 1e-4


def test_a_formula_that_forgets_what_is_unknown_would_be_seen(
    window: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    features, vectors, targets, known = window
    right, wrong = (
        torch.autograd.grad(cross_entropy_loss(sums_of_features(features, vectors, targets, k)), features)[0]
        for k in (known, torch.ones_like(known))
    )
    assert (right - wrong).abs().max() > 1e-3


def test_under_autocast_logits_are_rounded_as_compare_rounds_them(
    window: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    features, vectors, *_ = window
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = (squared_dice_loss(sums(*window)) for sums in (sums_of_features, plain))
    exact = squared_dice_loss(plain(*window))
    assert (found - expected).detach().abs() < 0.2 * (exact - expected).detach().abs() + 1e-6
    ours, theirs = (torch.autograd.grad(loss, (features, vectors)) for loss in (found, expected))
    for own, other in zip(ours, theirs, strict=True):
        assert own.dtype == torch.float32
        assert (own - other).norm() < 0.02 * other.norm()


def test_no_masks_are_no_sums(window: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    features, vectors, targets, known = window
    assert len(sums_of_features(features, vectors[:0], targets[:0], known[:0])) == 0
