"""``plan.json`` of a run folder: what was measured and decided before a fine-tuning began there."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from vesalius.engine.forecast import Costs
from vesalius.errors import CheckpointError
from vesalius.io.atomic import disk_errors, replacing
from vesalius.training.finetune.schedule import Schedule

PLAN = "plan.json"
"""In the run folder: with it a fine-tuning has begun there."""
Plan = TypeVar("Plan", Schedule, Costs)
"""Of a model of volumes its schedule; of a backbone what was measured, as its steps are those that were typed."""


def keep_plan(folder: Path, plan: Schedule | Costs) -> None:
    """Write a plan into a run folder: what is resumed there ends where it would have, and measures nothing again.

    Raises:
        DiskError: If it cannot be written.
    """
    with disk_errors(f"to write into {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / PLAN) as part:
        part.write_text(json.dumps(asdict(plan), indent=1) + "\n", encoding="utf-8")


def kept_plan(folder: Path, kind: type[Plan]) -> Plan | None:
    """Return the plan with which a run folder began; None where none did.

    Raises:
        CheckpointError: If the file is damaged.
    """
    path = folder / PLAN
    if not path.exists():
        return None
    try:
        return kind(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            expected=f"a plan in {path}", got=str(error).splitlines()[0], do="begin a new run"
        ) from None
