"""Choose what a window is asked for: what lies in it, what was looked for and does not, what nobody looked for.

VISTA3D (section 3.3; MONAI's ``sample_prompt_pairs``) asks for classes in the window, up to a number, and for some
that were looked for and are absent. So does this, with two differences: the background is never asked for (MONAI's
trains embedding 0 where a data set lists it), and classes nobody looked for may be asked for where something is
known of them.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from functools import cache, partial, reduce

import numpy as np
import torch
from jaxtyping import Bool, Int, Integer
from torch import Tensor

from vesalius.data.case import NO_CLASS, UNKNOWN, UNSURE
from vesalius.training.overlaps import Overlaps
from vesalius.training.recipes import ClassPrompting

FEW_IDS = 12
"""So many comparisons take as long as one ``torch.isin``."""


@dataclass(frozen=True)
class ClassQuestion:
    """What a window is asked for.

    Args:
        class_ids: First the classes that lie in the window, then some that were looked for and do not, then some
            that nobody looked for.
        present: How many lie in the window.
        annotated: Whether each was looked for.
        claimed: Class ids, asked for or not, that only a model looked for.
        unsure: Where that model was not sure, whatever people drew there; None where none looked.
    """

    class_ids: Int[Tensor, " o"]
    present: int
    annotated: Bool[Tensor, " o"]
    claimed: Set[int] = frozenset()
    unsure: Bool[Tensor, "i j k"] | None = None


def ask(
    labels: Integer[Tensor, "i j k"],
    annotated: Set[int],
    overlaps: Overlaps,
    prompting: ClassPrompting,
    rng: np.random.Generator,
    *,
    claimed: Set[int] = frozenset(),
    unsure: Bool[Tensor, "i j k"] | None = None,
) -> ClassQuestion:
    """Draw the class prompts of a window.

    Args:
        labels: Class ids of the window's voxels.
        annotated: Class ids that were looked for in its case, at least one.
        overlaps: What the network can be asked for, and which classes include others.
        prompting: How many classes of each kind are asked for.
        rng: Where the choice comes from.
        claimed: Those of ``annotated`` that only a model looked for.
        unsure: Where that model was not sure.
    """
    inside = classes_in(labels, annotated, overlaps)
    outside = rng.permutation(sorted(annotated - set(inside)))[: prompting.absent_classes].tolist()
    others = rng.permutation(sorted(overlaps.trainable - annotated))[: prompting.other_classes].tolist()
    if len(inside) > prompting.present_classes:
        inside = sorted(rng.permutation(inside)[: prompting.present_classes].tolist())
    asked = [*inside, *outside, *others]
    return ClassQuestion(
        torch.tensor(asked, dtype=torch.long),
        len(inside),
        torch.arange(len(asked)) < len(asked) - len(others),
        claimed,
        unsure,
    )


def classes_in(labels: Integer[Tensor, "i j k"], annotated: Set[int], overlaps: Overlaps) -> list[int]:
    """Return the classes that were looked for and have a voxel in the window, in order; 0 is no class."""
    found = set(torch.unique(labels).tolist()) - set(NO_CLASS)
    return sorted(label for label in annotated if overlaps.voxels_of(label) & found)


def targets(
    labels: Integer[Tensor, "i j k"], question: ClassQuestion, overlaps: Overlaps
) -> Bool[Tensor, "o i j k"]:
    """Return where each class is, as far as anybody knows; of one that includes others, their voxels too."""
    masks = [_among(labels, overlaps.voxels_of(label)) for label in question.class_ids.tolist()]
    return torch.stack(masks) if masks else labels.new_zeros((0, *labels.shape), dtype=torch.bool)


def known(labels: Integer[Tensor, "i j k"], question: ClassQuestion, overlaps: Overlaps) -> Bool[Tensor, "o i j k"]:
    """Return where it is known whether a voxel belongs to each class.

    Of a class that was looked for: everywhere. Of another: where it was found nevertheless, and where some
    structure was found that does not overlap with it; unlabelled voxels may be its own, and so may those of an
    organ, if the class lies inside organs. Voxels marked UNKNOWN: for no class; for those that only a model looked
    for, see ``silent`` and ``hosts``.
    """
    unsure = None if question.unsure is None else question.unsure.to(labels.device)
    found = [label for label in torch.unique(labels).tolist() if label not in NO_CLASS]
    among = cache(partial(_among, labels))  # of most classes the same voxels are unknown
    masks = []
    for label, annotated in zip(question.class_ids.tolist(), question.annotated.tolist(), strict=True):
        telling = {other for other in found if overlaps.excludes(label, other)} | overlaps.voxels_of(label)
        if annotated:
            is_known = ~among(silent(label, found, overlaps, question.claimed))
            if unsure is not None and (inside := hosts(label, found, overlaps, question.claimed)):
                is_known &= ~(unsure & among(inside))
            masks.append(is_known)
        else:
            masks.append(among(frozenset(telling)))
    return torch.stack(masks) if masks else labels.new_zeros((0, *labels.shape), dtype=torch.bool)


def silent(label: int, found: Iterable[int], overlaps: Overlaps, claimed: Set[int]) -> frozenset[int]:
    """Return the labels whose voxels may or may not be of a class that was looked for.

    Of a class that only a model looked for, those are UNSURE, too, and what people drew that the class may lie in
    without being part of it: a map has one id a voxel, and where people's stands, the model's answer does not. In
    VISTA3D, which keeps two maps, the model's counts there.

    Args:
        label: The class.
        found: Class ids in the window.
        overlaps: Which classes may lie in others.
        claimed: Class ids that only a model looked for.
    """
    if label not in claimed:
        return frozenset({UNKNOWN})
    return frozenset(other for other in set(found) - claimed if overlaps.hides(label, other)) | {UNKNOWN, UNSURE}


def hosts(label: int, found: Iterable[int], overlaps: Overlaps, claimed: Set[int]) -> frozenset[int]:
    """Return the labels whose voxels tell nothing of a class where the model that looked for it was not sure.

    Of a tumour that only a model looked for: a liver that people drew, which includes it. What else people drew
    either may hold it, and tells nothing of it anyway (``silent``), or lies apart from it.

    Args:
        label: The class.
        found: Class ids in the window.
        overlaps: Which classes include others.
        claimed: Class ids that only a model looked for.
    """
    if label not in claimed:
        return frozenset()
    return frozenset(other for other in found if other != label and label in overlaps.voxels_of(other))


def _among(labels: Integer[Tensor, "i j k"], ids: Set[int]) -> Bool[Tensor, "i j k"]:
    """Return where labels are among some ids, as ``isin``, which takes ten times as long for a few."""
    if len(ids) > FEW_IDS:
        return torch.isin(labels, torch.tensor(sorted(ids), dtype=labels.dtype, device=labels.device))
    masks = [labels == one for one in ids]
    return reduce(torch.Tensor.logical_or_, masks) if masks else torch.zeros_like(labels, dtype=torch.bool)
