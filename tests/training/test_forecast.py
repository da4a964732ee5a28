"""Forecast: a few steps are measured, and nothing of them is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.small_case import recipe
from training.small_list import write_list, write_tiny
from vesalius.data.cache import Cache
from vesalius.data.datalists.read import read_list
from vesalius.engine.settings import LoopSettings
from vesalius.engine.task import Validation
from vesalius.models.vista3d import Vista3D
from vesalius.training.beginning import Beginning
from vesalius.training.course import Course
from vesalius.training.forecast import measured_costs


def test_steps_and_a_validation_are_timed_and_nothing_of_them_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = recipe(shares={}, loop=LoopSettings(minutes=5.0, precision="fp32", validate_every=1, patience=1))
    beginning = Beginning.of(write_tiny(tmp_path / "tiny"), chosen)
    course = Course(recipe=chosen, beginning=beginning, listed=read_list(write_list(tmp_path / "data")))
    before = {name: tensor.clone() for name, tensor in (beginning.state or {}).items()}
    there, judged = set(tmp_path.iterdir()), []

    def judge(network: Vista3D) -> Validation:
        judged.append(network)
        return Validation(0.5)

    costs = measured_costs(course, Cache(tmp_path / "data" / "cache"), judge=judge, device="cpu", workers=1)
    assert costs.step_s > 0
    assert costs.validation_s >= 0
    assert costs.peak_bytes > 50e6
    assert len(judged) == 1
    assert set(tmp_path.iterdir()) == there
    assert all(torch.equal(tensor, before[name]) for name, tensor in (beginning.state or {}).items())
    alone = measured_costs(course, Cache(tmp_path / "data" / "cache"), judge=None, device="cpu", workers=1)
    assert alone.validation_s == 0.0
