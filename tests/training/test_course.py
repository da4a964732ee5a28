"""A course: from a list and a model to a run folder that is a model, the same whether or not it was stopped."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.line_task import same
from training.small_case import recipe
from training.small_list import GRID, SPEC, write_list, write_tiny
from training.small_slices import write_backbone
from vesalius.checkpoints.content import file_sha256
from vesalius.checkpoints.load import load_model, load_segmentation_model
from vesalius.data.cache import Cache
from vesalius.data.datalists.read import read_list
from vesalius.engine.run import RunFolder, opened
from vesalius.engine.settings import LoopSettings, Part
from vesalius.errors import NoHeadError, UnknownModelError, UsageError
from vesalius.geometry.volume import LabelMap
from vesalius.io.formats import write
from vesalius.models.prompted_vit import PromptedVit
from vesalius.training.beginning import Beginning
from vesalius.training.course import Course, carry_out, refuse_existing, task_of
from vesalius.training.recipes import ClickPrompting, VistaRecipe, frozen, in_multiples
from vesalius.training.validation import Judged
from vesalius.training.vista3d_task import Vista3DTask

BY_CLASSES = recipe(shares={}, loop=LoopSettings(steps=4, precision="fp32", log_every=1, validate_every=2))
SHORT = LoopSettings(steps=1, precision="fp32", log_every=1, validate_every=1)
BY_CLICKS = replace(
    BY_CLASSES, drop_label=1.0, drop_point=0.0, clicking=ClickPrompting(objects=1, clicks=1, rounds=1)
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a list, a tiny model and a cache that its tests share."""
    folder = tmp_path_factory.mktemp("course")
    write_list(folder / "data")
    write_tiny(folder / "tiny")
    return folder


