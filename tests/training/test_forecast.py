"""Forecast: a few steps are measured, and nothing of them is kept."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from training.small_case import recipe
from training.small_list import write_list, write_tiny
from vesalius.allowance import peak_resident_bytes
from vesalius.data.cache import Cache
from vesalius.data.datalists.read import read_list
from vesalius.engine.settings import LoopSettings
from vesalius.engine.task import Validation
from vesalius.errors import InterruptedRun
from vesalius.models.vista3d import Vista3D
from vesalius.training.beginning import Beginning
from vesalius.training.course import Course
from vesalius.training.forecast import measured_costs
from vesalius.training.vista3d_task import Vista3DTask


def test_steps_and_a_validation_are_timed_and_nothing_of_them_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vesalius.engine.forecast.peak_resident_bytes", lambda: peak_resident_bytes() + 10**12)
    chosen = recipe(shares={}, loop=LoopSettings(minutes=5.0, precision="fp32", validate_every=1, patience=1))
    beginning = Beginning.of(write_tiny(tmp_path / "tiny"), chosen)
    course = Course(recipe=chosen, beginning=beginning, listed=read_list(write_list(tmp_path / "data")))
    before = {name: tensor.clone() for name, tensor in (beginning.state or {}).items()}
    there, judged = set(tmp_path.iterdir()), []

    def judge(network: Vista3D) -> Validation:
        judged.append(network)
        return Validation(0.5)

    def slow(network: Vista3D) -> Validation:
        time.sleep(0.05)
        return Validation(0.5)

    costs = measured_costs(course, Cache(tmp_path / "data" / "cache"), judge=judge, device="cpu", workers=1)
    assert costs.step_s > 0
    assert costs.validation_s >= 0
    assert 50e6 < costs.peak_bytes - 10**12 <= peak_resident_bytes(), "counted where parents do not count"
    assert len(judged) == 1
    assert set(tmp_path.iterdir()) == there
    assert all(torch.equal(tensor, before[name]) for name, tensor in (beginning.state or {}).items())
    assert costs.answer_s == costs.validation_s
    cache = Cache(tmp_path / "data" / "cache")
    alone = measured_costs(course, cache, judge=None, device="cpu", workers=1)
    assert alone.validation_s == alone.answer_s == 0.0
    asked = measured_costs(course, cache, judge=judge, answer=slow, device="cpu", workers=1)
    assert asked.answer_s >= 0.05 > asked.validation_s


def test_a_stop_while_steps_are_measured_says_that_nothing_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = recipe(shares={}, loop=LoopSettings(minutes=5.0, precision="fp32", validate_every=1))
    beginning = Beginning.of(write_tiny(tmp_path / "tiny"), chosen)
    course = Course(recipe=chosen, beginning=beginning, listed=read_list(write_list(tmp_path / "data")))
    draw, drawn = Vista3DTask.draw, []

    def stopped(task: Vista3DTask, rng: np.random.Generator) -> object:
        drawn.append(rng)
        if len(drawn) == 1 + chosen.loop.windows:  # in the second step
            signal.raise_signal(signal.SIGINT)
        return draw(task, rng)

    monkeypatch.setattr(Vista3DTask, "draw", stopped)
    with pytest.raises(InterruptedRun) as caught:
        measured_costs(course, Cache(tmp_path / "data" / "cache"), judge=None, device="cpu", workers=1)
    said = str(caught.value)
    assert "not begun" in said
    assert "nowhere" not in said
    assert "saved" not in said
