"""What a run folder keeps of a fine-tuning's plan."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import pytest

from vesalius.engine.forecast import Costs
from vesalius.errors import CheckpointError
from vesalius.training.finetune import PLAN, Schedule, keep_plan, kept_plan

PLANS: list[Schedule | Costs] = [
    Schedule(steps=12, validate_every=4, step_s=0.5, seconds=9.0, peak_bytes=1 << 30),
    Costs(step_s=0.5, validation_s=2.0, peak_bytes=1 << 30, answer_s=1.5),
]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: type(plan).__name__)
def test_a_run_keeps_the_plan_with_which_it_began(tmp_path: Path, plan: Schedule | Costs) -> None:
    kind, run = type(plan), tmp_path / "run"
    assert kept_plan(run, kind) is None
    keep_plan(run, plan)
    assert kept_plan(run, kind) == plan
    for damaged in ("{", '{"step_s": 1, "strange": 2}'):
        (run / PLAN).write_text(damaged)
        with pytest.raises(CheckpointError, match="begin a new run"):
            kept_plan(run, kind)
