"""A course of slices: a recipe carried out, from a backbone and a list of cases to a model that labels slices."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vesalius.checkpoints.identity import identity_of
from vesalius.checkpoints.load import find_weights_of
from vesalius.checkpoints.safetensors import write_model
from vesalius.checkpoints.weights import open_weights
from vesalius.data.cache import Cache
from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.data.prepare import prepare_list
from vesalius.engine.learner import Learner
from vesalius.engine.loop import train
from vesalius.engine.run import RunFolder, opened
from vesalius.engine.settings import Optimisation
from vesalius.engine.task import Task
from vesalius.engine.team import ALONE, Team
from vesalius.errors import CheckpointError, UsageError
from vesalius.models.build import build
from vesalius.models.meddinov3 import MedDino
from vesalius.spec import MedDinoArchitecture, ModelSpec, VitArchitecture
from vesalius.training.course_data import data_facts, judging_cases, mirrored_ids, require_modality, spec_of
from vesalius.training.meddinov3_task import MedDinoTask, SliceSample
from vesalius.training.slice_recipes import TOY_SPEC, SliceRecipe, quarters, slice_optimisation
from vesalius.training.validation import Judged, WholeScans
from vesalius.transforms.nnunet import require_library

_ENCODER = "encoder."


@dataclass(frozen=True, kw_only=True)
class SliceBeginning:
    """What a network is before the training.

    Args:
        spec: What it expects and names.
        state: The backbone's weights, or those of a whole network of these classes; None begins at random.
        source: Which model that was: its name and the hash of its weights.
    """

    spec: ModelSpec
    state: Mapping[str, Tensor] | None
    source: str

    @classmethod
    def of(
        cls, model: str | Path | None, recipe: SliceRecipe, listed: DataList, *, at_random: bool = False
    ) -> SliceBeginning:
        """Take the backbone of a model, and put a decoder for a list's structures on it.

        Args:
            model: A backbone, or a model that labels slices: then its backbone. None, at random: the toy one.
            recipe: Says taps, decoder and adapters.
            listed: Says what the structures are called.
            at_random: Take sizes and what it expects of an image, but no weights.

        Raises:
            ModelError: If there is no such model, or its weights are refused.
            UsageError: If no model is named to take weights from, the list does not name its structures, or it is
                of another modality than the backbone, which has no window for its numbers.
        """
        if model is None and not at_random:
            raise UsageError(
                expected="a backbone to begin with",
                got="no --model",
                do="name one (`vesalius models list`), or add --at-random",
            )
        weights = None if at_random or model is None else open_weights(find_weights_of(model))
        found = weights.spec if weights else TOY_SPEC if model is None else spec_of(model)
        spec = _slice_spec(found, recipe, listed)
        if weights is None:
            return cls(spec=spec, state=None, source=f"the architecture of {found.name}, at random")
        state = weights.read()
        if isinstance(found.architecture, MedDinoArchitecture):
            names = (name for name in state if name.startswith(_ENCODER))
            state = {name.removeprefix(_ENCODER): state[name] for name in names}
        return cls(spec=spec, state=state, source=f"{found.name}, {identity_of(weights)}")

    def network(self, recipe: SliceRecipe, *, seed: int) -> MedDino:
        """Return the network; what no weights were given for is random, from the seed.

        Raises:
            CheckpointError: If the weights are of another backbone.
        """
        assert isinstance(self.spec.architecture, MedDinoArchitecture)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build(self.spec.architecture)
        network.encoder.drop_paths(recipe.drop_path)
        if self.state is not None:
            own = network.encoder.state_dict()
            strange = sorted(self.state.keys() - own.keys())
            absent = [name for name in own.keys() - self.state.keys() if not _is_adapter(name)]
            if strange or absent:
                raise CheckpointError(
                    expected="a backbone's weights",
                    got=f"{len(absent)} tensors absent and {len(strange)} strange: {(absent + strange)[:4]}",
                    do="begin with a backbone without adapters",
                )
            network.encoder.load_state_dict({**own, **self.state})
        return network


@dataclass(frozen=True, kw_only=True)
class SliceCourse:
    """What is learnt, from what, and where it begins.

    Raises:
        MissingExtraError: If the recipe asks for nnU-Net's augmentation and its library is not installed.
    """

    recipe: SliceRecipe
    beginning: SliceBeginning
    listed: DataList

    def __post_init__(self) -> None:
        if self.recipe.augmentation == "nnunet":  # said before cases are prepared
            require_library()

    def config(self, cache: Cache) -> dict[str, Any]:
        """Return all that decides the result, as plain data; ``cache`` knows the hashes of the files."""
        learnt, judged = self.learnt.split("training"), self.validation_cases()
        recipe = asdict(self.recipe)
        if self.recipe.slices == 1:
            del recipe["slice_spacing_mm"]  # of no use then, and runs from before there was one go on
        library = {"batchgeneratorsv2": version("batchgeneratorsv2")} if recipe["augmentation"] == "nnunet" else {}
        return {
            "recipe": recipe,
            **library,
            "model": self.beginning.source,
            "data": data_facts(
                self.listed, self.beginning.spec, cache, learnt=learnt, judged=judged, keeps_plane=True
            ),
        }

    @property
    def learnt(self) -> DataList:
        """The list as slices are learnt from it: without pseudo labels; scans with nothing else are left out."""
        return self.listed.without_pseudo_labels()

    def validation_cases(self) -> tuple[ListedCase, ...]:
        """Return the labelled validation cases, if the recipe validates.

        Raises:
            UsageError: If it does and there are none.
        """
        return judging_cases(self.listed, self.recipe.loop)

    def task(
        self, cache: Cache, *, workers: int = 1, on_case: Callable[[int], None] | None = None
    ) -> Task[MedDino, SliceSample]:
        """Return what is learnt, its cases prepared or found prepared; one that validates, if the recipe does."""
        spec, recipe, held_out = self.beginning.spec, self.recipe, self.validation_cases()
        cases = prepare_list(self.learnt, spec, cache, keeps_plane=True, workers=workers, on_case=on_case)
        task = MedDinoTask(cases, spec, recipe=recipe, mirrored=mirrored_ids(spec))
        if not held_out:
            return task
        return Judged(task, self.judge(held_out))

    def judge(self, cases: tuple[ListedCase, ...]) -> WholeScans:
        """Return what judges a network on cases of the list."""
        precision = self.recipe.loop.precision
        return WholeScans(listed=self.listed, cases=cases, spec=self.beginning.spec, precision=precision)

    def learner(self, device: str) -> Learner[MedDino]:
        """Return the network as it begins, on a device, with the recipe's rates.

        Raises:
            CheckpointError: If the weights are of another backbone.
        """
        network = self.beginning.network(self.recipe, seed=self.recipe.loop.seed).to(device)
        return Learner(network, self.optimisation())

    def optimisation(self) -> Optimisation:
        """Return the recipe's rates for the backbone's layers."""
        architecture = self.beginning.spec.architecture
        assert isinstance(architecture, MedDinoArchitecture)
        return slice_optimisation(self.recipe, architecture.encoder)


def carry_out_slices(
    course: SliceCourse,
    folder: Path,
    *,
    cache: Cache,
    device: str = "cpu",
    workers: int = 1,
    team: Team = ALONE,
    tensorboard: bool = False,
    on_case: Callable[[int], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
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
        clock: Seconds; the processor's own make a training independent of what else a machine does.

    Raises:
        VesaliusError: Whatever preparing, training and writing may raise.
    """
    task = course.task(cache, workers=workers, on_case=on_case)
    learner = course.learner(device)
    with opened(folder, course.config(cache), team=team, tensorboard=tensorboard) as run:
        train(task, learner, run, course.recipe.loop, workers=workers, clock=clock, team=team)
        if team.is_first:
            _write(course, learner, run)


