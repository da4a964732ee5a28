"""Whether a confidence tells good results from bad ones."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
from jaxtyping import Float

GOOD_DICE = 0.7
"""A result below this Dice is one that a person should look at."""


def ranking_area(
    confidence: Float[np.ndarray, " n"], quality: Float[np.ndarray, " n"], *, threshold: float = GOOD_DICE
) -> float | None:
    """Return how well confidence ranks results below ``threshold`` under the others.

    The area under the ROC curve: the share of pairs (one result below, one not) in which the one below has the
    lower confidence, ties counting half; in 0..1, 0.5 is chance. None where all results lie on one side.

    Args:
        confidence: What was said of each result; only its order matters.
        quality: How good each is, such as its Dice.
        threshold: Of ``quality``.
    """
    bad, good = confidence[quality < threshold], np.sort(confidence[quality >= threshold])
    if not bad.size or not good.size:
        return None
    above = good.size - np.searchsorted(good, bad, side="right")
    tied = good.size - above - np.searchsorted(good, bad, side="left")
    return float((above + tied / 2).sum() / (bad.size * good.size))
