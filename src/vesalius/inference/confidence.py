"""How good a result probably is: a Dice predicted from the mean probability of a structure's voxels.

A line per class, fitted on development cases and kept in the model's spec; where there were too few cases there is
no line and no prediction. Dice falls where the network hesitates: the mean over voxels of the winning probability
is what it hesitates by.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from vesalius.labels.vocabulary import Target
from vesalius.spec import ModelSpec

LEAST_CASES = 10
"""With fewer development cases than this no line is fitted."""


def fit_line(probabilities: ArrayLike, dice: ArrayLike) -> tuple[float, float] | None:
    """Fit Dice as a line of mean probability, by least squares.

    Args:
        probabilities: Mean probability of a structure's voxels, one per case, in [0, 1].
        dice: Dice of the same results against people's labels.

    Returns:
        Intercept and slope; None with fewer than ``LEAST_CASES`` cases. A slope below 0 would say that hesitation
        is a good sign: then the mean Dice alone is the prediction.
    """
    x, y = np.asarray(probabilities, dtype=np.float64), np.asarray(dice, dtype=np.float64)
    if len(y) < LEAST_CASES:
        return None
    spread = float(((x - x.mean()) ** 2).sum())
    slope = max(0.0, float(((x - x.mean()) * (y - y.mean())).sum()) / spread) if spread > 1e-12 else 0.0
    return float(y.mean() - slope * x.mean()), slope


def predicted_dice(
    spec: ModelSpec, targets: Sequence[Target], probabilities: Mapping[int, float]
) -> dict[int, float]:
    """Return label id -> predicted Dice in [0, 1], for the structures the spec has a line for.

    Args:
        spec: Holds the lines.
        targets: What was asked for.
        probabilities: Label id -> mean probability over its voxels.
    """
    lines = {t.id: spec.confidence[t.name] for t in targets if t.name in spec.confidence and t.id in probabilities}
    return {
        label: float(np.clip(intercept + slope * probabilities[label], 0.0, 1.0))
        for label, (intercept, slope) in lines.items()
    }
