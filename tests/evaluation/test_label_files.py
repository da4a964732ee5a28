"""Files are paired by name, and nothing is dropped silently."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.scenes import written
from vesalius.errors import FileFormatError, UsageError
from vesalius.evaluation.label_files import pair_files

BOX = {1: (2, 12, 10, 8)}


def test_two_files_are_a_pair_whatever_they_are_called(tmp_path: Path) -> None:
    found, truth = written(tmp_path / "x.nii.gz", BOX), written(tmp_path / "patient.nrrd", BOX)
    (pair,) = pair_files(found, truth)
    assert (pair.name, pair.found, pair.truth) == ("patient", found, truth)


def test_folders_are_paired_by_name_across_formats_and_result_folders(tmp_path: Path) -> None:
    found, truth = tmp_path / "found", tmp_path / "truth"
    for path in (
        found / "a.nii.gz",
        found / "b" / "labels.nii.gz",
        found / "only here.nii.gz",
        found / ".c.nii.gz",
    ):
        written(path, BOX)
    (found / "b" / "labels.json").write_text("{}")
    for path in (truth / "a.mha", truth / "b.nii.gz"):
        written(path, BOX)
    (truth / "README.txt").write_text("not a label file")
    pairs = pair_files(found, truth)
    assert [pair.name for pair in pairs] == ["a", "b"]
    assert [pair.found.name for pair in pairs] == ["a.nii.gz", "b"]


def test_folders_whose_ids_one_table_beside_the_files_names_are_no_results(tmp_path: Path) -> None:
    folders = found, truth = tmp_path / "found", tmp_path / "truth"
    for folder in folders:
        for name in ("a.nii.gz", "b.nii.gz"):
            written(folder / name, BOX)
        (folder / "labels.json").write_text('{"1": "liver"}')
    assert [pair.name for pair in pair_files(found, truth)] == ["a", "b"]


def test_a_reference_without_a_result_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "found" / "a.nii.gz", BOX)
    for name in ("a", "b", "c"):
        written(tmp_path / "truth" / f"{name}.nii.gz", BOX)
    with pytest.raises(UsageError, match="none for b, c"):
        pair_files(tmp_path / "found", tmp_path / "truth")


def test_what_cannot_be_a_pair_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "files" / "a.nii.gz", BOX)
    with pytest.raises(UsageError, match="two label files, or two folders"):
        pair_files(file, tmp_path / "files")
    with pytest.raises(FileFormatError, match="not there"):
        pair_files(file, tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileFormatError, match=r"got: +none"):
        pair_files(tmp_path / "empty", tmp_path / "files")
    written(tmp_path / "files" / "a.mha", BOX)
    with pytest.raises(UsageError, match=r"a\.mha and a\.nii\.gz"):
        pair_files(tmp_path / "files", tmp_path / "files")
