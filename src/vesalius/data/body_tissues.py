"""Tissues of what nobody labelled, told by intensity: so that a painted label map shows a whole body.

Labels name some structures; between them a synthesis would have to make up a body. SynthSeg (Billot et al., 2023,
section 4.1) clusters the intensities of what has no label, and paints the clusters as if they were structures. So
does this, with the bounds of air, lung, fat, soft tissue and bone for CT.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from jaxtyping import Num

from vesalius.labels.mapping import UNKNOWN
from vesalius.shapes import LabelArray

_CT = (("airway", -925.0), ("lung", -400.0), ("fat", -20.0), ("muscle", 150.0), ("bone", np.inf))
"""Name of a tissue, as ``tissue_names`` knows it, and the HU that it ends at."""
_OTHERS = (("dark", 0.5), ("grey", 0.75), ("light", 0.9), ("bright", 1.0))
"""The same for images without a unit: parts of their voxels."""


def with_tissues(
    labels: LabelArray, image: Num[np.ndarray, "i j k"], *, taken: Collection[int], is_ct: bool
) -> tuple[LabelArray, dict[int, str]]:
    """Give voxels without a label that of a tissue.

    Args:
        labels: Label ids up to UNKNOWN; 0 is none.
        image: What was scanned, Hounsfield units of CT; it is smoothed a little, so that noise makes no islands.
        taken: Ids that structures have.
        is_ct: Whether intensities are Hounsfield units.

    Returns:
        Labels without 0, and the names of the ids that are new; as they were, if not so many ids are free.
    """
    bounds = _CT if is_ct else _OTHERS
    free = [label for label in range(UNKNOWN - 2, 0, -1) if label not in taken][: len(bounds)]
    if len(free) < len(bounds):
        return labels, {}
    smooth, ends = _smoothed(image), np.array([end for _, end in bounds[:-1]])
    kinds = np.digitize(smooth, ends if is_ct else np.quantile(smooth, ends))
    tissues = np.array(free, dtype=np.uint8)[kinds]
    names = dict(zip(free, (name for name, _ in bounds), strict=True))
    return np.where(labels == 0, tissues, labels).astype(np.uint8), names


def _smoothed(image: Num[np.ndarray, "i j k"]) -> np.ndarray:
    """Return the means of 27 voxels; beyond an end lies what lies at it."""
    smooth = image.astype(np.float32)
    for axis in range(3):
        along = np.moveaxis(np.pad(smooth, [(int(a == axis),) * 2 for a in range(3)], mode="edge"), axis, 0)
        smooth = np.moveaxis((along[:-2] + along[1:-1] + along[2:]) / np.float32(3), 0, axis)
    return smooth
