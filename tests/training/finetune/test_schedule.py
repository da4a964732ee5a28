"""The schedule: minutes become steps of all trainings together, and stay what they were when the run began."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from training.small_tuning import begun, listed
from vesalius.engine.forecast import Costs
from vesalius.training.finetune import FinetuneOptions, begin, schedule_of


def test_all_trainings_together_take_the_minutes_asked_for(place: Path) -> None:
    tuning = begun(place)
    options, costs = FinetuneOptions(minutes=10.0), Costs(step_s=0.5, validation_s=0.25, peak_bytes=10)
    schedule = schedule_of(tuning, costs, options)
    assert schedule.seconds == pytest.approx(600, rel=0.05)
    assert schedule.steps / schedule.validate_every == pytest.approx(options.validations, rel=0.05)
    slow = schedule_of(tuning, replace(costs, validation_s=20.0), options)
    assert slow.validate_every > schedule.validate_every
    assert slow.seconds < 700
    assert schedule_of(tuning, costs, FinetuneOptions(steps=7)).steps == 7
    alone = schedule_of(begun(place, training=1), costs, options)
    assert alone.steps == 1200


def test_the_forecast_counts_what_is_measured_after_the_trainings_beside_the_minutes_asked_for(place: Path) -> None:
    options = FinetuneOptions(minutes=10.0)
    costs = Costs(step_s=0.5, validation_s=0.25, peak_bytes=10, answer_s=20.0)
    tested = listed(place, 5)
    tested = replace(tested, cases=(*tested.cases[:4], replace(tested.cases[4], split="test")))
    for found, answers in (
        (listed(place, 5), 5),  # the base model, on what the folds hold out
        (tested, 4 + 2),  # and the base model and the new one, on the test case
        (listed(place, 1, validation=True), 2),
        (listed(place, 1, validation=True, name="vein"), 2),  # of which one is a copy
        (listed(place, 1), 0),
    ):
        schedule = schedule_of(begin(place / "tiny", found, options), costs, options)
        assert schedule.measuring_s == 20.0 * answers
        assert schedule.seconds - schedule.measuring_s == pytest.approx(600, rel=0.05)
    both = replace(listed(place, 1, validation=True), meanings={1: "liver", 2: "vein"})
    assert schedule_of(begin(place / "tiny", both, options), costs, options).measuring_s == 60.0
