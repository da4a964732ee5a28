"""Windows: novel classes are kept out of labels, of what was looked for and of the places; sides are mirrored."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training.small_case import CLICK_SPEC, SPEC, recipe
from vesalius.data.cache import Cache
from vesalius.data.case import UNKNOWN, Case
from vesalius.data.datalists.read import read_list
from vesalius.data.prepare import prepare_list
from vesalius.errors import UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io.formats import write
from vesalius.training.course_data import mirrored_ids
from vesalius.training.recipes import ClassPrompting
from vesalius.training.vista3d_task import Vista3DTask
from vesalius.training.window_cutting import CutWindow, WindowCutter
from vesalius.transforms.augment import Augmentation
from vesalius.transforms.preprocess import Preprocessing, prepare

STILL = Augmentation(keep_sharp=1.0, cut=0.0, low_resolution=0.0, noise=0.0, drift=0.0)


def case_of(labels: np.ndarray, *annotated: int) -> Case:
    return Case("one", "balls", labels.astype(np.int16) * 20, labels, frozenset(annotated))


def windows(case: Case, count: int = 12, **changes: object) -> list[CutWindow]:
    mirrored = {3: 4, 4: 3}
    cutter = WindowCutter([case], CLICK_SPEC, recipe=recipe(augmentation=STILL, **changes), mirrored=mirrored)
    return [cutter.cut(np.random.default_rng(seed)) for seed in range(count)]


def test_a_novel_tumour_stays_part_of_the_liver_that_includes_it() -> None:
    labels = np.full((20, 20, 20), 5, np.uint8)
    labels[6:14, 6:14, 6:14] = 6
    for window in windows(case_of(labels, 5, 6), novel=(6,)):
        held = set(window.labels.unique().tolist())
        assert 5 in held <= {0, 5}  # 0 is beyond the scan
        assert ((window.image[0] * 400 - 200 > 90).numpy() == (window.labels == 5).numpy()).all()
        assert window.annotated == {5}


def test_voxels_of_a_novel_class_that_nothing_includes_are_nobody_s_negatives() -> None:
    labels = np.full((20, 20, 20), 1, np.uint8)
    labels[10:] = 2
    for window in windows(case_of(labels, 1, 2), novel=(2,)):
        assert 2 not in window.labels
        assert ((window.labels == UNKNOWN) == (window.image[0] * 400 - 200 > 30)).all()
        assert window.annotated == {1}


def test_windows_do_not_lie_near_novel_classes_more_often_than_anywhere() -> None:
    labels = np.zeros((64, 64, 64), np.uint8)
    labels[4:8, 4:8, 4:8], labels[56:60, 56:60, 56:60] = 1, 2
    found = windows(case_of(labels, 1, 2), 60, novel=(2,))
    assert sum(bool((window.labels == 1).any()) for window in found) > 35
    assert sum(bool((window.labels == UNKNOWN).any()) for window in found) < 8


def test_the_other_side_is_not_learnt_as_a_novel_one_in_a_mirror_nor_the_novel_one_as_the_other() -> None:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:8], labels[12:18], labels[9:11] = 3, 4, 1
    for window in windows(case_of(labels, 1, 3, 4), novel=(3,), mirror={"balls": 1.0}):
        assert set(window.labels.unique().tolist()) <= {0, 1, UNKNOWN}
        assert window.annotated == {1}


def test_a_side_whose_other_side_has_no_name_is_nobody_s_in_a_mirror() -> None:
    spec = replace(SPEC, vocabulary=((1, "spleen"), (3, "left femur"), (4, "bladder")))
    assert mirrored_ids(spec) == {1: 1, 3: UNKNOWN, 4: 4}
    parts = replace(SPEC, vocabulary=((1, "left lung"), (2, "right lung upper lobe"), (3, "right lung lower lobe")))
    assert mirrored_ids(parts)[1] == UNKNOWN, "a right lung there is, but not as a class"
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:8], labels[9:11] = 3, 1
    chosen = recipe(augmentation=STILL, mirror={"balls": 1.0})
    cutter = WindowCutter([case_of(labels, 1, 3)], spec, recipe=chosen, mirrored=mirrored_ids(spec))
    found = [cutter.cut(np.random.default_rng(seed)) for seed in range(12)]
    assert {window.annotated for window in found} == {frozenset((1,))}
    assert set().union(*(window.labels.unique().tolist() for window in found)) == {0, 1, UNKNOWN}
    for window in found:
        assert ((window.labels == UNKNOWN) == ((window.image[0] * 400 - 200 - 60).abs() < 1)).all()
    alone = WindowCutter([case_of(labels, 3)], spec, recipe=chosen, mirrored=mirrored_ids(spec))
    assert {alone.cut(np.random.default_rng(seed)).annotated for seed in range(6)} == {frozenset((3,))}


def test_novel_classes_are_never_asked_for_not_even_as_those_nobody_looked_for() -> None:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:8], labels[12:18] = 1, 2
    prompting = ClassPrompting(other_classes=9)
    task = Vista3DTask([case_of(labels, 1, 2)], SPEC, recipe=recipe(novel=(2,), prompting=prompting))
    asked = [task.draw(np.random.default_rng(seed)).windows[0].question for seed in range(10)]
    assert {label for one in asked if one for label in one.class_ids.tolist()} == {1, 3, 4, 5}


def test_a_case_of_nothing_but_novel_classes_is_not_learnt_from() -> None:
    labels = np.full((20, 20, 20), 2, np.uint8)
    other = replace(case_of(np.full((20, 20, 20), 1, np.uint8), 1), name="other")
    cutter = WindowCutter([case_of(labels, 2), other], SPEC, recipe=recipe(novel=(2,)))
    assert {cutter.cut(np.random.default_rng(seed)).annotated for seed in range(12)} == {frozenset((1,))}
    with pytest.raises(UsageError, match="none that is ever drawn"):
        WindowCutter([case_of(labels, 2)], SPEC, recipe=recipe(novel=(2,)))


@pytest.mark.parametrize("shares", [{}, {"screened": 2.0, "treated": 1.0}])
def test_scans_with_a_finding_are_clicked_on_alike_however_many_of_their_list_have_none(shares: dict) -> None:
    empty, held = np.zeros((20, 20, 20), np.uint8), np.ones((20, 20, 20), np.uint8)
    labels = {"screened": [held] + [empty] * 19, "treated": [held] * 10}
    cases = [
        Case(f"{group} {number}", group, np.full((20, 20, 20), 10 * number, np.int16), one, frozenset((1,)))
        for group, some in labels.items()
        for number, one in enumerate(some)
    ]
    cutter = WindowCutter(cases, CLICK_SPEC, recipe=recipe(augmentation=STILL, shares=shares))
    drawn = [cutter.cut(np.random.default_rng(seed), with_objects=True).group for seed in range(150)]
    assert 4 < drawn.count("screened") < 26  # 150 / 11


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "ASR", "PIL", "SRP"])
def test_a_mirror_turns_round_the_axis_that_runs_from_left_to_right(orientation: str) -> None:
    axis = next(n for n, code in enumerate(orientation) if code in "LR")
    ramp = np.broadcast_to(np.arange(16).reshape([-1 if n == axis else 1 for n in range(3)]), (16, 16, 16))
    case = Case("one", "balls", ramp.astype(np.int16) * 10, np.ones((16, 16, 16), np.uint8), frozenset((1,)))
    chosen = recipe(augmentation=STILL, mirror={"balls": 1.0})
    cutter = WindowCutter([case], replace(SPEC, orientation=orientation), recipe=chosen)
    for seed in range(6):
        image = cutter.cut(np.random.default_rng(seed)).image[0]
        middle = image[4:12, 4:12, 4:12]
        assert (middle.diff(dim=axis) < 0).all()
        assert all((middle.diff(dim=other) == 0).all() for other in range(3) if other != axis)


def test_supervoxels_of_a_case_are_cut_with_it() -> None:
    labels, numbers = np.ones((20, 20, 20), np.uint8), np.zeros((20, 20, 20), np.uint16)
    numbers[:10], numbers[10:] = 7, 300
    case = replace(case_of(labels, 1), image_hu=(numbers // 2).astype(np.int16), supervoxels=numbers)
    for window in windows(case):
        assert window.supervoxels is not None
        assert set(window.supervoxels.unique().tolist()) <= {0, 7, 300}
        assert ((window.supervoxels == 300) == (window.image[0] * 400 - 200 > 100)).all()
        assert ((window.labels == 1) == (window.supervoxels > 0)).all()
    assert all(window.supervoxels is None for window in windows(case_of(labels, 1), 2))


def test_an_image_without_a_unit_is_learnt_from_as_it_is_segmented(tmp_path: Path) -> None:
    spec = replace(CLICK_SPEC, normalisation="percentiles", spacing_mm=(1.0, 1.0, 1.0), modality="MR")
    grid, rng = Grid((16, 16, 16), np.eye(4)), np.random.default_rng(0)
    data = (rng.random(grid.shape) * 9000 + 300).astype(np.float32)
    write(Volume(data[None], grid, "MR"), tmp_path / "image.nii.gz")
    write(LabelMap(np.ones(grid.shape, np.uint8), grid, {1: "spleen"}), tmp_path / "label.nii.gz")
    content = {"training": [{"image": "image.nii.gz", "label": "label.nii.gz"}], "labels": {"1": "spleen"}}
    (tmp_path / "list.json").write_text(json.dumps({**content, "modality": "MR"}))
    (case,) = prepare_list(read_list(tmp_path / "list.json"), spec, Cache(tmp_path / "cache"))
    seen = prepare(Volume(data[None], grid, "MR"), spec, Preprocessing(), box=None, dtype=torch.float32).image
    learnt = WindowCutter([case], spec, recipe=recipe(augmentation=STILL, shares={})).cut(np.random.default_rng(0))
    shown, known = learnt.image[0][learnt.labels == 1], seen.flatten().sort().values  # the others lie beyond it
    after = torch.searchsorted(known, shown).clamp(1, len(known) - 1)
    nearest = torch.minimum((known[after] - shown).abs(), (known[after - 1] - shown).abs())
    assert len(shown) >= 14**3
    assert float(nearest.max()) < 1e-6
    assert not learnt.image[0][learnt.labels == 0].any()  # black, as where a segmented image is filled up
