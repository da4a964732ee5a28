"""Connected components, where each label of a label map lies, erosion, and depth: what the shape of a mask says.

The work is done by connected-components-3d (cc3d) and, for exact Euclidean distances, by its sibling edt.
Nothing here holds more than a few bytes a voxel of the largest label's box, whatever the number of labels.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cc3d
import edt
import numpy as np
from jaxtyping import Float32, Integer

from vesalius.geometry.boxes import Box
from vesalius.shapes import LabelArray, MaskArray

_VOXELS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class LabelRegion:
    """Where one label lies.

    Args:
        voxels: How many voxels carry it.
        box: The smallest box that holds them.
        centroid_ijk: The mean of their voxel coordinates.
    """

    voxels: int
    box: Box
    centroid_ijk: tuple[float, float, float]


def components(mask: MaskArray) -> tuple[Integer[np.ndarray, "i j k"], int]:
    """Number the connected components of a mask, voxels that share a corner being connected.

    Args:
        mask: Voxels ``(i, j, k)``.

    Returns:
        0 outside the mask and 1 to n inside, by component; and n.
    """
    # Padded, because cc3d 4.1 sets aside a component per eight voxels: too few where a side is odd ([1, 0, 1]).
    numbered, count = cc3d.connected_components(np.pad(mask, 1), connectivity=26, return_N=True)
    return numbered[1:-1, 1:-1, 1:-1], int(count)


def eroded(mask: MaskArray, *, connectivity: Literal[6, 26] = 26, outside: bool = False) -> MaskArray:
    """Return the voxels of a mask whose neighbours all belong to it.

    Args:
        mask: Voxels ``(i, j, k)``.
        connectivity: 6 looks at neighbours across faces, 26 at all of the 3 x 3 x 3 cube.
        outside: Whether voxels beyond the array count as the mask's: a window's edge is no border of an organ.
    """
    kept = np.pad(mask, 1, constant_values=outside)
    inner = kept[1:-1, 1:-1, 1:-1]
    if connectivity == 6:
        around = [np.roll(kept, step, axis)[1:-1, 1:-1, 1:-1] for axis in range(3) for step in (-1, 1)]
        return np.asarray(np.logical_and.reduce([inner, *around]))
    for axis in range(3):
        lines = np.moveaxis(kept, axis, 0)
        kept = np.moveaxis(lines[:-2] & lines[1:-1] & lines[2:], 0, axis)
    return np.asarray(kept)


def depth_mm(
    mask: MaskArray, spacing_mm: Sequence[float], *, outside: bool = False
) -> Float32[np.ndarray, "i j k"]:
    """Return how far each voxel of a mask lies from the nearest voxel that is not in it, between centres; else 0.

    Args:
        mask: Voxels ``(i, j, k)``; with ``outside``, not all of them True.
        spacing_mm: Of the voxels, along i, j and k.
        outside: Whether voxels beyond the array count as the mask's; if not, its faces are borders too.
    """
    i, j, k = spacing_mm
    depth: np.ndarray = edt.edt(np.ascontiguousarray(mask), anisotropy=(i, j, k), black_border=not outside)
    return depth


def label_regions(labels: LabelArray) -> dict[int, LabelRegion]:
    """Return where each label above 0 lies, in one pass over the map; labels not found are absent.

    Args:
        labels: Label ids ``(i, j, k)``, uint8 or uint16.
    """
    ids, dense = np.arange(int(labels.max()) + 1), labels
    if ids.size > labels.size:  # cc3d wants fewer ids than voxels: only a tiny map can have more
        ids, dense = np.unique(labels, return_inverse=True)
        dense = dense.reshape(labels.shape).astype(np.uint32)
    found = cc3d.statistics(np.ascontiguousarray(dense) if _is_strided(dense) else dense)
    regions: dict[int, LabelRegion] = {}
    for label, voxels in enumerate(found["voxel_counts"].tolist()):
        if ids[label] == 0 or voxels == 0:
            continue
        i, j, k = found["bounding_boxes"][label]
        centroid = found["centroids"][label].tolist()
        regions[int(ids[label])] = LabelRegion(
            int(voxels),
            Box((i.start, j.start, k.start), (i.stop, j.stop, k.stop)),
            (centroid[0], centroid[1], centroid[2]),
        )
    return regions


def component_counts(labels: LabelArray) -> dict[int, int]:
    """Count the connected components of every label of a map, all in one pass; labels not found are absent.

    Takes five bytes a voxel while it works. Label by label would take less where labels are compact, and minutes
    where a hundred ragged ones reach through a whole large scan.

    Args:
        labels: Label ids ``(i, j, k)``.
    """
    padded = np.pad(labels, 1)  # for the reason that ``components`` gives
    numbered, count = cc3d.connected_components(padded, connectivity=26, return_N=True)
    owner = np.zeros(int(count) + 1, dtype=labels.dtype)
    pieces, owners = numbered.ravel(order="K"), padded.ravel(order="K")
    for start in range(0, pieces.size, _VOXELS_AT_ONCE):
        part = slice(start, start + _VOXELS_AT_ONCE)
        owner[pieces[part]] = owners[part]
    counts = np.bincount(owner[1:])
    return {int(label): int(counts[label]) for label in np.flatnonzero(counts) if label}


def _is_strided(labels: np.ndarray) -> bool:
    return not (labels.flags.c_contiguous or labels.flags.f_contiguous)
