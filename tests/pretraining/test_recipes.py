"""Recipes: stages differ in what they say they differ in, rates are the published ones, presets fit their parts."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

from pretraining.small_store import HEAD, TINY, pupil, recipe
from vesalius.cli.pretrain import add_arguments
from vesalius.engine.learner import Learner
from vesalius.errors import UsageError
from vesalius.pretraining import recipes
from vesalius.pretraining.recipes import (
    PRESETS,
    RECIPES,
    STAGE_1,
    STAGE_2,
    STAGE_3,
    Preset,
    for_preset,
    optimisation_of,
    spec_of,
)
from vesalius.pretraining.settings import Koleo, TeacherSettings
from vesalius.pretraining.student_teacher import Pupil
from vesalius.spec import VIT_BASE

DOCS = Path(__file__).parents[2] / "docs"


def test_recipes_are_read_without_torch() -> None:
    script = "import sys, vesalius.pretraining.recipes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_rates_fall_layer_by_layer_as_published() -> None:
    depth = VIT_BASE.depth
    parts = optimisation_of(STAGE_1, VIT_BASE).parts

    def rate(name: str) -> float:
        factor = 1.0
        for part in parts:
            factor *= part.rate if fnmatchcase(name, part.names) else 1.0
        return factor

    assert rate("backbone.blocks.11.mlp.expand.weight") == pytest.approx(0.9)
    assert rate("backbone.blocks.1.mlp.expand.weight") == pytest.approx(0.9 ** (depth - 1))
    assert rate("backbone.blocks.0.mlp.expand.weight") == pytest.approx(0.9**depth)
    assert rate("backbone.class_token") == pytest.approx(0.9 ** (depth + 1))
    assert rate("backbone.patch_embedding.projection.weight") == pytest.approx(0.2 * 0.9 ** (depth + 1))
    assert rate("backbone.norm.weight") == rate("class_head.prototypes.weight") == 1.0


def test_the_rate_is_that_of_1024_slices_by_the_root_of_the_batch() -> None:
    assert STAGE_1.slices_a_step == 512
    assert optimisation_of(STAGE_1, VIT_BASE).learning_rate == pytest.approx(5.66e-4, rel=1e-3)


def test_what_has_no_weight_decay_and_what_is_clipped_apart() -> None:
    learner = Learner(pupil(), optimisation_of(recipe(), TINY))
    named = dict(
        zip([name for name, _ in learner.network.named_parameters()], learner.optimiser.param_groups, strict=True)
    )
    bare = {name for name, group in named.items() if group["weight_decay"] == 0}
    assert {name for name in named if name.endswith("weight") and "norm" not in name} == set(named) - bare
    assert "backbone.blocks.0.norm1.weight" in bare
    assert "backbone.blocks.1.scale2.gamma" in bare
    assert len(learner._clipped) == 3


def test_a_backbone_with_other_tensors_has_them_among_its_parts() -> None:
    biased = replace(TINY, qkv_bias=True, registers=0)
    student = Pupil(biased, class_head=HEAD, patch_head=HEAD)
    learner = Learner(student, optimisation_of(recipe(), biased))
    names = [name for name, _ in student.named_parameters()]
    decays = {
        name: group["weight_decay"] for name, group in zip(names, learner.optimiser.param_groups, strict=True)
    }
    assert decays["backbone.blocks.0.attention.query_bias"] == 0.0
    assert decays["backbone.blocks.0.attention.qkv.weight"] > 0.0


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_every_preset(name: str, preset: Preset) -> None:
    chosen = for_preset(RECIPES[name], preset)
    spec = spec_of(chosen, "x")
    assert spec.architecture == chosen.architecture
    assert spec.window_size[0] >= max(one.global_size for one in chosen.resolutions)
    assert optimisation_of(chosen, chosen.architecture).size == 1.0
    assert (chosen.gram is None) == (name == "stage-1")


def test_stages_two_and_three_are_stage_one_and_their_differences() -> None:
    assert replace(STAGE_2, gram=None).masking == STAGE_1.masking
    assert STAGE_2.optimisation.learning_rate == pytest.approx(STAGE_1.optimisation.learning_rate / 3)
    assert STAGE_3.optimisation.learning_rate == pytest.approx(STAGE_1.optimisation.learning_rate / 10)
    shares = [one.share for one in STAGE_3.resolutions]
    assert sum(shares) == pytest.approx(1.0)
    assert {one.global_size for one in STAGE_3.resolutions} == {384, 512}
    assert STAGE_3.gram is not None
    assert STAGE_3.gram.weight == 1.5


def test_a_teachers_temperature_rises_evenly_and_then_stays() -> None:
    teacher = TeacherSettings(temperature=(0.04, 0.07), warm_up=0.5)
    assert [teacher.temperature_at(part) for part in (0.0, 0.25, 0.5, 1.0)] == pytest.approx(
        [0.04, 0.055, 0.07, 0.07]
    )
    assert TeacherSettings(warm_up=0.0).temperature_at(0.0) == 0.07


@pytest.mark.parametrize(
    "told_by", [Path(recipes.__file__), DOCS / "how-to" / "pretrain.md"], ids=lambda path: path.name
)
def test_the_commands_for_several_cards_are_understood_by_torchrun(told_by: Path) -> None:
    lines = re.findall(r"torchrun (--.*?)(?:``|\n```)", told_by.read_text("utf-8"), flags=re.DOTALL)
    assert lines
    for line in lines:
        typed = get_args_parser().parse_args(line.split())
        assert (typed.training_script, typed.nproc_per_node) == ("vesalius", "8")
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        assert parser.parse_args(typed.training_script_args[1:]).recipe == "stage-1"


@pytest.mark.parametrize(
    "fields",
    [
        {"batch": 1},
        {"batch": 4, "koleo": Koleo(group=5)},
        {"resolutions": ()},
        {"drop_path": 1.0},
        {"rescale": 0.5},
        {"layer_decay": 0.0},
    ],
)
def test_recipes_that_make_no_sense_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        recipe(**fields)
