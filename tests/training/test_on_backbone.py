"""Heads on a backbone: its encoder sees of an image what the backbone saw, with the weights it had."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.line_task import same
from training.small_case import recipe
from training.small_list import write_list
from training.small_slices import BACKBONE as SPEC
from vesalius.data.datalists.read import read_list
from vesalius.data.datalists.record import DataList
from vesalius.errors import CheckpointError, UsageError
from vesalius.models.build import build
from vesalius.models.prompted_vit import PromptedVit
from vesalius.spec import ModelSpec
from vesalius.training.networks import BACKBONE, network_on_backbone
from vesalius.training.on_backbone import on_backbone
from vesalius.training.recipes import STAGE_1, STAGE_3, VistaRecipe
from vesalius.transforms.intensity import normalise_hu_, scale_hu_

RECIPE = replace(recipe(), window_size=(18, 20, 12))
FIXED = replace(SPEC, normalisation="fixed", mean_std_hu=(40.0, 130.0))


@pytest.fixture
def listed(tmp_path: Path) -> DataList:
    path = write_list(tmp_path)
    names = {"label_mapping": {"1": "liver", "2": "spleen", "3": None}, "modality": "MR"}
    path.write_text(json.dumps({**json.loads(path.read_text()), **names}))
    return read_list(path)


@pytest.mark.parametrize("backbone", [SPEC, FIXED], ids=["window", "fixed"])
def test_the_encoder_sees_what_the_backbone_saw(backbone: ModelSpec, listed: DataList) -> None:
    spec = on_backbone(backbone, [listed], RECIPE)
    assert spec.architecture.kind == "prompted_vit"
    scan_hu = torch.linspace(-400, 500, 64).view(4, 4, 4)
    mean, deviation = spec.architecture.mean_std
    seen = (scale_hu_(scan_hu.clone(), spec.window_hu) - mean) / deviation
    torch.testing.assert_close(seen, normalise_hu_(scan_hu.clone(), backbone))


def test_windows_are_whole_patches_of_cubes_and_names_are_the_lists(listed: DataList) -> None:
    spec = on_backbone(SPEC, [listed], RECIPE)
    assert (spec.window_size, spec.spacing_mm) == ((16, 20, 12), (4.0, 4.0, 4.0))
    assert (spec.names, spec.everything) == ({1: "liver", 2: "spleen"}, (1, 2))


def test_numbers_of_mr_are_seen_by_percentiles_and_those_of_ct_through_the_window(listed: DataList) -> None:
    assert listed.modality == "MR"
    spec = on_backbone(SPEC, [listed], RECIPE)
    assert (spec.modality, spec.normalisation) == ("MR", "percentiles")
    spec = on_backbone(SPEC, [replace(listed, modality="CT")], RECIPE)
    assert (spec.modality, spec.normalisation) == ("CT", "window")


@pytest.mark.parametrize(("recipe", "branches"), [(STAGE_1, (False, True)), (STAGE_3, (True, False))])
def test_what_no_recipe_teaches_has_no_branch(
    recipe: VistaRecipe, branches: tuple[bool, bool], listed: DataList
) -> None:
    architecture = on_backbone(SPEC, [listed], recipe).vista
    assert (architecture.class_branch, architecture.point_branch) == branches


def test_a_backbone_that_is_shown_each_slice_by_its_own_numbers_is_refused(listed: DataList) -> None:
    with pytest.raises(UsageError, match="meddinov3"):
        on_backbone(replace(SPEC, normalisation="slice"), [listed], RECIPE)


def test_the_encoder_is_the_backbone_and_heads_follow_from_the_seed(listed: DataList) -> None:
    spec = on_backbone(SPEC, [listed], RECIPE)
    torch.manual_seed(3)
    backbone = build(SPEC.architecture)
    state = {BACKBONE + name: tensor for name, tensor in backbone.state_dict().items()}
    one, again, other = (network_on_backbone(spec, state, seed=seed) for seed in (0, 0, 1))
    assert isinstance(one, PromptedVit)
    assert same(dict(one.encoder.encoder.state_dict()), dict(backbone.state_dict()))
    assert same(dict(one.state_dict()), dict(again.state_dict()))
    assert not same(dict(one.state_dict()), dict(other.state_dict()))
    with pytest.raises(CheckpointError, match="1 tensors"):
        network_on_backbone(spec, dict(list(state.items())[1:]), seed=0)
