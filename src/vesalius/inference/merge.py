"""Merging clicks into an earlier mask: VISTA3D's Algorithm 1, for one object on the volume's own grid.

Paper: VISTA3D (He et al., CVPR 2025, arXiv:2406.05285), Algorithm 1. Agrees with MONAI's
``connected_components_combine`` for one object without NaN, with three deliberate differences: components are
sought in three dimensions (MONAI's leak between objects through the batch axis), what no window covers stays as it
was (MONAI multiplies NaN by 0), and only a positive click inside the earlier mask lets whole components in (there
negative and padding clicks do, too).
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from vesalius.geometry.boxes import Box
from vesalius.geometry.grid import Grid
from vesalius.inference.points import PointLogits
from vesalius.prompts.encode import ObjectClicks
from vesalius.shapes import MaskArray


@dataclass(frozen=True, eq=False)
class MaskChange:
    """What clicks change in one object's mask, on the volume's own grid.

    Args:
        box: The smallest box around every change; empty where nothing changes.
        added: Voxels of the box that join the object; none of them was in it.
        removed: Voxels of the box that leave it; all of them were in it.
    """

    box: Box
    added: MaskArray
    removed: MaskArray


def change_mask(
    logits: PointLogits, earlier: MaskArray, clicks: ObjectClicks, *, model_grid: Grid, grid: Grid
) -> MaskChange:
    """Say what an object's clicks change in its earlier mask: ``propose``, then ``merge_clicks``.

    Args:
        logits: Of the object, from all of its clicks.
        earlier: Its mask before any of these clicks, on ``grid``.
        clicks: All of its clicks, in voxels of ``model_grid``.
        model_grid: Of the image the network saw (``Prepared.grid``).
        grid: The volume's own grid, in any orientation or at an angle.
    """
    raise NotImplementedError


def propose(logits: PointLogits, earlier: MaskArray, *, model_grid: Grid, grid: Grid) -> tuple[Box, MaskArray]:
    """Return the mask the point head would draw, on the volume's own grid, blended into the earlier mask.

    Args:
        logits: Of the object.
        earlier: Its mask before, on ``grid``.
        model_grid: Of the image the network saw.
        grid: The volume's own grid.

    Returns:
        A box of ``grid``, and the proposed mask inside it; outside the box the earlier mask stands.
    """
    raise NotImplementedError


def merge_clicks(
    earlier: MaskArray,
    proposal: MaskArray,
    points_ijk: Float[np.ndarray, "n 3"],
    positive: Bool[np.ndarray, " n"],
) -> tuple[MaskArray, MaskArray]:
    """Take from a proposal the parts that were clicked on: the paper's Algorithm 1.

    Args:
        earlier: The object's mask before.
        proposal: The mask that its clicks suggest.
        points_ijk: The clicks, in voxels of both masks.
        positive: Whether each click lies in the object.

    Returns:
        Voxels to add to the earlier mask, and voxels to remove from it.
    """
    raise NotImplementedError
