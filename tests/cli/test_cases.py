"""Which scans a folder or a list means, and how their results are called."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vesalius.cli.cases import list_cases
from vesalius.cli.scan_folder import Case
from vesalius.errors import FileFormatError, UsageError
from vesalius.geometry.volume import Volume
from vesalius.inference.result_folder import SCHEMA
from vesalius.io.formats import read

MakeScan = Callable[..., Path]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")


def test_a_folder_s_images_and_dicom_folders_are_its_cases(tmp_path: Path, make_scan: MakeScan) -> None:
    from vesalius.io.dicom_series import write_series

    scan = read(make_scan(tmp_path / "elsewhere.nii.gz"))
    root = tmp_path / "scans"
    write_series(Volume(scan.data, scan.grid, "CT"), root / "patient_2" / "study" / "series")
    touch(root / "a.nii.gz", root / "b.mha", root / "c.zip", root / "s1" / "ct.nii.gz", root / ".hidden.nii")
    touch(root / "notes.txt", root / "labels.seg.nrrd", root / "s1" / "segmentations" / "liver.nii.gz")
    touch(root / "s2" / "ct.nii.gz", root / "s2" / "pet.nii.gz", root / "empty" / "readme.md")
    assert [(case.name, case.path.relative_to(root).as_posix()) for case in list_cases(root).cases] == [
        ("a", "a.nii.gz"),
        ("b", "b.mha"),
        ("c", "c.zip"),
        ("patient_2", "patient_2"),
        ("s1", "s1/ct.nii.gz"),
        ("s2_ct", "s2/ct.nii.gz"),
        ("s2_pet", "s2/pet.nii.gz"),
    ]


def test_what_gives_no_case_is_named_with_the_reason(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    touch(root / "a" / "ses1" / "ct.nii.gz", root / "b.nii.gz", root / "c" / "readme.md", root / "d.seg.nrrd")
    touch(root / "done" / "labels.nii.gz", root / "of batch" / "x" / "labels.nii.gz", root / "notes.txt")
    for folder in (root / "done", root / "of batch" / "x"):
        (folder / "run.json").write_text(json.dumps({"schema": SCHEMA}))
    listing = list_cases(root)
    assert [case.name for case in listing.cases] == ["b"]
    why = {one.path.name: one.why for one in listing.left_out}
    assert list(why) == ["a", "c", "d.seg.nrrd", "done", "of batch"]
    assert "ses1/ct.nii.gz" in why["a"]
    assert why["done"] == "a result of vesalius"
    (root / "b.nii.gz").unlink()
    with pytest.raises(FileFormatError, match=r"ses1/ct\.nii\.gz"):
        list_cases(root)


def test_dicom_is_found_behind_many_other_files(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    touch(*(root / "p" / "A" / f"{number:02d}.jpg" for number in range(25)), root / "p" / "A" / "x.nii.gz")
    touch(root / "p" / "S1" / "1.dcm")
    (root / "p" / "S1" / "1.dcm").write_bytes(bytes(128) + b"DICM")
    assert list_cases(root).cases == (Case(name="p", path=root / "p"),)


def test_scans_and_results_in_one_folder_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "p1.nii.gz")
    with pytest.raises(UsageError, match="the folder of the scans"):
        list_cases(tmp_path, leave_out=tmp_path / "p1" / "..")


def test_a_link_to_nothing_is_a_case_that_will_fail(tmp_path: Path) -> None:
    for link in (tmp_path / "gone.nii.gz", tmp_path / "p" / "ct.nii"):
        link.parent.mkdir(exist_ok=True)
        link.symlink_to("absent")
    assert [case.name for case in list_cases(tmp_path).cases] == ["gone", "p"]


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders called ``closed`` cannot be looked into, not even by root, whom no rights keep out."""

    def guarded(honest: Callable[[str | Path], object]) -> Callable[[str | Path], object]:
        def look(path: str | Path) -> object:
            if Path(path).name == "closed":
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return honest(path)

        return look

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))


