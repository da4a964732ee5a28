"""PyTorch files are read by the restricted unpickler alone: tensors come, code never runs."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vesalius.checkpoints.pytorch import read_pytorch
from vesalius.errors import CheckpointError, UnsafeCheckpointError


class Trap:
    """Unpickles to a command that leaves a file behind."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.evidence}'",)


def plant(path: Path, evidence: Path, how: str) -> Path:
    """Write a file that creates ``evidence`` when it is unpickled."""
    trap = {"weight": Trap(evidence)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(trap))
    elif how == "old pickle":
        path.write_bytes(pickle.dumps(trap, protocol=0))
    elif how == "torch":
        torch.save(trap, path)
    elif how == "old torch":
        torch.save(trap, path, _use_new_zipfile_serialization=False)
    elif how == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(trap, protocol=2))
            archive.writestr("archive/version", "3\n")
            archive.writestr("archive/byteorder", "little")
    return path


HOW = ["pickle", "old pickle", "torch", "old torch", "zip"]


@pytest.mark.parametrize("how", HOW)
def test_a_planted_pickle_is_refused_and_not_executed(tmp_path: Path, how: str) -> None:
    evidence = tmp_path / "executed"
    planted = plant(tmp_path / "model.pt", evidence, how)
    with pytest.raises(UnsafeCheckpointError) as caught:
        read_pytorch(planted)
    assert not evidence.exists()
    assert "weights_only=False" not in str(caught.value)  # never recommend switching the protection off


@pytest.mark.parametrize("how", ["pickle", "old pickle", "torch", "old torch"])
def test_the_trap_does_spring_for_a_careless_reader(tmp_path: Path, how: str) -> None:
    evidence = tmp_path / "executed"
    planted = plant(tmp_path / "model.pt", evidence, how)
    if "torch" in how:
        torch.load(planted, weights_only=False)
    else:
        pickle.loads(planted.read_bytes())
    assert evidence.exists()


STATE = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2)}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapper", ["", "model", "state_dict"])
def test_a_state_dict_is_found_plain_or_wrapped(tmp_path: Path, wrapper: str, zipped: bool) -> None:
    saved = {wrapper: STATE, "epoch": 3, "step": torch.tensor(7)} if wrapper else STATE
    torch.save(saved, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
    state = read_pytorch(tmp_path / "model.pt")
    assert state.wrapper == wrapper
    assert state.beside == (("epoch", "step") if wrapper else ())
    assert set(state.tensors) == set(STATE)
    assert all(torch.equal(state.tensors[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize(
    "saved",
    [{}, [1, 2], torch.ones(3), {"epoch": 3}, {"a": torch.ones(2), "b": "text"}, {"a": torch.ones(2).to_sparse()}],
    ids=["empty", "list", "tensor", "no tensors", "text among tensors", "sparse"],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, saved: object) -> None:
    torch.save(saved, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="names and tensors"):
        read_pytorch(tmp_path / "model.pt")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("tenth", range(10))
def test_every_truncation_is_a_typed_error(tmp_path: Path, zipped: bool, tenth: int) -> None:
    torch.save(STATE, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "model.pt").read_bytes()
    (tmp_path / "model.pt").write_bytes(whole[: len(whole) * tenth // 10])
    with pytest.raises((CheckpointError, UnsafeCheckpointError)):
        read_pytorch(tmp_path / "model.pt")


def test_a_published_file_in_the_old_format_is_read(shared_data: Path) -> None:
    state = read_pytorch(shared_data / "obelisk-tcia-weights" / "obeliskhybrid_tcia_fold1.pth")
    assert 200_000 < sum(tensor.numel() for tensor in state.tensors.values()) < 260_000


class Made:
    """Unpickles to what a function returns of some arguments."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.made_of = function, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.made_of


def test_a_few_bytes_do_not_stand_for_tensors_of_any_size(tmp_path: Path) -> None:
    table = torch.zeros(1).expand(10**6, 8)
    torch.save({**STATE, "table": table}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="table of more bytes"):
        read_pytorch(tmp_path / "model.pt")
    one = torch.ones(100_000)
    torch.save({str(n): one for n in range(8)}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="more bytes"):
        read_pytorch(tmp_path / "model.pt")
    torch.save({str(n): one for n in range(2)}, tmp_path / "model.pt")
    assert len(read_pytorch(tmp_path / "model.pt").tensors) == 2, "some stand under two names"


@pytest.mark.parametrize("kind", ["V1000", "U1000", "S1000"])
def test_what_is_no_number_of_numpy_is_not_made_room_for(tmp_path: Path, kind: str) -> None:
    scalar = np.float64(0).__reduce__()[0]
    for content in ((), (b"a",)):
        torch.save({"network_weights": STATE, "n": Made(scalar, Made(np.dtype, kind), *content)}, tmp_path / "m.pt")
        with pytest.raises((CheckpointError, UnsafeCheckpointError)):
            read_pytorch(tmp_path / "m.pt")


def test_names_that_hold_one_another_are_not_spelled_out(tmp_path: Path) -> None:
    name: tuple[object, ...] = ()
    for _ in range(18):
        name = (name, name)
    torch.save({name: 1}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError) as caught:
        read_pytorch(tmp_path / "model.pt")
    assert len(str(caught.value)) < 10_000


def test_numbers_of_numpy_may_stand_beside_the_weights_and_nothing_else_of_it(tmp_path: Path) -> None:
    numbers = {"dice": np.float64(0.5), "epoch": np.int64(3), "scores": [np.float32(1.5), np.bool_(True)]}
    torch.save({"network_weights": STATE, **numbers}, tmp_path / "model.pth")
    state = read_pytorch(tmp_path / "model.pth")
    assert state.wrapper == "network_weights"
    assert state.around == numbers
    torch.save({"network_weights": STATE, "array": np.arange(3)}, tmp_path / "model.pth")
    with pytest.raises(UnsafeCheckpointError):
        read_pytorch(tmp_path / "model.pth")
