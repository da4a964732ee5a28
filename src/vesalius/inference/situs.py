"""Where the structures of a result lie, and what no body has: exchanged sides, vertebrae or ribs out of order.

A model that tells sides by place names the left one of a pair rightly in a mirrored scan, too. Single organs tell:
by their look they are found where they are.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from vesalius.geometry.grid import Grid
from vesalius.geometry.morphology import LabelRegion
from vesalius.geometry.volume import Volume
from vesalius.labels.findings import Finding
from vesalius.labels.levels import HEAD_TO_FOOT
from vesalius.labels.plausibility import PLAUSIBLE_ML
from vesalius.labels.sides import SIDE_OF
from vesalius.labels.spelling import exact_key
from vesalius.labels.vocabulary import Vocabulary
from vesalius.transforms.intensity import not_hounsfield
from vesalius.transforms.preprocess import body_middle_mm

_FAR_MM = 20.0
"""From the middle of what is seen of the body, which in a scan cut to one organ is near the organ's own. In four
whole cross-sections the liver lay 69 mm away (measured once), the spleen 85 to 108 mm."""
_CLEARLY_MM = 10.0
"""Less than a step from one cervical vertebra to the next; the short lowest ribs may lie nearly side by side."""
_OTHER = {"left": "right", "right": "left"}


def misplaced(
    found: Sequence[Finding], regions: Mapping[int, LabelRegion], vocabulary: Vocabulary, volume: Volume
) -> Iterator[str]:
    """Yield a sentence for whatever lies where no body has it.

    Args:
        found: The structures that have voxels.
        regions: Label id -> where it lies, on the grid of the volume.
        vocabulary: Gives left-right partners.
        volume: The image.
    """
    at_mm = {finding.class_id: _world(regions[finding.class_id], volume.grid) for finding in found}
    yield from _swapped_sides(found, at_mm, vocabulary)
    yield from _on_the_other_side(found, at_mm, volume)
    yield from _out_of_order(found, at_mm)


def _world(region: LabelRegion, grid: Grid) -> np.ndarray:
    return np.asarray(grid.to_world(np.array(region.centroid_ijk)))


def _swapped_sides(
    found: Sequence[Finding], at_mm: Mapping[int, np.ndarray], vocabulary: Vocabulary
) -> Iterator[str]:
    """Warn where the left one of a pair lies to the right of the right one."""
    for finding in found:
        partner = vocabulary.left_right_partner(finding.class_id)
        if partner is None or partner not in at_mm or not finding.name.startswith("left "):
            continue
        if at_mm[finding.class_id][0] > at_mm[partner][0]:
            other = vocabulary.by_id(partner).name
            yield f"{finding.name} lies to the right of {other}: is the scan mirrored?"


def _on_the_other_side(found: Sequence[Finding], at_mm: Mapping[int, np.ndarray], volume: Volume) -> Iterator[str]:
    """Warn where liver and spleen have changed sides; one alone is compared with the body's middle, which CT shows.

    What is smaller than the organ of an adult may be a spot elsewhere that was taken for it, and says nothing.
    """
    right_mm = {
        organ: float(at_mm[finding.class_id][0])
        for organ in SIDE_OF
        for finding in found
        if exact_key(finding.name) == organ and finding.volume_ml >= PLAUSIBLE_ML[organ][0]
    }
    if len(right_mm) == len(SIDE_OF):
        first, *others = sorted(SIDE_OF, key=lambda organ: right_mm[organ])
        if SIDE_OF[first] == "right":
            yield f"{first} lies to the left of {others[-1]}: is the scan mirrored, or the situs inverted?"
    elif right_mm and volume.modality in ("CT", "unknown") and not_hounsfield(volume.data[0]) is None:
        ((organ, at),) = right_mm.items()
        off_mm = at - body_middle_mm(volume)
        if (off_mm if SIDE_OF[organ] == "left" else -off_mm) > _FAR_MM:
            side = _OTHER[SIDE_OF[organ]]
            yield f"{organ} lies on the {side} side of the body: is the scan mirrored, or the situs inverted?"


def _out_of_order(found: Sequence[Finding], at_mm: Mapping[int, np.ndarray]) -> Iterator[str]:
    """Warn where of two vertebrae or ribs of a side the one with the higher number lies nearer to the head.

    What reaches the edge of the scan is left out: of ribs, which slope, the visible parts lie in any order.
    """
    whole = {exact_key(finding.name): finding for finding in found if not finding.touches_border}
    wrong = [
        f"{lower.name} above {upper.name}"
        for chain in HEAD_TO_FOOT
        for upper, lower in pairwise(whole[key] for key in map(exact_key, chain) if key in whole)
        if at_mm[lower.class_id][2] - at_mm[upper.class_id][2] > _CLEARLY_MM
    ]
    if wrong:
        yield f"out of order from head to foot: {', '.join(wrong)}; look whether they are named rightly"
