"""Supervoxel targets: objects that nobody named, made of a window's supervoxels, so that clicks are heeded.

Paper: VISTA3D (arXiv:2406.05285, section 3.3): a network that knows an organ may answer any click with it. So some
objects become a piece of an organ, what is left of it, or an organ with a neighbouring piece; others become a
supervoxel that nothing labelled is in, or one with the organs it reaches into. Classes that lie inside others
(special ones) are never changed, and where nothing fits the object stays as it is. Deliberate difference: VISTA3D's
search for a neighbouring piece leaves out the last component, and so finds none where there is one; here all count.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Integer

from vesalius.data.case import NO_CLASS
from vesalius.geometry.morphology import components, eroded
from vesalius.shapes import LabelArray, MaskArray
from vesalius.training.click_sampling import ClickedObject
from vesalius.training.recipes import ClickPrompting

SHARE_OF_ORGAN = (0.1, 0.9)
"""A piece taken out of an organ is this part of it; one put to it is at least the smaller part."""
SMALLEST_UNSEEN = (20 / 128) ** 3
"""Part of a window that a structure nobody labelled fills at least: VISTA3D's 20³ voxels of 128³."""

Supervoxels = Integer[np.ndarray, "i j k"]
"""Numbers from 1; 0 is the air."""
Change = Callable[["Surroundings", ClickedObject, np.random.Generator], ClickedObject | None]


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What a window holds beside the object.

    Args:
        labels: Class ids of its voxels, UNKNOWN, 0.
        supervoxels: Their supervoxels.
        requested: Voxels of all objects that are clicked on in it.
    """

    labels: LabelArray
    supervoxels: Supervoxels
    requested: MaskArray

    def numbers(self, where: MaskArray, rng: np.random.Generator) -> Iterator[MaskArray]:
        """Yield the supervoxels that reach into a mask, in random order."""
        found = np.unique(self.supervoxels[where])
        for number in rng.permutation(found[found > 0]).tolist():
            yield self.supervoxels == number


def changed_objects(
    objects: Sequence[ClickedObject],
    labels: LabelArray,
    supervoxels: Supervoxels,
    prompting: ClickPrompting,
    rng: np.random.Generator,
) -> tuple[ClickedObject, ...]:
    """Change some of a window's objects into ones that nobody named.

    Args:
        objects: What is clicked on.
        labels: Class ids of the window's voxels.
        supervoxels: Of the same voxels.
        prompting: How often each kind of change is tried.
        rng: Where the choice comes from.
    """
    requested = np.any([one.mask for one in objects], axis=0) if objects else np.zeros(labels.shape, bool)
    around = Surroundings(labels, supervoxels, np.asarray(requested))
    return tuple(_changed(one, around, prompting, rng) for one in objects)


def _changed(
    one: ClickedObject, around: Surroundings, prompting: ClickPrompting, rng: np.random.Generator
) -> ClickedObject:
    kinds: tuple[tuple[float, Change], ...] = (
        (prompting.part, piece_of_organ),
        (prompting.joined, organ_and_neighbour),
        (prompting.unseen, unseen_structure),
        (prompting.united, united_structures),
    )
    drawn = float(rng.random())
    if one.target.special:
        return one
    for share, change in kinds:
        if drawn < share:
            return change(around, one, rng) or one
        drawn -= share
    return one


def piece_of_organ(around: Surroundings, one: ClickedObject, rng: np.random.Generator) -> ClickedObject | None:
    """Ask for the part of an organ that lies in one supervoxel, as new; or for the rest of it, as new or not."""
    low, high = (share * one.mask.sum() for share in SHARE_OF_ORGAN)
    for supervoxel in around.numbers(one.mask, rng):
        piece = opened(supervoxel & one.mask)
        if low <= piece.sum() <= high:
            if rng.random() < 0.5:
                return replace(one, mask=piece, beside=one.mask & ~piece).as_new()
            rest = replace(one, mask=one.mask & ~piece, beside=piece)
            return rest.as_new() if rng.random() < 0.5 else rest
    return None


def organ_and_neighbour(around: Surroundings, one: ClickedObject, rng: np.random.Generator) -> ClickedObject | None:
    """Ask for an organ with a piece of a supervoxel that touches it and in which nothing is labelled."""
    smallest = SHARE_OF_ORGAN[0] * one.mask.sum()
    touching = dilated(one.mask)
    free = (around.labels == 0) & one.known
    for supervoxel in around.numbers(touching & free, rng):
        numbered, count = components(supervoxel & free)
        for number in rng.permutation(np.arange(1, count + 1)).tolist():
            piece = numbered == number
            if piece.sum() >= smallest and (piece & touching).any():
                whole = replace(one, mask=one.mask | piece, also=piece)
                return whole.as_new() if rng.random() < 0.5 else whole
    return None


def unseen_structure(around: Surroundings, one: ClickedObject, rng: np.random.Generator) -> ClickedObject | None:
    """Ask for what a supervoxel holds that nothing is labelled in, away from the objects of this window."""
    free = (around.labels == 0) & one.known
    near = dilated(around.requested)
    for supervoxel in around.numbers(free, rng):
        structure = opened(supervoxel & free)
        if structure.sum() >= SMALLEST_UNSEEN * structure.size and not (structure & near).any():
            return replace(one, mask=structure).as_new()
    return None


def united_structures(around: Surroundings, one: ClickedObject, rng: np.random.Generator) -> ClickedObject | None:
    """Ask for a supervoxel with every organ that was not asked for and of which it holds more than a tenth."""
    for supervoxel in around.numbers(one.known, rng):
        mask = supervoxel & one.known
        if mask.sum() < SMALLEST_UNSEEN * mask.size:
            continue
        for label in np.unique(around.labels[mask & ~around.requested]).tolist():
            organ = around.labels == label
            if label not in NO_CLASS and (organ & mask).sum() > SHARE_OF_ORGAN[0] * organ.sum():
                mask = mask | organ
        return replace(one, mask=mask).as_new()
    return None


def opened(mask: MaskArray) -> MaskArray:
    """Return the largest piece that is left of a mask after an erosion, grown back within it."""
    numbered, count = components(eroded(mask, outside=True))
    if not count:
        return np.zeros_like(mask)
    largest = int(np.bincount(numbered.ravel())[1:].argmax()) + 1
    found: MaskArray = dilated(numbered == largest) & mask
    return found


def dilated(mask: MaskArray) -> MaskArray:
    """Return a mask with all neighbours of its voxels, across corners too."""
    grown: MaskArray = ~eroded(~mask, outside=True)
    return grown
