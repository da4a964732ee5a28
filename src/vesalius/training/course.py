"""Course: a recipe carried out, from a model to begin with and a list of cases to a model that others can use."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vesalius.checkpoints.load import find_weights_of
from vesalius.checkpoints.safetensors import write_model
from vesalius.checkpoints.store import MODEL_FILE, SPEC_FILE
from vesalius.checkpoints.weights import open_weights
from vesalius.data.cache import Cache
from vesalius.data.case import Case
from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.data.prepare import prepare_list
from vesalius.engine.learner import Learner
from vesalius.engine.loop import train
from vesalius.engine.run import CHECKPOINT, CONFIG, RunFolder, opened
from vesalius.engine.settings import Optimisation
from vesalius.engine.task import Task
from vesalius.engine.team import ALONE, Team
from vesalius.errors import UsageError
from vesalius.models.promptable import Promptable
from vesalius.spec import ModelSpec, VitArchitecture
from vesalius.training.adaptation import limited_to
from vesalius.training.course_data import data_facts, judging_cases_of, mirrored_ids, spec_of
from vesalius.training.networks import BACKBONE, grown_network, network_on_backbone, new_network
from vesalius.training.on_backbone import on_backbone
from vesalius.training.recipes import AUTOMATIC, INTERACTIVE, VistaRecipe
from vesalius.training.validation import Judged, WholeScans
from vesalius.training.vista3d_task import Vista3DTask, VistaSample

_CLICKS = 3
"""Clicks on each structure in a validation of clicks."""


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What a network is before the training.

    Args:
        spec: What it expects and names; with a click branch if the recipe clicks.
        state: The weights to begin with; None begins at random.
        source: Which model that was: its name and the hash of its weights.
        changes: What was chosen of names and weights that the source does not have, as plain data.
    """

    spec: ModelSpec
    state: Mapping[str, Tensor] | None
    source: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: str | Path,
        recipe: VistaRecipe,
        *,
        at_random: bool = False,
        lists: Sequence[DataList] = (),
        spacing_mm: float | None = None,
    ) -> Beginning:
        """Take the spec of a model, and its weights unless these are to begin at random.

        Args:
            model: A network that takes class prompts or clicks, or a backbone: then heads grow on it.
            recipe: What is to be taught.
            at_random: Take sizes and what it expects, but no weights.
            lists: Name the structures of a network that grows on a backbone.
            spacing_mm: Side of the voxels of such a network; None: that of the backbone's pixels.

        Raises:
            ModelError: If there is no such model, or its weights are refused.
            UsageError: If it is a backbone on which no heads can grow, or is none and has a spacing of its own; if
                lists for a backbone contradict each other.
        """
        weights = None if at_random else open_weights(find_weights_of(model))
        found = weights.spec if weights else spec_of(model)
        spec, prefix = found, ""
        if isinstance(found.architecture, VitArchitecture) and lists:
            spec, prefix = on_backbone(found, lists, recipe, spacing_mm=spacing_mm), BACKBONE
        elif spacing_mm is not None:
            raise UsageError(
                expected="--spacing with a recipe of slices, or with a backbone to put heads on",
                got=f"{found.name}, a {found.architecture.kind} network",
                do="leave it out: a model of volumes keeps its own spacing",
            )
        if _clicks(recipe) and not spec.vista.point_branch:
            spec = replace(spec, architecture=replace(spec.vista, point_branch=True))
        if weights is None:
            return cls(spec=spec, state=None, source=f"the architecture of {spec.name}, at random")
        state = {prefix + name: tensor for name, tensor in weights.read().items()}
        return cls(spec=spec, state=state, source=f"{spec.name}, SHA-256 {weights.report.sha256}")

    def network(self, *, seed: int) -> Promptable:
        """Return the network; what no weights were given for is random.

        Raises:
            CheckpointError: If the weights are of another network.
        """
        network = new_network(self.spec, seed=seed)
        if self.state is None:
            return network
        if all(name.startswith(BACKBONE) for name in self.state):
            return network_on_backbone(self.spec, self.state, seed=seed)
        if self.state.keys() != network.state_dict().keys():
            return grown_network(self.spec, self.state, seed=seed)
        network.load_state_dict(self.state)
        return network


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
        UsageError: If two lists have one name.
    """

    recipe: VistaRecipe
    beginning: Beginning
    listed: DataList
    others: tuple[DataList, ...] = ()

    def __post_init__(self) -> None:
        names = Counter(one.name for one in self.lists)
        twice = [str(one.path) for one in self.lists if names[one.name] > 1]
        if twice:
            raise UsageError(
                expected="lists of different names, by which their cases are told apart",
                got=f"{' and '.join(twice)} of one name",
                do='give one of them another "name"',
            )

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
        beginning = self.beginning
        data, *others = (
            data_facts(one, self.spec, cache, learnt=learnt.split("training"), judged=judged)
            for one, learnt, judged in zip(self.lists, self.learnt, self.validation_cases(), strict=True)
        )
        return {
            "recipe": asdict(self.recipe),
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
            clicks=_CLICKS if _clicks(recipe) else 0,
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
        VesaliusError: Whatever preparing may raise.
    """
    recipe, spec = course.recipe, course.spec
    held_out = course.validation_cases()
    cases: list[Case] = []
    for one in course.learnt:
        told = None if on_case is None else partial(_tell, on_case, len(cases))
        cases += prepare_list(one, spec, cache, workers=workers, on_case=told)
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


def _clicks(recipe: VistaRecipe) -> bool:
    return recipe.drop_label > 0 or recipe.drop_point < 1


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
