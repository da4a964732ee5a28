"""Projection: all structures at once, seen from the front through glass, nearer ones brighter.

Light travels from the front to the back. Every structure absorbs it by its thickness, and once more where it is
entered; what lies deeper is darker. A thinned sample of the labels is all that is read.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from vesalius.labels.structure import Colour
from vesalius.shapes import LabelArray
from vesalius.views.planes import ranked

_ABSORBED_PER_MM = 0.02
_ABSORBED_ON_ENTRY = 0.35
_DARKEST = 0.5


def coronal_projection(
    layers: Sequence[LabelArray],
    *,
    colours: Mapping[int, Colour],
    depth_step_mm: float,
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """Project label arrays from front to back.

    Args:
        layers: Labels ``(i, j, k)`` in RAS order on one grid, thinned as they may be; later ones lie over earlier.
        colours: Label id -> colour; labels without one are clear.
        depth_step_mm: Distance between neighbours along j.

    Returns:
        Colour ``(h, w, 3)`` in [0, 255] and how much of the light was absorbed ``(h, w)`` in [0, 1]; rows run
        from head to foot, columns from the patient's right to the left.
    """
    ids = sorted(colours)
    palette = np.array([(0, 0, 0), *(colours[label] for label in ids)], dtype=np.float32)
    ranks = ranked(layers[0], ids)
    for layer in layers[1:]:
        over = ranked(layer, ids)
        ranks = np.where(over > 0, over, ranks)
    ranks = _where_occupied(ranks)
    wide, deep, tall = ranks.shape
    light = np.ones((wide, tall), dtype=np.float32)
    colour = np.zeros((wide, tall, 3), dtype=np.float32)
    previous = np.zeros((wide, tall), dtype=ranks.dtype)
    inside = 1 - math.exp(-_ABSORBED_PER_MM * depth_step_mm)
    for step in range(deep):
        current = ranks[:, deep - 1 - step, :]
        entered = current != previous
        absorbed = np.where(entered, _ABSORBED_ON_ENTRY, inside) * (current > 0) * light
        shade = 1 - (1 - _DARKEST) * step / deep
        colour += absorbed[..., None] * (palette[current] * shade)
        light -= absorbed
        previous = current
    return colour[::-1, ::-1].transpose(1, 0, 2), (1 - light)[::-1, ::-1].T


def _where_occupied(ranks: np.ndarray) -> np.ndarray:
    """Cut off what is empty before the first and behind the last structure, so that depth shades what is there."""
    occupied = np.flatnonzero(ranks.any(axis=(0, 2)))
    return ranks[:, occupied[0] : occupied[-1] + 1] if occupied.size else ranks[:, :1]
