"""Course: a recipe carried out, from a store of slices and perhaps a backbone to a backbone that others can use."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vesalius.checkpoints.identity import identity_of
from vesalius.checkpoints.load import find_weights_of, load_encoder
from vesalius.checkpoints.safetensors import write_model
from vesalius.checkpoints.weights import open_weights
from vesalius.data.slices import MANIFEST, SliceStore, sha256_of
from vesalius.engine.export import Export
from vesalius.engine.learner import Learner
from vesalius.engine.loop import train
from vesalius.engine.run import CHECKPOINT, opened, read_checkpoint
from vesalius.engine.team import ALONE, Team
from vesalius.errors import CheckpointError, DiskError, UsageError
from vesalius.geometry.planes import ORIENTATION
from vesalius.io.atomic import replacing
from vesalius.models.vit import Vit
from vesalius.pretraining.recipes import PretrainingRecipe, optimisation_of, spec_of, window_size_of
from vesalius.pretraining.student_teacher import Pupil
from vesalius.pretraining.task import PretrainingTask, Split
from vesalius.spec import ModelSpec, VitArchitecture

_logger = logging.getLogger(__name__)

CHECKED = "checked.json"
"""Beside a store's manifest: the state in which it was compared with that, and found sound."""
_ONE_IN = 20
"""One in so many scans is not learnt from where validations want slices to look at."""

State = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What a backbone is before the pretraining.

    Args:
        spec: What it expects of an image.
        backbone: Its weights; None begins at random, unless student and teacher are given.
        student: Weights of an earlier pretraining's student, heads included.
        teacher: Those of its teacher.
        source: Which model that was: its name and the hash of its weights.
    """

    spec: ModelSpec
    backbone: State | None = None
    student: State | None = None
    teacher: State | None = None
    source: str

    @classmethod
    def at_random(cls, recipe: PretrainingRecipe, store: SliceStore) -> Beginning:
        """Begin with the recipe's architecture, and expect slices as the store has them.

        Of a store with the scans' own spacings, as half of its slices have them or finer: a backbone that knows
        none yet learns those.

        Raises:
            FileFormatError: If a shard is damaged.
        """
        spec = _as_stored(spec_of(recipe, "backbone"), recipe, store, store.spacing_mm())
        return cls(spec=spec, source="at random")

    @classmethod
    def of(cls, start: str | Path, recipe: PretrainingRecipe, store: SliceStore) -> Beginning:
        """Begin with a backbone and fresh heads; or where the folder of a pretraining ended, with its heads.

        Slices are expected as the store has them, in windows of the recipe's largest views, which is how they are
        learnt from now; values stay normalised as the backbone knows them. A store with the scans' own spacings
        states none: spacing and window stay the backbone's then.

        Raises:
            ModelError: If there is no such model, its weights are refused, or it is no backbone.
        """
        weights = open_weights(find_weights_of(start))
        spec = weights.spec
        if not isinstance(spec.architecture, VitArchitecture):
            raise CheckpointError(
                expected=f"a backbone, a vision transformer, at {start}",
                got=f"{spec.name}, a {spec.architecture.kind} network",
                do="name another: `vesalius models list`",
            )
        states_one = store.settings.get("spacing_mm") is not None
        spec = _as_stored(spec, recipe, store, store.spacing_mm() if states_one else None)
        source = f"{spec.name}, {identity_of(weights)}"
        checkpoint = Path(start) / CHECKPOINT
        if not checkpoint.is_file():
            return cls(spec=spec, backbone=weights.read(), source=source)
        state = read_checkpoint(checkpoint)
        return cls(spec=spec, student=state["network"], teacher=state["average"], source=source)

    def pupil(self, recipe: PretrainingRecipe) -> Pupil:
        """Return the student; what no weights were given for is random, by the recipe's seed.

        Raises:
            CheckpointError: If weights of another network were given.
        """
        assert isinstance(self.spec.architecture, VitArchitecture)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.loop.seed)
            pupil = Pupil(self.spec.architecture, class_head=recipe.class_head, patch_head=recipe.patch_head)
        pupil.vary(drop_path=recipe.drop_path, rescale=recipe.rescale)
        if self.backbone is not None:
            pupil.backbone.load_state_dict(self.backbone)
        elif self.student is not None:
            _fill(pupil, self.student)
        return pupil


@dataclass(frozen=True, kw_only=True)
class PretrainingCourse:
    """What is learnt, from what, and where it begins."""

    recipe: PretrainingRecipe
    beginning: Beginning
    store: SliceStore
    gram: str | Path | None = None
    """The earlier backbone that patches are held to, if the recipe does so."""

    def config(self) -> dict[str, Any]:
        """Return all that decides the result, as plain data: the hash of the store's manifest included."""
        return {
            "recipe": asdict(self.recipe),
            "model": self.beginning.source,
            "architecture": asdict(self.beginning.spec.architecture),
            "gram": None if self.gram is None else open_weights(find_weights_of(self.gram)).report.sha256,
            "data": {"slices": len(self.store), "manifest": sha256_of(self.store.folder / MANIFEST)},
        }

    def split(self) -> Split:
        """Keep one scan in twenty from being learnt from, at least one, if the recipe validates."""
        count = len(self.store.cases)
        held_out = set(range(0, count, _ONE_IN)) if self.recipe.loop.validate_every and count > 1 else set[int]()
        by_part: dict[bool, list[int]] = {True: [], False: []}
        for number in range(count):
            by_part[number in held_out] += self.store.indices_of(number)
        return Split(learnt=by_part[False], held_out=by_part[True])

    def task(self, device: str) -> PretrainingTask:
        """Return what is asked of slices.

        Raises:
            ModelError: If there is no earlier backbone of that name, or it does not fit.
            UsageError: If there is nothing to learn from.
        """
        spec = self.beginning.spec
        gram_teacher = None if self.gram is None else _gram_teacher(self.gram, spec, device)
        return PretrainingTask(self.store, self.split(), spec, recipe=self.recipe, gram_teacher=gram_teacher)

    def learner(self, device: str) -> Learner[Pupil]:
        """Return student and teacher before the first step.

        Raises:
            CheckpointError: If weights of another network were given.
        """
        architecture = self.beginning.spec.architecture
        assert isinstance(architecture, VitArchitecture)
        pupil = self.beginning.pupil(self.recipe).to(device)
        learner = Learner(pupil, optimisation_of(self.recipe, architecture))
        if self.beginning.teacher is not None:
            _fill(learner.average, self.beginning.teacher)
        return learner