@pytest.mark.usefixtures("closed")
def test_a_folder_that_cannot_be_looked_into_is_refused(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    with pytest.raises(FileFormatError, match="closed: Permission denied"):
        list_cases(tmp_path / "closed")


@pytest.mark.usefixtures("closed")
def test_a_folder_deeper_down_that_cannot_be_looked_into_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz", tmp_path / "p" / "closed" / "1.dcm", tmp_path / "q" / "s" / "ct.nii")
    (tmp_path / "q" / "s" / "closed").mkdir()
    why = {one.path.name: one.why for one in list_cases(tmp_path).left_out}
    assert why["p"].startswith("closed in it cannot be looked into (Permission denied); what is seen holds neither")
    assert why["q"].startswith(
        "s/closed in it cannot be looked into (Permission denied); what is seen holds images"
    )


@pytest.mark.usefixtures("closed")
def test_a_series_with_a_folder_that_cannot_be_looked_into_is_a_case_that_will_fail(tmp_path: Path) -> None:
    touch(tmp_path / "p" / "closed" / "1.dcm", tmp_path / "p" / "2.dcm")
    (tmp_path / "p" / "2.dcm").write_bytes(bytes(128) + b"DICM")
    ((case,), left_out) = (list_cases(tmp_path).cases, list_cases(tmp_path).left_out)
    assert (case.path, left_out) == (tmp_path / "p", ())
    with pytest.raises(FileFormatError, match="closed: Permission denied"):
        read(case.path)


def test_a_folder_that_is_a_series_is_refused_with_the_command_to_type(tmp_path: Path, make_scan: MakeScan) -> None:
    from vesalius.io.dicom_series import write_series

    scan = read(make_scan(tmp_path / "elsewhere.nii.gz"))
    write_series(Volume(scan.data, scan.grid, "CT"), tmp_path / "ct")
    with pytest.raises(UsageError, match="vesalius segment"):
        list_cases(tmp_path / "ct")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.txt", "# comment\nb/x.nii.gz\n\na.nii\n"),
        ("list.csv", "image,series\nb/x.nii.gz,\na.nii,\n"),
        ("list.csv", "\ufeffpath\nb/x.nii.gz\na.nii\n"),
        ("list.json", json.dumps(["b/x.nii.gz", "a.nii"])),
        ("list.json", json.dumps([{"image": "b/x.nii.gz"}, {"image": ["a.nii"]}])),
        ("list.json", json.dumps({"training": [{"image": "b/x.nii.gz"}], "test": ["a.nii"], "name": "set"})),
    ],
    ids=["txt", "csv", "csv with a mark", "json paths", "json objects", "MONAI"],
)
def test_lists_name_paths_relative_to_themselves(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    listing = list_cases(tmp_path / name)
    assert listing.cases == (
        Case(name="a", path=tmp_path / "a.nii"),
        Case(name="x", path=tmp_path / "b" / "x.nii.gz"),
    )
    assert listing.left_out == ()


def test_a_list_may_give_names_and_series(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("image,name,series\nct,first,1.2.3\nct,second/../x,1.2.4\n")
    first, second = list_cases(tmp_path / "list.csv").cases
    assert (first.name, first.series) == ("first", "1.2.3")
    assert second.name == "second_.._x", "a name never leaves the folder of results"


def test_a_tilde_that_names_no_user_is_part_of_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "list.txt").write_text("~backup.nii.gz\n~/ct.nii.gz\n")
    paths = {case.path for case in list_cases(tmp_path / "list.txt").cases}
    assert paths == {tmp_path / "~backup.nii.gz", tmp_path / "home" / "ct.nii.gz"}


def test_equal_names_get_their_folders(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a/ct.nii.gz\nb/CT.nii.gz\nc/mr.nii\n")
    assert [case.name for case in list_cases(tmp_path / "list.txt").cases] == ["a_ct", "b_CT", "mr"]


def test_names_that_stay_equal_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("x/a/ct.nii.gz\ny/a/ct.nii.gz\n")
    with pytest.raises(UsageError, match="image,name"):
        list_cases(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("absent.txt", None),
        ("empty.txt", b""),
        ("list.json", b"{not json"),
        ("list.json", b'"text"'),
        ("list.json", b'[{"label": "x"}]'),
        ("list.json", b"[3]"),
        ("list.json", b'{"training": 5}'),
        ("list.json", b"[" * 100_000),
        ("list.csv", b"picture\nx.nii\n"),
        ("list.txt", b"\xff\xfe\x00\x01"),
        ("list.txt", b"a\0.nii.gz\n"),
        ("list.json", rb'["a\u0000.nii.gz"]'),
        ("list.json", rb'["\ud83d.nii.gz"]'),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FileFormatError):
        list_cases(tmp_path / name)
