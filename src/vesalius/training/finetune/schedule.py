"""How long the trainings of a fine-tuning last: minutes become steps by what a few steps took, and stay so.

A run of so many steps can be stopped and resumed to the same weights; one of so many minutes cannot.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from vesalius.errors import CheckpointError, DiskError
from vesalius.io.atomic import replacing
from vesalius.training.course_data import labelled_validation
from vesalius.training.finetune.benefit import answers_of
from vesalius.training.finetune.options import FinetuneOptions
from vesalius.training.finetune.tuning import Finetuning
from vesalius.training.forecast import Costs

PLAN = "plan.json"
"""In the run folder: the schedule with which it began."""
_FEWEST_STEPS, _FEWEST_VALIDATIONS = 10, 2
_FOR_VALIDATIONS = 0.2
"""Largest part of the time that validations may take."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long each training lasts.

    Args:
        steps: Of each; the last one of a cross-validation may take fewer.
        validate_every: Steps between validations, where there are any.
        step_s: Seconds of a step, as measured.
        seconds: What all of it will take, as forecast: trainings, their validations, and the measuring at the end.
        peak_bytes: Resident memory at the peak, as measured over a few steps and a validation.
        card_bytes: The same of a CUDA card; 0 elsewhere.
        measuring_s: Of ``seconds``, to measure whether it helped, which is not in the minutes that were asked for.
    """

    steps: int
    validate_every: int
    step_s: float
    seconds: float
    peak_bytes: int
    card_bytes: int = 0
    measuring_s: float = 0.0


def schedule_of(tuning: Finetuning, costs: Costs, options: FinetuneOptions) -> Schedule:
    """Say how many steps each training takes, so that all of them together take the minutes asked for.

    What is measured after them comes on top: it takes what the list's cases need, whatever was asked for.
    """
    validated = tuning.validated
    trainings = len(tuning.folds) + 1
    held_out = max((len(labelled_validation(course.listed)) for course in validated), default=0)
    once_s = held_out * costs.validation_s
    each_s = 60 * options.minutes / trainings
    validations = options.validations
    if once_s > 0 and options.steps is None:
        validations = min(validations, max(_FEWEST_VALIDATIONS, math.floor(_FOR_VALIDATIONS * each_s / once_s) - 1))
    judging_s = (validations + 1) * once_s
    steps = options.steps or max(_FEWEST_STEPS, math.floor((each_s - judging_s) / costs.step_s))
    measuring_s = answers_of(tuning) * costs.answer_s
    seconds = trainings * steps * costs.step_s + len(validated) * judging_s + measuring_s
    return Schedule(
        steps=steps,
        validate_every=max(1, math.ceil(steps / validations)),
        step_s=costs.step_s,
        seconds=seconds,
        peak_bytes=costs.peak_bytes,
        card_bytes=costs.card_bytes,
        measuring_s=measuring_s,
    )


def kept_schedule(folder: Path) -> Schedule | None:
    """Return the schedule with which a run folder began; None where none did.

    Raises:
        CheckpointError: If the file is damaged.
    """
    path = folder / PLAN
    if not path.exists():
        return None
    try:
        return Schedule(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            expected=f"a plan in {path}", got=str(error).splitlines()[0], do="begin a new run"
        ) from None


def keep_schedule(folder: Path, schedule: Schedule) -> None:
    """Write a schedule into a run folder: what is resumed there ends where it would have.

    Raises:
        DiskError: If it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(
            expected=f"to write into {folder}",
            got=error.strerror or str(error),
            do="name a folder you may write to",
        ) from None
    with replacing(folder / PLAN) as part:
        part.write_text(json.dumps(asdict(schedule), indent=1) + "\n", encoding="utf-8")
