"""Keep the largest piece of organs that are one piece; what else carries their label is a mistake."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Collection

import cc3d
import numpy as np

from vesalius.geometry.morphology import components, label_regions
from vesalius.shapes import LabelArray


def keep_largest_pieces(labels: LabelArray, single: Collection[int]) -> int:
    """Set every piece but the largest of some labels to background, in place; the first of equals stays.

    Args:
        labels: Label ids ``(i, j, k)``.
        single: Labels of structures that are one piece.

    Returns:
        How many voxels were set to background.
    """
    removed = 0
    for label, region in label_regions(labels).items():
        if label not in single:
            continue
        part = labels[region.box.slices]
        numbered, count = components(part == label)
        if count > 1:
            sizes = cc3d.statistics(numbered, no_slice_conversion=True)["voxel_counts"][1:]
            crumbs = (numbered != 0) & (numbered != 1 + int(np.argmax(sizes)))
            removed += int(crumbs.sum())
            part[crumbs] = 0
    return removed