def carry_out(
    course: PretrainingCourse,
    folder: Path,
    *,
    device: str = "cpu",
    workers: int = 1,
    team: Team = ALONE,
    tensorboard: bool = False,
    keep_every: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Pretrain or go on, and write the backbone, the teacher's, into the run folder with every checkpoint.

    Args:
        course: What to do.
        folder: The run folder, new or of this very course.
        device: Where the networks are.
        workers: Threads (``engine.loop.train``).
        team: The processes that train together.
        tensorboard: Also write events.
        keep_every: Also keep the backbone of every so many steps, in ``at-STEP`` of the run folder.
        clock: Seconds, by which minutes are counted.

    Raises:
        FileFormatError: If slices are not those that were curated; before anything is learnt.
        VesaliusError: Whatever reading, training and writing may raise.
    """
    if team.is_first:
        _check(course.store)
    task, learner = course.task(device), course.learner(device)
    export = Export(write=lambda place, name: _write(course, learner, place, name), keep_every=keep_every)
    with opened(folder, course.config(), team=team, tensorboard=tensorboard) as run:
        train(task, learner, run, course.recipe.loop, workers=workers, clock=clock, team=team, export=export)


def _check(store: SliceStore) -> None:
    """Compare the store with its manifest: slices put in after curation were compared with no evaluation case.

    What was found sound is noted beside the manifest with sizes and times of change, also if the check ends early,
    and not read again while they stay: three million slices are 1.5 TB, and other processes wait.
    """
    began, note, state = time.monotonic(), store.folder / CHECKED, store.state()
    try:
        known = json.loads(note.read_text("utf-8"))
    except (OSError, ValueError):
        known = {}
    same = {key: facts for key, facts in state.items() if isinstance(known, dict) and known.get(key) == facts}
    sound = dict(same)
    try:
        for key in store.check(but=same):
            sound[key] = state[key]
        read, took_s = len(sound) - len(same), time.monotonic() - began
        _logger.info("%d scans of the store are as curated, %d of them read now (%.0f s)", len(sound), read, took_s)
    finally:
        if len(sound) > len(same):
            _note(note, sound)


def _note(path: Path, sound: Mapping[str, object]) -> None:
    try:
        with replacing(path) as part:
            part.write_text(json.dumps(sound), "utf-8")
    except (DiskError, OSError) as error:  # a store that may only be read is looked at again next time
        _logger.info("not noted: %s", error)


def _write(course: PretrainingCourse, learner: Learner[Pupil], folder: Path, name: str) -> None:
    """Write the teacher's backbone, in one file that ``load_encoder`` reads, with a spec that claims nothing."""
    beginning = course.beginning
    spec = replace(
        beginning.spec,
        name=name,
        version="1",
        provenance=f"pretrained with Vesalius for {learner.step} steps on {len(course.store)} slices of "
        f"{len(course.store.cases)} scans, from {beginning.source}",
    )
    write_model(folder, learner.average.backbone.state_dict(), spec)


def _as_stored(
    spec: ModelSpec, recipe: PretrainingRecipe, store: SliceStore, spacing_mm: tuple[float, float] | None
) -> ModelSpec:
    """Return a spec that expects plane and spacing of a store, in windows as learnt; of no spacing, its own.

    A window is kept with its spacing or not at all: 896 pixels of 0.45 mm are 0.4 m, of 1.5 mm more than a body.
    """
    spec = replace(spec, orientation=ORIENTATION[store.plane])
    if spacing_mm is None:
        return spec
    assert isinstance(spec.architecture, VitArchitecture)
    window_size = window_size_of(recipe, spec.architecture)
    return replace(spec, spacing_mm=(*spacing_mm, 0.0), window_size=window_size)


def _gram_teacher(source: str | Path, spec: ModelSpec, device: str) -> Vit:
    loaded = load_encoder(source, device=device)
    wanted, seen = _values_seen(spec), _values_seen(loaded.spec)
    if wanted != seen:
        raise UsageError(
            expected=f"an earlier backbone that sees values as this one does: {wanted}",
            got=f"{loaded.spec.name}: {seen}",
            do="take one of the same window and normalisation, such as an earlier state of this pretraining",
        )
    if loaded.spec.architecture.size_multiple != spec.architecture.size_multiple:
        raise UsageError(
            expected=f"an earlier backbone with patches of {spec.architecture.size_multiple} pixels",
            got=f"{loaded.spec.name}, with patches of {loaded.spec.architecture.size_multiple}",
            do="take one of the same patch size, such as an earlier state of this pretraining",
        )
    return loaded.network


def _values_seen(spec: ModelSpec) -> str:
    """Say what a backbone sees of Hounsfield units: both are shown the same views."""
    low, high = spec.window_hu
    mean, deviation = spec.mean_std_hu
    fixed = f", less {mean:g}, by {deviation:g}" if spec.normalisation == "fixed" else ""
    return f"{low:g} to {high:g} HU, {spec.normalisation}{fixed}"


def _fill(pupil: Pupil, state: State) -> None:
    try:
        pupil.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            expected="student and teacher with heads of the recipe's sizes",
            got=str(error).splitlines()[1 if "\n" in str(error) else 0].strip(),
            do="use the preset of the pretraining that it goes on from, or start from its model.safetensors alone",
        ) from None
