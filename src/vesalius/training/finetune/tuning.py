"""A fine-tuning before it begins: a model fitted to a list in classes, spacing, intensities, windows and folds.

VISTA3D's fine-tuning (``train_finetune.py``, ``train_continual.json``) takes ids, spacing, window and the number of
epochs from its user, trains the background as a class, and says nothing about the result.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from vesalius.checkpoints.identity import identity_of
from vesalius.checkpoints.load import find_weights_of
from vesalius.checkpoints.weights import open_weights
from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.data.fingerprint import fingerprint
from vesalius.errors import CheckpointError, UsageError
from vesalius.precision import Precision
from vesalius.spec import ModelSpec, PromptArchitecture
from vesalius.training.adaptation import Change, adapted, limited_to
from vesalius.training.beginning import Beginning
from vesalius.training.course import Course
from vesalius.training.course_data import labelled_validation
from vesalius.training.cross_validation import stated_folds, with_folds
from vesalius.training.finetune.options import FinetuneOptions
from vesalius.training.new_classes import LearntClass, learnt_classes, with_classes, with_rows
from vesalius.training.recipes import VistaRecipe, finetune_recipe, for_machine, frozen, in_multiples


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
        names = set(kept.values())
        return tuple(name for label, name in self.base.vocabulary if label not in kept and name not in names)

    @property
    def validated(self) -> tuple[Course, ...]:
        """The courses of which cases are held out."""
        return self.folds or ((self.course,) if labelled_validation(self.course.listed) else ())


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
        UsageError: If the list has no labelled training case, list and options do not fit, or a patient is in two
            of its splits.
        UnknownClassError: If a name of the list is unclear.
        ModelError: If there is no such model, or it cannot be fine-tuned.
        InputError: If a file is refused.
    """
    labelled = _labelled(listed)
    parts = _held_out(listed, options)
    weights = open_weights(find_weights_of(model))
    _check_branches(weights.spec)
    spec, changes = adapted(weights.spec, fingerprint(replace(listed, cases=labelled)))
    classes = learnt_classes(listed, spec, new=options.new, like=options.like)
    is_far = any(one.is_new for one in classes) or any(change.is_far for change in changes)
    recipe = _recipe(finetune_recipe(spec.vista.width, is_far=is_far), spec, options, precision)
    spec, more = limited_to(spec, recipe.window_size)
    spec = with_classes(spec, classes, keep=options.keep_names)
    state = with_rows(weights.read(), weights.spec, spec, classes=classes, seed=options.seed)
    said = "; ".join(map(str, (*changes, *more)))
    source = f"{weights.spec.name}, {identity_of(weights)}" + (f"; {said}" if said else "")
    known = dict(weights.spec.vocabulary)
    chosen = {
        "names": {str(label): name for label, name in spec.vocabulary},
        "rows": {one.name: "drawn" if one.like is None else known[one.like] for one in classes if one.is_new},
    }
    beginning = Beginning(spec=spec, state=state, source=source, changes=chosen)
    course = Course(recipe=recipe, beginning=beginning, listed=listed)
    folds = tuple(replace(course, listed=part) for part in parts)
    if folds:
        course = replace(course, listed=_all_learnt(listed))
    return Finetuning(base=weights.spec, course=course, folds=folds, classes=classes, changes=(*changes, *more))


def _held_out(listed: DataList, options: FinetuneOptions) -> tuple[DataList, ...]:
    """Return the list with each fold held out; none where nothing is folded."""
    people = {case.person for case in listed.split("training") if case.is_labelled}
    has_validation, stated = bool(labelled_validation(listed)), len(stated_folds(listed))
    count = options.folds_of(len(people), has_validation=has_validation, stated=stated)
    if not count:
        listed.require_whole_patients()
        return ()
    parted = with_folds(listed, count, seed=options.seed)
    return tuple(parted.folded(fold) for fold in stated_folds(parted))


def _recipe(usual: VistaRecipe, spec: ModelSpec, options: FinetuneOptions, precision: Precision) -> VistaRecipe:
    """Return the recipe for a model: clicks only where it takes them, its windows as the machine bears them."""
    recipe = replace(usual, window_size=spec.window_size)
    if not spec.vista.point_branch:
        recipe = replace(recipe, drop_label=0.0, drop_point=1.0)
    parts = (*recipe.optimisation.parts, *(frozen("encoder.*") if options.freeze == "encoder" else ()))
    recipe = for_machine(replace(recipe, optimisation=replace(recipe.optimisation, parts=parts)), options.preset)
    recipe = in_multiples(recipe, spec.vista.size_multiple)
    loop = replace(recipe.loop, precision=precision, seed=options.seed, validate_every=None, patience=None)
    return replace(recipe, loop=loop)


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


def _all_learnt(listed: DataList) -> DataList:
    cases = (case if case.split == "test" else replace(case, split="training") for case in listed.cases)
    return replace(listed, cases=tuple(cases))


def _check_branches(spec: ModelSpec) -> None:
    if not isinstance(spec.architecture, PromptArchitecture) or not spec.architecture.class_branch:
        raise CheckpointError(
            expected="a network of volumes that takes class prompts; others cannot be fine-tuned yet",
            got=f"{spec.name}, a {spec.architecture.kind}",
            do="begin with vesalius-small or vista3d",
        )
