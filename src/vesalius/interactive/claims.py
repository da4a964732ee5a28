"""Claims: what a structure's later prompts take back of its own base from a neighbour that had gained it.

A change is made against the base, so a voxel that a structure always had is not among those that joined it. Where
an earlier prompt of a neighbour took it, a later prompt claims it: a click the piece it lies in, not what was taken
elsewhere; a class or mask prompt all of it.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from vesalius.geometry.boxes import enclosing_box
from vesalius.geometry.grid import Grid
from vesalius.geometry.morphology import components
from vesalius.geometry.packed_mask import PackedMask
from vesalius.interactive.history import Result, State
from vesalius.prompts.types import PointPrompt, Prompt
from vesalius.shapes import MaskArray

Wish = tuple[int, np.ndarray | None]
"""The rank of a prompt that claims, and the voxel that was clicked; None where it wants the whole mask."""


def with_claims(state: State, grid: Grid, base_mask: Callable[[int], PackedMask]) -> State:
    """Return a state whose results claim what their prompts say of each other; it depends on the results alone.

    Args:
        state: With the results of all structures.
        grid: Of the volume.
        base_mask: Gives the mask of a label before any prompt.
    """
    results = {}
    for label, result in state.results.items():
        layer = state.labels[label].layer
        rivals = [r for other, r in state.results.items() if other != label and state.labels[other].layer == layer]
        wishes = _wishes(result, grid) if rivals else []
        lost = [_lost(result, wishes, rival, partial(base_mask, label)) for rival in rivals]
        claimed = _union([mask for mask in lost if not mask.is_empty])
        is_known = claimed == result.change.claimed
        results[label] = result if is_known else replace(result, change=replace(result.change, claimed=claimed))
    return replace(state, results=results)


def _lost(result: Result, wishes: Sequence[Wish], rival: Result, base_mask: Callable[[], PackedMask]) -> PackedMask:
    """Return the voxels a structure had in the base, which a rival gained, and which it claims back."""
    gained = rival.change.added
    later = [voxel for rank, voxel in wishes if rank > rival.rank]
    wants_all = any(voxel is None for voxel in later)
    voxels = [voxel for voxel in later if voxel is not None and gained.box.holds(voxel)]
    if gained.is_empty or not (voxels or wants_all):
        return PackedMask()
    mine = base_mask().within(gained.box) & ~result.change.removed.within(gained.box)
    lost = mine & gained.mask()
    if not wants_all:
        lost = _pieces(lost, [voxel - np.asarray(gained.box.start) for voxel in voxels])
    return PackedMask.of(lost, gained.box.start)


def _wishes(result: Result, grid: Grid) -> list[Wish]:
    return [(placed.rank, _voxel(placed.prompt, grid)) for placed in result.prompts if placed.claims]


def _voxel(prompt: Prompt, grid: Grid) -> np.ndarray | None:
    if not isinstance(prompt, PointPrompt):
        return None
    return np.rint(prompt.point_ijk(grid)).astype(int).clip(0, np.asarray(grid.shape) - 1)


def _pieces(mask: MaskArray, voxels: Sequence[np.ndarray]) -> MaskArray:
    """Return the 26-connected pieces of a mask in which some voxels lie."""
    numbered, count = components(mask)
    is_meant = np.zeros(count + 1, dtype=bool)
    is_meant[[numbered[tuple(voxel)] for voxel in voxels]] = True
    is_meant[0] = False
    return np.asarray(is_meant[numbered])


def _union(masks: Sequence[PackedMask]) -> PackedMask:
    box = enclosing_box([mask.box for mask in masks])
    if box is None or len(masks) == 1:
        return masks[0] if masks else PackedMask()
    return PackedMask.of(np.logical_or.reduce([mask.within(box) for mask in masks]), box.start)
