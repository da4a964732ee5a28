"""Merging clicks into an earlier mask: VISTA3D's Algorithm 1, for one object on the volume's own grid.

Paper: VISTA3D (He et al., CVPR 2025, arXiv:2406.05285), Algorithm 1. Agrees with MONAI's
``connected_components_combine`` for one object without NaN, with four deliberate differences. Components are sought
in three dimensions (MONAI's leak between objects through the batch axis). What no window covers stays as it was
(MONAI multiplies NaN by 0). Only a positive click inside the earlier mask lets whole components in (there negative
and padding clicks do, too). A click beside several components takes the nearest, not the one numbered last.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from vesalius.geometry.boxes import Box, bounding_box
from vesalius.geometry.grid import Grid
from vesalius.geometry.morphology import components, depth_mm
from vesalius.geometry.resample import axis_maps, is_orthogonal, resample_linear, resample_points
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.points import PointLogits
from vesalius.prompts.encode import ObjectClicks
from vesalius.shapes import MaskArray

LOGIT_RANGE = 8.0
"""Where an earlier mask counts, its logit is the distance to its border in mm, up to this; clicks' logits, too."""

SEARCH_MARGINS = (0, 1, 2)
"""A click takes a component at its voxel, or one or two voxels beside it."""

_EMPTY = Box((0, 0, 0), (0, 0, 0))
_ALIGNED = 0.01  # of a voxel: axes that drift apart by less over a box are parallel
_SHORT_BY = 0.25  # of a voxel: so much the volume's outermost voxels may lie beyond the model's grid


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
    box, proposal = propose(logits, earlier, model_grid=model_grid, grid=grid)
    points = grid.to_voxel(model_grid.to_world(clicks.points_ijk)) - np.asarray(box.start)
    added, removed = merge_clicks(earlier[box.slices], proposal, points, clicks.positive)
    changed = bounding_box(added | removed)
    if changed is None:
        return MaskChange(_EMPTY, added[:0, :0, :0], removed[:0, :0, :0])
    return MaskChange(changed.moved(box.start), added[changed.slices].copy(), removed[changed.slices].copy())


def propose(
    logits: PointLogits, earlier: MaskArray, *, model_grid: Grid, grid: Grid
) -> tuple[Box, Bool[np.ndarray, "x y z"]]:
    """Return the mask the point head would draw, on the volume's own grid, blended into the earlier mask.

    Inside the windows the border is where the logits are 0. Towards their faces it passes smoothly into the border
    of the earlier mask: where the two masks differ, the sign of ``share`` · logit ± (1 - ``share``) · distance
    decides, with the distance to the earlier mask's border in mm, and both at most 8.

    Args:
        logits: Of the object.
        earlier: Its mask before, on ``grid``.
        model_grid: Of the image the network saw.
        grid: The volume's own grid.

    Returns:
        A box of ``grid``, and the proposed mask inside it; outside the box the earlier mask stands.
    """
    blended = logits.blended()
    box = _concerned(blended, logits.box, earlier, model_grid=model_grid, grid=grid)
    before = earlier[box.slices]
    if box.is_empty:
        return box, before.copy()
    fresh = _on_own_grid(blended, model_grid.cropped(logits.box), grid.cropped(box))
    proposal = fresh > 0
    share = logits.share(*_places(box, model_grid, grid))
    unsure = (proposal != before) & (share < 1)  # where both agree, shares mean nothing
    part = bounding_box(unsure)
    if part is not None:
        here = part.slices
        distance = _border_distance_mm(earlier, part.moved(box.start), model_grid=model_grid, grid=grid)
        says = share[here] * np.abs(fresh[here]).clip(max=LOGIT_RANGE)
        proposal[here] ^= unsure[here] & (says <= (1 - share[here]) * distance)
    return box, proposal


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


def _clicked_components(mask: MaskArray, voxels: Int[np.ndarray, "n 3"]) -> MaskArray:
    """Return the 26-connected components at the clicks, or within two voxels of them."""
    taken = np.zeros_like(mask)
    box = bounding_box(mask) if len(voxels) else None
    if box is None:
        return taken
    numbered, count = components(mask[box.slices])
    is_clicked = np.zeros(count + 1, dtype=bool)
    for voxel in voxels - np.asarray(box.start):
        is_clicked[_component_at(numbered, voxel)] = True
    is_clicked[0] = False
    taken[box.slices] = is_clicked[numbered]
    return taken