def course(place: Path, chosen: VistaRecipe, **changes: object) -> Course:
    beginning = Beginning.of(place / "tiny", chosen)
    fields = {"recipe": chosen, "beginning": beginning, "listed": read_list(place / "data" / "list.json")}
    return Course(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_run_folder_is_a_model_of_the_best_weights_that_claims_nothing(place: Path, tmp_path: Path) -> None:
    carry_out(course(place, BY_CLASSES), tmp_path / "liver", cache=Cache(place / "cache"))
    model, run = load_model(tmp_path / "liver"), RunFolder(tmp_path / "liver")
    best = run.best()
    assert best is not None
    assert same(dict(model.network.state_dict()), dict(best["network"]))
    assert (model.spec.name, model.spec.dice, model.spec.dice_source) == ("liver", {}, "")
    assert "from tiny, SHA-256" in model.spec.provenance
    validated = [record for record in run.metrics() if record.get("event") == "validated"]
    assert [record["step"] for record in validated] == [0, 2, 4]
    assert all(0 <= record["dice of liver"] <= 1 for record in validated)
    assert len(list((tmp_path / "liver" / "pictures").iterdir())) == 3


def test_a_model_is_written_and_judged_in_the_windows_that_it_learnt_in(place: Path, tmp_path: Path) -> None:
    """Instance norm sees the whole window: in others the network is another."""
    short = LoopSettings(steps=1, precision="fp32", validate_every=1)
    smaller = course(place, replace(BY_CLASSES, window_size=(8, 16, 8), loop=short))
    assert smaller.beginning.spec.window_size == (16, 16, 16)
    assert smaller.judge(*smaller.validation_cases()).spec.window_size == (8, 16, 8)
    carry_out(smaller, tmp_path / "smaller", cache=Cache(place / "cache"))
    assert load_model(tmp_path / "smaller").spec.window_size == (8, 16, 8)


def test_clicks_are_taught_to_a_model_without_a_click_branch(place: Path, tmp_path: Path) -> None:
    carry_out(course(place, BY_CLICKS), tmp_path / "clicks", cache=Cache(place / "cache"))
    spec = load_model(tmp_path / "clicks").spec
    assert spec.vista.point_branch
    assert replace(spec.vista, point_branch=False) == SPEC.architecture
    record = next(r for r in RunFolder(tmp_path / "clicks").metrics() if r.get("event") == "validated")
    assert 0 <= record["clicks, dice of liver"] <= 1


def test_heads_for_names_and_clicks_grow_on_a_backbone(place: Path, tmp_path: Path) -> None:
    backbone = write_backbone(tmp_path / "backbone")
    mixed = in_multiples(replace(BY_CLICKS, drop_label=0.5, window_size=(18, 18, 18), loop=SHORT), 4)
    listed = read_list(place / "data" / "list.json")
    beginning = Beginning.of(backbone, mixed, lists=[listed])
    assert beginning.source.startswith("tiny backbone, SHA-256")
    grown = Course(recipe=mixed, beginning=beginning, listed=listed)
    carry_out(grown, tmp_path / "prompted", cache=Cache(place / "cache"))
    model = load_segmentation_model(tmp_path / "prompted")
    assert isinstance(model.network, PromptedVit)
    assert (model.spec.window_size, model.spec.names) == ((16, 16, 16), {1: "liver"})
    record = next(r for r in RunFolder(tmp_path / "prompted").metrics() if r.get("event") == "validated")
    assert 0 <= record["dice of liver"] <= 1
    assert 0 <= record["clicks, dice of liver"] <= 1
    with pytest.raises(NoHeadError, match="backbone"):
        Beginning.of(backbone, mixed)


def test_on_a_backbone_all_lists_name_the_structures_and_none_says_what_it_did_not_look_for(
    place: Path, tmp_path: Path
) -> None:
    path = write_list(tmp_path / "second", seed=10)
    content = json.loads(path.read_text())
    del content["validation"]
    path.write_text(json.dumps({**content, "name": "second", "label_mapping": {"1": "spleen", "2": "Liver"}}))
    lists = [read_list(place / "data" / "list.json"), read_list(path)]
    by_name = in_multiples(replace(BY_CLASSES, window_size=(18, 18, 18)), 4)
    beginning = Beginning.of(write_backbone(tmp_path / "backbone"), by_name, lists=lists)
    assert beginning.spec.names == {1: "liver", 2: "spleen"}
    both = Course(recipe=by_name, beginning=beginning, listed=lists[0], others=(lists[1],))
    task = task_of(both, Cache(tmp_path / "cache"))
    looked_for: dict[str, set[int]] = {}
    present: dict[str, set[int]] = {}
    for seed in range(20):
        (window,) = task.draw(np.random.default_rng(seed)).windows
        asked = window.question
        assert asked is not None
        looked_for.setdefault(window.group, set()).update(asked.class_ids[asked.annotated].tolist())
        present.setdefault(window.group, set()).update(asked.class_ids[: asked.present].tolist())
    assert looked_for == {lists[0].name: {1}, "second": {1, 2}}  # the first list's scans have no absent spleen
    assert present == {lists[0].name: {1}, "second": {2}}
    outcome = task.outcome(beginning.network(seed=0), task.draw(np.random.default_rng(0)))
    assert all(bool(torch.isfinite(term)) for term in outcome.terms.values())


def test_what_a_recipe_says_of_a_branch_that_is_not_there_is_left_out(place: Path) -> None:
    parts = (*frozen("encoder.*", "point_decoder.*"), Part(names="class_head.*", rate=0.5))
    chosen = replace(BY_CLASSES, optimisation=replace(BY_CLASSES.optimisation, parts=parts))
    names = [part.names for part in course(place, chosen).optimisation().parts]
    assert names == ["encoder.*", "class_head.*"]


def test_a_training_begins_with_the_weights_of_the_model_or_at_random(place: Path) -> None:
    given = load_model(place / "tiny").network.state_dict()
    begun = Beginning.of(place / "tiny", BY_CLASSES).network(seed=1).state_dict()
    assert all(torch.equal(begun[name], tensor) for name, tensor in given.items())
    first, again, other = (
        Beginning.of(place / "tiny", BY_CLASSES, at_random=True).network(seed=seed).state_dict()
        for seed in (1, 1, 2)
    )
    name = next(name for name, tensor in given.items() if tensor.ndim == 5)
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])
    assert not torch.equal(first[name], given[name])


def test_a_run_is_not_resumed_from_a_model_whose_spec_was_changed(place: Path, tmp_path: Path) -> None:
    model, cache = tmp_path / "model", Cache(place / "cache")
    shutil.copytree(place / "tiny", model)
    listed = read_list(place / "data" / "list.json")

    def config() -> dict[str, Any]:
        return Course(recipe=BY_CLASSES, beginning=Beginning.of(model, BY_CLASSES), listed=listed).config(cache)

    before = config()
    assert before["model"].endswith(file_sha256(model / "model.safetensors"))
    for change, agrees in ({"dice": {"liver": 0.5}}, True), ({"window_hu": [-200, 500]}, False):
        said = json.loads((model / "spec.json").read_text())
        (model / "spec.json").write_text(json.dumps({**said, **change}))
        assert (config() == before) == agrees


