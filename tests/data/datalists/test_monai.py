"""MONAI and decathlon lists: entries, splits, mappings, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vesalius.data.datalists.read import read_list
from vesalius.errors import FileFormatError, UnknownClassError, UnsafeFileError, UsageError
from vesalius.labels.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of([(1, "liver"), (3, "spleen"), (26, "hepatic tumor")])


def test_a_decathlon_list_is_read(folder: Any) -> None:
    folder.touch("imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "imagesTs/b.nii.gz")
    folder.json(
        "dataset.json",
        {
            "name": "Spleen",
            "modality": {"0": "CT"},
            "labels": {"0": "background", "1": "spleen"},
            "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
            "test": ["./imagesTs/b.nii.gz"],
        },
    )
    listed = read_list(folder.path)
    assert (listed.name, listed.format, listed.modality, dict(listed.meanings)) == (
        "Spleen", "monai", "CT", {1: "spleen"},
    )  # fmt: skip
    (learnt,), (test,) = listed.split("training"), listed.split("test")
    assert (learnt.name, learnt.image.name, learnt.label is not None) == ("a", "a.nii.gz", True)
    assert (test.name, test.label) == ("b", None)
    assert read_list(folder.path / "dataset.json") == listed


def test_everything_an_entry_may_say_is_kept(folder: Any) -> None:
    folder.touch("i.nii.gz", "l.nii.gz", "p.nii.gz", "s.nii.gz")
    entry = {"image": ["i.nii.gz"], "label": "l.nii.gz", "fold": 2, "name": "one", "classes": ["liver", 3]}
    entry |= {"patient": 17}
    for pseudo, supervoxels in (("pseudo_label", "supervoxels"), ("pseudo_label_file", "label_sv")):
        path = folder.json(
            "list.json",
            {"label_mapping": {"1": "liver"}, "training": [{**entry, pseudo: "p.nii.gz", supervoxels: "s.nii.gz"}]},
        )
        (case,) = read_list(path).cases
        assert [file.name for file in case.files] == ["i.nii.gz", "l.nii.gz", "p.nii.gz", "s.nii.gz"]
        assert (case.name, case.fold, case.classes) == ("one", 2, ("liver", 3))
        assert (case.patient, case.person) == ("17", ("patient", "17"))
    del entry["patient"]
    for key in ("patient_id", "subject", "subject_id"):
        (case,) = read_list(folder.json("list.json", {"training": [{**entry, key: "p 17"}]})).cases
        assert case.patient == "p 17"
    (case,) = read_list(folder.json("list.json", {"training": [entry]})).cases
    assert case.patient is None
    folder.json("list.json", {"training": [{**entry, "patient": ["17"]}]})
    with pytest.raises(FileFormatError, match="a patient of type list"):
        read_list(path)


def test_bids_names_say_whose_a_scan_is_where_the_list_does_not(folder: Any) -> None:
    folder.touch("sub-07_ses-1_ct.nii.gz", "sub-07_ses-2_ct.nii.gz", "subject-1.nii.gz")
    entries = [{"image": "sub-07_ses-1_ct.nii.gz"}, {"image": "sub-07_ses-2_ct.nii.gz", "patient": 8}]
    path = folder.json("list.json", {"training": [*entries, {"image": "subject-1.nii.gz"}]})
    assert [case.patient for case in read_list(path).cases] == ["sub-07", "8", None]


def test_classes_of_a_case_are_what_was_looked_for_in_it(folder: Any) -> None:
    folder.touch("a.nii", "a_l.nii", "b.nii", "b_l.nii", "c.nii")
    path = folder.json(
        "list.json",
        {
            "label_mapping": {"1": "liver", "2": "hepatic tumour"},
            "training": [
                {"image": "a.nii", "label": "a_l.nii"},
                {"image": "b.nii", "label": "b_l.nii", "classes": ["liver", "spleen"]},
                {"image": "c.nii"},
            ],
        },
    )
    listed = read_list(path)
    mapping = listed.mapping(VOCABULARY)
    looked_for = [set(listed.annotated(case, mapping, VOCABULARY)) for case in listed.cases]
    assert looked_for == [{1, 26}, {1, 3}, set()]  # the spleen has no id: it was looked for and is absent


def test_pairs_of_ids_are_a_mapping_and_win_over_labels(folder: Any) -> None:
    folder.touch("a.nii")
    content = {"labels": {"1": "cancer"}, "label_mapping": [[1, 1], [2, 26], [3, None]], "training": ["a.nii"]}
    listed = read_list(folder.json("list.json", content))
    assert dict(listed.mapping(VOCABULARY).classes) == {1: 1, 2: 26}
    assert listed.mapping(VOCABULARY).left_out == {3}


def test_a_misspelt_class_of_a_case_is_refused_not_invented(folder: Any) -> None:
    folder.touch("a.nii", "l.nii")
    content = {
        "label_mapping": {"1": 1},
        "training": [{"image": "a.nii", "label": "l.nii", "classes": ["spleeen"]}],
    }
    listed = read_list(folder.json("list.json", content))
    with pytest.raises(UnknownClassError, match="spleen"):
        listed.annotated(listed.cases[0], listed.mapping(VOCABULARY), VOCABULARY)


def test_a_list_that_does_not_say_what_its_ids_mean_cannot_be_mapped(folder: Any) -> None:
    folder.touch("a.nii")
    with pytest.raises(UsageError, match="label_mapping"):
        read_list(folder.json("list.json", {"training": ["a.nii"]})).mapping(VOCABULARY)


def test_a_fold_is_kept_for_validation(folder: Any) -> None:
    folder.touch("a.nii", "b.nii", "c.nii", "d.nii", "e.nii")
    content = {
        "training": [{"image": "a.nii", "fold": 0}, {"image": "b.nii", "fold": 1}, {"image": "c.nii"}],
        "validation": ["d.nii"],
        "testing": ["e.nii"],
    }
    listed = read_list(folder.json("list.json", content)).folded(1)
    names = {split: [case.name for case in listed.split(split)] for split in ("training", "validation", "test")}
    assert names == {"training": ["a", "c", "d"], "validation": ["b"], "test": ["e"]}
    with pytest.raises(UsageError, match=r"\[0, 1\]"):
        listed.folded(7)


def test_scans_of_one_name_are_called_by_their_folders(folder: Any) -> None:
    folder.touch("p1/ct.nii.gz", "p2/ct.nii.gz")
    path = folder.json("list.json", {"training": ["p1/ct.nii.gz", "p2/ct.nii.gz"]})
    assert [case.name for case in read_list(path).cases] == ["p1_ct", "p2_ct"]


@pytest.mark.parametrize("written", ["../out.nii", "sub/../../out.nii", "/etc/hostname", "link.nii"])
def test_a_path_out_of_the_list_s_folder_is_refused_unless_allowed(folder: Any, written: str) -> None:
    folder.touch("sub/a.nii", "../out.nii")
    (folder.path / "link.nii").symlink_to(folder.path.parent / "out.nii")
    path = folder.json("list.json", {"training": [written]})
    with pytest.raises(UnsafeFileError, match="--allow-outside"):
        read_list(path)
    assert read_list(path, allow_outside=True, strict=False).cases[0].image.name == Path(written).name


@pytest.mark.parametrize("written", ["a\0.nii", "\ud83d.nii", "circle.nii", "a" * 5000])
@pytest.mark.parametrize("allow_outside", [False, True])
def test_what_can_be_no_path_is_refused(folder: Any, written: str, *, allow_outside: bool) -> None:
    path = folder.json("list.json", {"training": [written]})
    (folder.path / "circle.nii").symlink_to(folder.path / "circle.nii")
    with pytest.raises(FileFormatError):
        read_list(path, allow_outside=allow_outside)


def test_a_tilde_that_names_no_user_is_part_of_a_name(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.path / "home"))
    folder.touch("~backup.nii.gz", "home/ct.nii.gz")
    path = folder.json("list.json", {"training": ["~backup.nii.gz", "~/ct.nii.gz"]})
    images = [case.image.relative_to(folder.path).as_posix() for case in read_list(path).cases]
    assert images == ["~backup.nii.gz", "home/ct.nii.gz"]


def test_a_root_is_where_paths_begin(folder: Any) -> None:
    folder.touch("data/a.nii")
    path = folder.json("lists/one.json", {"training": ["a.nii"]})
    with pytest.raises(FileFormatError, match="missing"):
        read_list(path)
    assert read_list(path, root=folder.path / "data").cases[0].image == folder.path / "data" / "a.nii"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"training": []}, "none"),
        ({"training": ["gone.nii"]}, "1 missing, such as .*gone.nii"),
        ({"training": ["a.nii", "a.nii"]}, "once"),
        ({"training": ["a.nii", {"image": "a.nii", "name": "b"}]}, "a.nii for a, b"),
        ({"training": [{"image": "a.nii", "name": "c"}], "test": [{"image": "b.nii", "name": "c"}]}, "c for c, c"),
        ({"training": [{"label": "a.nii"}]}, "entry 0 of training: no `image`"),
        ({"training": [{"image": ["a.nii", "b.nii"]}]}, "not one path"),
        ({"training": [{"image": "a.nii", "classes": "liver"}]}, "classes liver"),
        ({"training": [{"image": "a.nii", "fold": "x"}]}, "fold 'x'"),
        ({"training": ["a.nii"], "labels": {"one": "liver"}}, "labels"),
        ({"training": ["a.nii"], "labels": {"1": ["liver"]}}, "labels"),
        ({"training": ["a.nii"], "test": {"a": 1}}, "list of entries"),
        ({"other": 1}, "other"),
        ([1], "list"),
    ],
)
def test_a_list_that_is_wrong_is_refused(folder: Any, content: Any, match: str) -> None:
    folder.touch("a.nii", "b.nii")
    with pytest.raises(FileFormatError, match=match):
        read_list(folder.json("list.json", content))


def test_what_is_no_list_is_refused(folder: Any) -> None:
    folder.touch("bad.json", "empty/readme.txt")
    for path in (folder.path / "bad.json", folder.path / "gone.json", folder.path / "empty"):
        with pytest.raises(FileFormatError):
            read_list(path)


def test_a_list_that_is_not_sound_can_be_looked_at(folder: Any) -> None:
    path = folder.json("list.json", {"training": ["gone.nii", "gone.nii"]})
    assert len(read_list(path, strict=False).cases) == 2


def test_a_pseudo_label_that_is_called_unreliable_is_left_out(folder: Any) -> None:
    folder.touch("a.nii.gz", "b.nii.gz", "p.nii.gz", "q.nii.gz")
    entries = [
        {"image": "a.nii.gz", "pseudo_label_file": "p.nii.gz", "pseudo_label_reliability": 0},
        {"image": "b.nii.gz", "pseudo_label_file": "q.nii.gz", "pseudo_label_reliability": 1},
    ]
    folder.json("list.json", {"training": entries})
    kept = [case.pseudo_label is not None for case in read_list(folder.path / "list.json").cases]
    assert kept == [False, True]


@pytest.mark.parametrize(
    "masks", [["a"], {"liver": "a.nii.gz"}, {"1": 3}, *({label: "a.nii.gz"} for label in ("0", "-1", "70000"))]
)
def test_masks_that_are_no_files_by_id_are_refused(folder: Any, masks: Any) -> None:
    folder.touch("a.nii.gz")
    folder.json("list.json", {"training": [{"image": "a.nii.gz", "masks": masks}]})
    with pytest.raises(FileFormatError, match="masks"):
        read_list(folder.path / "list.json")


def test_a_list_may_be_named_from_where_one_is(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.touch("images/a.nii", "labels/a.nii", "images/b.nii")
    entries = [{"image": "images/a.nii", "label": "./labels/a.nii"}]
    folder.json("dataset.json", {"training": entries, "test": ["images/b.nii"]})
    monkeypatch.chdir(folder.path.parent)
    for path in ("set", "set/dataset.json"):
        listed = read_list(path)
        assert (listed.name, listed.cases[0].files) == ("set", (Path("set/images/a.nii"), Path("set/labels/a.nii")))
    assert read_list("set/dataset.json", root=folder.path).cases[0].image == folder.path / "images/a.nii"
    monkeypatch.chdir(folder.path)
    assert (read_list(".").name, read_list("dataset.json").name) == ("set", "set")
    assert read_list("dataset.json").cases[0].image == Path("images/a.nii")


def test_a_root_named_from_where_one_is_serves_folders_named_whole(
    folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.touch("images/a.nii", "labels/a.nii")
    monkeypatch.chdir(folder.path.parent)
    assert read_list(folder.path, root=Path("set")).cases[0].image == folder.path / "images/a.nii"
    with pytest.raises(UnsafeFileError, match="--root"):
        read_list(folder.path, root=Path("set/images"))
