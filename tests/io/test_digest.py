"""The digest of an input changes with what would be read, and with nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from vesalius.errors import FileFormatError
from vesalius.io.archives import list_files
from vesalius.io.digest import input_sha256


def folder_of(path: Path) -> Path:
    (path / "sub").mkdir(parents=True)
    (path / "a.dcm").write_bytes(b"one")
    (path / "sub" / "b.dcm").write_bytes(b"two")
    return path


def test_a_file_has_its_own_sha256(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"content")
    assert input_sha256(tmp_path / "a.nii") == hashlib.sha256(b"content").hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "sub" / "b.dcm").write_bytes(b"twO"),
        lambda folder: (folder / "a.dcm").rename(folder / "c.dcm"),
        lambda folder: (folder / "c.dcm").write_bytes(b""),
        lambda folder: (folder / "a.dcm").unlink(),
    ],
    ids=["content", "name", "one more", "one less"],
)
def test_a_folder_s_digest_changes_with_any_file(tmp_path: Path, change: Callable[[Path], object]) -> None:
    folder = folder_of(tmp_path / "ct")
    before = input_sha256(folder)
    change(folder)
    assert input_sha256(folder) != before


def test_a_folder_s_digest_does_not_depend_on_its_place_or_on_results_inside(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "ct")
    before = input_sha256(folder)
    assert input_sha256(folder_of(tmp_path / "elsewhere" / "copy")) == before
    (folder / "out").mkdir()
    (folder / "out" / "run.json").write_text("{}")
    assert input_sha256(folder, leave_out=[folder / "out"]) == before
    assert input_sha256(folder) != before


def test_a_folder_of_results_that_the_input_lies_in_leaves_nothing_of_it_out(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "ct")
    before = input_sha256(folder)
    for above in (folder, folder / "sub" / "..", tmp_path):
        assert input_sha256(folder, leave_out=[above]) == before
    assert input_sha256(folder, leave_out=[folder / "sub"]) != before


def test_a_folder_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(FileFormatError, match="none beside results"):
        input_sha256(tmp_path)
    (tmp_path / "out" / "labels.nii.gz").write_bytes(b"labels")
    with pytest.raises(FileFormatError, match="none beside results"):
        input_sha256(tmp_path, leave_out=[tmp_path / "out"])


def test_two_files_cannot_trade_their_content(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "ct")
    before = input_sha256(folder)
    (folder / "a.dcm").write_bytes(b"two")
    (folder / "sub" / "b.dcm").write_bytes(b"one")
    assert input_sha256(folder) != before


@pytest.mark.parametrize(
    ("header", "content", "data"),
    [
        ("a.mhd", "NDims = 3\nElementDataFile = a.raw\n", "a.raw"),
        ("a.mhd", "NDims = 3\nElementDataFile = voxels.bin\n", "voxels.bin"),
        ("a.nhdr", "NRRD0004\ntype: short\ndata file: a.gz\n\n", "a.gz"),
        ("a.mha", "NDims = 3\nElementDataFile = a.raw\n", "a.raw"),
        ("a.nrrd", "NRRD0004\ntype: short\ndata file: a.raw\n\n", "a.raw"),
        ("a.seg.nrrd", "NRRD0004\ntype: short\ndata file: a.raw\n\n", "a.raw"),
        ("a.hdr", "header", "a.img"),
        ("a.hdr", "header", "a.img.gz"),
        ("a.hdr.gz", "header", "a.img"),
        ("a.hdr.gz", "header", "a.img.gz"),
    ],
)
def test_a_detached_header_counts_its_data_whatever_its_name(
    tmp_path: Path, header: str, content: str, data: str
) -> None:
    (tmp_path / header).write_text(content)
    (tmp_path / data).write_bytes(b"1")
    before = input_sha256(tmp_path / header)
    (tmp_path / data).write_bytes(b"2")
    assert input_sha256(tmp_path / header) != before


def test_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="No such file"):
        input_sha256(tmp_path / "absent.nii")


def test_what_is_hidden_in_a_folder_is_neither_read_nor_hashed(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "ct")
    before, listed = input_sha256(folder), list_files(folder)
    (folder / ".out.lock").touch()
    (folder / ".out.partial").mkdir()
    (folder / ".out.partial" / "labels.nii.gz").write_bytes(b"half")
    assert input_sha256(folder) == before
    assert list_files(folder) == listed


def test_a_link_that_leads_nowhere_counts_by_its_name(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "ct")
    without = input_sha256(folder)
    (folder / "c.dcm").symlink_to(tmp_path / "c.dcm")
    dead = input_sha256(folder, leave_out=[folder / "out"])
    (tmp_path / "c.dcm").write_bytes(b"three")
    assert len({without, dead, input_sha256(folder)}) == 3
    (folder / "loop").symlink_to(folder / "loop")
    assert input_sha256(folder, leave_out=[folder / "out"]) not in (without, dead)


def test_a_header_with_its_voxels_behind_it_has_its_own_sha256(tmp_path: Path) -> None:
    for name, content in (
        ("a.mha", b"NDims = 3\nElementDataFile = LOCAL\n\1\2"),
        ("a.nrrd", b"NRRD0004\ntype: short\n\n\1\2"),
    ):
        (tmp_path / name).write_bytes(content)
        assert input_sha256(tmp_path / name) == hashlib.sha256(content).hexdigest()