def _write(course: SliceCourse, learner: Learner[MedDino], run: RunFolder) -> None:
    """Write the best weights, or else the running average, with a spec that claims nothing about them."""
    best = run.best()
    state = learner.average.state_dict() if best is None else best["network"]
    trained = replace(
        course.beginning.spec,
        name=run.path.resolve().name,
        provenance=f"trained with Vesalius on {course.listed.name}, from {course.beginning.source}",
    )
    write_model(run.path, {name: tensor.to("cpu") for name, tensor in state.items()}, trained)


def _slice_spec(found: ModelSpec, recipe: SliceRecipe, listed: DataList) -> ModelSpec:
    """Return what the network expects and names: as the backbone expects it, as the list names it."""
    architecture = found.architecture
    encoder = architecture.encoder if isinstance(architecture, MedDinoArchitecture) else architecture
    if not isinstance(encoder, VitArchitecture):
        raise CheckpointError(
            expected="a backbone of slices, a vision transformer",
            got=f"{found.name}, a {architecture.kind} network",
            do="name another model: `vesalius models list`",
        )
    by_volumes = "teach volumes, each seen by its own percentiles: `vesalius train stage-3 --model BACKBONE`"
    require_modality([listed], found, do=f"{by_volumes}; or correct the list's `modality`")
    pairs = listed.own_classes()
    height, width = recipe.window_size or found.window_size[:2]
    side = recipe.spacing_mm
    row_mm, column_mm = found.spacing_mm[:2] if side is None else (side, side)
    named = replace(
        found,
        version="1",
        architecture=MedDinoArchitecture(
            encoder=encoder,
            taps=recipe.taps or quarters(encoder.depth),
            decoder=recipe.decoder,
            num_classes=len(pairs) + 1,
            adapters=recipe.adapters,
        ),
        spacing_mm=(row_mm, column_mm, recipe.slice_spacing_mm if recipe.slices > 1 else 0.0),
        window_size=(height, width, recipe.slices),
        vocabulary=pairs,
        everything=tuple(label for label, _ in pairs),
        single_piece=(),
        dice={},
        dice_source="",
        confidence={},
    )
    return replace(named, mirror_axes=_learnt_reflections(named, recipe), mirror_swaps_sides=any(recipe.mirror))


def _learnt_reflections(spec: ModelSpec, recipe: SliceRecipe) -> tuple[int, ...]:
    """Return along which axes slices are mirrored, as ``SliceCutter`` does, and every class keeps a name.

    Of a kidney whose other side has no name, nothing is learnt in slices that are mirrored from left to right.
    """
    has_both_sides = set(mirrored_ids(spec).values()) <= set(spec.names)
    axes = (axis for axis, part in enumerate(recipe.mirror) if part > 0)
    return tuple(axis for axis in axes if has_both_sides or spec.orientation[axis] not in "LR")


def _is_adapter(name: str) -> bool:
    return any(part in name for part in (".increments.", ".sites.", "adapters."))
