"""Fine-tuning: from a model and a few labelled cases to a model of what these show, and to whether that helped.

In steps that are called one by one: ``begin`` changes the model's spec to what the list has (``adaptation``,
``new_classes``); ``measure`` and ``schedule_of`` say how long to train, from a few steps; ``train_folds`` trains
with parts of the list held out, where there are enough cases; ``train_all`` makes the model. Whether it helped says
``benefit``.

VISTA3D's fine-tuning (``train_finetune.py``, ``train_continual.json``) takes ids, spacing, window and the number of
epochs from its user, trains the background as a class, and says nothing about the result.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from vesalius.checkpoints.load import find_weights_of
from vesalius.checkpoints.weights import open_weights
from vesalius.data.cache import Cache
from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.data.fingerprint import fingerprint
from vesalius.engine.run import BEST, CHECKPOINT, RunFolder
from vesalius.engine.settings import LoopSettings, Precision
from vesalius.errors import CheckpointError, DiskError, UsageError
from vesalius.io.atomic import replacing
from vesalius.spec import ModelSpec, VistaArchitecture
from vesalius.training.adaptation import Change, adapted, limited_to
from vesalius.training.course import Beginning, Course, carry_out
from vesalius.training.cross_validation import Curve, best_step, with_folds
from vesalius.training.finetune_options import FinetuneOptions
from vesalius.training.forecast import Costs, measured_costs
from vesalius.training.new_classes import LearntClass, learnt_classes, with_classes, with_rows
from vesalius.training.recipes import FINETUNE, FINETUNE_FAR, VistaRecipe, for_machine, frozen

PLAN = "plan.json"
"""In the run folder: how long its trainings last, so that a resumed run ends where it would have."""
_FEWEST_STEPS, _FEWEST_VALIDATIONS = 10, 2
_FOR_VALIDATIONS = 0.2
"""Largest part of the time that validations may take."""


@dataclass(frozen=True, kw_only=True)
class Finetuning:
    """A fine-tuning that can begin.

    Args:
        base: The spec of the model to begin with.
        course: All training cases, and validation cases where the list has some and nothing is folded.
        folds: The same with a part of the cases held out; none where nothing is folded.
        classes: What the list teaches.
        changes: What the model will expect otherwise.
    """

    base: ModelSpec
    course: Course
    folds: tuple[Course, ...]
    classes: tuple[LearntClass, ...]
    changes: tuple[Change, ...]

    @property
    def forgotten(self) -> tuple[str, ...]:
        """Names of the base model that the new one does not have."""
        kept = self.course.beginning.spec.names
        return tuple(name for label, name in self.base.vocabulary if label not in kept)

    @property
    def validated(self) -> tuple[Course, ...]:
        """The courses of which cases are held out."""
        return self.folds or ((self.course,) if _validation_cases(self.course.listed) else ())


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


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long each training lasts.

    Args:
        steps: Of each; the last one of a cross-validation may take fewer.
        validate_every: Steps between validations, where there are any.
        step_s: Seconds of a step, as measured.
        seconds: What all of it will take, as forecast.
        peak_bytes: Resident memory at the peak, as measured over a few steps and a validation.
    """

    steps: int
    validate_every: int
    step_s: float
    seconds: float
    peak_bytes: int


def begin(
    model: str | Path, listed: DataList, options: FinetuneOptions, *, precision: Precision = "fp32"
) -> Finetuning:
    """Fit a model to a list: classes, spacing, intensities, windows, folds; nothing is trained yet.

    Args:
        model: To begin with: a name, a folder or a file.
        listed: Its training cases are learnt from. Every file is read once, for the fingerprint.
        options: What was chosen.
        precision: In which the network computes.

    Raises:
        UsageError: If the list has no labelled training case, or list and options do not fit.
        UnknownClassError: If a name of the list is unclear.
        ModelError: If there is no such model, or it cannot be fine-tuned.
        InputError: If a file is refused.
    """
    labelled = _labelled(listed)
    weights = open_weights(find_weights_of(model))
    _check_branches(weights.spec)
    spec, changes = adapted(weights.spec, fingerprint(replace(listed, cases=labelled)))
    classes = learnt_classes(listed, spec, new=options.new, like=options.like)
    is_far = any(one.is_new for one in classes) or any(change.is_far for change in changes)
    recipe = _recipe(FINETUNE_FAR if is_far else FINETUNE, spec, options, precision)
    spec, more = limited_to(spec, recipe.window_size)
    spec = with_classes(spec, classes, keep=options.keep_names)
    state = with_rows(weights.read(), spec, classes, seed=options.seed)
    said = "; ".join(map(str, (*changes, *more)))
    source = f"{weights.spec.name}, SHA-256 {weights.report.sha256}" + (f"; {said}" if said else "")
    beginning = Beginning(spec=spec, state=state, source=source)
    course = Course(recipe=recipe, beginning=beginning, listed=listed)
    training = sum(case.split == "training" for case in labelled)
    count = options.folds_of(training, has_validation=bool(_validation_cases(listed)))
    folds: tuple[Course, ...] = ()
    if count:
        parted = with_folds(listed, count, seed=options.seed)
        folds = tuple(replace(course, listed=parted.folded(fold)) for fold in range(count))
        course = replace(course, listed=_all_learnt(listed))
    return Finetuning(base=weights.spec, course=course, folds=folds, classes=classes, changes=(*changes, *more))


