"""Losses of slices that are partly labelled: one class a pixel, and some of the classes not looked for in a case.

nnU-Net's loss is soft Dice plus cross-entropy, one to one; Dice is summed over the batch, without the background.
Of pixels where nothing is known neither counts. A pixel that nobody labelled in a case in which some classes were
not looked for is the background or one of those: their probabilities are added up (Shi et al. 2021,
arXiv:2007.03868, the marginal loss). A class that no slice of the batch shows has no Dice: nnU-Net's would stay
near 1 and teach by accident what cross-entropy teaches better. A third loss, not nnU-Net's, wakes small classes
where time is short.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.nn import functional

from vesalius.labels.mapping import UNKNOWN

Scalar = Float[Tensor, ""]
_SMOOTH = 1e-5


def slice_dice_loss(
    logits: Float[Tensor, "b o h w"], labels: Integer[Tensor, "b h w"], looked_for: Bool[Tensor, "b o"]
) -> Scalar:
    """Return ``1 - (2 sum(p y) + 1e-5) / (sum(p) + sum(y) + 1e-5)``, in [0, 1]; mean over classes that are shown.

    Sums run over the known pixels of the slices in which the class was looked for, all together. Without any class:
    0.

    Args:
        logits: Of background and classes.
        labels: Class numbers, 0 is background, and UNKNOWN.
        looked_for: Which classes were looked for in each slice's case; of the background it says nothing.
    """
    counts = (labels != UNKNOWN)[:, None] & looked_for[:, 1:, None, None]  # [b o h w]
    numbers = torch.arange(1, logits.shape[1], device=labels.device)
    expected = ((labels[:, None] == numbers[:, None, None]) & counts).to(logits.dtype)
    probabilities = logits.softmax(dim=1)[:, 1:] * counts
    overlap = (probabilities * expected).sum(dim=(0, 2, 3))  # [o]
    there = expected.sum(dim=(0, 2, 3))
    dice = (2 * overlap + _SMOOTH) / (probabilities.sum(dim=(0, 2, 3)) + there + _SMOOTH)
    is_shown = there > 0
    return (1 - dice[is_shown]).mean() if bool(is_shown.any()) else logits.sum() * 0


def slice_cross_entropy(
    logits: Float[Tensor, "b o h w"], labels: Integer[Tensor, "b h w"], looked_for: Bool[Tensor, "b o"]
) -> Scalar:
    """Return the mean of ``-log p`` of what each known pixel is, at least 0; 0 without a known pixel.

    For a pixel without a label ``p`` is that of the background and of all classes that were not looked for.

    Args:
        logits: Of background and classes.
        labels: Class numbers, 0 is background, and UNKNOWN.
        looked_for: Which classes were looked for in each slice's case; of the background it says nothing.
    """
    is_known = labels != UNKNOWN
    logs = logits.log_softmax(dim=1)
    own = functional.nll_loss(logs, labels.masked_fill(~is_known, 0).long(), reduction="none")
    if not bool(looked_for[:, 1:].all()):
        may_be = ~looked_for
        may_be = torch.cat([torch.ones_like(may_be[:, :1]), may_be[:, 1:]], dim=1)
        unlabelled = -logs.masked_fill(~may_be[:, :, None, None], -torch.inf).logsumexp(dim=1)
        own = torch.where(labels == 0, unlabelled, own)
    return (own * is_known).sum() / is_known.sum().clamp(min=1)


def slice_recall_loss(
    logits: Float[Tensor, "b o h w"], labels: Integer[Tensor, "b h w"], looked_for: Bool[Tensor, "b o"]
) -> Scalar:
    """Return the mean of ``-log p`` over each class's own pixels, at least 0; mean over classes that are shown.

    Wakes small classes: cross-entropy hardly counts their pixels, and Dice's gradient vanishes with their
    probability. On its own it would have the network find everything everywhere.

    Args:
        logits: Of background and classes.
        labels: Class numbers, 0 is background, and UNKNOWN.
        looked_for: Which classes were looked for in each slice's case; of the background it says nothing.
    """
    numbers = torch.arange(1, logits.shape[1], device=labels.device)
    own = (labels[:, None] == numbers[:, None, None]) & looked_for[:, 1:, None, None]  # [b o h w]
    there = own.sum(dim=(0, 2, 3))
    missed = -(logits.log_softmax(dim=1)[:, 1:] * own).sum(dim=(0, 2, 3))
    is_shown = there > 0
    return (missed[is_shown] / there[is_shown]).mean() if bool(is_shown.any()) else logits.sum() * 0
