"""The task of slices: a step depends on its seed alone, and enough steps learn two structures by heart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from training.small_slices import SPEC, VIT, case, recipe
from vesalius.engine.learner import Learner
from vesalius.engine.loop import train
from vesalius.engine.run import RunFolder
from vesalius.engine.settings import LoopSettings
from vesalius.engine.task import Task
from vesalius.errors import UsageError
from vesalius.models.build import build
from vesalius.models.meddinov3 import MedDino
from vesalius.precision import best_precision
from vesalius.spec import MedDinoArchitecture
from vesalius.training.meddinov3_task import MedDinoTask
from vesalius.training.slice_recipes import SliceRecipe, slice_optimisation


def network(seed: int = 0) -> MedDino:
    torch.manual_seed(seed)
    assert isinstance(SPEC.architecture, MedDinoArchitecture)
    return build(SPEC.architecture)


def test_a_sample_and_what_is_said_of_it_depend_on_the_seed_alone() -> None:
    task = MedDinoTask([case(0), case(1)], SPEC, recipe=recipe(batch=3, recall=0.4))
    assert isinstance(task, Task)
    dropping = network()
    dropping.encoder.drop_paths(0.5)
    first, again, other = (task.draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.images, again.images)
    assert (first.seed, first.images.shape) == (again.seed, (3, 1, 16, 16))
    assert not torch.equal(first.images, other.images)
    one, two = (task.outcome(dropping, sample).terms for sample in (first, again))
    assert one.keys() == task.weights(0.5).keys() == {"dice", "cross_entropy", "recall"}
    assert task.weights(0.5)["recall"] == pytest.approx(0.2), "it falls with the rate"
    plain = MedDinoTask([case(0)], SPEC, recipe=recipe())
    assert plain.weights(1.0) == {"dice": 1.0, "cross_entropy": 1.0}, "nnU-Net's"
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert all(float(term.detach()) >= 0 for term in one.values())
    reseeded = type(first)(first.images, first.labels, first.looked_for, first.seed + 1)
    assert not torch.equal(task.outcome(dropping, reseeded).terms["dice"], one["dice"]), "branches are skipped"


def test_enough_steps_learn_two_kidneys_by_heart(tmp_path: Path) -> None:
    chosen = recipe(batch=4, loop=LoopSettings(steps=160, precision=best_precision("cpu"), log_every=100))
    task = MedDinoTask([case(0)], SPEC, recipe=chosen)
    learner = Learner(network(), slice_optimisation(chosen, VIT))
    train(task, learner, RunFolder(tmp_path, writes=False), chosen.loop)
    samples = [task.draw(np.random.default_rng((9, number))) for number in range(5)]
    learnt, fresh = (
        np.mean([float(task.outcome(one, sample).terms["dice"].detach()) for sample in samples])
        for one in (learner.average, network())
    )
    assert fresh > 0.8
    assert learnt < 0.65


@pytest.mark.parametrize(
    "wrong", [{"mirror": (0.0, 1.5)}, {"layer_decay": 0.0}, {"batch": 0}, {"spacing_mm": -1.0}, {"slices": 2}]
)
def test_recipes_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        recipe(**wrong)
    assert isinstance(recipe(), SliceRecipe)
