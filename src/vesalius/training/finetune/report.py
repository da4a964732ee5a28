"""What a fine-tuning says: its plan before it begins, and its record as JSON beside the model."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vesalius.checkpoints.safetensors import write_model
from vesalius.checkpoints.store import MODEL_FILE
from vesalius.checkpoints.weights import open_weights
from vesalius.data.datalists.record import DataList
from vesalius.engine.forecast import totals
from vesalius.io.atomic import replacing
from vesalius.spec import ModelSpec
from vesalius.training.course_data import labelled_validation
from vesalius.training.cross_validation import Curve, mean_dice
from vesalius.training.finetune.benefit import Benefit
from vesalius.training.finetune.options import FEWEST_TO_FOLD
from vesalius.training.finetune.schedule import Schedule
from vesalius.training.finetune.tuning import Finetuning
from vesalius.training.training_plan import what_learns

RECORD = "finetune.json"


def plan_lines(tuning: Finetuning, schedule: Schedule) -> Iterator[str]:
    """Yield the plan, a line for each thing that a user may want otherwise."""
    spec, listed = tuning.course.beginning.spec, tuning.course.listed
    yield begins_with(tuning.base, listed)
    for one in tuning.classes:
        origin = "" if one.like is None else f", begins as {tuning.base.names[one.like]}"
        yield f"learns {one.name} ({f'new, id {one.id}{origin}' if one.is_new else 'known'})"
    if tuning.forgotten:
        names = ", ".join(tuning.forgotten[:6]) + (", ..." if len(tuning.forgotten) > 6 else "")
        yield f"will not name {names}: no case holds it to them (--keep-names keeps the names)"
    yield from map(str, tuning.changes)
    recipe = tuning.course.recipe
    yield what_learns(tuning.course.optimisation())
    kinds = "class prompts and clicks" if recipe.drop_point < 1 else "class prompts; the model takes no clicks"
    yield f"by {kinds}, in windows of {' x '.join(map(str, spec.window_size))} voxels"
    yield _judgement(tuning)
    often = f", validated every {schedule.validate_every}" if tuning.validated else ""
    yield f"{schedule.steps} steps each at most{often}, {schedule.step_s:.2f} s a step as measured"
    yield totals(
        schedule.seconds, schedule.measuring_s, peak_bytes=schedule.peak_bytes, card_bytes=schedule.card_bytes
    )


def begins_with(base: ModelSpec, listed: DataList) -> str:
    """Say what is fine-tuned, and from how many cases."""
    training, people = sum(case.is_labelled for case in listed.split("training")), _people(listed)
    cases = f"{training} labelled case{'s' if training > 1 else ''}"
    of_people = "" if people == training else f" of {people} patients"
    return f"{base.name} {base.version}, {cases}{of_people}, of {listed.name}"


def _people(listed: DataList) -> int:
    return len({case.person for case in listed.split("training") if case.is_labelled})


def _judgement(tuning: Finetuning) -> str:
    """Say how many trainings there are, and which cases will say how good what they make is."""
    listed = tuning.course.listed
    tested = sum(case.is_labelled for case in listed.split("test"))
    by_tests = f"{tested} test case{'s' if tested > 1 else ''} will say how good it is"
    if tuning.folds:
        said = f"{len(tuning.folds)} trainings with a part of the cases held out, then one with all of them"
    elif judging := len(labelled_validation(listed)):
        said = f"one training, judged by {judging} validation cases, which choose the weights"
    else:
        why = (
            "too few cases to hold any out"
            if _people(listed) < FEWEST_TO_FOLD
            else "no cases are held out, as asked for"
        )
        said = f"one training; {why}" + ("" if tested else ", so nothing will say how good it is")
    return f"{said}; {by_tests}" if tested else said


def record_of(
    tuning: Finetuning,
    schedule: Schedule,
    *,
    curves: Sequence[Curve],
    steps: int,
    benefits: Sequence[Benefit],
) -> dict[str, Any]:
    """Return what was done and what came of it, as plain data."""
    return {
        "model": tuning.course.beginning.source,
        "data": tuning.course.listed.name,
        "cases": [case.name for case in tuning.course.listed.split("training") if case.is_labelled],
        "classes": [asdict(one) for one in tuning.classes],
        "changes": [asdict(change) for change in tuning.changes],
        "schedule": asdict(schedule),
        "steps": steps,
        "folds": [
            {"steps": list(curve.steps), "dice": [round(mean_dice(scores), 5) for scores in curve.scores]}
            for curve in curves
        ],
        "benefit": [benefit.as_dict() for benefit in benefits],
    }


def write_record(folder: Path, record: Mapping[str, Any]) -> Path:
    """Write the record beside the model.

    Raises:
        DiskError: If it cannot be written.
    """
    with replacing(folder / RECORD) as part:
        part.write_text(json.dumps(dict(record), indent=1) + "\n", encoding="utf-8")
    return folder / RECORD


def state_dice(folder: Path, benefits: Sequence[Benefit]) -> None:
    """Have the model in a folder state the last, which is the surest, of what cases gave that chose no weights.

    Where all did, its spec stays as it is: what they gave stands in the record alone.
    """
    benefit = next((one for one in reversed(benefits) if not one.chose_the_weights), None)
    if benefit is None:
        return
    weights = open_weights(folder / MODEL_FILE)
    found = {name: interval for name in benefit.against if (interval := benefit.dice_of(name)) is not None}
    dice = {name: round(interval.estimate, 4) for name, interval in found.items()}
    source = f"{benefit.counted()}, {benefit.on}; absent structures count"
    spec = replace(weights.spec, dice=dice, dice_source=source)
    write_model(folder, weights.read(), spec)
