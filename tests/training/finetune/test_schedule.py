"""The schedule: minutes become steps of all trainings together, and stay what they were when the run began."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from training.small_tuning import SHORT, begun
from vesalius.errors import CheckpointError
from vesalius.training.finetune import PLAN, FinetuneOptions, keep_schedule, kept_schedule, schedule_of
from vesalius.training.forecast import Costs


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


def test_a_run_keeps_the_schedule_with_which_it_began(tmp_path: Path) -> None:
    assert kept_schedule(tmp_path / "run") is None
    keep_schedule(tmp_path / "run", SHORT)
    assert kept_schedule(tmp_path / "run") == SHORT
    (tmp_path / "run" / PLAN).write_text("{")
    with pytest.raises(CheckpointError, match="begin a new run"):
        kept_schedule(tmp_path / "run")
