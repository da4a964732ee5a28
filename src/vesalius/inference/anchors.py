"""Anchors: clicks that nobody made, which tell the point head where the object is that a user corrects.

A point head sees image and clicks, and no earlier mask. Asked about an automatic result by one negative click alone
it answers with nothing, and by VISTA3D's Algorithm 1 the whole object goes. So places that the user sees inside the
object, away from all clicks, are said to the head as positive clicks. Only the user's own clicks choose what of its
answer is taken (``merge``). A deliberate difference: MONAI's inferer tells the head the user's clicks alone.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from vesalius.geometry.boxes import Box, bounding_box, shared_box
from vesalius.geometry.grid import Grid
from vesalius.geometry.morphology import components, depth_mm
from vesalius.inference.merge import component_at
from vesalius.inference.proposal import on_model_grid
from vesalius.prompts.encode import ObjectClicks
from vesalius.shapes import MaskArray

MOST = 4
"""Anchors in one window."""


def with_anchors(
    clicks: ObjectClicks, earlier: MaskArray, window: Box, *, model_grid: Grid, content: Box, grid: Grid
) -> ObjectClicks:
    """Return an object's clicks in one window, with anchors before them where it had a mask there.

    They depend on nothing but that mask and these clicks, so a click elsewhere changes no anchor. Up to ``MOST``
    places, one after the other, at which the smaller is largest of two distances in mm: to the border of the
    earlier mask, and half of that to the nearest click or anchor. So they lie deep inside, apart from one another,
    and away from what was clicked, which is where the mask is wrong. A piece with a negative click has none, unless
    it is the largest in the window: of an object that is wrong altogether, clicks take only their surroundings.
    None lies in what fills up a small scan; where that begins is no border of what it cuts through.

    Args:
        clicks: Of the user, in voxels of ``model_grid``.
        earlier: The object's mask before any of these clicks, on ``grid``.
        window: In which it is asked about.
        model_grid: Of the image the network saw.
        content: The part of it that is not padding.
        grid: The volume's own grid.
    """
    there = clicks.within(window)
    seen = shared_box(window, content)
    if seen is None:
        return there
    near = on_model_grid(earlier, grid, model_grid.cropped(seen))
    around = bounding_box(near)
    if around is None:
        return there
    around = around.grown(1).clipped(near.shape)  # so that a border is seen, but no face of window or scan
    corner = np.add(seen.start, around.start)
    said = there.points_ijk - corner
    mask = _without_pieces(near[around.slices], said[~there.positive])
    anchors = corner + _deep_and_apart(mask, said, np.asarray(model_grid.spacing_mm))
    return replace(
        there,
        points_ijk=np.concatenate([anchors, there.points_ijk]),
        positive=np.concatenate([np.ones(len(anchors), dtype=bool), there.positive]),
    )


def _without_pieces(mask: MaskArray, negative: Float[np.ndarray, "n 3"]) -> MaskArray:
    """Return a mask without the pieces that were clicked negatively, but for its largest."""
    numbered, count = components(mask)
    if count < 2 or len(negative) == 0:
        return mask
    clicked = {component_at(numbered, voxel) for voxel in np.rint(negative).astype(int)}
    largest = int(np.bincount(numbered[mask]).argmax())
    return mask & ~np.isin(numbered, list(clicked - {0, largest}))


def _deep_and_apart(
    mask: MaskArray, taken: Float[np.ndarray, "n 3"], spacing_mm: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "a 3"]:
    """Return places inside a mask, deep and far from those taken."""
    voxels = np.argwhere(mask)
    i, j, k = spacing_mm.tolist()
    depth = np.full(len(voxels), np.inf) if mask.all() else depth_mm(mask, (i, j, k), outside=True)[mask]
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
