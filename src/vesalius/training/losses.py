"""Losses of prompted masks that leave out what is not known.

All take mask logits ``[o i j k]`` of independent sigmoids, one mask per prompt, and sum in float32.

VISTA3D's loss is ``squared_dice_loss + cross_entropy_loss``, the mean over prompts of each: MONAI's ``DiceCELoss(
sigmoid=True, squared_pred=True, smooth_nr=0, smooth_dr=1e-5)`` with an axis of prompts for its batch, wherever a
prompt has ``FEWEST_VOXELS`` known voxels. ``dice_loss`` and ``recall_loss`` are ours.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

FEWEST_VOXELS = 1000
"""A class with fewer known voxels than this weighs less in the cross-entropy, not as much as one with all."""

Logits = Float[Tensor, "o i j k"]
Masks = Bool[Tensor, "o i j k"]
Scalar = Float[Tensor, ""]


def dice_loss(logits: Logits, targets: Masks, known: Masks) -> Scalar:
    """Return ``1 - (2 sum(p y) + 1) / (sum(p) + sum(y) + 1)`` over known voxels, in [0, 1); mean over masks.

    For masks that are not empty: an empty one has Dice's gradient everywhere alike, and cross-entropy says it
    better. Without any mask: 0.
    """
    if not len(logits):
        return logits.new_zeros(())
    probabilities, expected = logits.sigmoid() * known, (targets & known).to(logits.dtype)
    overlap = (probabilities * expected).flatten(1).sum(1)  # [o]
    total = probabilities.flatten(1).sum(1) + expected.flatten(1).sum(1)
    return (1 - (2 * overlap + 1) / (total + 1)).mean()


def squared_dice_loss(logits: Logits, targets: Masks, known: Masks) -> Scalar:
    """Return ``1 - 2 sum(p y) / (sum(p²) + sum(y) + 1e-5)`` over known voxels, in [0, 1]; mean over masks.

    VISTA3D's. An empty mask costs 1, whatever the answer, and has no gradient: cross-entropy alone teaches absence.
    Without any mask: 0.
    """
    if not len(logits):
        return logits.new_zeros(())
    probabilities, expected = logits.sigmoid() * known, (targets & known).to(logits.dtype)
    overlap = (probabilities * expected).flatten(1).sum(1)  # [o]
    total = probabilities.square().flatten(1).sum(1) + expected.flatten(1).sum(1)
    return (1 - 2 * overlap / (total + 1e-5)).mean()


def cross_entropy_loss(logits: Logits, targets: Masks, known: Masks) -> Scalar:
    """Return the binary cross-entropy of known voxels, at least 0: the mean over each mask's, then over masks.

    A mask's sum is divided by ``max(its known voxels, FEWEST_VOXELS)``. Without any mask: 0.
    """
    if not len(logits):
        return logits.new_zeros(())
    weight = known.to(logits.dtype)
    entropy = functional.binary_cross_entropy_with_logits(
        logits, targets.to(logits.dtype), weight=weight, reduction="none"
    )
    counts = weight.flatten(1).sum(1).clamp(min=FEWEST_VOXELS)  # [o]
    return (entropy.flatten(1).sum(1) / counts).mean()


def recall_loss(logits: Logits, targets: Masks) -> Scalar:
    """Return the mean of ``-log p`` over each mask's own voxels, at least 0; mean over masks, 0 without any.

    Wakes small structures that Dice, whose gradient vanishes with the probability, would leave asleep for hundreds
    of steps. On its own it would have the network find everything everywhere.
    """
    if not len(logits):
        return logits.new_zeros(())
    missed = functional.softplus(-logits) * targets
    return (missed.flatten(1).sum(1) / targets.flatten(1).sum(1).clamp(min=1)).mean()
