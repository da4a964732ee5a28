"""Compose what a user sees: base labels, and over them the changes of the edited structures, inside one box.

One layer at a time. Nothing is kept, so a change that is left out the next time has no effect: this is what makes
removing a click, and undo, exact.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Integer

from vesalius.geometry.boxes import Box, enclosing_box, shared_box
from vesalius.geometry.packed_mask import PackedMask
from vesalius.shapes import LabelArray


@dataclass(frozen=True, eq=False)
class LabelChange:
    """What the prompts of one structure change in the labels.

    Args:
        label: Of the structure.
        added: Voxels that join it.
        removed: Voxels that leave it.
        claimed: Voxels it has in the base, and wants back from changes before this one.
    """

    label: int
    added: PackedMask
    removed: PackedMask
    claimed: PackedMask = field(default_factory=PackedMask)

    @property
    def box(self) -> Box:
        """The smallest box around every change; empty where nothing changes."""
        return enclosing_box([self.added.box, self.removed.box, self.claimed.box]) or PackedMask().box


def compose(
    base: LabelArray, box: Box, changes: Sequence[LabelChange], locked: Mapping[int, PackedMask]
) -> LabelArray:
    """Return the labels of a box: the base, the changes in order, and the locked structures as they are.

    A voxel that is removed from a structure becomes background where the structure holds it, and one that is added
    or claimed becomes the structure's whoever held it. Later changes win over earlier ones; locked structures over
    all. A locked structure's own changes are not made: a voxel they would add, and the lock does not hold, stays
    whose it is.

    Args:
        base: Labels of the box before any change.
        box: Where it lies in the volume.
        changes: Of this layer, in order.
        locked: Label -> the mask it has exactly, at the end; masks of one layer do not meet.
    """
    labels = base.copy()
    for change in (change for change in changes if change.label not in locked):
        for part, leaves in _parts(labels, box, change.removed):
            part[leaves & (part == change.label)] = 0
        for wanted in (change.added, change.claimed):
            for part, joins in _parts(labels, box, wanted):
                part[joins] = change.label
    for label in locked:
        labels[labels == label] = 0
    for label, mask in locked.items():
        for part, holds in _parts(labels, box, mask):
            part[holds] = label
    return labels


def _parts(
    labels: LabelArray, box: Box, mask: PackedMask
) -> list[tuple[Integer[np.ndarray, "x y z"], Bool[np.ndarray, "x y z"]]]:
    """Return the part of the labels that a mask reaches, as a view, and the mask there; nothing elsewhere."""
    shared = shared_box(box, mask.box)
    if shared is None:
        return []
    return [(np.asarray(labels[shared.relative_to(box.start).slices]), mask.within(shared))]
