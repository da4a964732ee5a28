"""Validation: whole scans are judged as a user would meet them, and nothing about the network changes."""

from __future__ import annotations

import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.line_task import LineTask, line_learner
from inference.small_model import Threshold, small_network, small_spec
from interactive.cubes import cubes
from vesalius.data.datalists.read import read_list
from vesalius.data.datalists.record import DataList
from vesalius.engine.settings import LoopSettings
from vesalius.engine.task import Validating, Validation
from vesalius.errors import UsageError
from vesalius.evaluation.clicks import ClickEvaluation, evaluate_clicks
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io.formats import write
from vesalius.spec import VistaArchitecture
from vesalius.training.course_data import judging_cases, labelled_validation
from vesalius.training.validation import Judged, WholeScans

GRID = Grid((30, 26, 24), np.diag([3.0, 3.0, 3.0, 1.0]))
SPEC = small_spec()


def listed(folder: Path, shifts: list[int | None]) -> DataList:
    """A scan with a bright block for each shift by which its label lies off the block; None: nothing is there."""
    entries = []
    for number, shift in enumerate(shifts):
        image, labels = np.full((1, *GRID.shape), 0, np.int16), np.zeros(GRID.shape, np.uint8)
        if shift is not None:
            image[0, 8:18, 8:18, 8:18] = 900
            labels[8 + shift : 18 + shift, 8:18, 8:18] = 1
        write(Volume(image, GRID, "CT"), folder / f"image-{number}.nii.gz")
        write(LabelMap(labels, GRID, {1: "liver"}), folder / f"label-{number}.nii.gz")
        entries.append({"image": f"image-{number}.nii.gz", "label": f"label-{number}.nii.gz"})
    content = {"training": [], "validation": entries, "label_mapping": {"1": "liver"}}
    (folder / "list.json").write_text(json.dumps(content))
    return read_list(folder / "list.json")


def judge(listed: DataList, **changes: object) -> WholeScans:
    fields = {"listed": listed, "cases": listed.split("validation"), "spec": SPEC, "precision": "fp32"}
    return WholeScans(**{**fields, **changes})  # type: ignore[arg-type]


def threshold() -> Threshold:
    return Threshold(SPEC.architecture)  # type: ignore[arg-type]


def test_the_score_is_the_mean_dice_and_absent_structures_count(tmp_path: Path) -> None:
    right = judge(listed(tmp_path, [0, 5, None]))(threshold())
    assert right.score == pytest.approx((1.0 + 0.5 + 1.0) / 3)
    assert right.numbers == {"dice of liver": right.score}
    assert right.by_case == {"image-0": {"liver": 1.0}, "image-1": {"liver": 0.5}, "image-2": {"liver": 1.0}}


def test_the_picture_shows_the_first_scan(tmp_path: Path) -> None:
    (name, picture), *others = judge(listed(tmp_path, [5, 0]))(threshold()).pictures.items()
    assert name == "image-0"
    assert others == []
    assert picture.dtype == np.uint8
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_a_network_judged_by_clicks_alone_is_drawn_as_it_is_after_the_last_click(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[LabelMap, LabelMap]] = []

    def render(_: Volume, truth: LabelMap, found: LabelMap, **how: object) -> np.ndarray:
        drawn.append((truth, found))
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr("vesalius.training.validation.render_comparison", render)
    architecture = VistaArchitecture(width=8, blocks_down=(1, 1), num_embeddings=8)
    spec = small_spec(architecture=architecture)
    with cubes():
        found = judge(listed(tmp_path, [0, 5]), spec=spec, automatic=False, clicks=1)(small_network(spec))
    assert list(found.pictures) == ["image-0"]
    ((truth, shown),) = drawn
    assert shown.names == {1: "liver"}
    assert np.count_nonzero(truth.data == 1) == 10**3
    assert np.count_nonzero(shown.data == 1) == 5**3  # what one click on it gives here


