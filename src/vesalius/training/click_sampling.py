"""Click prompts: which objects of a window are clicked on, and how the clicks follow from them.

Paper: VISTA3D (arXiv:2406.05285, section 3.3). Where clicks lie is ``prompts.simulate``'s matter. Deliberate
differences: numbers of first clicks are drawn for each object, not once for the window, and also where supervoxels
are given, when VISTA3D clicks as often as it may inside an object and outside only on what was taken from it; a
negative click lies only where the object is known not to be.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Integer
from torch import Tensor

from vesalius.data.case import NO_CLASS, UNKNOWN
from vesalius.prompts import simulate
from vesalius.prompts.encode import ObjectClicks
from vesalius.prompts.targets import ClickTarget
from vesalius.shapes import MaskArray
from vesalius.spec import ModelSpec
from vesalius.training.overlaps import Overlaps
from vesalius.training.prompt_sampling import classes_in, hosts, silent
from vesalius.training.recipes import ClickPrompting


@dataclass(frozen=True, eq=False)
class ClickedObject:
    """What clicks in a window shall find.

    Args:
        target: What the network is told about it.
        mask: Where it is.
        known: Where it is known whether it is there.
        also: A part of it that is clicked on for certain, because nothing else says that it belongs.
        beside: What is clicked on for certain as not belonging, because it usually does.
    """

    target: ClickTarget
    mask: MaskArray
    known: MaskArray
    also: MaskArray | None = None
    beside: MaskArray | None = None

    def as_new(self) -> ClickedObject:
        """Return the object as one the network has no name for: zero-shot, and never special."""
        return replace(self, target=replace(self.target, supported=False, special=False))


def click_targets(spec: ModelSpec, overlaps: Overlaps) -> dict[int, ClickTarget]:
    """Return what the network is told of each class it can be asked for, by id."""
    architecture = spec.vista
    return {
        label: ClickTarget(
            id=label,
            name=spec.names[label],
            supported=label <= architecture.last_supported,
            special=label in architecture.special_classes,
            layer=None,
        )
        for label in sorted(overlaps.trainable)
    }


def objects_in(
    labels: Integer[Tensor, "i j k"],
    annotated: Set[int],
    overlaps: Overlaps,
    targets: dict[int, ClickTarget],
    *,
    most: int,
    rng: np.random.Generator,
    claimed: Set[int] = frozenset(),
    unsure: Bool[Tensor, "i j k"] | None = None,
) -> tuple[ClickedObject, ...]:
    """Draw the objects of a window that are clicked on: classes that were looked for and lie in it.

    Args:
        labels: Class ids of the window's voxels.
        annotated: Class ids that were looked for in its case; the background is never one.
        overlaps: Which classes include others.
        targets: ``click_targets``.
        most: How many at most.
        rng: Where the choice comes from.
        claimed: Those of ``annotated`` that only a model looked for.
        unsure: Where that model was not sure, whatever people drew there; None where none looked.
    """
    inside = classes_in(labels, annotated & overlaps.trainable, overlaps)
    values = labels.numpy()
    found = set(np.unique(values).tolist()) - set(NO_CLASS)

    def known(label: int) -> MaskArray:
        is_known = ~np.isin(values, list(silent(label, found, overlaps, claimed)))
        if unsure is not None and (inside_of := hosts(label, found, overlaps, claimed)):
            is_known &= ~(unsure.numpy() & np.isin(values, list(inside_of)))
        return is_known

    return tuple(
        ClickedObject(targets[label], np.isin(values, list(overlaps.voxels_of(label))), known(label))
        for label in rng.permutation(inside)[:most].tolist()
    )


def with_lumps(
    objects: Sequence[ClickedObject], lumps: Integer[np.ndarray, "i j k"], *, most: int
) -> tuple[ClickedObject, ...]:
    """Return the lumps of a window and then its objects, as many as may be; what lumps hide of these is unknown.

    Args:
        objects: What else is clicked on.
        lumps: Numbers of what was painted; 0 is none.
        most: How many at most.
    """
    nobodys = ClickTarget(id=UNKNOWN, name="lump", supported=False, special=False, layer=None)
    is_seen = lumps == 0
    painted = [ClickedObject(nobodys, lumps == n, np.ones_like(is_seen)) for n in np.unique(lumps[~is_seen])]
    left = [
        replace(one, mask=one.mask & is_seen, known=one.known & is_seen)
        for one in objects
        if (one.mask & is_seen).any()
    ]
    return (*painted, *left)[:most]


def first_clicks(one: ClickedObject, prompting: ClickPrompting, rng: np.random.Generator) -> ObjectClicks:
    """Draw the clicks a user begins with; one more on each part of a changed object that says what was changed.

    Args:
        one: What shall be found.
        prompting: How many clicks at most.
        rng: Where the choice comes from.
    """
    drawn = [simulate.first_clicks(one.mask, one.known & ~one.mask, max_clicks=prompting.clicks, rng=rng)]
    nowhere = np.zeros_like(one.mask)
    if one.also is not None or one.beside is not None:
        also, beside = (nowhere if part is None else part & one.known for part in (one.also, one.beside))
        drawn.append(simulate.correcting_clicks(also, beside, rng=rng))
    return _of(one.target, drawn)


def clicks_on_errors(one: ClickedObject, predicted: MaskArray, rng: np.random.Generator) -> ObjectClicks:
    """Return what a user would add: a click on what was missed, and one on what was found too much, if anything.

    Args:
        one: What should have been found.
        predicted: What was.
        rng: Where the choice comes from.
    """
    missing, excess = one.mask & ~predicted & one.known, predicted & ~one.mask & one.known
    return _of(one.target, [simulate.correcting_clicks(missing, excess, rng=rng)])


def joined(earlier: ObjectClicks, later: ObjectClicks) -> ObjectClicks:
    """Return the clicks of one object in the order they were made."""
    return replace(
        earlier,
        points_ijk=np.concatenate([earlier.points_ijk, later.points_ijk]),
        positive=np.concatenate([earlier.positive, later.positive]),
    )


def _of(target: ClickTarget, some: Sequence[simulate.Clicks]) -> ObjectClicks:
    points = np.concatenate([clicks.points_ijk for clicks in some]).astype(np.float64)
    return ObjectClicks(
        target=target, points_ijk=points, positive=np.concatenate([clicks.positive for clicks in some])
    )
