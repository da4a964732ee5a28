"""A course of slices: from a backbone and a list to a model that ``segment`` uses; frozen backbones stay frozen."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vesalius
from engine.line_task import same
from training.small_list import GRID, write_list
from training.small_slices import BACKBONE, VIT, recipe, write_backbone
from vesalius.checkpoints.load import load_encoder, load_slice_model
from vesalius.data.cache import Cache
from vesalius.data.datalists.read import read_list
from vesalius.data.prepare import prepare_list
from vesalius.engine.learner import Learner
from vesalius.engine.loop import train
from vesalius.engine.run import RunFolder, opened
from vesalius.engine.settings import LoopSettings
from vesalius.errors import InterruptedRun, MissingExtraError, UsageError
from vesalius.io.formats import read
from vesalius.models.build import build
from vesalius.spec import Depth, Lora, MedDinoArchitecture, VitArchitecture
from vesalius.training import slice_course
from vesalius.training.slice_course import SliceBeginning, SliceCourse, carry_out_slices
from vesalius.training.slice_recipes import (
    MEDDINOV3,
    MEDDINOV3_DEPTH,
    MEDDINOV3_FROZEN,
    MEDDINOV3_NNUNET,
    MEDDINOV3_TOY,
    SliceRecipe,
    quarters,
    slice_optimisation,
)

needs_nnunet = pytest.mark.skipif(
    find_spec("batchgeneratorsv2") is None, reason="vesalius[nnunet] is not installed"
)
LEARNT = recipe(loop=LoopSettings(steps=12, precision="fp32", log_every=4, validate_every=6), batch=4)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a list, a backbone and a cache that its tests share."""
    folder = tmp_path_factory.mktemp("slices")
    write_list(folder / "data")
    write_backbone(folder / "backbone")
    return folder


def course(place: Path, chosen: SliceRecipe) -> SliceCourse:
    listed = read_list(place / "data" / "list.json")
    return SliceCourse(
        recipe=chosen, beginning=SliceBeginning.of(place / "backbone", chosen, listed), listed=listed
    )


def test_the_run_folder_is_a_model_that_learnt_and_that_segments(place: Path, tmp_path: Path) -> None:
    carry_out_slices(course(place, LEARNT), tmp_path / "liver", cache=Cache(place / "cache"))
    model, run = load_slice_model(tmp_path / "liver"), RunFolder(tmp_path / "liver")
    best = run.best()
    assert best is not None
    assert same(dict(model.network.state_dict()), dict(best["network"]))
    assert (model.spec.name, model.spec.vocabulary) == ("liver", ((1, "liver"),))
    assert "from tiny backbone, SHA-256" in model.spec.provenance
    validated = [record for record in run.metrics() if record.get("event") == "validated"]
    assert [record["step"] for record in validated] == [0, 6, 12]
    losses = [record["loss"] for record in run.metrics() if "loss" in record]
    assert losses[-1] < losses[0]
    labels = vesalius.load(tmp_path / "liver")(read(place / "data" / "image-2.nii.gz"), ["liver"])
    assert dict(labels.names) == {1: "liver"}


def stopping_train(task: Any, learner: Any, run: Any, loop: LoopSettings, *, after: int, **how: Any) -> None:
    """Train as told, but be interrupted by SIGINT in some step."""
    draw = task.draw

    def counted(rng: Any) -> Any:
        if learner.step == after - 1:
            signal.raise_signal(signal.SIGINT)
        return draw(rng)

    task.draw = counted
    train(task, learner, run, loop, **how)


