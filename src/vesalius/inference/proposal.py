"""What an object's clicks would draw, on the volume's own grid: logits blended into an earlier mask.

The published code pastes a window's logits into the earlier result, and the faces of the window show. Here the
border of the clicked object passes smoothly into that of the earlier mask before a window ends.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from vesalius.geometry.balls import ball_box, squared_mm
from vesalius.geometry.boxes import NOWHERE, Box, bounding_box, enclosing_box, shared_box
from vesalius.geometry.grid import SHORT_BY, Grid
from vesalius.geometry.morphology import depth_mm
from vesalius.geometry.resample import axis_maps, is_orthogonal, resample_linear, resample_points
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.points import PointLogits
from vesalius.shapes import MaskArray

LOGIT_RANGE = 8.0
"""Where an earlier mask counts, its logit is the distance to its border in mm, up to this; clicks' logits, too."""

_VOXELS_AT_ONCE = 1 << 24
_ALIGNED = 0.01  # of a voxel: axes that drift apart by less over a box are parallel


@dataclass(frozen=True, eq=False)
class Reach:
    """How far the word of clicks counts against an earlier mask.

    Args:
        points_ijk: The clicks, in voxels of the volume's own grid.
        mm: Wholly up to half of it, not at all beyond it.
    """

    points_ijk: Float[np.ndarray, "n 3"]
    mm: float

    def share(self, box: Box, grid: Grid) -> Float32[np.ndarray, "x y z"]:
        """Return how much it counts in each voxel of a box of the grid, 0 to 1."""
        share = np.zeros(box.shape, dtype=np.float32)
        for point in self.points_ijk:
            near = shared_box(ball_box(point, self.mm, grid), box)
            if near is None:
                continue
            squared = squared_mm(point, near, grid)
            fallen = np.clip(2 * np.sqrt(squared, out=squared) / np.float32(self.mm) - 1, 0, 1)
            part = share[near.relative_to(box.start).slices]
            np.maximum(part, 1 - fallen * fallen * (3 - 2 * fallen), out=part)
        return share


def propose(
    logits: PointLogits, earlier: MaskArray, *, model_grid: Grid, grid: Grid, reach: Reach | None = None
) -> tuple[Box, Bool[np.ndarray, "x y z"]]:
    """Return the mask that clicks would draw, blended into the earlier one.

    Well inside the windows the border is where the logits are 0. Towards their outer faces, where the two masks
    differ, the larger one decides of ``share`` times the logit's size and (1 - ``share``) times the distance to the
    earlier mask's border in mm; neither counts more than 8.

    Args:
        logits: Of the object.
        earlier: Its mask before, on ``grid``.
        model_grid: Of the image the network saw.
        grid: The volume's own grid, in any orientation or at an angle.
        reach: Beyond it the earlier mask stands; None or nothing to stand: the logits count everywhere.

    Returns:
        A box of ``grid``, and the proposed mask inside it; outside the box the earlier mask stands.
    """
    if logits.box.is_empty:
        return NOWHERE, earlier[NOWHERE.slices].copy()
    blended = logits.blended()
    box = _concerned(blended, logits.box, earlier, model_grid=model_grid, grid=grid)
    proposal = np.empty(box.shape, dtype=bool)
    if not earlier.any():
        reach = None
    for part in _slabs(box):
        source = shared_box(_model_box(part, 1, model_grid=model_grid, grid=grid), logits.box)
        if source is None:  # a corner of the box at an angle to the windows
            proposal[part.relative_to(box.start).slices] = earlier[part.slices]
            continue
        near = blended[source.relative_to(logits.box.start).slices]
        fresh = _on_own_grid(near, model_grid.cropped(source), grid.cropped(part))
        share = logits.share(*_places(part, model_grid, grid))
        if reach is not None:
            share = share * reach.share(part, grid)
        drawn = _blend(fresh, share, earlier, part, model_grid=model_grid, grid=grid)
        proposal[part.relative_to(box.start).slices] = drawn
    return box, proposal


def _blend(
    fresh: Float[np.ndarray, "x y z"],
    share: Float[np.ndarray, "x y z"],
    earlier: MaskArray,
    box: Box,
    *,
    model_grid: Grid,
    grid: Grid,
) -> Bool[np.ndarray, "x y z"]:
    drawn = np.where(share > 0, fresh > 0, earlier[box.slices])
    unsure = (drawn != earlier[box.slices]) & (share < 1)  # where both agree, shares mean nothing
    part = bounding_box(unsure)
    if part is not None:
        here = part.slices
        distance = _border_distance_mm(earlier, part.moved(box.start), model_grid=model_grid, grid=grid)
        says = share[here] * np.abs(fresh[here]).clip(max=LOGIT_RANGE)
        drawn[here] ^= unsure[here] & (says <= (1 - share[here]) * distance)
    return drawn


