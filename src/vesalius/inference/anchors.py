"""Anchors: clicks that nobody made, which tell the point head where the object is that a user corrects.

A point head sees image and clicks, and no earlier mask. Asked about an automatic result by one negative click alone
it answers with nothing, and by VISTA3D's Algorithm 1 the whole object goes. So places that the user sees inside the
object, and has not contradicted, are said to the head as positive clicks. Only the user's own clicks choose what of
its answer is taken (``merge``). A deliberate difference: MONAI's inferer tells the head the user's clicks alone.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from vesalius.geometry.boxes import Box, Triple
from vesalius.geometry.grid import Grid
from vesalius.geometry.morphology import depth_mm
from vesalius.inference.proposal import on_model_grid
from vesalius.prompts.encode import ObjectClicks
from vesalius.shapes import MaskArray

MOST = 4
"""Anchors in one window."""
_STEP = 2
"""Voxels of the model's grid from one candidate to the next: a distance map of an eighth of the window will do."""


def with_anchors(
    clicks: ObjectClicks,
    earlier: MaskArray,
    windows: Sequence[Triple],
    *,
    window_size: Triple,
    model_grid: Grid,
    grid: Grid,
) -> ObjectClicks:
    """Return an object's clicks with anchors before them; the same where its mask was empty.

    In each window up to ``MOST`` places, one after the other, at which the smaller is largest of two distances in
    mm: to the border of the earlier mask, and half of that to the nearest click or anchor. So they lie deep inside,
    apart from one another, and away from what was clicked, which is where the mask is wrong.

    Args:
        clicks: Of the user, in voxels of ``model_grid``.
        earlier: The object's mask before any of these clicks, on ``grid``.
        windows: Starts of the windows that hold clicks of the object.
        window_size: Their voxels.
        model_grid: Of the image the network saw.
        grid: The volume's own grid.
    """
    places = [np.empty((0, 3))]
    for start in windows:
        i, j, k = window_size
        window = Box(start, (start[0] + i, start[1] + j, start[2] + k))
        near = on_model_grid(earlier, grid, model_grid.cropped(window))[::_STEP, ::_STEP, ::_STEP]
        corner = np.asarray(start)
        spacing = _STEP * np.asarray(model_grid.spacing_mm)
        said = (clicks.within(window).points_ijk - corner) / _STEP
        places.append(_deep_and_apart(near, said, spacing) * _STEP + corner)
    anchors = np.concatenate(places)
    return replace(
        clicks,
        points_ijk=np.concatenate([anchors, clicks.points_ijk]),
        positive=np.concatenate([np.ones(len(anchors), dtype=bool), clicks.positive]),
    )


def _deep_and_apart(
    mask: MaskArray, taken: Float[np.ndarray, "n 3"], spacing_mm: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "a 3"]:
    """Return places inside a mask, deep and far from those taken; none where it is as thin as a voxel."""
    voxels = np.argwhere(mask)
    if len(voxels) == 0 or mask.all():
        return np.empty((0, 3))
    i, j, k = spacing_mm.tolist()
    depth = depth_mm(mask, (i, j, k), outside=True)[mask]
    apart = np.full(len(voxels), np.inf)
    for place in taken:
        apart = np.minimum(apart, np.linalg.norm((voxels - place) * spacing_mm, axis=1))
    chosen: list[np.ndarray] = []
    while len(chosen) < MOST:
        room = np.minimum(depth, apart / 2)
        best = int(room.argmax())
        if room[best] < min(i, j, k):
            break
        chosen.append(voxels[best])
        apart = np.minimum(apart, np.linalg.norm((voxels - voxels[best]) * spacing_mm, axis=1))
    return np.asarray(chosen, dtype=float).reshape(-1, 3)
