"""What a file is, whatever it is called; and what is never opened."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from vesalius.checkpoints.content import recognise, refuse_pickled_text
from vesalius.checkpoints.safetensors import write_tensors
from vesalius.errors import CheckpointError, UnsafeCheckpointError


def _zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_the_three_formats_are_told_by_their_content(tmp_path: Path) -> None:
    state = {"a": torch.ones(3)}
    write_tensors(tmp_path / "odd.name", state, metadata={})
    torch.save(state, tmp_path / "new.pt")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert recognise(tmp_path / "odd.name") == "safetensors"
    assert recognise(tmp_path / "new.pt") == "torch zip"
    assert recognise(tmp_path / "old.pth") == "pickle"


@pytest.mark.parametrize("name", ["model.safetensors", "model.npz", "spec.json", "model"])
def test_a_pickle_under_another_name_is_unsafe(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UnsafeCheckpointError, match="pickle"):
        recognise(tmp_path / name)


def test_archives_that_torch_did_not_write_are_unsafe(tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    foreign = _zip(tmp_path / "foreign.pt", {"readme.txt": b"hello"})
    for path in (tmp_path / "arrays.npz", foreign):
        with pytest.raises(UnsafeCheckpointError, match="did not write"):
            recognise(path)


def test_a_torchscript_archive_is_a_program_and_unsafe(tmp_path: Path) -> None:
    _zip(
        tmp_path / "model.pt",
        {"model/data.pkl": b"\x80\x02.", "model/code/__torch__.py": b"", "model/constants.pkl": b""},
    )
    with pytest.raises(UnsafeCheckpointError, match="program"):
        recognise(tmp_path / "model.pt")


def test_an_archive_that_unfolds_is_unsafe(tmp_path: Path) -> None:
    members = {"m/data.pkl": b"\x80\x02.", "m/data/0": bytes(1 << 20)}
    bomb = _zip(tmp_path / "bomb.pt", members, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1 << 14
    with pytest.raises(UnsafeCheckpointError, match="compressed"):
        recognise(bomb)
    assert recognise(_zip(tmp_path / "flat.pt", members)) == "torch zip"


def test_an_archive_whose_members_overlap_is_unsafe(tmp_path: Path) -> None:
    # One megabyte that the table of contents lists a hundred times.
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02.")
        archive.writestr("m/data/0", bytes(1 << 20))
        first = archive.getinfo("m/data/0")
        for number in range(1, 100):
            again = zipfile.ZipInfo(f"m/data/{number}")
            again.header_offset, again.CRC = first.header_offset, first.CRC
            again.file_size = again.compress_size = first.file_size
            archive.filelist.append(again)
    (tmp_path / "overlap.pt").write_bytes(inner.getvalue())
    with pytest.raises(UnsafeCheckpointError, match="claims more bytes"):
        recognise(tmp_path / "overlap.pt")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04rubbish", b"<!DOCTYPE html>", bytes(64)])
def test_anything_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.bin.gz").write_bytes(content)
    with pytest.raises(CheckpointError):
        recognise(tmp_path / "file.bin.gz")
    with pytest.raises(CheckpointError):
        recognise(tmp_path / "absent")


def test_a_pickle_in_place_of_a_text_is_unsafe(tmp_path: Path) -> None:
    refuse_pickled_text(tmp_path / "spec.json", b'{"name": "a"}')
    with pytest.raises(UnsafeCheckpointError):
        refuse_pickled_text(tmp_path / "spec.json", pickle.dumps([1]))
