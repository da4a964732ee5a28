"""The ranking area against all pairs."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vesalius.metrics.calibration import ranking_area

results = st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.2, 0.69, 0.7, 0.9])), min_size=1, max_size=12)


@given(results)
def test_the_area_is_the_share_of_pairs_in_order(pairs: list[tuple[int, float]]) -> None:
    confidence, quality = (np.array(column, np.float64) for column in zip(*pairs, strict=True))
    bad = [c for c, q in pairs if q < 0.7]
    good = [c for c, q in pairs if q >= 0.7]
    wins = [float(b < g) + 0.5 * (b == g) for b in bad for g in good]
    assert ranking_area(confidence, quality) == (np.mean(wins) if wins else None)


def test_a_confidence_that_knows_and_one_that_does_not() -> None:
    quality = np.array([0.1, 0.5, 0.8, 0.9])
    assert ranking_area(quality, quality) == 1
    assert ranking_area(-quality, quality) == 0
    assert ranking_area(np.ones(4), quality) == 0.5
    assert ranking_area(quality, quality, threshold=0.05) is None
