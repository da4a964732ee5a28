"""Clicks as the tensors of one window: clipped to it, shifted, padded, with labels of special classes.

The only place that does so: inference, training and evaluation give the point head what this returns.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vesalius.geometry.boxes import Box
from vesalius.prompts.targets import ClickTarget
from vesalius.spec import ClickLabel


@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectClicks:
    """All clicks of one object.

    Args:
        target: What is clicked on.
        points_ijk: In voxels of the model's (padded) grid; 0 is the centre of the first voxel.
        positive: Whether each click lies in the object.
    """

    target: ClickTarget
    points_ijk: Float[np.ndarray, "n 3"]
    positive: Bool[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.points_ijk)

    def within(self, window: Box) -> ObjectClicks:
        """Return the clicks that lie on the voxels of a window, faces of its outermost voxels included."""
        low, high = np.asarray(window.start) - 0.5, np.asarray(window.stop) - 0.5
        inside = ((self.points_ijk >= low) & (self.points_ijk <= high)).all(axis=1)
        return replace(self, points_ijk=self.points_ijk[inside], positive=self.positive[inside])


@dataclass(frozen=True, eq=False)
class EncodedClicks:
    """The clicks of several objects in one window, as the point head takes them.

    Args:
        points_ijk: Voxels of the window; padding lies at 0.
        point_labels: ``ClickLabel`` of each click.
        supported: Whether the head knows the object's class; otherwise it works zero-shot.
    """

    points_ijk: Float[Tensor, "o n 3"]
    point_labels: Int[Tensor, "o n"]
    supported: Bool[Tensor, " o"]


def encode_clicks(objects: Sequence[ObjectClicks], window: Box) -> EncodedClicks:
    """Say to the point head what was clicked in one window.

    Args:
        objects: With clicks anywhere; those outside the window are left out.
        window: In the voxels of the clicks' grid.

    Returns:
        A row per object, in order, as long as the most clicks of one object in this window.
    """
    clicks = [one.within(window) for one in objects]
    most = max((len(one) for one in clicks), default=0)
    points = torch.zeros(len(clicks), most, 3)
    labels = torch.full((len(clicks), most), int(ClickLabel.PADDING))
    for row, one in enumerate(clicks):
        shifted = one.points_ijk - np.asarray(window.start)
        points[row, : len(one)] = torch.from_numpy(shifted.astype(np.float32))
        labels[row, : len(one)] = torch.from_numpy(_labels(one))
    supported = torch.tensor([one.target.supported for one in objects], dtype=torch.bool)
    return EncodedClicks(points, labels, supported)


def _labels(clicks: ObjectClicks) -> Int[np.ndarray, " n"]:
    special = clicks.target.special
    positive = ClickLabel.SPECIAL_POSITIVE if special else ClickLabel.POSITIVE
    negative = ClickLabel.SPECIAL_NEGATIVE if special else ClickLabel.NEGATIVE
    return np.where(clicks.positive, int(positive), int(negative)).astype(np.int64)
