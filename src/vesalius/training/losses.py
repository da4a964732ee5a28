"""Losses of prompted masks that leave out what is not known.

All take the sums (``MaskSums``) of the masks of independent sigmoids, one mask per prompt.

VISTA3D's loss is ``squared_dice_loss + cross_entropy_loss``, the mean over prompts of each: MONAI's ``DiceCELoss(
sigmoid=True, squared_pred=True, smooth_nr=0, smooth_dr=1e-5)`` with an axis of prompts for its batch, wherever a
prompt has ``FEWEST_VOXELS`` known voxels. ``dice_loss`` and ``recall_loss`` are ours.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from vesalius.training.mask_sums import MaskSums

FEWEST_VOXELS = 1000
"""A class with fewer known voxels than this weighs less in the cross-entropy, not as much as one with all."""

Scalar = Float[Tensor, ""]


def dice_loss(masks: MaskSums) -> Scalar:
    """Return ``1 - (2 sum(p y) + 1) / (sum(p) + sum(y) + 1)`` over known voxels, in [0, 1); mean over masks.

    For masks that are not empty: an empty one has Dice's gradient everywhere alike, and cross-entropy says it
    better. Without any mask: 0.
    """
    if not len(masks):
        return masks.known.new_zeros(())
    return (1 - (2 * masks.overlap + 1) / (masks.probability + masks.expected + 1)).mean()


def squared_dice_loss(masks: MaskSums) -> Scalar:
    """Return ``1 - 2 sum(p y) / (sum(p²) + sum(y) + 1e-5)`` over known voxels, in [0, 1]; mean over masks.

    VISTA3D's. An empty mask costs 1, whatever the answer, and has no gradient: cross-entropy alone teaches absence.
    Without any mask: 0.
    """
    if not len(masks):
        return masks.known.new_zeros(())
    return (1 - 2 * masks.overlap / (masks.squared + masks.expected + 1e-5)).mean()


def cross_entropy_loss(masks: MaskSums) -> Scalar:
    """Return the binary cross-entropy of known voxels, at least 0: the mean over each mask's, then over masks.

    A mask's sum is divided by ``max(its known voxels, FEWEST_VOXELS)``. Without any mask: 0.
    """
    if not len(masks):
        return masks.known.new_zeros(())
    return (masks.entropy / masks.known.clamp(min=FEWEST_VOXELS)).mean()


def recall_loss(masks: MaskSums) -> Scalar:
    """Return the mean of ``-log p`` over each mask's own voxels, at least 0; mean over masks, 0 without any.

    Wakes small structures that Dice, whose gradient vanishes with the probability, would leave asleep for hundreds
    of steps. On its own it would have the network find everything everywhere.
    """
    if not len(masks):
        return masks.known.new_zeros(())
    return (masks.missed / masks.own.clamp(min=1)).mean()
