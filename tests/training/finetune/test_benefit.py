"""Benefit: a gain is said with its interval and against what, and a gain by chance is said to be none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.small_tuning import listed
from vesalius.geometry.volume import Modality
from vesalius.training.cross_validation import Curve, Scores
from vesalius.training.finetune import FinetuneOptions, begin
from vesalius.training.finetune.benefit import COPIED, Benefit, benefit_in_folds

AGAINST = {"liver": "small", "vein": COPIED}


def scores(of_liver: float, of_vein: float, *, spread: float, cases: int = 8) -> Scores:
    rng = np.random.default_rng(0)
    return {
        f"c{n}": {"liver": of_liver + spread * rng.normal(), "vein": of_vein + spread * rng.normal()}
        for n in range(cases)
    }


def benefit(tuned: Scores, before: Scores) -> Benefit:
    return Benefit(on="held out", tuned=tuned, before=before, against=AGAINST)


def test_a_gain_is_said_with_its_interval_and_over_what() -> None:
    found = benefit(scores(0.9, 0.7, spread=0.01), scores(0.8, 0.4, spread=0.02))
    assert found.difference is not None
    assert found.difference.interval.estimate == pytest.approx(0.2, abs=0.02)
    assert found.words().startswith("helped: Dice 0.797, +0.203 (+0.1")
    assert "over copied labels and small; n = 8, held out" in found.words()
    record = found.as_dict()
    assert record["against"] == AGAINST
    assert record["dice"]["vein"]["estimate"] == pytest.approx(0.7, abs=0.02)
    assert record["difference"]["better"] == 8
    assert set(record["cases"]["c3"]["before"]) == set(AGAINST)


def test_a_loss_and_a_difference_by_chance_are_told_apart() -> None:
    assert benefit(scores(0.5, 0.4, spread=0.01), scores(0.8, 0.4, spread=0.01)).words().startswith("did not help")
    chance = {f"c{n}": {"liver": 0.5 + 0.1 * (-1) ** n, "vein": 0.5} for n in range(8)}
    assert benefit(chance, scores(0.5, 0.5, spread=0.0)).words().startswith("no clear difference")


@pytest.mark.parametrize("cases", range(1, 6))
def test_of_few_cases_the_difference_is_said_and_no_verdict(cases: int) -> None:
    few = benefit(scores(0.9, 0.7, spread=0.01, cases=cases), scores(0.8, 0.4, spread=0.01, cases=cases))
    assert few.words().startswith("so few cases decide nothing: Dice 0.")
    assert f", +0.200 over copied labels and small; n = {cases}, held out" in few.words()
    assert few.as_dict()["difference"]["is_clear"] is False
    enough = benefit(scores(0.9, 0.7, spread=0.01, cases=6), scores(0.8, 0.4, spread=0.01, cases=6))
    assert enough.words().startswith("helped")
    assert enough.as_dict()["difference"]["is_clear"] is True


def test_noise_of_six_cases_is_called_a_benefit_no_more_often_than_once_in_twenty() -> None:
    rng, verdicts = np.random.default_rng(0), []
    for _ in range(300):
        same = {f"c{n}": {"liver": rng.beta(8, 2), "vein": rng.beta(8, 2)} for n in range(6)}
        tuned, before = (
            {case: {name: dice + rng.normal(0, 0.03) for name, dice in own.items()} for case, own in same.items()}
            for _ in range(2)
        )
        verdicts.append(benefit(tuned, before).words().split(":")[0])
    assert set(verdicts) == {"helped", "did not help", "no clear difference"}
    assert sum(verdict != "no clear difference" for verdict in verdicts) / 300 <= 0.055


def test_scans_of_one_patient_are_one_case() -> None:
    tuned, before = scores(0.9, 0.7, spread=0.01), scores(0.8, 0.4, spread=0.01)
    one_each = benefit(tuned, before)
    five = {case: ("patient", f"p{min(number, 4)}") for number, case in enumerate(tuned)}
    few = replace(one_each, people=five)
    assert one_each.words().startswith("helped")
    assert few.words().startswith("so few cases decide nothing")
    assert "n = 5 patients with 8 scans, held out" in few.words()
    assert few.dice_of("liver").n == 5
    ours = [tuned[case]["liver"] for case in tuned]
    assert few.dice_of("liver").estimate == pytest.approx(np.mean([*ours[:4], np.mean(ours[4:])]))


def test_one_case_gives_no_interval() -> None:
    one = benefit({"a": {"liver": 0.9}}, {"a": {"liver": 0.1}})
    assert one.words().startswith("so few cases decide nothing: Dice 0.900, +0.800 over")
    assert one.dice_of("vein") is None
    assert Benefit(on="", tuned={}, before={}, against=AGAINST).words() == "nothing to compare"


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_model_of_another_modality_is_no_rival_and_the_report_says_so(place: Path, modality: Modality) -> None:
    tuning = begin(place / "tiny", replace(listed(place, 4), modality=modality), FinetuneOptions(folds=2))
    held_out = [{case.name: {"liver": 0.9} for case in fold.listed.split("validation")} for fold in tuning.folds]
    curves = [Curve((0, 1), (scores, scores)) for scores in held_out]
    found = benefit_in_folds(tuning, place / "tiny", curves, device="cpu")
    remark = "tiny was made for CT and is no rival on MR"
    assert found.on.endswith("voxels and window fitted to all cases"), "those that are held out, too"
    assert dict(found.against) == {"liver": "tiny" if modality == "CT" else COPIED}
    assert found.words().endswith(remark) == (modality == "MR")
    assert found.as_dict()["remark"] == (remark if modality == "MR" else "")


@pytest.mark.parametrize("cases", [2, 4])
def test_of_partly_labelled_cases_a_class_is_copied_from_the_nearest_that_states_it_or_left_out(
    place: Path, cases: int
) -> None:
    found = listed(place, cases)
    parted = (
        replace(case, classes=(("foo", "bar")[number % 2],), fold=(number % 2 if cases == 2 else number // 2))
        for number, case in enumerate(found.cases)
    )
    partly = replace(found, meanings={1: "foo", 2: "bar"}, cases=tuple(parted))
    tuning = begin(place / "tiny", partly, FinetuneOptions())
    held_out = [
        {case.name: dict.fromkeys(case.classes or (), 0.9) for case in fold.listed.split("validation")}
        for fold in tuning.folds
    ]
    benefit = benefit_in_folds(
        tuning, place / "tiny", [Curve((0, 1), (own, own)) for own in held_out], device="cpu"
    )
    assert dict(benefit.against) == {"foo": COPIED, "bar": COPIED}
    copied = {case: set(own) for case, own in benefit.before.items()}
    stated = {case.name: set(case.classes or ()) for case in partly.cases}
    assert copied == (stated if cases == 4 else {case: set() for case in stated})
    assert (benefit.difference is None) == (cases == 2)
    said = "so few cases decide nothing" if cases == 4 else "Dice 0.900, and nothing to compare it with; n = 2"
    assert benefit.words().startswith(said)
