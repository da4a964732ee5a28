"""Pull: what lies near a click counts as what was clicked, unless the network is sure that it is not.

A point head that learnt for an hour hears clicks too little: it draws what it would have drawn without them. So its
logits rise around positive clicks and fall around negative ones before a mask is made of them. Ours, not VISTA3D's;
a model says in its spec how strongly (``ModelSpec.click_pull``), and those of VISTA3D say nothing.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32

from vesalius.geometry.boxes import Triple
from vesalius.inference.points import PointLogits
from vesalius.prompts.encode import ObjectClicks

UNNAMED = 2.0
"""How much more clicks on a structure without a name count: the network has not seen it, the user has."""
OF_NEAREST = 0.5
"""Deviation of such a click's pull, as a part of the way to the nearest other click of its sign: who clicks far
apart means something large."""
MOST = 4.0
"""Largest deviation of such a click's pull, as a multiple of that of a click on a named structure: two lesions a
hand apart are no mass as large as the hand."""


def pulled(
    logits: PointLogits, clicks: ObjectClicks, spacing_mm: tuple[float, float, float], *, pull: float, mm: float
) -> PointLogits:
    """Return logits moved by the clicks on their object.

    A click moves them by ``pull`` where it lies and by ``pull exp(-(d / mm)² / 2)`` at a distance d; of several
    clicks of one sign the strongest counts, and the two signs work against each other.

    Args:
        logits: Of one object; they are not changed.
        clicks: On it, in voxels of the model's grid.
        spacing_mm: Of that grid.
        pull: In logits.
        mm: Standard deviation of its fall; a structure without a name may have more (``OF_NEAREST``, ``MOST``).
    """
    factor = 1.0 if clicks.target.supported else UNNAMED
    deviations_mm = np.full(len(clicks), mm)
    if not clicks.target.supported:
        deviations_mm = np.clip(OF_NEAREST * _to_nearest_mm(clicks, spacing_mm), mm, MOST * mm)
    windows = []
    for start, window in zip(logits.starts, logits.windows, strict=True):
        i, j, k = window.shape
        field = np.zeros((2, i, j, k), dtype=np.float32)
        for point, positive, deviation_mm in zip(clicks.points_ijk, clicks.positive, deviations_mm, strict=True):
            own = field[int(positive)]
            np.maximum(own, _hill((i, j, k), point - start, spacing_mm, float(deviation_mm)), out=own)
        windows.append(window + torch.from_numpy(field[1] - field[0]) * (factor * pull))
    return PointLogits(logits.shape, logits.starts, tuple(windows))


def _to_nearest_mm(clicks: ObjectClicks, spacing_mm: tuple[float, float, float]) -> Float[np.ndarray, " n"]:
    """Return how far the nearest other click of its sign lies from each; 0 from one that is alone."""
    points, positive = clicks.points_ijk, clicks.positive
    apart = np.linalg.norm((points[:, None] - points) * np.asarray(spacing_mm), axis=2)
    apart[positive[:, None] != positive] = np.inf
    np.fill_diagonal(apart, np.inf)
    nearest: np.ndarray = apart.min(axis=1, initial=np.inf)
    return np.where(np.isinf(nearest), 0.0, nearest)


def _hill(
    shape: Triple, top_ijk: Float[np.ndarray, " 3"], spacing_mm: tuple[float, float, float], deviation_mm: float
) -> Float32[np.ndarray, "i j k"]:
    i, j, k = (
        np.exp(-0.5 * ((np.arange(side) - at) * mm / deviation_mm) ** 2).astype(np.float32)
        for side, at, mm in zip(shape, top_ijk, spacing_mm, strict=True)
    )
    hill: np.ndarray = i[:, None, None] * j[:, None] * k
    return hill
