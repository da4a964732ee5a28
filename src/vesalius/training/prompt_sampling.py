"""Choose what a window is asked for: what lies in it, what was looked for and does not, what nobody looked for."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int, Integer
from torch import Tensor

from vesalius.data.case import UNKNOWN
from vesalius.training.recipes import ClassPrompting


@dataclass(frozen=True)
class ClassQuestion:
    """What a window is asked for.

    Args:
        class_ids: First the classes that lie in the window, then some that were looked for and do not, then some
            that nobody looked for.
        present: How many lie in the window.
        annotated: Whether each was looked for.
    """

    class_ids: Int[Tensor, " o"]
    present: int
    annotated: Bool[Tensor, " o"]


def ask(
    labels: Integer[Tensor, "i j k"],
    annotated: Set[int],
    class_ids: Set[int],
    prompting: ClassPrompting,
    rng: np.random.Generator,
) -> ClassQuestion:
    """Draw the class prompts of a window.

    Args:
        labels: Class ids of the window's voxels.
        annotated: Class ids that were looked for in its case, at least one.
        class_ids: Every class the network can be asked for.
        prompting: How many absent and other classes are asked for.
        rng: Where the choice comes from.
    """
    inside = sorted(set(torch.unique(labels).tolist()) & annotated)
    outside = rng.permutation(sorted(annotated - set(inside)))[: prompting.absent_classes].tolist()
    others = rng.permutation(sorted(class_ids - annotated))[: prompting.other_classes].tolist()
    asked = [*inside, *outside, *others]
    return ClassQuestion(
        torch.tensor(asked, dtype=torch.long), len(inside), torch.arange(len(asked)) < len(asked) - len(others)
    )


def targets(labels: Integer[Tensor, "i j k"], question: ClassQuestion) -> Bool[Tensor, "o i j k"]:
    """Return where each class is, as far as anybody knows."""
    return labels[None] == question.class_ids.to(labels.device)[:, None, None, None]


def known(labels: Integer[Tensor, "i j k"], question: ClassQuestion) -> Bool[Tensor, "o i j k"]:
    """Return where it is known whether a voxel belongs to each class.

    Of a class that was looked for: everywhere. Of another: only where some structure was found, because structures
    of one vocabulary do not overlap; unlabelled voxels may be its own. Voxels marked UNKNOWN: for no class.
    """
    annotated = question.annotated.to(labels.device)[:, None, None, None]
    return (annotated | (labels > 0)[None]) & (labels != UNKNOWN)[None]
