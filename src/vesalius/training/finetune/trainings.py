"""The trainings of a fine-tuning: one for each part of the cases that is held out, and one that makes the model."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from vesalius.data.cache import Cache
from vesalius.engine.forecast import Costs
from vesalius.engine.run import BEST, CHECKPOINT, RunFolder, opened, read_checkpoint
from vesalius.engine.settings import LoopSettings
from vesalius.training.course import Course, carry_out
from vesalius.training.course_data import labelled_validation
from vesalius.training.cross_validation import Curve, best_step
from vesalius.training.finetune.options import FinetuneOptions
from vesalius.training.finetune.schedule import Schedule
from vesalius.training.finetune.tuning import Finetuning
from vesalius.training.forecast import measured_costs


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What trainings use.

    Args:
        cache: Where prepared cases are kept.
        device: Where networks are.
        workers: Samples worked on at once.
    """

    cache: Cache
    device: str = "cpu"
    workers: int = 1


def measure(tuning: Finetuning, resources: Resources) -> Costs:
    """Prepare the cases and measure a few steps and the validation of one case; nothing of it is kept.

    Where none is validated it is a test case, if there are any: they are measured at the end (``benefits_of``).
    """
    course = tuning.validated[0] if tuning.validated else tuning.course
    tested = (case for case in course.listed.split("test") if case.is_labelled and case.classes != ())
    cases = labelled_validation(course.listed) if tuning.validated else tuple(tested)
    judge = course.judge(cases[:1]) if cases else None
    answer = replace(judge, clicks=0) if judge and judge.clicks else None
    return measured_costs(
        tuning.course,
        resources.cache,
        judge=judge,
        answer=answer,
        device=resources.device,
        workers=resources.workers,
    )


def train_folds(
    tuning: Finetuning,
    schedule: Schedule,
    folder: Path,
    resources: Resources,
    *,
    on_training: Callable[[str], None] = lambda _: None,
) -> tuple[Curve, ...]:
    """Train with each fold held out, or go on, and return the curves; of a fold that is done only numbers are kept.

    Args:
        tuning: What to train.
        schedule: How long.
        folder: The run folder; each fold has one of its own in it.
        resources: What to use.
        on_training: Hears what is trained next.

    Raises:
        InterruptedRun: If it was asked to stop; the same call goes on.
        UsageError: If a fold that is done was of another list, model or schedule.
    """
    curves = []
    for number, course in enumerate(tuning.folds):
        place = folder / "folds" / str(number)
        run = RunFolder(place, writes=False)
        timed = _lasting(course, schedule.steps, validate_every=schedule.validate_every, patience=None)
        if _is_finished(run):
            with opened(place, timed.config(resources.cache)):
                pass  # refuses the numbers of another list or schedule
        else:
            on_training(f"fold {number + 1} of {len(tuning.folds)}")
            _carry_out(timed, place, resources)
        for name in (CHECKPOINT, BEST, "model.safetensors", "spec.json"):
            (place / name).unlink(missing_ok=True)
        curves.append(Curve.of(run.metrics()))
    return tuple(curves)


def train_all(
    tuning: Finetuning,
    schedule: Schedule,
    options: FinetuneOptions,
    folder: Path,
    resources: Resources,
    *,
    curves: tuple[Curve, ...],
    on_training: Callable[[str], None] = lambda _: None,
) -> int:
    """Make the model of all training cases in the run folder, or go on, and return after how many steps it ends.

    With folds it ends where these were best in the mean, *in their schedule*: what is delivered is then what was
    judged, a network stopped on its way, at the rates and with the average of that step. A schedule shortened to
    those steps would end with rates that have fallen, which no fold was judged with; the whole schedule would go
    where the folds lost. Why the best step of the mean curve and not the median of each fold's: a fold of a case
    or two has an erratic curve, and ``unchosen_scores`` judges by this very rule. With validation cases it lasts
    until they gain no more; else to the end.

    Args:
        tuning: What to train.
        schedule: How long at most.
        options: How patiently.
        folder: The run folder, which will be a model.
        resources: What to use.
        curves: Of the folds; none where nothing was folded.
        on_training: Hears what is trained next.

    Raises:
        InterruptedRun: If it was asked to stop; the same call goes on.
    """
    ends_at = best_step(curves) if curves else None
    is_validated = not curves and bool(tuning.validated)
    on_training("the model, of all training cases")
    timed = _lasting(
        tuning.course,
        schedule.steps,
        ends_at=ends_at,
        validate_every=schedule.validate_every if is_validated else None,
        patience=options.patience if is_validated else None,
    )
    _carry_out(timed, folder, resources)
    return int(read_checkpoint(folder / CHECKPOINT)["step"])


def _lasting(
    course: Course, steps: int, *, validate_every: int | None, patience: int | None, ends_at: int | None = None
) -> Course:
    loop: LoopSettings = replace(
        course.recipe.loop, steps=steps, ends_at=ends_at, validate_every=validate_every, patience=patience
    )
    return replace(course, recipe=replace(course.recipe, loop=loop))


def _carry_out(course: Course, folder: Path, resources: Resources) -> None:
    carry_out(course, folder, cache=resources.cache, device=resources.device, workers=resources.workers)


def _is_finished(run: RunFolder) -> bool:
    records = run.metrics()
    return bool(records) and records[-1].get("event") == "finished"
