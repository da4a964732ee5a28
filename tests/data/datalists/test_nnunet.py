"""nnU-Net's data sets: channels, labels by name, voxels to ignore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vesalius.data.datalists.read import read_list
from vesalius.errors import FileFormatError, UsageError
from vesalius.labels.vocabulary import Vocabulary

ONE = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "ignore": 2}, "file_ending": ".nii.gz"}


def test_images_and_labels_are_paired_and_ignored_voxels_are_unknown(folder: Any) -> None:
    folder.touch("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", "imagesTs/b_0000.nii.gz")
    folder.json("dataset.json", ONE)
    listed = read_list(folder.path)
    assert (listed.format, listed.modality, dict(listed.meanings), listed.unknown) == (
        "nnunet", "CT", {1: "liver"}, {2},
    )  # fmt: skip
    assert [(case.name, case.split, case.is_labelled) for case in listed.cases] == [
        ("a", "training", True),
        ("b", "test", False),
    ]
    mapping = listed.mapping(Vocabulary.of([(1, "liver")]))
    assert (dict(mapping.classes), mapping.unknown) == ({1: 1}, {2})


def test_one_of_several_channels_must_be_named(folder: Any) -> None:
    folder.touch("imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "labelsTr/a.nii.gz")
    folder.json("dataset.json", {**ONE, "channel_names": {"0": "T1", "1": "FLAIR"}})
    with pytest.raises(UsageError, match="0 T1, 1 FLAIR"):
        read_list(folder.path)
    listed = read_list(folder.path, channel=1)
    assert listed.cases[0].image.name == "a_0001.nii.gz"
    assert listed.modality == "MR"
    with pytest.raises(UsageError, match=r"got: +2"):
        read_list(folder.path, channel=2)


def test_a_missing_label_is_named(folder: Any) -> None:
    folder.touch("imagesTr/a_0000.nii.gz")
    folder.json("dataset.json", ONE)
    with pytest.raises(FileFormatError, match="labelsTr"):
        read_list(folder.path)


def test_files_may_be_stated_case_by_case(folder: Any) -> None:
    folder.touch("x/one.nii.gz", "y/one.nii.gz")
    files = {"one": {"images": ["x/one.nii.gz"], "label": "y/one.nii.gz"}}
    folder.json("dataset.json", {**ONE, "dataset": files})
    (case,) = read_list(folder.path).cases
    assert (case.name, case.image.parent.name) == ("one", "x")
    folder.json("dataset.json", {**ONE, "dataset": {"one": {"images": []}}})
    with pytest.raises(FileFormatError, match="files of one"):
        read_list(folder.path)


def test_regions_are_refused_until_every_id_has_a_meaning(folder: Any) -> None:
    folder.touch("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
    regions = {**ONE, "labels": {"background": 0, "whole": [1, 2], "core": 2}}
    folder.json("dataset.json", regions)
    with pytest.raises(FileFormatError, match="label_mapping"):
        read_list(folder.path)
    kits = {1: "kidney", 2: "kidney tumor", 3: "kidney cyst"}
    folder.json("dataset.json", {**regions, "labels": {**regions["labels"], "ignore": 4}})
    told = read_list(folder.path, meanings=kits)
    assert (dict(told.meanings), told.unknown) == (kits, {4})
    folder.json("dataset.json", {**regions, "label_mapping": {"1": "liver", "2": "hepatic tumor"}})
    assert dict(read_list(folder.path).meanings) == {1: "liver", 2: "hepatic tumor"}


def test_a_folder_may_be_named_from_where_one_is(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.touch("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", "imagesTs/b_0000.nii.gz")
    folder.json("dataset.json", ONE)
    monkeypatch.chdir(folder.path.parent)
    by_path = read_list("set")
    assert (by_path.name, by_path.cases[0].files) == (
        "set",
        (Path("set/imagesTr/a_0000.nii.gz"), Path("set/labelsTr/a.nii.gz")),
    )
    monkeypatch.chdir(folder.path)
    assert [file.exists() for file in read_list(".").cases[0].files] == [True] * 2
    assert read_list(".").name == "set"
