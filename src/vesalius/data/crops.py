"""Draw cases and windows: by group, and then by class, so that small structures are seen as often as large ones."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from vesalius.data.case import Case
from vesalius.errors import UsageError
from vesalius.geometry.grid import Grid

NEAR_A_CLASS = 0.8
"""Part of the windows that lie near a voxel of some class; the others lie anywhere."""
BEYOND = 8
"""A window may lie beyond a scan's face by this part of its side: an eighth."""


def cases_by_group(cases: Sequence[Case], shares: Mapping[str, float]) -> dict[str, list[Case]]:
    """Sort cases into groups, each by name: what is drawn does not depend on the order of a list.

    Args:
        cases: All of them.
        shares: Group -> how often it is drawn.

    Raises:
        UsageError: If no case has a share, or a case is of a group that has none.
    """
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    unknown = sorted(set(groups) - set(shares))
    if unknown or not any(shares[name] > 0 for name in groups):
        raise UsageError(
            expected=f"cases of the groups {', '.join(shares)}",
            got=", ".join(unknown) or "none that is ever drawn",
            do="give every group of cases its share",
        )
    return {group: sorted(some, key=lambda case: case.name) for group, some in groups.items()}


def draw_case(groups: Mapping[str, Sequence[Case]], shares: Mapping[str, float], rng: np.random.Generator) -> Case:
    """Draw a group by its share among those that have cases, then one of its cases."""
    names = sorted(name for name in shares if name in groups)
    parts = np.array([shares[name] for name in names])
    cases = groups[names[int(rng.choice(len(names), p=parts / parts.sum()))]]
    return cases[int(rng.integers(len(cases)))]


def draw_centre(
    case: Case, size: Sequence[int], rng: np.random.Generator, *, grid: Grid | None = None
) -> Float64[np.ndarray, " 3"]:
    """Draw a window's centre, in voxels of the case, or of a grid over it.

    Mostly near a voxel of a class, each of those that people or a model found in the case as often as any other,
    and up to a third of the window from it; else anywhere. The window does not leave the scan by more than an
    eighth of its side, if it fits in it.

    Args:
        case: Where.
        size: Voxels of the window.
        rng: Where the choice comes from.
        grid: Whose voxels count, window and centre alike; its world is the case's voxels. None: the case's own.
    """
    shape, half = np.array(case.labels.shape if grid is None else grid.shape), np.array(size) // 2
    found = (*case.present, *case.claimed)
    if found and rng.random() < NEAR_A_CLASS:
        label = found[int(rng.integers(len(found)))]
        reach = np.array(size) // 3
        place = case.place_of(label, rng)
        place = place if grid is None else np.rint(grid.to_voxel(place)).astype(np.int64)
        centre = place + rng.integers(-reach, reach + 1)
    else:
        centre = rng.integers(0, shape)
    inner = half - np.array(size) // BEYOND
    low, high = np.minimum(inner, shape // 2), np.maximum(shape - inner, shape // 2)
    return np.asarray(np.clip(centre, low, high), dtype=np.float64)
