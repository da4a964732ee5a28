"""Beginning: what a new network keeps of the spec of the model that it begins with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.small_case import recipe
from training.small_list import SPEC, write_list
from training.small_slices import write_backbone
from vesalius.checkpoints.safetensors import write_model
from vesalius.data.datalists.read import read_list
from vesalius.engine.settings import LoopSettings
from vesalius.models.build import build
from vesalius.training.beginning import Beginning
from vesalius.training.recipes import STAGE_1, STAGE_3, VistaRecipe, in_multiples

LOOP = LoopSettings(steps=1)
BY_NAMES, BY_CLICKS = (
    recipe(loop=LOOP, drop_label=0.0, drop_point=1.0),
    recipe(loop=LOOP, drop_label=1.0, drop_point=0.0),
)


@pytest.mark.parametrize(
    ("chosen", "has_clicks", "at_random", "kept"),
    [
        (BY_CLICKS, True, False, True),
        (BY_NAMES, True, False, True),
        (BY_CLICKS, False, False, False),
        (BY_CLICKS, True, True, False),
    ],
    ids=["trained on", "left alone", "new branch", "at random"],
)
def test_reach_and_pull_of_clicks_are_kept_with_the_weights_they_were_measured_with(
    tmp_path: Path, chosen: VistaRecipe, has_clicks: bool, at_random: bool, kept: bool
) -> None:
    architecture = replace(SPEC.vista, point_branch=has_clicks)
    spec = replace(SPEC, architecture=architecture, click_reach_mm=15.0, click_pull=8.0)
    write_model(tmp_path, build(architecture).state_dict(), spec)
    begun = Beginning.of(tmp_path, chosen, at_random=at_random).spec
    assert (begun.click_reach_mm, begun.click_pull) == ((15.0, 8.0) if kept else (None, None))


def test_the_stages_of_clicks_and_then_of_names_follow_one_another_on_a_backbone(tmp_path: Path) -> None:
    clicks, names = (in_multiples(replace(one, window_size=(16, 16, 16)), 4) for one in (STAGE_1, STAGE_3))
    lists = [read_list(write_list(tmp_path / "data"))]
    first = Beginning.of(write_backbone(tmp_path / "backbone"), clicks, lists=lists)
    learnt = first.network(seed=0).state_dict()
    assert not any(name.startswith(("automatic_decoder.", "class_head.")) for name in learnt)
    write_model(tmp_path / "run", learnt, first.spec)
    third = Beginning.of(tmp_path / "run", names, lists=lists)
    assert (third.spec.vista.class_branch, third.spec.vista.point_branch) == (True, True)
    begun = third.network(seed=0).state_dict()
    assert all(torch.equal(begun[name], tensor) for name, tensor in learnt.items())
    assert any(name.startswith("class_head.") for name in begun)
