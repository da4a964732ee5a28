"""TotalSegmentator's folders: a mask a structure, and one that is not there was not drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vesalius.data.datalists.read import read_list
from vesalius.errors import FileFormatError
from vesalius.labels.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of([(1, "liver"), (14, "left kidney"), (3, "spleen")])


def test_masks_get_ids_by_name_and_splits_come_from_the_table(folder: Any) -> None:
    folder.touch(*(f"s{n}/ct.nii.gz" for n in (1, 2)), "s1/segmentations/liver.nii.gz")
    folder.touch("s1/segmentations/kidney_left.nii.gz", "s2/segmentations/spleen.nii.gz")
    (folder.path / "meta.csv").write_text("image_id;age;split\ns1;60;train\ns2;50;test\n")
    listed = read_list(folder.path)
    assert (listed.format, listed.modality) == ("totalsegmentator", "CT")
    assert dict(listed.meanings) == {1: "kidney_left", 2: "liver", 3: "spleen"}
    assert [(case.name, case.split, sorted(case.masks)) for case in listed.cases] == [
        ("s1", "training", [1, 2]),
        ("s2", "test", [3]),
    ]


def test_a_mask_that_is_not_there_was_not_looked_for(folder: Any) -> None:
    folder.touch("s1/ct.nii.gz", "s1/segmentations/liver.nii.gz", "s2/ct.nii.gz", "s2/segmentations/spleen.nii.gz")
    listed = read_list(folder.path)
    mapping = listed.mapping(VOCABULARY)
    assert [listed.annotated(case, mapping, VOCABULARY) for case in listed.cases] == [{1}, {3}]


def test_a_scan_without_an_image_and_a_table_of_other_splits_are_refused(folder: Any) -> None:
    folder.touch("s1/segmentations/liver.nii.gz")
    with pytest.raises(FileFormatError, match=r"ct\.nii\.gz or mri\.nii\.gz"):
        read_list(folder.path)
    folder.touch("s1/mri.nii.gz")
    assert read_list(folder.path).modality == "MR"
    (folder.path / "meta.csv").write_text("image_id;split\ns1;learn\n")
    with pytest.raises(FileFormatError, match="learn"):
        read_list(folder.path)


def test_a_folder_may_be_named_from_where_one_is(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.touch("s1/ct.nii.gz", "s1/segmentations/liver.nii.gz")
    monkeypatch.chdir(folder.path.parent)
    by_path = read_list("set")
    assert (by_path.name, by_path.cases[0].files) == (
        "set",
        (Path("set/s1/ct.nii.gz"), Path("set/s1/segmentations/liver.nii.gz")),
    )
    monkeypatch.chdir(folder.path)
    assert [file.exists() for file in read_list(".").cases[0].files] == [True] * 2
    assert read_list(".").name == "set"
