"""Keep the largest piece of organs that are one piece; what else carries their label is a mistake."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import cc3d
import numpy as np

from vesalius.geometry.morphology import components, label_regions
from vesalius.shapes import LabelArray


@dataclass(frozen=True)
class Removed:
    """What was taken from one structure.

    Args:
        pieces: How many pieces.
        volume_ml: Their volume together, in millilitres.
    """

    pieces: int
    volume_ml: float


def keep_largest_pieces(labels: LabelArray, single: Collection[int], *, voxel_ml: float) -> dict[int, Removed]:
    """Set every piece but the largest of some labels to background, in place; the first of equals stays.

    Args:
        labels: Label ids ``(i, j, k)``.
        single: Labels of structures that are one piece.
        voxel_ml: Volume of a voxel in millilitres.

    Returns:
        Label -> what was taken from it, where anything was.
    """
    removed = {}
    for label, region in label_regions(labels).items():
        if label not in single:
            continue
        part = labels[region.box.slices]
        numbered, count = components(part == label)
        if count > 1:
            sizes = cc3d.statistics(numbered, no_slice_conversion=True)["voxel_counts"][1:]
            crumbs = (numbered != 0) & (numbered != 1 + int(np.argmax(sizes)))
            removed[label] = Removed(count - 1, int(crumbs.sum()) * voxel_ml)
            part[crumbs] = 0
    return removed
