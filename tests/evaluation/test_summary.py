"""The table of a small evaluation, and two results compared case by case."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vesalius.errors import UsageError
from vesalius.evaluation.scores import Score
from vesalius.evaluation.summary import compare, summarise
from vesalius.metrics.overlap import Detection


def score(case: str, name: str, dice: float, *, truth: float = 10.0, found: float = 9.0, **more: object) -> Score:
    distance = math.inf if (truth == 0) != (found == 0) else 4 * (1 - dice)
    return Score(
        case=case, name=name, truth_ml=truth, found_ml=found, dice=dice, nsd=dice, hd95_mm=distance, **more
    )  # type: ignore[arg-type]


SCORES = [
    score("a", "liver", 0.9, confidence=0.95, detection=Detection(lesions=2, detected=1, findings=1)),
    score(
        "b", "liver", 0.8, confidence=0.9, detection=Detection(lesions=1, detected=1, findings=3, false_findings=2)
    ),
    score("c", "liver", 0.0, found=0.0, confidence=0.3),
    score("a", "spleen", 0.6, confidence=0.6),
    score("b", "spleen", 1.0, truth=0.0, found=0.0),
    score("c", "spleen", 0.0, truth=0.0, found=2.5),
]


def test_the_row_of_a_class() -> None:
    liver, spleen = summarise(SCORES).classes
    assert (liver.name, liver.cases, liver.present, liver.missed, liver.absent) == ("liver", 3, 3, 1, 0)
    assert liver.dice is not None
    assert liver.dice.estimate == pytest.approx(1.7 / 3)
    assert liver.dice.n == 3
    assert liver.hd95_mm is not None
    assert liver.hd95_mm.estimate == pytest.approx(0.8)  # of 0.4, 0.8 and infinity
    assert liver.detection == Detection(lesions=3, detected=2, findings=4, false_findings=2)
    assert (spleen.present, spleen.absent, spleen.false_positives, spleen.false_positive_ml) == (1, 2, 1, 2.5)
    assert spleen.dice is not None
    assert (spleen.dice.estimate, spleen.dice.low) == (0.6, None)  # one case
    assert spleen.dice_all is not None
    assert spleen.dice_all.estimate == pytest.approx(1.6 / 3)
    assert spleen.detection is None


def test_the_means_over_classes() -> None:
    summary = summarise(SCORES)
    assert summary.cases == 3
    assert summary.dice is not None
    assert summary.dice.estimate == pytest.approx((1.7 / 3 + 0.6) / 2)
    assert summary.dice_all is not None
    assert summary.dice_all.estimate == pytest.approx((1.7 / 3 + 1.6 / 3) / 2)
    assert summary.ranking == 1.0
    assert summarise([score("a", "liver", 0.9)]).ranking is None


def test_json_has_neither_nan_nor_infinity() -> None:
    record = summarise([score("a", "liver", 0.0, found=0.0)]).as_dict()
    assert record["classes"][0]["hd95_mm"] == {"estimate": None, "low": None, "high": None, "n": 1}
    assert record["classes"][0]["false_positive_ml"] is None


def test_two_results_are_compared_case_by_case() -> None:
    better = [score(s.case, s.name, min(1.0, s.dice + 0.05)) for s in SCORES]
    comparison = compare(SCORES, better)
    rows = dict(comparison.classes)
    assert rows["liver"].interval.estimate == pytest.approx(0.05)
    assert (rows["spleen"].better, rows["spleen"].worse) == (2, 0)
    assert comparison.overall.interval.estimate == pytest.approx((0.05 + 0.1 / 3) / 2)
    assert not comparison.as_dict()["overall"]["is_clear"], "three cases say nothing"
    twice = [score(s.case + again, s.name, s.dice) for s in SCORES for again in ("", "2")]
    clear = compare(twice, [score(s.case, s.name, min(1.0, s.dice + 0.05)) for s in twice])
    assert dict(clear.classes)["liver"].is_clear
    assert clear.as_dict()["overall"]["is_clear"]
    with pytest.raises(UsageError, match="in common"):
        compare([score("a", "liver", 0.5)], [score("b", "liver", 0.5)])


def test_cases_weigh_the_same_in_any_order() -> None:
    order = np.random.default_rng(0).permutation(len(SCORES))
    first, second = summarise(SCORES), summarise([SCORES[at] for at in order])
    assert first.dice is not None
    assert second.dice is not None
    assert first.dice.estimate == pytest.approx(second.dice.estimate)


def test_intervals_are_over_patients_where_these_are_known() -> None:
    dice = {"a": 0.875, "b": 0.75, "c": 0.5, "d": 0.9375}  # whose sums are exact
    once = [score(case, "liver", value) for case, value in dice.items()]
    thrice = [score(f"{case}{n}", "liver", value) for case, value in dice.items() for n in range(3)]
    patients = {one.case: one.case[0] for one in thrice}
    apart, together, strangers = summarise(once), summarise(thrice, patients=patients), summarise(thrice)
    assert (together.cases, together.patients, together.unit) == (12, 4, "patients")
    assert (together.dice, together.dice_all) == (apart.dice, apart.dice_all)
    assert together.classes[0].dice == apart.classes[0].dice
    assert together.classes[0].hd95_mm == apart.classes[0].hd95_mm
    assert (strangers.patients, strangers.unit) == (None, "cases")
    assert strangers.dice != together.dice
    assert together.as_dict()["patients"] == 4
    assert "patients" not in strangers.as_dict()
    some = summarise(thrice, patients={"a0": "A", "a1": "A"})  # of the others nothing is known: each is somebody
    assert (some.patients, some.dice is not None and some.dice.n) == (11, 11)


def test_two_results_are_compared_over_patients() -> None:
    first = [score(f"{case}{n}", "liver", 0.5) for case in "abcdef" for n in range(2)]
    second = [score(one.case, "liver", 0.5 + 0.01 * (1 + ord(one.case[0]) - ord("a"))) for one in first]
    overall = compare(first, second, patients={one.case: one.case[0] for one in first}).overall
    assert (overall.interval.n, overall.better, overall.worse) == (6, 6, 0)
    assert overall == compare(first[::2], second[::2]).overall
