"""Layers of drawn structures -> one map of class ids, in which no class is a negative where it was drawn.

A map has one class a voxel, and training counts a voxel as others, too, where a vocabulary says that they include
its class (liver its tumours). Where two structures were drawn that no such rule joins, either choice would make the
other a negative: nothing is known there.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np

from vesalius.labels.mapping import UNKNOWN
from vesalius.shapes import LabelArray


def merged(layers: Sequence[LabelArray], includes: Mapping[int, Set[int]]) -> LabelArray:
    """Return layers as one map: of a voxel's classes the one that all others include, or UNKNOWN if there is none.

    Args:
        layers: Class ids; 0 is none, and UNKNOWN yields to any class.
        includes: Class id -> ids of the classes whose voxels are its own, too.
    """
    if len(layers) == 1:
        return layers[0]
    one = layers[0].astype(np.result_type(*layers))
    is_shared = np.zeros(one.shape, dtype=bool)
    for layer in layers[1:]:
        is_class, was_class = _is_class(layer), _is_class(one)
        is_shared |= is_class & was_class & (layer != one)
        np.copyto(one, layer, where=is_class & ~was_class | (one == 0))
    if is_shared.any():
        drawn = np.stack([layer[is_shared] for layer in layers])
        kinds, kind_of = np.unique(drawn, axis=1, return_inverse=True)
        winners = [_innermost(set(kind) - {0, UNKNOWN}, includes) for kind in kinds.T.tolist()]
        one[is_shared] = np.array(winners, dtype=one.dtype)[kind_of.ravel()]
    return one


def _is_class(labels: LabelArray) -> np.ndarray:
    return np.asarray((labels != 0) & (labels != UNKNOWN))


def _innermost(classes: Set[int], includes: Mapping[int, Set[int]]) -> int:
    inner = [one for one in classes if all(one in includes.get(other, ()) for other in classes - {one})]
    return inner[0] if inner else UNKNOWN