def test_at_random_the_weights_of_a_named_model_need_not_be_here() -> None:
    assert Beginning.of("vista3d", BY_CLASSES, at_random=True).spec.vista.width == 48
    with pytest.raises(UnknownModelError):
        Beginning.of("vista4d", BY_CLASSES, at_random=True)


def test_validations_without_validation_cases_are_refused_before_anything_is_prepared(
    place: Path, tmp_path: Path
) -> None:
    alone = read_list(write_list(tmp_path / "data", validation=0))
    with pytest.raises(UsageError, match="validation cases"):
        carry_out(course(place, BY_CLASSES, listed=alone), tmp_path / "run", cache=Cache(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("change", ["a meaning", "a label", "what was looked for", "a validation case"])
def test_a_run_is_not_resumed_with_other_labels(place: Path, tmp_path: Path, change: str) -> None:
    path, cache = write_list(tmp_path / "data"), Cache(tmp_path / "cache")
    with opened(tmp_path / "run", course(place, BY_CLASSES, listed=read_list(path)).config(cache)):
        pass
    content = json.loads(path.read_text())
    if change == "a meaning":
        content["label_mapping"] = {"1": "left kidney"}
    elif change == "what was looked for":
        content["training"][1]["classes"] = ["liver", "left kidney"]
    else:
        number = 0 if change == "a label" else 2
        write(LabelMap(np.ones(GRID.shape, np.uint8), GRID, {1: "liver"}), tmp_path / f"data/label-{number}.nii.gz")
    path.write_text(json.dumps(content))
    changed = course(place, BY_CLASSES, listed=read_list(path)).config(cache)
    with pytest.raises(UsageError, match=r"data\."), opened(tmp_path / "run", changed):
        pass


def test_supervoxels_reach_the_windows(place: Path, tmp_path: Path) -> None:
    path = write_list(tmp_path / "data")
    content = json.loads(path.read_text())
    parts = np.ones(GRID.shape, np.uint16)
    write(LabelMap(parts, GRID, {}), tmp_path / "data" / "parts.nii.gz")
    content["training"][0]["supervoxels"] = "parts.nii.gz"
    path.write_text(json.dumps(content))
    task = task_of(course(place, BY_CLASSES, listed=read_list(path)), Cache(place / "cache"))
    assert isinstance(task, Judged)
    assert isinstance(task.task, Vista3DTask)
    cut = [task.task._cutter.cut(np.random.default_rng(seed)).supervoxels for seed in range(12)]
    assert any(one is not None and bool((one == 1).any()) for one in cut)


@pytest.mark.parametrize("believes", [True, False])
def test_pseudo_labels_teach_where_the_recipe_says_so(place: Path, tmp_path: Path, believes: bool) -> None:
    path = write_list(tmp_path / "data")
    content = json.loads(path.read_text())
    found = np.zeros(GRID.shape, np.uint8)
    found[2:8, 2:8, 2:8] = 3
    write(LabelMap(found, GRID, {3: "right kidney"}), tmp_path / "data" / "found.nii.gz")
    content["training"][0]["pseudo_label"] = "found.nii.gz"
    del content["training"][0]["label"]
    path.write_text(json.dumps(content))
    recipe = replace(BY_CLASSES, pseudo_labels=believes, loop=SHORT)
    learnt = course(place, recipe, listed=read_list(path))
    task = task_of(learnt, Cache(place / "cache"))
    assert isinstance(task, Judged)
    assert isinstance(task.task, Vista3DTask)
    asked = [task.task.draw(np.random.default_rng(seed)).windows[0].question for seed in range(12)]
    kidneys = [one for one in asked if one is not None and 3 in one.class_ids[: one.present].tolist()]
    assert bool(kidneys) == believes
    carry_out(learnt, tmp_path / "run", cache=Cache(place / "cache"))


def test_lists_with_label_ids_of_their_own_are_learnt_together(place: Path, tmp_path: Path) -> None:
    """1 is the liver in one list and the left kidney in the other; a third has only what a model found."""
    path = write_list(tmp_path / "kidney", seed=10)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "name": "kidneys", "label_mapping": {"1": "left kidney"}}))
    write_list(tmp_path / "found", validation=0, seed=20)
    cases = [{"image": f"image-{n}.nii.gz", "pseudo_label": f"label-{n}.nii.gz"} for n in (0, 1)]
    (tmp_path / "found" / "list.json").write_text(json.dumps({"name": "found", "training": cases}))
    liver, kidneys, found = (
        read_list(one / "list.json") for one in (place / "data", path.parent, tmp_path / "found")
    )
    many = course(place, replace(BY_CLASSES, pseudo_labels=True, loop=SHORT), listed=liver, others=(kidneys, found))
    told: list[int] = []
    task = task_of(many, Cache(tmp_path / "cache"), on_case=told.append)
    assert told == [1, 2, 3, 4, 5, 6]
    assert isinstance(task, Judged)
    assert isinstance(task.task, Vista3DTask)
    looked_for: dict[str, set[int]] = {}
    for seed in range(40):
        (window,) = task.task.draw(np.random.default_rng(seed)).windows
        assert window.question is not None
        looked_for.setdefault(window.group, set()).update(
            window.question.class_ids[window.question.annotated].tolist()
        )
    assert looked_for == {liver.name: {1}, "kidneys": {2}, "found": {1}}  # the others' class is never absent
    carry_out(many, tmp_path / "run", cache=Cache(tmp_path / "cache"))
    record = next(r for r in RunFolder(tmp_path / "run").metrics() if r.get("event") == "validated")
    assert {"dice of liver", "dice of left kidney"} <= record.keys()
    assert len(record["by_case"]) == 2
    assert f"on {liver.name}, kidneys, found, from" in load_model(tmp_path / "run").spec.provenance
    carry_out(many, tmp_path / "run", cache=Cache(tmp_path / "cache"))  # goes on, to its end
    with pytest.raises(UsageError, match="others"):
        carry_out(replace(many, others=(kidneys,)), tmp_path / "run", cache=Cache(tmp_path / "cache"))
    with pytest.raises(UsageError, match="one name"):
        replace(many, others=(liver,))


