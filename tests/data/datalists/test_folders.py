"""Plain folders: images and labels find one another by their names, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vesalius.data.datalists.read import read_list
from vesalius.errors import FileFormatError

SETS = {
    "msd-hippocampus-mr/train": (210, 210, "unknown"),
    "prostate-mr-l2r": (10, 10, "MR"),
    "openkbp-hn-ct": (112, 112, "CT"),
    "sts-tumour-ct/train": (18, 18, "CT"),
    "sts-tumour-ct/mr_t1": (6, 6, "MR"),
    "clara-spleen8": (1, 1, "unknown"),
}


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/a.nii.gz", "labels/a.nii.gz"),
        ("imagesTr/a.nii.gz", "labelsTr/a.nii.gz"),
        ("images/a_0000.nii.gz", "labels/a.nii.gz"),
        ("mr_images/a.nii.gz", "mr_labels/a.nii.gz"),
        ("imgs/a.mha", "masks/a_mask.nrrd"),
        ("a_ct.nii.gz", "a_seg.nii.gz"),
        ("a.nii.gz", "a_label.nii.gz"),
        ("a_T1.nii.gz", "a_T1_seg-manual.nii.gz"),
        ("train/a_ct.nii", "train/a_mask.nii"),
    ],
)
def test_names_that_belong_together_are_found(folder: Any, image: str, label: str) -> None:
    folder.touch(image, label, image.replace("a", "b", 1) if image.startswith("a") else image.replace("/a", "/b"))
    listed = read_list(folder.path)
    pairs = {case.image.name: case.label for case in listed.cases}
    assert len(pairs) == 2
    assert pairs[Path(image).name] == folder.path / label
    assert listed.split("training") == listed.cases


def test_splits_are_folders_and_names_lose_the_word_for_image(folder: Any) -> None:
    folder.touch("train/p1_ct.nii.gz", "train/p1_seg.nii.gz", "val/p2_ct.nii.gz", "val/p2_seg.nii.gz")
    folder.touch("imagesTs/q_ct.nii.gz")
    listed = read_list(folder.path)
    found = {case.name: (case.split, case.is_labelled) for case in listed.cases}
    assert found == {"p1": ("training", True), "p2": ("validation", True), "q": ("test", False)}
    assert listed.modality == "CT"


def test_two_scans_of_a_patient_keep_their_whole_names(folder: Any) -> None:
    folder.touch("p1_t1.nii", "p1_t1_seg.nii", "p1_t2.nii", "p1_t2_seg.nii")
    cases = read_list(folder.path).cases
    assert [(case.name, case.label and case.label.name) for case in cases] == [
        ("p1_t1", "p1_t1_seg.nii"),
        ("p1_t2", "p1_t2_seg.nii"),
    ]


def test_bids_names_say_whose_a_scan_is(folder: Any) -> None:
    folder.touch("sub-1_ses-1_ct.nii", "sub-1_ses-1_seg.nii", "sub-1_ses-2_ct.nii", "other_ct.nii")
    cases = read_list(folder.path).cases
    assert {case.name: case.patient for case in cases} == {
        "sub-1_ses-1": "sub-1",
        "sub-1_ses-2": "sub-1",
        "other": None,
    }


def test_meanings_stand_in_a_labels_file(folder: Any) -> None:
    folder.touch("a.nii", "a_seg.nii")
    folder.json("labels.json", {"1": "liver"})
    assert dict(read_list(folder.path).meanings) == {1: "liver"}


@pytest.mark.parametrize(
    ("files", "match"),
    [
        (("a.nii", "b_seg.nii"), "b_seg.nii, which goes with none"),
        (("a_ct.nii", "a_mr.nii", "a_seg.nii"), "a_ct.nii, a_mr.nii"),
        (("a.nii", "a_seg.nii", "a_mask.nii"), "a_seg.nii, which would go with a.nii, a_mask.nii"),
    ],
)
def test_a_label_without_its_one_image_is_refused(folder: Any, files: tuple[str, ...], match: str) -> None:
    folder.touch(*files)
    with pytest.raises(FileFormatError, match=match):
        read_list(folder.path)


@pytest.mark.parametrize("name", SETS)
def test_real_folders_are_read(shared_data: Path, name: str) -> None:
    listed = read_list(shared_data / name)
    cases, labelled, modality = SETS[name]
    assert len(listed.cases) == cases
    assert sum(case.is_labelled for case in listed.cases) == labelled
    assert listed.modality == modality


@pytest.mark.parametrize(("image", "label"), [("images/a.nii.gz", "labels/a.nii.gz"), ("a_ct.nii", "a_seg.nii")])
def test_a_folder_may_be_named_from_where_one_is(
    folder: Any, image: str, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.touch(image, label)
    monkeypatch.chdir(folder.path.parent)
    by_path = read_list("set")
    assert (by_path.name, by_path.cases[0].files) == ("set", (Path("set", image), Path("set", label)))
    monkeypatch.chdir(folder.path)
    assert [file.exists() for file in read_list(".").cases[0].files] == [True] * 2
    assert read_list(".").name == "set"
