"""Merging clicks into an earlier mask: VISTA3D's Algorithm 1, for one object on the volume's own grid.

Paper: VISTA3D (He et al., CVPR 2025, arXiv:2406.05285), Algorithm 1. Agrees with MONAI's
``connected_components_combine`` for one object without NaN, with four deliberate differences. Components are sought
in three dimensions (MONAI's leak between objects through the batch axis). What no window covers stays as it was
(MONAI multiplies NaN by 0). Only a positive click inside the earlier mask lets whole components in (there negative
and padding clicks do, too). A click beside several components takes the nearest, not the one numbered last.
A model that states how far its clicks reach has none in vain (``heeded``), which is ours.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from vesalius.geometry.balls import ball_box, squared_mm
from vesalius.geometry.boxes import NOWHERE, Box, bounding_box, enclosing_box
from vesalius.geometry.grid import Grid
from vesalius.geometry.morphology import components
from vesalius.inference.points import PointLogits
from vesalius.inference.proposal import Reach, propose
from vesalius.shapes import MaskArray

SEARCH_MARGINS = (0, 1, 2)
"""A click takes a component at its voxel, or one or two voxels beside it."""

REACH_OF_RADIUS = 0.7
"""A click reaches at least so much of the radius of a ball as large as its object: who corrects a liver means more
of it than who corrects a gland."""


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
    logits: PointLogits,
    earlier: MaskArray,
    points_ijk: Float[np.ndarray, "n 3"],
    positive: Bool[np.ndarray, " n"],
    *,
    model_grid: Grid,
    grid: Grid,
    reach_mm: float | None = None,
) -> MaskChange:
    """Say what an object's clicks change in its earlier mask: ``propose``, ``merge_clicks``, then ``heeded``.

    Args:
        logits: Of the object, from all of its clicks.
        earlier: Its mask before any of these clicks, on ``grid``.
        points_ijk: All of its clicks where the user made them, in voxels of ``grid``; not those that the network is
            told, which may be moved by several thin slices (``clicks_on_model_grid``).
        positive: Whether each lies in the object.
        model_grid: Of the image the network saw (``Prepared.grid``).
        grid: The volume's own grid, in any orientation or at an angle.
        reach_mm: How far at least from its clicks an object with an earlier mask may change; a large one may
            farther (``REACH_OF_RADIUS``); and twice the radius of the ball that a click takes which would change
            nothing. None: in all of their windows, and it may be in vain.
    """
    reach = None if reach_mm is None else _reach(points_ijk, positive, earlier, grid, at_least_mm=reach_mm)
    box, proposal = propose(logits, earlier, model_grid=model_grid, grid=grid, reach=reach)
    inside = points_ijk - np.asarray(box.start)
    added, removed = merge_clicks(earlier[box.slices], proposal, inside, positive)
    if reach_mm is not None:
        drawn = MaskChange(box, added, removed)
        drawn = heeded(drawn, earlier, points_ijk, positive, grid=grid, radius_mm=reach_mm / 2)
        box, added, removed = drawn.box, drawn.added, drawn.removed
    changed = bounding_box(added | removed)
    if changed is None:
        return MaskChange(NOWHERE, added[:0, :0, :0], removed[:0, :0, :0])
    return MaskChange(changed.moved(box.start), added[changed.slices].copy(), removed[changed.slices].copy())


def _reach(
    points_ijk: Float[np.ndarray, "n 3"],
    positive: Bool[np.ndarray, " n"],
    earlier: MaskArray,
    grid: Grid,
    *,
    at_least_mm: float,
) -> Reach | None:
    """Return how far clicks count; None is everywhere, where one begins a piece far from all that was there."""
    ball = int(np.count_nonzero(earlier)) * grid.voxel_volume_ml * 1000 * 3 / (4 * np.pi)
    reach = Reach(points_ijk, max(at_least_mm, REACH_OF_RADIUS * float(np.cbrt(ball))))
    begins = any(not earlier[ball_box(point, reach.mm, grid).slices].any() for point in points_ijk[positive])
    return None if begins else reach


def merge_clicks(
    earlier: MaskArray,
    proposal: MaskArray,
    points_ijk: Float[np.ndarray, "n 3"],
    positive: Bool[np.ndarray, " n"],
) -> tuple[MaskArray, MaskArray]:
    """Take from a proposal the parts that were clicked on: the paper's Algorithm 1.

    A positive click adds the component of new voxels it lies in, a negative one removes the component of lost
    voxels. Where a positive click lies inside the earlier mask, voxels of that mask connect new ones.

    Args:
        earlier: The object's mask before.
        proposal: The mask that its clicks suggest.
        points_ijk: The clicks, in voxels of both masks.
        positive: Whether each click lies in the object.

    Returns:
        Voxels to add to the earlier mask, and voxels to remove from it.
    """
    voxels = np.rint(points_ijk).astype(int)
    inside = any(earlier[_cube(voxel, 0, earlier.shape)].any() for voxel in voxels[positive])
    candidates = proposal if inside else proposal & ~earlier
    added = _clicked_components(candidates, voxels[positive]) & ~earlier
    removed = _clicked_components(earlier & ~proposal, voxels[~positive])
    return added, removed


def heeded(
    change: MaskChange,
    earlier: MaskArray,
    points_ijk: Float[np.ndarray, "n 3"],
    positive: Bool[np.ndarray, " n"],
    *,
    grid: Grid,
    radius_mm: float,
) -> MaskChange:
    """Return a change in which no click is in vain: one that changed nothing where it lies takes a ball around it.

    Algorithm 1 lets clicks be in vain: what the network does not see as an object there stays as it was, however
    often it is clicked on. Then the click counts for its surroundings at least, as a stroke of a brush would, up to
    where a click of the other sign is nearer. Of two on one voxel the later counts. A click whose voxel is as it
    says, or which took a component beside it, is left at that.

    Args:
        change: What ``merge_clicks`` draws.
        earlier: The object's mask before, on ``grid``.
        points_ijk: The clicks, in voxels of ``grid``, in the order in which they were made.
        positive: Whether each lies in the object.
        grid: The volume's own grid.
        radius_mm: Of the balls.
    """
    last = np.asarray(grid.shape) - 1
    voxels = np.clip(np.rint(points_ijk).astype(int), 0, last)
    in_vain = [
        n for n, voxel in enumerate(voxels) if _is_in_vain(change, earlier, voxel, positive=bool(positive[n]))
    ]
    if not in_vain:
        return change
    boxes = {n: ball_box(points_ijk[n], radius_mm, grid) for n in in_vain}
    box = enclosing_box([change.box, *boxes.values()]) or NOWHERE
    added, removed = (np.zeros(box.shape, dtype=bool) for _ in range(2))
    for whole, part in ((added, change.added), (removed, change.removed)):
        whole[change.box.relative_to(box.start).slices] = part
    for n in in_vain:
        own = squared_mm(voxels[n].astype(float), boxes[n], grid)
        ball = own <= radius_mm**2
        for m in np.flatnonzero(positive != positive[n]):
            if m > n or (voxels[m] != voxels[n]).any():
                ball &= own < squared_mm(voxels[m].astype(float), boxes[n], grid)
        here, before = boxes[n].relative_to(box.start).slices, earlier[boxes[n].slices]
        added[here] = np.where(ball, positive[n] & ~before, added[here])
        removed[here] = np.where(ball, before & ~positive[n], removed[here])
    return MaskChange(box, added, removed)


def _is_in_vain(change: MaskChange, earlier: MaskArray, voxel: Int[np.ndarray, " 3"], *, positive: bool) -> bool:
    """Return whether a click's voxel is not as it says, and nothing beside it became so."""
    inner = voxel - np.asarray(change.box.start)
    became, ceased = (change.added, change.removed) if positive else (change.removed, change.added)
    if became[_cube(inner, SEARCH_MARGINS[-1], became.shape)].any():
        return False
    was = bool(earlier[tuple(voxel.tolist())]) == positive
    return not was or bool(ceased[_cube(inner, 0, ceased.shape)].any())