def test_a_list_of_another_modality_is_refused_where_nothing_is_fitted_to_it(place: Path, tmp_path: Path) -> None:
    path = write_list(tmp_path / "second", seed=10)
    path.write_text(json.dumps({**json.loads(path.read_text()), "name": "second", "modality": "MR"}))
    with pytest.raises(UsageError, match=r"MR in .*second(?s:.)*finetune"):
        course(place, BY_CLASSES, others=(read_list(path),))


def test_a_scan_of_two_lists_is_refused_before_anything_is_prepared(place: Path, tmp_path: Path) -> None:
    path = write_list(tmp_path / "second", training=0)  # its validation case is the first list's first
    path.write_text(json.dumps({**json.loads(path.read_text()), "name": "second"}))
    both = course(place, BY_CLASSES, others=(read_list(path),))
    with pytest.raises(UsageError, match=r"image-0 of .*\(training\), image-0 of .*second.*\(validation\)"):
        task_of(both, Cache(tmp_path / "cache"))
    assert [one.name for one in (tmp_path / "cache").iterdir()] == ["hashes"]


def test_another_course_in_the_same_folder_is_refused(place: Path, tmp_path: Path) -> None:
    short = replace(BY_CLASSES, loop=LoopSettings(steps=1, precision="fp32"))
    carry_out(course(place, short), tmp_path / "run", cache=Cache(place / "cache"))
    with pytest.raises(UsageError, match=r"recipe\.recall"):
        carry_out(course(place, replace(short, recall=0.7)), tmp_path / "run", cache=Cache(place / "cache"))
    with pytest.raises(UsageError, match="--resume"):
        refuse_existing(tmp_path / "run")
    refuse_existing(tmp_path / "run", resume=True)
    for resume in (False, True):
        refuse_existing(tmp_path / "new", resume=resume)
        with pytest.raises(UsageError, match="one that this command began"):
            refuse_existing(tmp_path / "run", resume=resume, mark="plan.json")


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("gone", ["model.safetensors", "spec.json"])
def test_a_run_is_not_begun_in_a_folder_that_holds_a_model(tmp_path: Path, gone: str, resume: bool) -> None:
    (write_tiny(tmp_path / "tiny") / gone).unlink()
    with pytest.raises(UsageError, match="which the run would replace"):
        refuse_existing(tmp_path / "tiny", resume=resume)
