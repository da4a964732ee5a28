"""Checking a data set: every fault is found, named with its case, and a sound set has none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.small_set import AFFINE, LABELS, SHAPE, Written, make_case
from vesalius.data.check import Report, check_list
from vesalius.data.datalists.read import read_list
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap
from vesalius.io.formats import write


def checked(path: Path, **options: Any) -> Report:
    return check_list(read_list(path, strict=False, **options))


def found(report: Report) -> list[tuple[str, str, bool]]:
    return [(problem.kind, problem.case, problem.is_wrong) for problem in report.problems]


def test_a_sound_set_has_no_problem(write_set: Written) -> None:
    report = checked(write_set({"a": {}, "b": {"split": "validation"}, "c": {"split": "test", "labels": None}}))
    assert report.problems == ()
    assert (report.cases, report.labelled, report.wrong) == (3, 2, 0)


MIRRORED = np.diag([-4.0, 4.0, 5.0, 1.0])
SHIFTED = AFFINE + np.eye(4, k=3) * 30
FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "another grid": ({"label_affine": SHIFTED}, "geometry", "30 mm away"),
    "another shape": ({"labels": make_case()[1][:-1]}, "geometry", "23 x 20 x 18"),
    "an empty label": ({"labels": np.zeros(SHAPE, np.uint8)}, "labels", "an empty label"),
    "a foreign id": ({"labels": make_case()[1] * np.uint8(7)}, "labels", r"\[7, 14, 21\]"),
    "mirrored": ({"affine": MIRRORED}, "sides", "left kidney lies to the right of right kidney"),
    "unscaled": ({"image": make_case()[0] + np.int16(1024)}, "intensity", "no value is negative"),
    "constant": ({"image": np.full(SHAPE, -7, np.int16)}, "intensity", "every voxel is -7"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_named(write_set: Written, name: str) -> None:
    changes, kind, words = FAULTS[name]
    report = checked(write_set({"good": {}, "bad": changes}))
    wrong = [problem for problem in report.problems if problem.is_wrong]
    assert [(problem.kind, problem.case) for problem in wrong] == [(kind, "bad")]
    assert re.search(words, wrong[0].found), wrong[0].found
    assert wrong[0].do


def test_an_image_twice_is_a_copy_and_across_splits_a_leak(write_set: Written) -> None:
    report = checked(write_set({"a": {"seed": 1}, "b": {"seed": 1}, "c": {"seed": 1, "split": "validation"}}))
    assert found(report) == [("copy", "b", True), ("leak", "c", True), ("leak", "c", True)]
    assert "training" in report.problems[1].found


def test_a_patient_in_two_splits_is_a_leak(write_set: Written) -> None:
    whose = {"entry": {"patient": "p"}}
    path = write_set({"a": whose, "b": whose, "c": {**whose, "split": "validation"}})
    assert found(checked(path)) == [("leak", "", True)]
    assert checked(path).problems[0].found == "one patient: a (training), b (training), c (validation)"


def test_missing_and_damaged_files_are_problems_not_the_end(write_set: Written) -> None:
    path = write_set({"a": {}, "b": {}, "c": {}})
    (path.parent / "a_ct.nii.gz").unlink()
    (path.parent / "b_seg.nii.gz").write_bytes(b"\x1f\x8bno")
    assert found(checked(path)) == [("file", "a", True), ("file", "b", True)]


def test_a_file_that_stands_twice_is_named(write_set: Written) -> None:
    path = write_set({"a": {}})
    path.write_text(path.read_text().replace('"test": []', '"test": [{"image": "a_ct.nii.gz", "name": "z"}]'))
    report = checked(path)
    assert ("leak", "z", True) in found(report)
    assert any("a, z" in problem.found for problem in report.problems)


def test_a_scan_without_a_label_is_said_to_be_left_out(write_set: Written) -> None:
    report = checked(write_set({"a": {}, "b": {"labels": None}}))
    assert found(report) == [("labels", "b", False)]
    assert "left out of training" in report.problems[0].found


def test_an_empty_label_is_right_where_the_list_says_what_was_looked_for(write_set: Written) -> None:
    empty = {"labels": np.zeros(SHAPE, np.uint8), "entry": {"classes": ["liver"]}}
    assert found(checked(write_set({"a": {}, "b": empty}))) == []


def layered(write_set: Written, names: dict[int, str], over: np.ndarray) -> Path:
    listed = {str(a): b for a, b in names.items()}
    path = write_set({"a": {"labels": None, "entry": {"label": "a.seg.nrrd"}}}, labels=listed)
    drawn = LabelMap(make_case(0)[1], Grid(SHAPE, AFFINE), names, {"over": over})
    write(drawn, path.parent / "a.seg.nrrd")
    return path


def test_layers_are_looked_at_as_the_rest_is(write_set: Written) -> None:
    over = np.zeros(SHAPE, np.uint8)
    over[15:18, 7:10, 9:12] = 4
    assert found(checked(layered(write_set, {**LABELS, 4: "hepatic tumour"}, over))) == []
    report = checked(layered(write_set, {**LABELS, 4: "spleen"}, over))
    assert found(report) == [("labels", "a", False)]
    assert report.problems[0].found == "liver and spleen share 27 voxels"
    over[10, 10, 2] = 9
    report = checked(layered(write_set, {**LABELS, 4: "hepatic tumour"}, over))
    assert found(report) == [("labels", "a", True)]
    assert "[9]" in report.problems[0].found


def test_an_organ_on_the_other_side_of_the_body_is_worth_a_look(write_set: Written) -> None:
    only_liver = np.where(make_case()[1] == 1, 1, 0).astype(np.uint8)
    mirrored = {"labels": only_liver, "affine": MIRRORED}
    report = checked(write_set({"a": {}, "b": mirrored}))
    assert found(report) == [("sides", "b", False)]
    assert "liver" in report.problems[0].found


def test_labels_in_air_and_repeated_slices_are_worth_a_look(write_set: Written) -> None:
    away = np.zeros(SHAPE, np.uint8)
    away[1:3] = 2
    report = checked(
        write_set({"a": {}, "b": {"labels": away}, "c": {"image": np.repeat(make_case(2)[0][..., ::2], 2, 2)}})
    )
    assert sorted(found(report)) == [("intensity", "c", False), ("labels", "b", False)]


def test_a_class_that_is_in_no_case_is_worth_a_look(write_set: Written) -> None:
    report = checked(write_set({"a": {}}, labels={**{str(a): b for a, b in LABELS.items()}, "9": "spleen"}))
    assert found(report) == [("labels", "", False)]
    assert "spleen (9)" in report.problems[0].found


def test_the_report_is_an_object(write_set: Written) -> None:
    report = checked(write_set({"a": {"affine": MIRRORED}})).as_dict()
    assert (report["wrong"], report["problems"][0]["kind"]) == (1, "sides")


def test_real_folders_give_what_their_readmes_say(shared_data: Path) -> None:
    spleen = checked(shared_data / "clara-spleen8", modality="CT")
    assert ("intensity", "spleen_8", False) in found(spleen)  # its slices are repeated in blocks
