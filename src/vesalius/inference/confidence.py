"""How good a result probably is: a Dice predicted from how sure the network was, and how small the result is.

Dice falls where the network hesitates (the mean over voxels of the winning probability says by how much), and where
less was found than usual: a half-found organ is as sure of its half as a whole one. That more than usual was found
says nothing, and neither does the volume of a structure that the scan cuts. For class c with mean probability p and
volume v,

    Dice = intercept_c + a p + b min(0, ln(v / usual_c))

where a and b are shared by all classes: sixteen development cases decide two numbers together, but not two for each
class. The fit is kept in the model's spec; where there were too few cases there is none, and no prediction.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vesalius.labels.findings import Finding

LEAST_CASES = 10
"""With fewer development cases than this a class gets no prediction."""

Expectation = tuple[float, float, float, float]
"""Intercept, slope along the mean probability, slope along the logarithm of what is missing, usual volume in ml."""


class Outcome(NamedTuple):
    """One result whose quality is known."""

    probability: float
    """Mean over its voxels, in [0, 1]."""
    volume_ml: float
    is_cut: bool
    """Whether it touches the border of the scan, so that its volume says nothing."""
    dice: float
    """Against people's labels."""


def fit_expectations(outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, Expectation]:
    """Fit how Dice follows from probability and volume, by least squares.

    Neither slope is let below 0, which would say that hesitation, or finding little, is a good sign.

    Args:
        outcomes: Class name -> results on development cases; results without voxels are to be left out.

    Returns:
        Class name -> its expectation, for classes with at least ``LEAST_CASES`` results.
    """
    enough = {name: list(some) for name, some in outcomes.items() if len(some) >= LEAST_CASES}
    usual = {name: _usual_volume_ml(some) for name, some in enough.items()}
    signs = {
        name: np.array([[one.probability, _missing(one.volume_ml, usual[name], one.is_cut)] for one in some])
        for name, some in enough.items()
    }
    dice = {name: np.array([one.dice for one in some]) for name, some in enough.items()}
    if not enough:
        return {}
    a, b = _slopes(
        np.concatenate([signs[name] - signs[name].mean(axis=0) for name in enough]),
        np.concatenate([dice[name] - dice[name].mean() for name in enough]),
    ).tolist()
    return {
        name: (float(dice[name].mean() - signs[name].mean(axis=0) @ (a, b)), a, b, usual[name]) for name in enough
    }


def predicted_dice(
    expectations: Mapping[str, Expectation], finding: Finding, probability: float | None
) -> float | None:
    """Return the Dice expected of a result, in [0, 1]; None where there is no fit for it.

    Args:
        expectations: Class name -> fit, as ``ModelSpec.confidence`` has it.
        finding: The result.
        probability: Mean over its voxels on the model's grid; None where it has none there.
    """
    if finding.name not in expectations or probability is None or not finding.voxels:
        return None
    intercept, along_probability, along_missing, usual_ml = expectations[finding.name]
    missing = _missing(finding.volume_ml, usual_ml, finding.touches_border)
    return float(np.clip(intercept + along_probability * probability + along_missing * missing, 0.0, 1.0))


def _usual_volume_ml(outcomes: Sequence[Outcome]) -> float:
    """Return the geometric mean of whole results; 0 where the scan cuts every one, and volume says nothing."""
    whole = [math.log(one.volume_ml) for one in outcomes if not one.is_cut]
    return math.exp(sum(whole) / len(whole)) if whole else 0.0


def _missing(volume_ml: float, usual_ml: float, is_cut: bool) -> float:
    """Return the logarithm of the part that was found of what is usual; 0 at most."""
    return 0.0 if is_cut or not usual_ml else min(0.0, math.log(volume_ml / usual_ml))


def _slopes(signs: np.ndarray, dice: np.ndarray) -> np.ndarray:
    """Return non-negative least squares of two columns: the best of both, either or none of them."""
    candidates = [np.zeros(2)]
    for used in ([0, 1], [0], [1]):
        slopes = np.zeros(2)
        slopes[used] = np.linalg.lstsq(signs[:, used], dice, rcond=1e-9)[0]
        if (slopes >= 0).all():
            candidates.append(slopes)
    return min(candidates, key=lambda slopes: float(((dice - signs @ slopes) ** 2).sum()))
