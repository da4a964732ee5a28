"""Cases of a list become scans with references that say what was looked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.scenes import GRID, painted, written
from vesalius.data.datalists.read import read_list
from vesalius.errors import GeometryError, UsageError
from vesalius.evaluation.references import ReferenceCase, labelled, read_references
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io.formats import write
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
    assert list(case.truth.overlaps) == ["tumor"]
    for name, box in (("liver", LIVER), ("spleen", SPLEEN), ("tumor", (4, 6, 3, 3))):
        assert (case.truth.mask(name) == (painted({1: box}) > 0)).all()
    elsewhere = LabelMap(painted({1: LIVER}), Grid(GRID.shape, np.eye(4)), {1: "liver"})
    write(elsewhere, folder / "segmentations" / "liver.nii.gz")
    with pytest.raises(GeometryError, match="s1, liver"):
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
    with pytest.raises(UsageError, match="none for test"):
        labelled(found, "test")
