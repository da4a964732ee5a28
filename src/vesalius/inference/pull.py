"""Pull: what lies near a click counts as what was clicked, unless the network is sure that it is not.

A point head that learnt for an hour hears clicks too little: it draws what it would have drawn without them. So its
logits rise around positive clicks and fall around negative ones before a mask is made of them. Ours, not VISTA3D's;
a model says in its spec how strongly (``ModelSpec.click_pull``), and those of VISTA3D say nothing. Of structures
without a name ``extent`` speaks, where a model says so.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32

from vesalius.geometry.boxes import Triple
from vesalius.inference.points import PointLogits
from vesalius.prompts.encode import ObjectClicks


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
        mm: Standard deviation of its fall.
    """
    windows = []
    for start, window in zip(logits.starts, logits.windows, strict=True):
        i, j, k = window.shape
        field = np.zeros((2, i, j, k), dtype=np.float32)
        for point, positive in zip(clicks.points_ijk, clicks.positive, strict=True):
            own = field[int(positive)]
            np.maximum(own, _hill((i, j, k), point - start, spacing_mm, mm), out=own)
        windows.append(window + torch.from_numpy(field[1] - field[0]) * pull)
    return PointLogits(logits.shape, logits.starts, tuple(windows))


def _hill(
    shape: Triple, top_ijk: Float[np.ndarray, " 3"], spacing_mm: tuple[float, float, float], deviation_mm: float
) -> Float32[np.ndarray, "i j k"]:
    i, j, k = (
        np.exp(-0.5 * ((np.arange(side) - at) * mm / deviation_mm) ** 2).astype(np.float32)
        for side, at, mm in zip(shape, top_ijk, spacing_mm, strict=True)
    )
    hill: np.ndarray = i[:, None, None] * j[:, None] * k
    return hill