def measure(tuning: Finetuning, resources: Resources) -> Costs:
    """Prepare the cases and measure a few steps and the validation of one case; nothing of it is kept."""
    judge = None
    if tuning.validated:
        first = tuning.validated[0]
        judge = first.judge(_validation_cases(first.listed)[:1])
    return measured_costs(
        tuning.course, resources.cache, judge=judge, device=resources.device, workers=resources.workers
    )


def schedule_of(tuning: Finetuning, costs: Costs, options: FinetuneOptions) -> Schedule:
    """Say how many steps each training takes, so that all of them together take the minutes asked for."""
    validated = tuning.validated
    trainings = len(tuning.folds) + 1
    held_out = max((len(_validation_cases(course.listed)) for course in validated), default=0)
    once_s = held_out * costs.validation_s
    each_s = 60 * options.minutes / trainings
    validations = options.validations
    if once_s > 0 and options.steps is None:
        validations = min(validations, max(_FEWEST_VALIDATIONS, math.floor(_FOR_VALIDATIONS * each_s / once_s) - 1))
    judging_s = (validations + 1) * once_s
    steps = options.steps or max(_FEWEST_STEPS, math.floor((each_s - judging_s) / costs.step_s))
    seconds = trainings * steps * costs.step_s + len(validated) * judging_s
    return Schedule(
        steps=steps,
        validate_every=max(1, math.ceil(steps / validations)),
        step_s=costs.step_s,
        seconds=seconds,
        peak_bytes=costs.peak_bytes,
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


def train_folds(
    tuning: Finetuning,
    schedule: Schedule,
    options: FinetuneOptions,
    folder: Path,
    resources: Resources,
    *,
    on_training: Callable[[str], None] = lambda _: None,
) -> tuple[Curve, ...]:
    """Train with each fold held out, or go on, and return the curves; of a fold that is done only numbers are kept.

    Args:
        tuning: What to train.
        schedule: How long.
        options: How patiently.
        folder: The run folder; each fold has one of its own in it.
        resources: What to use.
        on_training: Hears what is trained next.

    Raises:
        InterruptedRun: If it was asked to stop; the same call goes on.
    """
    curves = []
    for number, course in enumerate(tuning.folds):
        place = folder / "folds" / str(number)
        run = RunFolder(place, writes=False)
        if not _is_finished(run):
            on_training(f"fold {number + 1} of {len(tuning.folds)}")
            timed = _lasting(
                course, schedule.steps, validate_every=schedule.validate_every, patience=options.patience
            )
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

    It takes as many steps as served the folds best; with validation cases, until they gain no more; else all.

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
    steps = best_step(curves) if curves else schedule.steps
    is_validated = not curves and bool(tuning.validated)
    on_training("the model, of all training cases")
    timed = _lasting(
        tuning.course,
        steps,
        validate_every=schedule.validate_every if is_validated else None,
        patience=options.patience if is_validated else None,
    )
    _carry_out(timed, folder, resources)
    return steps


def _recipe(usual: VistaRecipe, spec: ModelSpec, options: FinetuneOptions, precision: Precision) -> VistaRecipe:
    """Return the recipe for a model: clicks only where it takes them, its windows as the machine bears them."""
    recipe = replace(usual, window_size=spec.window_size)
    if not spec.vista.point_branch:
        recipe = replace(recipe, drop_label=0.0, drop_point=1.0)
    parts = (*recipe.optimisation.parts, *(frozen("encoder.*") if options.freeze == "encoder" else ()))
    recipe = for_machine(replace(recipe, optimisation=replace(recipe.optimisation, parts=parts)), options.preset)
    multiple = spec.vista.size_multiple
    i, j, k = (side // multiple * multiple for side in recipe.window_size)
    loop = replace(recipe.loop, precision=precision, seed=options.seed, validate_every=None, patience=None)
    return replace(recipe, window_size=(i, j, k), loop=loop)


def _lasting(course: Course, steps: int, *, validate_every: int | None, patience: int | None) -> Course:
    loop: LoopSettings = replace(course.recipe.loop, steps=steps, validate_every=validate_every, patience=patience)
    return replace(course, recipe=replace(course.recipe, loop=loop))


def _carry_out(course: Course, folder: Path, resources: Resources) -> None:
    carry_out(course, folder, cache=resources.cache, device=resources.device, workers=resources.workers)


def _is_finished(run: RunFolder) -> bool:
    records = run.metrics()
    return bool(records) and records[-1].get("event") == "finished"


def _labelled(listed: DataList) -> tuple[ListedCase, ...]:
    """Return the labelled cases that are not for testing."""
    cases = tuple(case for case in listed.cases if case.split != "test" and case.is_labelled)
    if not any(case.split == "training" for case in cases):
        raise UsageError(
            expected=f"labelled cases for training in {listed.path.name}",
            got="none",
            do="give some of them labels; see `vesalius dataset check`",
        )
    return cases


def _validation_cases(listed: DataList) -> tuple[ListedCase, ...]:
    return tuple(case for case in listed.split("validation") if case.is_labelled)


def _all_learnt(listed: DataList) -> DataList:
    cases = (case if case.split == "test" else replace(case, split="training") for case in listed.cases)
    return replace(listed, cases=tuple(cases))


def _check_branches(spec: ModelSpec) -> None:
    if not isinstance(spec.architecture, VistaArchitecture) or not spec.architecture.class_branch:
        raise CheckpointError(
            expected="a network of volumes that takes class prompts; others cannot be fine-tuned yet",
            got=f"{spec.name}, a {spec.architecture.kind}",
            do="begin with vesalius-small or vista3d",
        )