def _component_at(numbered: Integer[np.ndarray, "i j k"], voxel: Int[np.ndarray, " 3"]) -> int:
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


def _concerned(
    blended: Float[Tensor, "x y z"], covered: Box, earlier: MaskArray, *, model_grid: Grid, grid: Grid
) -> Box:
    """Return the box of the volume's grid that holds all of both masks that lies where windows are."""
    if covered.is_empty:
        return _EMPTY
    own = _own_box(covered, model_grid, grid)
    parts = []
    drawn = bounding_box((blended > 0).numpy())
    if drawn is not None:
        parts.append(_own_box(drawn.grown(1).moved(covered.start), model_grid, grid))
    before = bounding_box(earlier[own.slices])
    if before is not None:
        parts.append(before.moved(own.start))
    if not parts:
        return _EMPTY
    start = np.maximum(np.min([part.start for part in parts], axis=0), own.start).tolist()
    stop = np.minimum(np.max([part.stop for part in parts], axis=0), own.stop).tolist()
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _own_box(box: Box, model_grid: Grid, grid: Grid) -> Box:
    """Return the voxels of the volume's grid whose centres lie in a box of the model's."""
    face = 0.5 + _SHORT_BY
    ends = [(a - face, b - 1 + face) for a, b in zip(box.start, box.stop, strict=True)]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    own = grid.to_voxel(model_grid.to_world(corners))
    start = np.ceil(own.min(axis=0) - 1e-6).astype(int).tolist()
    stop = (np.floor(own.max(axis=0) + 1e-6).astype(int) + 1).tolist()
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])).clipped(grid.shape)


def _on_own_grid(values: Float[Tensor, "i j k"], source: Grid, target: Grid) -> Float[np.ndarray, "x y z"]:
    """Interpolate what was computed on the model's grid, whatever the axes of the volume's."""
    if not is_orthogonal(target):
        return resample_points(values.numpy(), source, target)
    turned = Volume(values.numpy()[None], source).reoriented(target.axis_codes)
    return resample_linear(turned.data[0], turned.grid, target).numpy()


def _places(box: Box, model_grid: Grid, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where the voxels of a box lie along each axis of the model's grid, as arrays that broadcast to it.

    Where the grids are aligned, an axis of the model depends on one axis of the box, and its array is a line.
    """
    to_model = np.linalg.inv(model_grid.affine) @ grid.cropped(box).affine
    steps = np.ogrid[tuple(slice(0, side) for side in box.shape)]
    i, j, k = (
        sum(row[a] * steps[a] for a in range(3) if abs(row[a]) * box.shape[a] > _ALIGNED) + row[3]
        for row in to_model[:3]
    )
    return i, j, k


def _border_distance_mm(
    mask: MaskArray, box: Box, *, model_grid: Grid, grid: Grid
) -> Float[np.ndarray, "x y z"] | float:
    """Return how far the voxels of a box lie from the border of a mask, inside or outside, at most 8 mm.

    Measured on the model's grid and interpolated: that has far fewer voxels, and the sign is known.
    """
    reach = [math.ceil(LOGIT_RANGE / spacing) + 1 for spacing in model_grid.spacing_mm]
    ends = [(place.min(), place.max()) for place in _places(box, model_grid, grid)]
    start = [math.floor(low) - r for (low, _), r in zip(ends, reach, strict=True)]
    stop = [math.ceil(high) + r + 1 for (_, high), r in zip(ends, reach, strict=True)]
    around = model_grid.cropped(Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])))
    near = _on_model_grid(mask, grid, around)
    if near.all() or not near.any():
        return LOGIT_RANGE
    inside, outside = (depth_mm(side, around.spacing_mm, outside=True) for side in (near, ~near))
    distance = torch.from_numpy((inside + outside).clip(max=LOGIT_RANGE))
    return _on_own_grid(distance, around, grid.cropped(box))


def _on_model_grid(mask: MaskArray, grid: Grid, target: Grid) -> Bool[np.ndarray, "x y z"]:
    """Look up the nearest voxel of a mask of the volume for each voxel of a grid of the model's."""
    if not is_orthogonal(grid):
        return resample_points(mask.view(np.uint8), grid, target, nearest=True).astype(bool)
    turned = LabelMap(mask.view(np.uint8), grid, {}).reoriented(target.axis_codes)
    nearest = (axis.nearest().numpy() for axis in axis_maps(turned.grid, target))
    found: np.ndarray = turned.data[np.ix_(*nearest)]
    return found.astype(bool)
