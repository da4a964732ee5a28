"""A list that is written is read back equal, whatever format it came from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vesalius.data.datalists.read import read_list
from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.data.datalists.write import write_list
from vesalius.errors import UnsafeFileError


def a_list(folder: Path) -> DataList:
    for name in ("a", "b", "c", "a_seg", "b_liver", "a_sv", "a_pl"):
        (folder / f"{name}.nii.gz").touch()
    file = {path.name.removesuffix(".nii.gz"): path for path in folder.iterdir()}
    cases = (
        ListedCase(
            name="a",
            image=file["a"],
            label=file["a_seg"],
            supervoxels=file["a_sv"],
            pseudo_label=file["a_pl"],
            classes=("liver", 3),
            fold=2,
            patient="one",
        ),
        ListedCase(name="b", image=file["b"], masks={1: file["b_liver"]}, split="validation"),
        ListedCase(name="c", image=file["c"], split="test"),
    )
    return DataList(
        name="mine",
        path=folder / "new.json",
        format="monai",
        cases=cases,
        meanings={1: "liver", 2: 26, 3: None},
        unknown=frozenset({9}),
        modality="CT",
    )


def test_what_is_written_is_read_back_equal(tmp_path: Path) -> None:
    listed = a_list(tmp_path)
    write_list(listed, listed.path)
    assert read_list(listed.path) == listed


def test_paths_below_the_list_s_folder_move_with_it_and_others_are_refused_unless_allowed(tmp_path: Path) -> None:
    listed = a_list(tmp_path)
    (tmp_path / "lists").mkdir()
    other = tmp_path / "lists" / "new.json"
    write_list(listed, other)
    with pytest.raises(UnsafeFileError, match="--root"):
        read_list(other)
    assert read_list(other, root=tmp_path) == replace(listed, path=other)
    write_list(listed, listed.path)
    assert str(tmp_path) not in listed.path.read_text()