def _slabs(box: Box) -> Iterator[Box]:
    """Walk through a box a few planes at a time, so that what is worked on stays small whatever its size."""
    _, j, k = box.shape
    step = max(1, _VOXELS_AT_ONCE // max(1, j * k))
    for start in range(box.start[0], box.stop[0], step):
        stop = min(start + step, box.stop[0])
        yield Box((start, *box.start[1:]), (stop, *box.stop[1:]))


def _concerned(
    blended: Float[Tensor, "x y z"], covered: Box, earlier: MaskArray, *, model_grid: Grid, grid: Grid
) -> Box:
    """Return the box of the volume's grid that holds all of both masks that lies where windows are."""
    own = _own_box(covered, model_grid, grid)
    masks = []
    drawn = bounding_box((blended > 0).numpy())
    if drawn is not None:
        around = shared_box(_own_box(drawn.grown(1).moved(covered.start), model_grid, grid), own)
        masks += [around] if around else []
    before = bounding_box(earlier[own.slices])
    if before is not None:
        masks.append(before.moved(own.start))
    return enclosing_box(masks) or NOWHERE


def _own_box(box: Box, model_grid: Grid, grid: Grid) -> Box:
    """Return the voxels of the volume's grid whose centres lie in a box of the model's."""
    face = 0.5 + SHORT_BY
    ends = [(a - face, b - 1 + face) for a, b in zip(box.start, box.stop, strict=True)]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    own = grid.to_voxel(model_grid.to_world(corners))
    return _box(np.ceil(own.min(axis=0) - 1e-6), np.floor(own.max(axis=0) + 1e-6) + 1).clipped(grid.shape)


def _box(start: np.ndarray, stop: np.ndarray) -> Box:
    (i, j, k), (i_end, j_end, k_end) = (ends.astype(int).tolist() for ends in (start, stop))
    return Box((i, j, k), (i_end, j_end, k_end))


def _model_box(box: Box, margin: int, *, model_grid: Grid, grid: Grid) -> Box:
    """Return the box of the model's grid around the voxels of a box of the volume's; it may reach outside."""
    ends = [(math.floor(at.min()), math.ceil(at.max())) for at in _places(box, model_grid, grid)]
    (i, i_end), (j, j_end), (k, k_end) = ends
    return Box((i, j, k), (i_end + 1, j_end + 1, k_end + 1)).grown(margin)


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


def _on_own_grid(values: Float[Tensor, "i j k"], source: Grid, target: Grid) -> Float[np.ndarray, "x y z"]:
    """Interpolate what was computed on the model's grid, whatever the axes of the volume's."""
    if not is_orthogonal(target):
        return resample_points(values.numpy(), source, target)
    turned = Volume(values.numpy()[None], source).reoriented(target.axis_codes)
    return resample_linear(turned.data[0], turned.grid, target).numpy()


def _border_distance_mm(
    mask: MaskArray, box: Box, *, model_grid: Grid, grid: Grid
) -> Float[np.ndarray, "x y z"] | float:
    """Return how far the voxels of a box lie from the border of a mask, inside or outside, at most 8 mm.

    Measured on the model's grid and interpolated: that has far fewer voxels, and the sign is known.
    """
    reach = math.ceil(LOGIT_RANGE / min(model_grid.spacing_mm)) + 1
    around = model_grid.cropped(_model_box(box, reach, model_grid=model_grid, grid=grid))
    near = on_model_grid(mask, grid, around)
    if near.all() or not near.any():
        return LOGIT_RANGE
    inside, outside = (depth_mm(side, around.spacing_mm, outside=True) for side in (near, ~near))
    distance = torch.from_numpy((inside + outside).clip(max=LOGIT_RANGE))
    return _on_own_grid(distance, around, grid.cropped(box))


def on_model_grid(mask: MaskArray, grid: Grid, target: Grid) -> Bool[np.ndarray, "x y z"]:
    """Look up the nearest voxel of a mask of the volume for each voxel of a grid of the model's."""
    if not is_orthogonal(grid):
        return resample_points(mask.view(np.uint8), grid, target, nearest=True).astype(bool)
    turned = LabelMap(mask.view(np.uint8), grid, {}).reoriented(target.axis_codes)
    nearest = (axis.nearest().numpy() for axis in axis_maps(turned.grid, target))
    found: np.ndarray = turned.data[np.ix_(*nearest)]
    return found.astype(bool)