def _clicked_components(mask: MaskArray, voxels: Int[np.ndarray, "n 3"]) -> MaskArray:
    """Return the 26-connected components at the clicks, or within two voxels of them."""
    taken = np.zeros_like(mask)
    box = bounding_box(mask) if len(voxels) else None
    if box is None:
        return taken
    numbered, count = components(mask[box.slices])
    is_clicked = np.zeros(count + 1, dtype=bool)
    for voxel in voxels - np.asarray(box.start):
        is_clicked[component_at(numbered, voxel)] = True
    is_clicked[0] = False
    taken[box.slices] = is_clicked[numbered]
    return taken


def component_at(numbered: Integer[np.ndarray, "i j k"], voxel: Int[np.ndarray, " 3"]) -> int:
    """Return the number of the component nearest to a click, 0 where none is within the margins."""
    for margin in SEARCH_MARGINS:
        cube = _cube(voxel, margin, numbered.shape)
        places = np.argwhere(numbered[cube])
        if len(places):
            from_click = places + [side.start for side in cube] - voxel
            i, j, k = places[np.argmin((from_click**2).sum(axis=1))]
            return int(numbered[cube][i, j, k])
    return 0


def _cube(voxel: np.ndarray, margin: int, shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    i, j, k = (
        slice(max(at - margin, 0), max(min(at + margin + 1, n), 0))
        for at, n in zip(voxel.tolist(), shape, strict=True)
    )
    return i, j, k