def test_clicked_masks_are_not_kept_one_by_one_and_not_at_all_where_nothing_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    maps: list[weakref.ref[Any]] = []

    def watched(*args: Any, on_mask: Any, **how: Any) -> ClickEvaluation:
        masks: list[weakref.ref[Any]] = []

        def shown(one: object, mask: np.ndarray) -> None:
            on_mask(one, mask)
            masks.append(weakref.ref(mask))

        done = evaluate_clicks(*args, on_mask=shown, **how)
        kept.append(sum(mask() is not None for mask in masks))
        if hasattr(on_mask, "__self__"):
            maps.append(weakref.ref(on_mask.__self__))
        return done

    monkeypatch.setattr("vesalius.training.validation.evaluate_clicks", watched)
    spec = small_spec(architecture=VistaArchitecture(width=8, blocks_down=(1, 1), num_embeddings=8))
    with cubes():
        judge(listed(tmp_path, [0, 5]), spec=spec, automatic=False, clicks=1)(small_network(spec))
    assert kept == [0, 0]
    assert len(maps) == 1, "the first scan is drawn, no other"


def test_judging_changes_nothing(tmp_path: Path) -> None:
    network = threshold().train().requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    judge(listed(tmp_path, [0]), precision="bf16")(network)
    assert network.training
    assert all(parameter.requires_grad and parameter.dtype == torch.float32 for parameter in network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_judged_task_learns_as_the_other_and_can_validate() -> None:
    task, seen = LineTask(), []

    def one(network: torch.nn.Module) -> Validation:
        seen.append(network)
        return Validation(0.5)

    judged, network = Judged(task, one), line_learner().network
    assert isinstance(judged, Validating)
    assert not isinstance(task, Validating)
    first, second = (some.draw(np.random.default_rng(3)) for some in (task, judged))
    assert torch.equal(first, second)
    assert torch.equal(judged.outcome(network, first).terms["square"], task.outcome(network, first).terms["square"])
    assert judged.weights(0.5) == task.weights(0.5)
    assert judged.validate(network).score == 0.5
    assert seen == [network]


def test_cases_that_name_nothing_to_judge_by_are_refused_instead_of_never_being_better(tmp_path: Path) -> None:
    found = listed(tmp_path, [0, 5])
    alone = judge(found, cases=found.cases[:1], novel=(1,))
    with pytest.raises(UsageError, match="validation cases in which a class"):
        Judged(LineTask(), alone).validate(threshold())  # type: ignore[arg-type]
    first, second = found.cases
    some = replace(found, cases=(replace(first, classes=()), second))
    assert labelled_validation(some) == (second,)
    none = replace(found, cases=tuple(replace(case, classes=()) for case in found.cases))
    with pytest.raises(UsageError, match="labelled validation cases"):
        judging_cases(none, LoopSettings(steps=1, validate_every=1))


def test_novel_classes_are_not_judged_and_their_voxels_stay_part_of_what_includes_them(tmp_path: Path) -> None:
    listed(tmp_path, [0])
    labels = np.zeros(GRID.shape, np.uint8)
    labels[8:18, 8:18, 8:18], labels[8:10, 8:18, 8:18], labels[20:24, 8:18, 8:18] = 1, 5, 2
    write(LabelMap(labels, GRID, {}), tmp_path / "label-0.nii.gz")
    content = json.loads((tmp_path / "list.json").read_text())
    content["label_mapping"] = {"1": "liver", "2": "spleen", "5": "hepatic tumor"}
    (tmp_path / "list.json").write_text(json.dumps(content))
    again = read_list(tmp_path / "list.json")
    assert judge(again, novel=(2, 5))(threshold()).numbers == {"dice of liver": 1.0}
    assert judge(again)(threshold()).score < 0.5
    nothing = judge(again, novel=(1, 2, 5))(threshold())
    assert (np.isnan(nothing.score), nothing.numbers) == (True, {})
