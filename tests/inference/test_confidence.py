"""Predicted Dice: a fit that is found again, none from too few cases, no reward for hesitation or for little."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from vesalius.inference.confidence import LEAST_CASES, Outcome, fit_expectations, predicted_dice
from vesalius.labels.findings import Finding


def outcomes(
    count: int, *, base: float, a: float, b: float, usual_ml: float, seed: int = 0, noise: float = 0.005
) -> list[Outcome]:
    """Results whose Dice follows the formula, some of them cut by the scan."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        probability, share, is_cut = rng.uniform(0.6, 1.0), rng.uniform(-0.5, 0.5), index % 4 == 0
        missing = 0.0 if is_cut else min(0.0, share)
        dice = base + a * probability + b * missing + rng.normal(0, noise)
        found.append(Outcome(probability, usual_ml * math.exp(share), is_cut, dice))
    return found


def finding(name: str, *, volume_ml: float = 100.0, touches_border: bool = False, voxels: int = 9) -> Finding:
    return Finding(
        class_id=1,
        name=name,
        colour=(1, 2, 3),
        snomed=None,
        volume_ml=volume_ml,
        voxels=voxels,
        mean_hu=None,
        confidence=None,
        touches_border=touches_border,
        components=1,
    )


def test_what_lies_behind_noisy_cases_is_found_with_slopes_shared_by_the_classes() -> None:
    expectations = fit_expectations(
        {
            "liver": outcomes(200, base=-0.4, a=1.2, b=0.3, usual_ml=1500.0),
            "spleen": outcomes(200, base=-0.6, a=1.2, b=0.3, usual_ml=200.0, seed=1),
        }
    )
    liver, spleen = expectations["liver"], expectations["spleen"]
    assert liver[1:3] == spleen[1:3] == pytest.approx((1.2, 0.3), abs=0.03)
    assert (liver[0], spleen[0]) == pytest.approx((-0.4, -0.6), abs=0.03)
    assert (liver[3], spleen[3]) == pytest.approx((1500.0, 200.0), rel=0.1)


def test_too_few_cases_give_no_prediction() -> None:
    some = outcomes(LEAST_CASES - 1, base=0.0, a=0.8, b=0.1, usual_ml=10.0)
    assert fit_expectations({"liver": some}) == {}
    assert list(fit_expectations({"liver": some, "spleen": [*some, some[0]]})) == ["spleen"]
    assert predicted_dice({}, finding("liver"), 0.9) is None


@pytest.mark.parametrize(("a", "b"), [(-0.5, 0.2), (0.5, -0.2), (-0.5, -0.2)])
def test_hesitation_and_finding_little_are_never_good_signs(a: float, b: float) -> None:
    many = outcomes(200, base=0.5, a=a, b=b, usual_ml=50.0)
    _, along_probability, along_missing, _ = fit_expectations({"liver": many})["liver"]
    assert along_probability == pytest.approx(max(a, 0.0), abs=0.05)
    assert along_missing == pytest.approx(max(b, 0.0), abs=0.05)


def alike(dice: Sequence[float], *, is_cut: bool) -> list[Outcome]:
    return [Outcome(0.8, 30.0, is_cut, one) for one in dice]


@pytest.mark.parametrize("is_cut", [False, True])
def test_cases_that_are_all_alike_predict_their_mean(is_cut: bool) -> None:
    expectations = fit_expectations({"liver": alike([0.6, 0.8] * 6, is_cut=is_cut)})
    assert predicted_dice(expectations, finding("liver", volume_ml=3.0), 0.2) == pytest.approx(0.7)


def test_only_what_is_missing_of_a_whole_structure_counts() -> None:
    expectations = {"liver": (0.1, 0.8, 0.2, 100.0)}

    def expected(volume_ml: float, *, is_cut: bool = False) -> float | None:
        return predicted_dice(expectations, finding("liver", volume_ml=volume_ml, touches_border=is_cut), 0.9)

    assert expected(100.0) == pytest.approx(0.82)
    assert expected(50.0) == pytest.approx(0.82 - 0.2 * math.log(2))
    assert expected(300.0) == expected(100.0)
    assert expected(50.0, is_cut=True) == expected(100.0)


def test_a_prediction_is_a_dice_or_none() -> None:
    assert predicted_dice({"liver": (3.0, 0.0, 0.0, 1.0)}, finding("liver"), 0.5) == 1.0
    assert predicted_dice({"liver": (-3.0, 0.0, 0.0, 1.0)}, finding("liver"), 0.5) == 0.0
    assert predicted_dice({"liver": (0.5, 0.0, 0.0, 1.0)}, finding("liver"), None) is None
    assert predicted_dice({"liver": (0.5, 0.0, 0.0, 1.0)}, finding("liver", voxels=0, volume_ml=0.0), 0.5) is None
