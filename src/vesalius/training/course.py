"""Course: a recipe carried out, from a model to begin with and a list of cases to a model that others can use."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vesalius.checkpoints.safetensors import write_model
from vesalius.checkpoints.store import MODEL_FILE, SPEC_FILE
from vesalius.data.cache import Cache
from vesalius.data.case import Case
from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.data.prepare import prepare_list
from vesalius.data.shared_scans import UsedCase, require_apart, used_cases
from vesalius.data.synthetic_cases import SYNTHETIC
from vesalius.engine.learner import Learner
from vesalius.engine.loop import train
from vesalius.engine.run import CHECKPOINT, CONFIG, RunFolder, opened
from vesalius.engine.settings import Optimisation
from vesalius.engine.task import Task
from vesalius.engine.team import ALONE, Team
from vesalius.errors import UsageError
from vesalius.models.promptable import Promptable
from vesalius.spec import ModelSpec
from vesalius.training.adaptation import limited_to
from vesalius.training.beginning import Beginning
from vesalius.training.course_data import data_facts, judging_cases_of, mirrored_ids, require_modality
from vesalius.training.mixing import mixed
from vesalius.training.recipes import AUTOMATIC, INTERACTIVE, VistaRecipe
from vesalius.training.validation import Judged, WholeScans
from vesalius.training.vista3d_task import Vista3DTask, VistaSample

_CLICKS = 3
"""Clicks on each structure in a validation of clicks."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """What is learnt, from what, and where it begins.

    Args:
        recipe: What is chosen about the training.
        beginning: The network before it.
        listed: The cases.
        others: Further lists to learn from, of other names; each has label ids of its own, and what was not looked
            for in its cases is never taken for absent from them.

    Raises:
        UsageError: If two lists have one name, or one is of another modality than the network's.
    """

    recipe: VistaRecipe
    beginning: Beginning
    listed: DataList
    others: tuple[DataList, ...] = ()

    def __post_init__(self) -> None:
        names = Counter(one.name for one in self.lists)
        names.update([SYNTHETIC] if self.recipe.synthetic.share else [])
        twice = [str(one.path) for one in self.lists if names[one.name] > 1]
        if twice:
            raise UsageError(
                expected="lists of different names, by which their cases are told apart",
                got=f"{' and '.join(twice)} of one name" if len(twice) > 1 else f"{twice[0]}, named {SYNTHETIC!r}",
                do='give one of them another "name"',
            )
        fit = "use `vesalius finetune`, which fits a model to such images, or correct the list's `modality`"
        require_modality(self.lists, self.beginning.spec, do=fit)

    @property
    def lists(self) -> tuple[DataList, ...]:
        """Return all lists, in the order in which they were given."""
        return (self.listed, *self.others)

    @property
    def spec(self) -> ModelSpec:
        """Return what the network is to expect: what it expected, in the windows that it learns in."""
        return limited_to(self.beginning.spec, self.recipe.window_size)[0]

    def optimisation(self) -> Optimisation:
        """Return the recipe's, without what it says of a branch that the network does not have."""
        vista, settings = self.beginning.spec.vista, self.recipe.optimisation
        absent = (*(() if vista.class_branch else AUTOMATIC), *(() if vista.point_branch else INTERACTIVE))
        return replace(settings, parts=tuple(part for part in settings.parts if part.names not in absent))

    def config(self, cache: Cache) -> dict[str, Any]:
        """Return all that decides the result, as plain data: the files' contents and what they mean included.

        Args:
            cache: Where prepared cases are kept; it knows the hashes of their files.
        """
        beginning, recipe = self.beginning, asdict(self.recipe)
        if not self.recipe.synthetic.share:  # then nothing hangs on the rest of it
            del recipe["synthetic"]
        data, *others = (
            data_facts(one, self.spec, cache, learnt=learnt.split("training"), judged=judged)
            for one, learnt, judged in zip(self.lists, self.learnt, self.validation_cases(), strict=True)
        )
        return {
            "recipe": recipe,
            "model": beginning.source,
            **({"beginning": dict(beginning.changes)} if beginning.changes else {}),
            "data": data,
            **({"others": {facts["name"]: facts for facts in others}} if others else {}),
        }

    def judge(self, *cases: tuple[ListedCase, ...]) -> WholeScans:
        """Return what judges a network on cases of each list, by the kinds of prompts that the recipe teaches."""
        recipe = self.recipe
        return WholeScans(
            listed=self.listed,
            cases=cases[0],
            others=tuple(zip(self.others, cases[1:], strict=True)),
            spec=self.spec,
            precision=recipe.loop.precision,
            automatic=recipe.drop_label < 1,
            clicks=_CLICKS if recipe.teaches_clicks else 0,
            novel=recipe.novel,
        )

    @property
    def learnt(self) -> tuple[DataList, ...]:
        """The lists as the recipe reads them: without pseudo labels, where they do not count."""
        believes = self.recipe.pseudo_labels
        return tuple(one if believes else one.without_pseudo_labels() for one in self.lists)

    def validation_cases(self) -> tuple[tuple[ListedCase, ...], ...]:
        """Return the labelled validation cases of each list, if the recipe validates.

        Raises:
            UsageError: If it does and there are none at all.
        """
        return judging_cases_of(self.lists, self.recipe.loop)

    def used(self) -> tuple[UsedCase, ...]:
        """Return the cases of all lists that are learnt from or judge; of one list alone none can be in another."""
        used = (
            used_cases(one, learnt=learnt.split("training"), judged=judged)
            for one, learnt, judged in zip(self.lists, self.learnt, self.validation_cases(), strict=True)
        )
        return tuple(case for cases in used for case in cases) if self.others else ()


