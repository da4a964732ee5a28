"""What a correction changed: for each structure, the volume that was added and that was taken away."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from vesalius.geometry.volume import LabelMap

_SLAB_VOXELS = 1 << 23


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happened to one structure, in millilitres."""

    before_ml: float
    added_ml: float
    removed_ml: float

    def __str__(self) -> str:
        before, after, added, removed = map(_words, (self.before_ml, self.after_ml, self.added_ml, self.removed_ml))
        return f"{before} -> {after} ml ({added} added, {removed} taken away)"

    @property
    def after_ml(self) -> float:
        """Return the volume that it has now."""
        return round(self.before_ml + self.added_ml - self.removed_ml, 6)


def changes_between(before: LabelMap | None, after: LabelMap) -> dict[str, Change]:
    """Return name -> what changed, of every structure of which any voxel did; in the order of the names.

    Layers are compared one by one: what moves from one into another is taken away and added.

    Args:
        before: On the grid of the other; None: nothing was there.
        after: The corrected labels.
    """
    names = list(dict.fromkeys([*(before.names.values() if before else ()), *after.names.values()]))
    counts = {what: np.zeros(len(names) + 1, dtype=np.int64) for what in ("before", "added", "removed")}
    step = max(1, _SLAB_VOXELS // prod(after.grid.shape[1:]))
    for old, new in _layers(before, after):
        for start in range(0, after.grid.shape[0], step):
            had = _numbered(old[start : start + step], before, names)
            has = _numbered(new[start : start + step], after, names)
            changed = had != has
            for what, some in (("before", had), ("removed", had[changed]), ("added", has[changed])):
                counts[what] += np.bincount(some.ravel(), minlength=len(names) + 1)
    ml = after.grid.voxel_volume_ml
    return {
        name: Change(**{f"{what}_ml": round(float(counted[number] * ml), 6) for what, counted in counts.items()})
        for number, name in enumerate(names, start=1)
        if counts["added"][number] or counts["removed"][number]
    }


def _layers(before: LabelMap | None, after: LabelMap) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the label ids of each layer that either has, before and after."""
    nothing = np.broadcast_to(np.uint8(0), after.grid.shape)
    old = {} if before is None else {"": before.data, **before.overlaps}
    new = {"": after.data, **after.overlaps}
    for layer in dict.fromkeys([*old, *new]):
        yield old.get(layer, nothing), new.get(layer, nothing)


def _numbered(ids: np.ndarray, labels: LabelMap | None, names: Sequence[str]) -> np.ndarray:
    """Return the places, counted from 1, that label ids have in a list of names; 0 of those without a name."""
    known = labels.names if labels else {}
    table = np.zeros(1 + max(np.iinfo(ids.dtype).max, *known, 0), dtype=np.uint16)  # names may go beyond the ids
    for label, name in known.items():
        table[label] = names.index(name) + 1
    found: np.ndarray = table[ids]
    return found


def _words(ml: float) -> str:
    """Return a volume with a digit after the point, or one that counts where it is small."""
    if ml == 0 or ml >= 0.05:
        return f"{ml:.1f}"
    return f"{ml:.3f}" if ml >= 0.001 else "under 0.001"
