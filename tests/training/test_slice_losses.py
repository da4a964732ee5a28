"""Losses of slices against loops over pixels; what is not known, or was not looked for, teaches nothing wrong."""

from __future__ import annotations

import math

import pytest
import torch

from vesalius.labels.mapping import UNKNOWN
from vesalius.training.slice_losses import slice_cross_entropy, slice_dice_loss, slice_recall_loss


def example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two slices of three classes; in the second nobody looked for class 2."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 3, 5, generator=generator)
    labels = torch.randint(0, 3, (2, 3, 5), generator=generator)
    labels[1][labels[1] == 2] = 0
    labels[0, 0, :2] = UNKNOWN
    looked_for = torch.tensor([[True, True, True, True], [True, True, False, True]])
    return logits, labels, looked_for


def test_cross_entropy_against_a_loop() -> None:
    logits, labels, looked_for = example()
    values = []
    for b, y, x in torch.cartesian_prod(*(torch.arange(n) for n in labels.shape)).tolist():
        label = int(labels[b, y, x])
        if label == UNKNOWN:
            continue
        p = logits[b, :, y, x].softmax(dim=0).tolist()
        may_be = [label] if label else [0, *(c for c in range(1, 4) if not looked_for[b, c])]
        values.append(-math.log(sum(p[c] for c in may_be)))
    assert float(slice_cross_entropy(logits, labels, looked_for)) == pytest.approx(
        sum(values) / len(values), rel=1e-5
    )


def test_dice_against_a_loop() -> None:
    logits, labels, looked_for = example()
    p = logits.softmax(dim=1)
    losses = []
    for c in (1, 2, 3):
        shared = found = there = 0.0
        for b, y, x in torch.cartesian_prod(*(torch.arange(n) for n in labels.shape)).tolist():
            if labels[b, y, x] == UNKNOWN or not looked_for[b, c]:
                continue
            is_there = float(labels[b, y, x] == c)
            shared += float(p[b, c, y, x]) * is_there
            found += float(p[b, c, y, x])
            there += is_there
        if there:
            losses.append(1 - (2 * shared + 1e-5) / (found + there + 1e-5))
    assert len(losses) == 2, "class 3 is shown nowhere"
    assert float(slice_dice_loss(logits, labels, looked_for)) == pytest.approx(sum(losses) / 2, rel=1e-5)


def test_recall_against_a_loop() -> None:
    logits, labels, looked_for = example()
    by_class: dict[int, list[float]] = {}
    for b, y, x in torch.cartesian_prod(*(torch.arange(n) for n in labels.shape)).tolist():
        label = int(labels[b, y, x])
        if label not in (0, UNKNOWN):
            by_class.setdefault(label, []).append(-float(logits[b, :, y, x].log_softmax(dim=0)[label]))
    assert len(by_class) == 2
    expected = sum(sum(some) / len(some) for some in by_class.values()) / 2
    assert float(slice_recall_loss(logits, labels, looked_for)) == pytest.approx(expected, rel=1e-5)
    assert float(slice_recall_loss(logits, torch.zeros_like(labels), looked_for)) == 0


def test_recall_wakes_a_class_of_one_pixel_that_dice_and_cross_entropy_leave_asleep() -> None:
    logits = torch.zeros(1, 2, 32, 32)
    logits[:, 0] = 12.0  # everything is background, for certain
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[0, 7, 9] = 1
    pull = []
    for loss in (slice_dice_loss, slice_cross_entropy, slice_recall_loss):
        asked = logits.clone().requires_grad_(True)
        loss(asked, labels, torch.ones(1, 2, dtype=torch.bool)).backward()  # type: ignore[no-untyped-call]
        assert asked.grad is not None
        pull.append(float(asked.grad[0, 1, 7, 9].abs()))
    assert max(pull[:2]) < 2e-3
    assert pull[2] > 0.9


def test_a_class_that_was_not_looked_for_is_not_pushed_out_of_the_background() -> None:
    _, labels, looked_for = example()
    labels = torch.zeros_like(labels[1:])
    logits = torch.zeros(1, 4, 3, 5, requires_grad=True)
    for loss in (slice_cross_entropy, slice_dice_loss):
        (slope,) = torch.autograd.grad(loss(logits, labels, looked_for[1:]), logits)
        assert float(slope[:, 2].max()) <= 0, "nothing lowers the class that may be there"
    (slope,) = torch.autograd.grad(slice_cross_entropy(logits, labels, looked_for[1:]), logits)
    assert float(slope[:, 1].min()) > 0, "what was looked for and is absent is lowered"


def test_unknown_pixels_have_no_gradient_and_nothing_known_costs_nothing() -> None:
    logits, labels, looked_for = example()
    logits.requires_grad_()
    for loss in (slice_cross_entropy, slice_dice_loss):
        (slope,) = torch.autograd.grad(loss(logits, labels, looked_for), logits)
        assert not slope[0, :, 0, :2].any()
        assert slope[0, :, 1].any()
        nothing = loss(logits, torch.full_like(labels, UNKNOWN), looked_for)
        assert float(nothing.detach()) == 0
        assert not torch.autograd.grad(nothing, logits)[0].any()
