"""Cases of a list become scans with references that say what was looked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.scenes import GRID, painted, written
from vesalius.data import reading
from vesalius.data.datalists.read import read_list
from vesalius.errors import FileFormatError, GeometryError, UsageError
from vesalius.evaluation.references import ReferenceCase, labelled, read_references
from vesalius.evaluation.scores import judged_in, score_case
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io.formats import write
from vesalius.labels.mapping import UNKNOWN
from vesalius.labels.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of([(1, "liver"), (3, "spleen")])
LIVER, SPLEEN = (2, 12, 10, 8), (14, 17, 4, 4)


def scan(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(Volume(np.zeros((1, *GRID.shape), np.int16), GRID, "unknown"), path)
    return path.name


def listed(folder: Path, content: dict[str, object]) -> list[ReferenceCase]:
    (folder / "list.json").write_text(json.dumps(content))
    found = read_list(folder / "list.json")
    return list(read_references(found, labelled(found)[1], VOCABULARY))


def entry(
    folder: Path, name: str, boxes: dict[int, tuple[int, int, int, int]], **more: object
) -> dict[str, object]:
    return {
        "image": scan(folder / f"{name}.nii.gz"),
        "label": written(folder / f"{name}_label.nii.gz", boxes).name,
        **more,
    }


def test_the_list_says_what_ids_mean_and_what_made_the_images(tmp_path: Path) -> None:
    content = {
        "modality": {"0": "CT"},
        "labels": {"0": "background", "7": "liver", "8": "spleen"},
        "validation": [entry(tmp_path, "a", {7: LIVER})],
    }
    (case,) = listed(tmp_path, content)
    assert (case.name, case.volume.modality) == ("a", "CT")
    assert dict(case.truth.names) == {7: "liver", 8: "spleen"}  # the spleen was looked for
    assert (case.truth.mask("liver") == (painted({1: LIVER}) > 0)).all()


def test_class_ids_become_the_model_s_names(tmp_path: Path) -> None:
    content = {"label_mapping": [[7, 1], [8, 3]], "training": [entry(tmp_path, "a", {7: LIVER})]}
    assert dict(listed(tmp_path, content)[0].truth.names) == {7: "liver", 8: "spleen"}


def test_without_a_list_s_word_the_files_names_count(tmp_path: Path) -> None:
    written(tmp_path / "l.nii.gz", {7: LIVER}, {7: "liver", 9: "aorta"})
    content = {"training": [{"image": scan(tmp_path / "a.nii.gz"), "label": "l.nii.gz"}]}
    assert dict(listed(tmp_path, content)[0].truth.names) == {7: "liver", 9: "aorta"}


def test_a_case_may_say_that_only_some_classes_were_looked_for(tmp_path: Path) -> None:
    content = {
        "labels": {"7": "liver", "8": "spleen"},
        "training": [entry(tmp_path, "a", {7: LIVER, 8: SPLEEN}, classes=["Spleen", "aorta"])],
    }
    (case,) = listed(tmp_path, content)
    assert dict(case.truth.names) == {8: "spleen", 9: "aorta"}  # no id stands for the aorta: absent, and looked for
    assert not case.truth.mask("aorta").any()


def test_a_file_per_structure_is_one_layer_and_one_for_each_that_overlaps(tmp_path: Path) -> None:
    folder = tmp_path / "set" / "s1"
    scan(folder / "ct.nii.gz")
    for name, box in (("liver", LIVER), ("spleen", SPLEEN), ("tumor", (4, 6, 3, 3))):
        written(folder / "segmentations" / f"{name}.nii.gz", {1: box})
    found = read_list(tmp_path / "set")
    (case,) = read_references(found, found.cases, VOCABULARY)
    assert sorted(case.truth.names.values()) == ["liver", "spleen", "tumor"]
    assert len(case.truth.overlaps) == 1
    for name, box in (("liver", LIVER), ("spleen", SPLEEN), ("tumor", (4, 6, 3, 3))):
        assert (case.truth.mask(name) == (painted({1: box}) > 0)).all()
    elsewhere = LabelMap(painted({1: LIVER}), Grid(GRID.shape, np.eye(4)), {1: "liver"})
    write(elsewhere, folder / "segmentations" / "liver.nii.gz")
    with pytest.raises(GeometryError, match="all masks of s1"):
        list(read_references(found, found.cases, VOCABULARY))


def test_the_split_that_nothing_was_learnt_from_comes_first(tmp_path: Path) -> None:
    content = {
        "labels": {"7": "liver"},
        "training": [entry(tmp_path, "a", {7: LIVER})],
        "validation": [entry(tmp_path, "b", {7: LIVER})],
        "test": [{"image": scan(tmp_path / "c.nii.gz")}],
    }
    (tmp_path / "list.json").write_text(json.dumps(content))
    found = read_list(tmp_path / "list.json")
    split, cases = labelled(found)
    assert (split, [case.name for case in cases]) == ("validation", ["b"])
    assert [case.name for case in labelled(found, "training")[1]] == ["a"]
    assert [case.name for case in labelled(found, "all")[1]] == ["a", "b"]
    with pytest.raises(UsageError, match="none for test"):
        labelled(found, "test")


LESION = (4, 6, 3, 3)


def test_what_means_no_class_is_not_held_against_an_answer_as_it_is_not_learnt(tmp_path: Path) -> None:
    content = {
        "label_mapping": {"1": "liver", "2": None},
        "training": [entry(tmp_path, "a", {1: LIVER, 2: LESION})],
    }
    (case,) = listed(tmp_path, content)
    assert (dict(case.truth.names), case.unknown) == ({1: "liver"}, {2})
    whole = LabelMap(painted({1: LIVER}), GRID, {1: "liver"})
    (score,) = score_case("a", whole, case.truth, unknown=case.unknown).scores
    assert (score.dice, score.nsd) == (1.0, 1.0)
    found = read_list(tmp_path / "list.json")
    learnt = found.mapping(VOCABULARY).apply(case.truth.data)
    assert ((learnt == UNKNOWN) == ~judged_in(case.truth, case.unknown)).all()


def test_a_list_that_names_no_class_says_so_whatever_its_files_name(tmp_path: Path) -> None:
    written(tmp_path / "l.nii.gz", {7: LIVER}, {7: "liver"})
    one = {"image": scan(tmp_path / "a.nii.gz"), "label": "l.nii.gz"}
    (case,) = listed(tmp_path, {"label_mapping": {"7": None}, "training": [one]})
    assert (dict(case.truth.names), case.unknown) == ({}, {7})


def of_masks(folder: Path, **more: object) -> dict[str, object]:
    """A case with a file for each of the ids 7, 8 and 9."""
    boxes = {7: LIVER, 8: SPLEEN, 9: LESION}
    masks = {str(label): written(folder / f"{label}.nii.gz", {1: box}).name for label, box in boxes.items()}
    return {"image": scan(folder / "a.nii.gz"), "masks": masks, **more}


def test_masks_mean_what_the_list_says_class_ids_and_nothing_too(tmp_path: Path) -> None:
    mapping: dict[str, object] = {"7": 1, "8": "spleen", "9": None, "10": "aorta"}
    (case,) = listed(tmp_path, {"label_mapping": mapping, "training": [of_masks(tmp_path)]})
    assert dict(case.truth.names) == {7: "liver", 8: "spleen"}  # nobody drew the aorta file by file
    assert case.unknown == {9}
    judged = judged_in(case.truth, case.unknown)
    assert judged is not None
    assert judged.all()  # the lesion lies in the liver, which is drawn there
    del mapping["7"]
    with pytest.raises(FileFormatError, match=r"a: masks of \[7\]"):
        listed(tmp_path, {"label_mapping": mapping, "training": [of_masks(tmp_path)]})


def test_a_case_of_masks_may_say_what_was_looked_for(tmp_path: Path) -> None:
    case = of_masks(tmp_path, classes=["spleen", "aorta"])
    (one,) = listed(tmp_path, {"label_mapping": {"7": "liver", "8": "spleen", "9": None}, "training": [case]})
    assert dict(one.truth.names) == {8: "spleen", 10: "aorta"}  # 9 is taken, though it means no class
    assert not one.truth.mask("aorta").any()


def test_masks_without_a_list_s_word_have_no_names(tmp_path: Path) -> None:
    (case,) = listed(tmp_path, {"training": [of_masks(tmp_path)]})
    assert dict(case.truth.names) == {7: "label 7", 8: "label 8", 9: "label 9"}


def test_labels_beside_their_image_are_refused_by_the_case_s_name(tmp_path: Path) -> None:
    written(tmp_path / "l.nii.gz", {7: LIVER})
    elsewhere = Grid(GRID.shape, np.eye(4))
    write(Volume(np.zeros((1, *GRID.shape), np.int16), elsewhere, "unknown"), tmp_path / "a.nii.gz")
    content = {"labels": {"7": "liver"}, "training": [{"image": "a.nii.gz", "label": "l.nii.gz", "name": "one"}]}
    with pytest.raises(GeometryError, match="labels of one"):
        listed(tmp_path, content)


def test_the_image_s_own_word_on_what_made_it_counts_before_the_list_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"modality": "MR", "labels": {"7": "liver"}, "training": [entry(tmp_path, "a", {7: LIVER})]}
    image = Volume(np.zeros((1, *GRID.shape), np.int16), GRID, "CT")
    monkeypatch.setattr(reading, "read", lambda path: image)  # as a series of DICOM would
    assert listed(tmp_path, content)[0].volume.modality == "CT"
