"""The task of MedDINOv3's fine-tuning: windows of slices of partly labelled cases, one class a pixel."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from vesalius.data.case import Case
from vesalius.engine.task import Outcome
from vesalius.models.meddinov3 import MedDino
from vesalius.spec import ModelSpec
from vesalius.training.slice_cutting import SliceCutter
from vesalius.training.slice_losses import slice_cross_entropy, slice_dice_loss, slice_recall_loss
from vesalius.training.slice_recipes import SliceRecipe


@dataclass(frozen=True, eq=False)
class SliceSample:
    """Slices that pass the network together.

    Args:
        images: As the network sees them; those of one volume follow one another.
        labels: Class numbers, 0, UNKNOWN.
        looked_for: Which classes were looked for in each slice's case.
        seed: Of the branches that are skipped.
    """

    images: Float[Tensor, "b 1 h w"]
    labels: Integer[Tensor, "b h w"]
    looked_for: Bool[Tensor, "b o"]
    seed: int


class MedDinoTask:
    """Which slices are shown, and how wrong the answers are.

    Args:
        cases: Prepared cases on the spec's grid.
        spec: Says spacing, orientation, normalisation and classes.
        recipe: Says everything else.
        mirrored: Class id -> the id it becomes when left and right are swapped, or UNKNOWN.

    Raises:
        UsageError: If cases and classes do not fit.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        spec: ModelSpec,
        *,
        recipe: SliceRecipe,
        mirrored: Mapping[int, int] | None = None,
    ) -> None:
        self._recipe = recipe
        self._cutter = SliceCutter(cases, spec, recipe=recipe, mirrored=mirrored)

    def draw(self, rng: np.random.Generator) -> SliceSample:
        """Draw windows and change them."""
        cut = [self._cutter.cut(rng) for _ in range(self._recipe.batch)]
        return SliceSample(
            torch.cat([one.images for one in cut]),
            torch.cat([one.labels for one in cut]),
            torch.cat([one.looked_for.expand(len(one.images), -1) for one in cut]),
            int(rng.integers(2**63)),
        )

    def outcome(self, network: MedDino, sample: SliceSample) -> Outcome:
        """Label the sample's slices, and compare."""
        device = next(network.parameters()).device
        generator = torch.Generator().manual_seed(sample.seed)  # the processor's: the same draws on every device
        images, labels, looked_for = (part.to(device) for part in (sample.images, sample.labels, sample.looked_for))
        logits = network(images, slices=self._recipe.slices, generator=generator).float()
        terms = {
            "dice": slice_dice_loss(logits, labels, looked_for),
            "cross_entropy": slice_cross_entropy(logits, labels, looked_for),
        }
        if self._recipe.recall:
            terms["recall"] = slice_recall_loss(logits, labels, looked_for)
        return Outcome(terms)

    def weights(self, rate: float) -> Mapping[str, float]:
        """Return the weight of every term: Dice and cross-entropy one to one, as nnU-Net has it, and of recall."""
        weights = {"dice": 1.0, "cross_entropy": 1.0}
        return weights | ({"recall": rate * self._recipe.recall} if self._recipe.recall else {})
