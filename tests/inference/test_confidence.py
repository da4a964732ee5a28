"""Predicted Dice: a line that is found again, none from too few cases, never a reward for hesitation."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.inference.confidence import LEAST_CASES, fit_line


def test_the_line_behind_noisy_cases_is_found() -> None:
    rng = np.random.default_rng(0)
    probability = rng.uniform(0.6, 1.0, 40)
    line = fit_line(probability, -0.4 + 1.3 * probability + rng.normal(0, 0.01, 40))
    assert line is not None
    assert line == pytest.approx((-0.4, 1.3), abs=0.05)


def test_too_few_cases_give_no_line() -> None:
    assert fit_line([0.5] * (LEAST_CASES - 1), [0.5] * (LEAST_CASES - 1)) is None


def test_hesitation_is_never_a_good_sign() -> None:
    probability = np.linspace(0.6, 1.0, 20)
    assert fit_line(probability, 1.0 - 0.5 * probability) == pytest.approx((0.6, 0.0))


def test_cases_that_are_all_alike_predict_their_mean() -> None:
    assert fit_line([0.8] * 12, [0.7] * 12) == pytest.approx((0.7, 0.0))