def carry_out(
    course: Course,
    folder: Path,
    *,
    cache: Cache,
    device: str = "cpu",
    workers: int = 1,
    team: Team = ALONE,
    tensorboard: bool = False,
    on_case: Callable[[int], None] | None = None,
) -> None:
    """Prepare the cases, train or go on, and write the model into the run folder.

    Args:
        course: What to do.
        folder: The run folder, new or of this very course.
        cache: Where prepared cases are kept.
        device: Where the network is.
        workers: Threads (``engine.loop.train``).
        team: The processes that train together.
        tensorboard: Also write events.
        on_case: Told after each prepared case how many are done.

    Raises:
        VesaliusError: Whatever preparing, training and writing may raise.
    """
    task = task_of(course, cache, workers=workers, on_case=on_case)
    network = course.beginning.network(seed=course.recipe.loop.seed).to(device)
    learner = Learner(network, course.optimisation())
    with opened(folder, course.config(cache), team=team, tensorboard=tensorboard) as run:
        train(task, learner, run, course.recipe.loop, workers=workers, team=team)
        if team.is_first:
            _write(course, learner, run)


def task_of(
    course: Course, cache: Cache, *, workers: int = 1, on_case: Callable[[int], None] | None = None
) -> Task[Promptable, VistaSample]:
    """Return what is learnt in a course, its cases prepared or found prepared; one that validates, if it does.

    Args:
        course: What to do.
        cache: Where prepared cases are kept.
        workers: Processes that prepare at once.
        on_case: Told after each prepared case how many are done.

    Raises:
        UsageError: If a scan or a patient is learnt from in one of its lists and judges in another.
        VesaliusError: Whatever preparing may raise.
    """
    recipe, spec = course.recipe, course.spec
    held_out = course.validation_cases()
    require_apart(course.used(), cache)
    cases: list[Case] = []
    for one in course.learnt:
        told = None if on_case is None else partial(_tell, on_case, len(cases))
        cases += prepare_list(one, spec, cache, workers=workers, on_case=told)
    if recipe.synthetic.share:
        cases, recipe = mixed(cases, recipe, spec, cache, workers=workers, on_case=on_case)
    task = Vista3DTask(cases, spec, recipe=recipe, mirrored=mirrored_ids(spec))
    return Judged(task, course.judge(*held_out)) if any(held_out) else task


def refuse_existing(folder: Path, *, resume: bool = False, mark: str = CONFIG) -> None:
    """Refuse a folder that a training would spoil: a run has begun there, or it holds a model.

    Args:
        folder: The run folder.
        resume: Whether a run of this kind is to be gone on with; what it has made by now is its own.
        mark: The file by which one knows a run of this kind.

    Raises:
        UsageError: If so.
    """
    there = next((name for name in (mark, CHECKPOINT, MODEL_FILE, SPEC_FILE) if (folder / name).exists()), None)
    if there is None or (resume and there == mark):
        return
    if there == mark:
        raise UsageError(
            expected=f"a new run folder, or to be told to resume {folder}",
            got=f"a folder with a {there}",
            do="add --resume, or name another folder",
        )
    raise UsageError(
        expected=f"a new run folder, or one that this command began, at {folder}",
        got=f"a folder with a {there}, which the run would replace",
        do="name another folder",
    )


def _tell(on_case: Callable[[int], None], before: int, count: int) -> None:
    on_case(before + count)


def _write(course: Course, learner: Learner[Promptable], run: RunFolder) -> None:
    """Write the best weights, or else the running average, with a spec that claims nothing about them."""
    best, spec, names = run.best(), course.spec, ", ".join(one.name for one in course.lists)
    state = learner.average.state_dict() if best is None else best["network"]
    trained = replace(
        spec,
        name=run.path.resolve().name,
        version="1",
        dice={},
        dice_source="",
        confidence={},
        provenance=f"trained with Vesalius on {names}, from {course.beginning.source}",
    )
    write_model(run.path, {name: tensor.to(torch.device("cpu")) for name, tensor in state.items()}, trained)
