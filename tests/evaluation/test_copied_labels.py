"""Copied labels: from the case that looks most alike, stretched to the scan, whatever way the axes run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vesalius.data.datalists.read import read_list
from vesalius.errors import UsageError
from vesalius.evaluation.copied_labels import CopiedLabels, stretched
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io.formats import write
from vesalius.labels.vocabulary import Vocabulary

SHAPE = (20, 16, 12)


def scan(at: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright block that begins so far from the right end, and its labels."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[at : at + 6, 4:10, 3:9] = 1
    return np.where(labels, 200, 0).astype(np.int16) + np.arange(12, dtype=np.int16), labels


@pytest.fixture
def copied(tmp_path: Path) -> CopiedLabels:
    grid, entries = Grid(SHAPE, np.diag([2.0, 2.0, 3.0, 1.0])), []
    for number, at in enumerate((2, 12)):
        image, labels = scan(at)
        write(Volume(image[None], grid, "CT"), tmp_path / f"image-{number}.nii.gz")
        write(LabelMap(labels, grid, {1: "liver"}), tmp_path / f"label-{number}.nii.gz")
        entries.append({"image": f"image-{number}.nii.gz", "label": f"label-{number}.nii.gz"})
    (tmp_path / "list.json").write_text(json.dumps({"training": entries, "labels": {"1": "liver"}}))
    listed = read_list(tmp_path / "list.json")
    return CopiedLabels(listed, listed.cases, Vocabulary.of(()))


def test_the_labels_are_those_of_the_case_that_looks_most_alike(copied: CopiedLabels) -> None:
    for at, number, start in ((3, 0, 2), (11, 1, 12)):
        volume = Volume(scan(at)[0][None] * 3 + 50, Grid(SHAPE, np.eye(4)), "MR")  # another contrast
        assert copied.nearest(volume) == number
        found = copied(volume)
        assert found.names == {1: "liver"}
        assert np.array_equal(found.data, scan(start)[1])


def test_a_class_is_copied_from_the_nearest_case_that_states_it(copied: CopiedLabels) -> None:
    first, second = copied._cases
    partly = replace(copied._listed, meanings={1: "liver", 2: "spleen", 3: "aorta"})
    cases = (replace(first, classes=("Liver", "spleen")), replace(second, classes=("spleen",)))
    copied = CopiedLabels(partly, cases, Vocabulary.of(()))
    volume = Volume(scan(11)[0][None], Grid(SHAPE, np.eye(4)), "CT")
    assert copied.nearest(volume) == 1
    found = {
        name: labels for labels, names in copied.by_class(volume, ["liver", "spleen", "aorta"]) for name in names
    }
    assert {name: set(labels.names.values()) for name, labels in found.items()} == {
        "liver": {"liver", "spleen"},
        "spleen": {"spleen"},
    }
    assert np.array_equal(found["liver"].data, scan(2)[1])
    assert len(list(copied.by_class(volume, ["spleen"]))) == 1


def test_they_are_stretched_to_the_scan_and_turned_as_its_axes_run(copied: CopiedLabels) -> None:
    image, labels = (np.repeat(data, 2, axis=0) for data in scan(2))
    volume = Volume(image[None], Grid(image.shape, np.eye(4)), "CT").reoriented("PLI")
    found = copied(volume)
    assert found.grid.is_close(volume.grid)
    assert np.array_equal(found.reoriented("RAS").data, labels)


def test_a_voxel_takes_the_nearest_and_ends_stay_ends() -> None:
    row = np.arange(5).reshape(5, 1, 1)
    assert stretched(row, (10, 1, 1)).ravel().tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert stretched(row, (3, 1, 1)).ravel().tolist() == [0, 2, 4]


def test_without_a_drawn_case_there_is_nothing_to_copy(copied: CopiedLabels) -> None:
    with pytest.raises(UsageError, match="labelled cases"):
        CopiedLabels(replace(copied._listed, cases=()), (), Vocabulary.of(()))