@pytest.mark.parametrize("augmentation", ["vesalius", pytest.param("nnunet", marks=needs_nnunet)])
def test_it_begins_with_the_backbone_and_a_resumed_run_ends_alike(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, augmentation: str
) -> None:
    chosen = replace(LEARNT, loop=LoopSettings(steps=4, precision="fp32", log_every=1, save_every_s=0.0))
    if augmentation == "nnunet":
        chosen = replace(chosen, augmentation="nnunet")
    given = load_encoder(place / "backbone").network.state_dict()
    begun = course(place, chosen).beginning.network(chosen, seed=0)
    assert all(torch.equal(begun.encoder.state_dict()[name], tensor) for name, tensor in given.items())
    carry_out_slices(course(place, chosen), tmp_path / "whole", cache=Cache(place / "cache"))
    monkeypatch.setattr(slice_course, "train", partial(stopping_train, after=2))
    with pytest.raises(InterruptedRun):
        carry_out_slices(course(place, chosen), tmp_path / "stopped", cache=Cache(place / "cache"))
    monkeypatch.undo()
    carry_out_slices(course(place, chosen), tmp_path / "stopped", cache=Cache(place / "cache"))
    events = [record for record in RunFolder(tmp_path / "stopped").metrics() if record.get("event") == "resumed"]
    assert [(event["step"], event["steps_again"]) for event in events] == [(2, 0)]
    first, again = (load_slice_model(tmp_path / name).network.state_dict() for name in ("whole", "stopped"))
    assert same(dict(first), dict(again))


@pytest.mark.parametrize("absent", ["helpers.scalar_type", "transforms.intensity.gamma"])
def test_without_all_of_nnunet_s_library_nothing_is_prepared(
    place: Path, monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    monkeypatch.setitem(sys.modules, f"batchgeneratorsv2.{absent}", None)
    with pytest.raises(MissingExtraError, match=r"vesalius\[nnunet\]"):
        course(place, replace(LEARNT, augmentation="nnunet"))
    assert course(place, LEARNT) is not None


@pytest.mark.parametrize(
    "changes",
    [{"adapters": (Lora(rank=2),)}, {"adapters": (Lora(rank=2), Depth(neighbours=3, width=4)), "slices": 3}],
    ids=["lora", "depth"],
)
def test_a_frozen_backbone_keeps_its_weights_and_its_adapters_learn(
    place: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    chosen = recipe(**changes)
    carry_out_slices(course(place, chosen), tmp_path / "run", cache=Cache(place / "cache"))
    learnt = load_slice_model(tmp_path / "run")
    assert learnt.spec.window_size == (16, 16, chosen.slices), "as many slices are segmented together"
    found = learnt.network.encoder.state_dict()
    given = load_encoder(place / "backbone").network.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in given.items())
    raised = [tensor for name, tensor in found.items() if name.endswith(".up")]
    assert raised
    assert all(bool(tensor.any()) for tensor in raised), "what began at zero has learnt"


@pytest.mark.parametrize(("parts", "axes"), [((0.0, 0.0), ()), ((0.0, 0.5), (1,)), ((0.5, 0.5), (0, 1))])
def test_the_spec_says_along_which_axes_it_learnt_from_mirrored_slices(
    parts: tuple[float, float], axes: tuple[int, ...], place: Path
) -> None:
    spec = course(place, recipe(mirror=parts)).beginning.spec
    assert (spec.mirror_axes, spec.mirror_swaps_sides) == (axes, bool(axes))
    one_sided = replace(read_list(place / "data" / "list.json"), meanings={1: "left kidney"})
    alone = SliceBeginning.of(place / "backbone", recipe(mirror=parts), one_sided).spec
    assert alone.mirror_axes == tuple(axis for axis in axes if axis == 0), "columns run from left to right"


def test_of_slices_that_are_looked_at_together_the_distance_is_stated_and_learnt_with(place: Path) -> None:
    deep = recipe(slices=3, adapters=(Depth(width=4, neighbours=3),), slice_spacing_mm=6.0)
    own = GRID.shape[2]
    for chosen, millimetres, count in ((deep, 6.0, round(own * 4 / 6)), (recipe(slice_spacing_mm=6.0), 0.0, own)):
        begun = course(place, chosen)
        assert begun.beginning.spec.spacing_mm == (4.0, 4.0, millimetres)
        cases = prepare_list(begun.learnt, begun.beginning.spec, Cache(place / "cache"), keeps_plane=True)
        assert {case.labels.shape[2] for case in cases} == {count}, f"of {own} slices, 4 mm apart"


def test_a_case_is_kept_once_with_its_own_pixels_whatever_the_spacing(place: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    drawn = []
    for spacing_mm in (4.0, 2.0, 6.0):
        task = course(place, recipe(spacing_mm=spacing_mm)).task(cache)
        drawn.append(task.draw(np.random.default_rng(0)).images)
        kept = [json.loads(path.read_text())["shape"] for path in cache.folder.glob("*/case.json")]
        assert len(kept) == 2, "as many as there are scans"
        assert {tuple(shape[:2]) for shape in kept} <= {(GRID.shape[1], GRID.shape[0])}
    assert len({float(images.sum()) for images in drawn}) == 3


def test_the_backbone_of_a_model_of_slices_is_taken_without_its_decoder(place: Path, tmp_path: Path) -> None:
    carry_out_slices(course(place, recipe()), tmp_path / "first", cache=Cache(place / "cache"))
    listed = read_list(place / "data" / "list.json")
    begun = SliceBeginning.of(tmp_path / "first", recipe(), listed).network(recipe(), seed=1)
    first = load_slice_model(tmp_path / "first").network
    assert same(dict(begun.encoder.state_dict()), dict(first.encoder.state_dict()))
    assert not same(dict(begun.decoder.state_dict()), dict(first.decoder.state_dict()))


def test_at_random_no_weights_are_needed_and_without_a_model_they_are(place: Path) -> None:
    listed = read_list(place / "data" / "list.json")
    begun = SliceBeginning.of("meddinov3", replace(MEDDINOV3, spacing_mm=1.0), listed, at_random=True)
    assert begun.state is None
    assert begun.spec.spacing_mm == (1.0, 1.0, 0.0)
    assert isinstance(begun.spec.architecture, MedDinoArchitecture)
    assert begun.spec.architecture.taps == (2, 5, 8, 11)
    toy = SliceBeginning.of(None, MEDDINOV3_TOY, listed, at_random=True)
    assert same(
        dict(toy.network(MEDDINOV3_TOY, seed=1).state_dict()), dict(toy.network(MEDDINOV3_TOY, seed=1).state_dict())
    )
    with pytest.raises(UsageError, match="--at-random"):
        SliceBeginning.of(None, MEDDINOV3_TOY, listed)


def test_a_backbone_of_hounsfield_units_is_not_taught_slices_of_mr(place: Path) -> None:
    listed = replace(read_list(place / "data" / "list.json"), modality="MR")
    with pytest.raises(UsageError, match=r"lists of CT, which tiny backbone sees(?s:.)*got: *MR in(?s:.)*stage-3"):
        SliceBeginning.of(place / "backbone", recipe(), listed)


def test_the_distance_of_slices_decides_a_run_only_where_several_are_seen(place: Path) -> None:
    cache = Cache(place / "cache")
    flat = course(place, recipe()).config(cache)
    assert "slice_spacing_mm" not in flat["recipe"], "runs from before there was one go on"
    assert course(place, recipe(slice_spacing_mm=6.0)).config(cache) == flat
    deep = recipe(slices=3, adapters=(Depth(width=4, neighbours=3),), slice_spacing_mm=6.0)
    assert course(place, deep).config(cache)["recipe"]["slice_spacing_mm"] == 6.0


@needs_nnunet
def test_a_run_with_nnunet_s_augmentation_goes_on_with_the_same_library_alone(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, own, theirs = (
        Cache(place / "cache"),
        course(place, recipe()),
        course(place, recipe(augmentation="nnunet")),
    )
    before = own.config(cache)
    with opened(tmp_path / "run", theirs.config(cache)):
        pass
    monkeypatch.setattr(slice_course, "version", lambda name: f"{name} of tomorrow")
    assert own.config(cache) == before, "ours does not ask which it is"
    with (
        pytest.raises(UsageError, match=r"batchgeneratorsv2 \S+ -> batchgeneratorsv2 of tomorrow"),
        opened(tmp_path / "run", theirs.config(cache)),
    ):
        pass


def test_a_scan_with_only_a_model_s_answer_is_left_out_as_one_without_labels_is(tmp_path: Path) -> None:
    path = write_list(tmp_path / "data")
    content = json.loads(path.read_text())
    content["training"][0]["pseudo_label"] = content["training"][0].pop("label")
    content["training"][1]["pseudo_label"] = "label-0.nii.gz"
    path.write_text(json.dumps(content))
    write_backbone(tmp_path / "backbone")
    chosen = recipe()
    learnt, prepared = course(tmp_path, chosen), []
    cache = Cache(tmp_path / "cache")
    learnt.task(cache, on_case=prepared.append)
    assert prepared == [1], "one case of two"
    facts = learnt.config(cache)["data"]["training"]
    without = [dict(entry) for entry in content["training"]]
    for entry in without:
        del entry["pseudo_label"]
    path.write_text(json.dumps({**content, "training": without}))
    assert course(tmp_path, chosen).config(cache)["data"]["training"] == facts


def test_rates_fall_towards_the_input_and_bare_tensors_do_not_decay(place: Path) -> None:
    network = course(place, LEARNT).beginning.network(LEARNT, seed=0)
    settings = slice_optimisation(replace(LEARNT, encoder_rate=0.1, layer_decay=0.5), VIT)
    groups = Learner(network, settings).optimiser.param_groups
    names = [name for name, _ in network.named_parameters()]
    by_name = dict(zip(names, groups, strict=True))
    assert by_name["decoder.fuse.weight"]["factor"] == 1.0
    assert by_name["encoder.blocks.1.mlp.expand.weight"]["factor"] == pytest.approx(0.1 * 0.5)
    assert by_name["encoder.blocks.0.mlp.expand.weight"]["factor"] == pytest.approx(0.1 * 0.25)
    assert by_name["encoder.patch_embedding.projection.weight"]["factor"] == pytest.approx(0.1 * 0.125)
    assert by_name["encoder.class_token"]["factor"] == pytest.approx(0.1 * 0.125)
    bare = {name for name, group in by_name.items() if group["weight_decay"] == 0}
    kept = {name for name, parameter in network.named_parameters() if parameter.ndim > 1 and "token" not in name}
    assert bare == (set(names) - kept) | {"encoder.registers"}


def test_biases_of_queries_do_not_decay_either() -> None:
    biased = replace(VIT, qkv_bias=True, registers=0)
    architecture = MedDinoArchitecture(encoder=biased, taps=(0, 1), num_classes=2)
    network = build(architecture)
    for adapters in ((), (Lora(rank=2),)):
        settings = slice_optimisation(replace(LEARNT, adapters=adapters), biased)
        groups = Learner(network, settings).optimiser.param_groups
        by_name = dict(zip([name for name, _ in network.named_parameters()], groups, strict=True))
        assert by_name["encoder.blocks.0.attention.query_bias"]["weight_decay"] == 0
        assert by_name["encoder.blocks.0.attention.qkv.weight"]["weight_decay"] > 0


def test_the_recipes_fit_the_backbones_they_are_for() -> None:
    assert quarters(12) == (2, 5, 8, 11)
    assert quarters(4) == (0, 1, 2, 3)
    assert quarters(2) == (0, 1)
    for chosen in (MEDDINOV3, MEDDINOV3_NNUNET, MEDDINOV3_FROZEN, MEDDINOV3_DEPTH, MEDDINOV3_TOY):
        for architecture in (VIT, VitArchitecture()):
            assert slice_optimisation(chosen, architecture).learning_rate > 0
    assert BACKBONE.architecture == VIT


def test_the_recipe_along_depth_looks_at_five_slices_and_keeps_some_of_those_cut_together() -> None:
    (depth,) = (plan for plan in MEDDINOV3_DEPTH.adapters if isinstance(plan, Depth))
    assert depth.neighbours == 5
    assert MEDDINOV3_DEPTH.slices > 2 * (depth.neighbours // 2)
