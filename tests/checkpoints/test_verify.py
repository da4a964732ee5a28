"""Conversion keeps the network, and verification finds what is wrong with a file."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vesalius.checkpoints import verify as verification
from vesalius.checkpoints.convert import convert_model
from vesalius.checkpoints.formats.vista3d_official import to_official
from vesalius.checkpoints.header import read_header
from vesalius.checkpoints.load import load_model
from vesalius.checkpoints.probe import GOLDEN_FILE, difference, our_answers, read_golden
from vesalius.checkpoints.safetensors import write_model, write_tensors
from vesalius.checkpoints.verify import Verification, verify
from vesalius.errors import CheckpointError, UsageError
from vesalius.spec import ModelSpec


@pytest.fixture
def foreign(tmp_path: Path, tiny_state: dict[str, Tensor]) -> Path:
    torch.save(to_official(tiny_state, "research", prefix="module."), tmp_path / "foreign.pt")
    return tmp_path / "foreign.pt"


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory, tiny_state: dict[str, Tensor]) -> Path:
    """The same file in a folder of ours, with the answers kept beside it; to be copied by who changes it."""
    folder = tmp_path_factory.mktemp("converted")
    torch.save(to_official(tiny_state, "research", prefix="module."), folder / "foreign.pt")
    convert_model(folder / "foreign.pt", folder / "ours")
    return folder / "ours"


def outcomes(found: Verification) -> dict[str, str]:
    return {check.name: check.outcome for check in found.checks}


def test_a_foreign_file_becomes_a_folder_of_ours_with_the_same_answers(foreign: Path, tmp_path: Path) -> None:
    report = convert_model(foreign, tmp_path / "ours")
    assert (report.format, report.prefix, len(report.dropped)) == ("vista3d research", "module.", 19)
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == [
        GOLDEN_FILE,
        "model.safetensors",
        "spec.json",
    ]
    before, after = load_model(foreign), load_model(tmp_path / "ours")
    assert "foreign.pt" in after.spec.provenance
    assert dataclasses.replace(after.spec, provenance=before.spec.provenance) == before.spec
    answers = our_answers(before.network, before.spec)
    assert set(answers) == {"class_logits", "point_logits"}
    assert difference(our_answers(after.network, after.spec), answers) == 0


def test_there_and_back_in_every_layout_keeps_every_value(tmp_path: Path, foreign: Path) -> None:
    convert_model(foreign, tmp_path / "monai", layout="monai")
    convert_model(tmp_path / "monai", tmp_path / "research", layout="research")
    convert_model(tmp_path / "research", tmp_path / "ours")
    names = read_header(tmp_path / "monai" / "model.safetensors").shapes
    assert all(name.startswith("network.") for name in names)
    first, last = load_model(foreign).network.state_dict(), load_model(tmp_path / "ours").network.state_dict()
    assert all(torch.equal(first[name], last[name]) for name in first)


def test_a_stored_precision_is_kept(foreign: Path, tmp_path: Path) -> None:
    convert_model(foreign, tmp_path / "half", dtype=torch.float16)
    header = read_header(tmp_path / "half" / "model.safetensors")
    assert {entry.dtype for entry in header.tensors.values()} == {"F16"}
    assert verify(tmp_path / "half").verdict == "sound"


def test_a_model_is_not_replaced_unasked(foreign: Path, converted: Path, tmp_path: Path) -> None:
    shutil.copytree(converted, tmp_path / "ours")
    before = (tmp_path / "ours" / "model.safetensors").read_bytes()
    with pytest.raises(UsageError, match="--overwrite"):
        convert_model(foreign, tmp_path / "ours", dtype=torch.float16)
    assert (tmp_path / "ours" / "model.safetensors").read_bytes() == before
    with pytest.raises(UsageError, match="another folder"):
        convert_model(tmp_path / "ours", tmp_path / "ours", overwrite=True)
    convert_model(foreign, tmp_path / "ours", dtype=torch.float16, overwrite=True)
    assert len((tmp_path / "ours" / "model.safetensors").read_bytes()) < len(before)


def test_a_sound_file_is_called_sound_because_monai_agrees(foreign: Path) -> None:
    found = verify(foreign)
    assert found.verdict == "sound"
    assert outcomes(found) == {
        "hash": "unknown", "size": "unknown", "keys": "passed", "values": "passed", "answers": "passed",
    }  # fmt: skip
    assert "from MONAI's network" in found.checks[-1].detail
    assert found.sha256 == hashlib.sha256(foreign.read_bytes()).hexdigest()
    assert found.as_dict()["verdict"] == "sound"


def test_only_a_published_hash_makes_it_the_published_file(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = verification.CATALOG[1]
    md5 = hashlib.md5(foreign.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(verification, "CATALOG", (dataclasses.replace(row, md5_of={md5: "the file"}),))
    assert verify(foreign).verdict == "published"
    sha256 = hashlib.sha256(foreign.read_bytes()).hexdigest()
    monkeypatch.setattr(verification, "CATALOG", (dataclasses.replace(row, sha256=sha256),))
    assert verify(foreign).verdict == "published"


def test_without_monai_the_line_to_type_is_said(
    foreign: Path, converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "monai"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "monai", None)
    found = verify(foreign)
    assert found.verdict == "incomplete"
    assert "pip install monai" in found.checks[-1].detail
    # Converted while MONAI was here: of a model of ours the answers kept beside it stand in for it; elsewhere
    # anybody may have written them.
    kept = verify(converted)
    assert kept.verdict == "incomplete"
    assert "kept beside it" in kept.checks[-1].detail
    monkeypatch.setattr(verification, "BUILTIN", converted.parent)
    assert verify(converted).verdict == "sound"
    # Converted without MONAI: its own answers prove nothing but constancy.
    convert_model(foreign, tmp_path / "alone")
    alone = verify(tmp_path / "alone")
    assert alone.verdict == "incomplete"
    assert "never compared" in alone.checks[-1].detail


def test_the_model_inside_the_package_is_sound_with_monai_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its point head has one head of attention, where MONAI's has four unless it is told."""
    folder = verification.BUILTIN / "vesalius-small"
    asked = verify(folder)
    assert asked.verdict == "sound"
    assert "from MONAI's network" in asked.checks[-1].detail
    for name in [name for name in sys.modules if name.split(".")[0] == "monai"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "monai", None)
    assert verify(folder).verdict == "sound"


def test_a_network_that_answers_otherwise_than_it_did_fails(converted: Path, tmp_path: Path) -> None:
    shutil.copytree(converted, tmp_path / "ours")
    golden = tmp_path / "ours" / GOLDEN_FILE
    metadata = read_header(golden).metadata
    kept = read_golden(tmp_path / "ours" / "model.safetensors", metadata["weights_sha256"])
    assert kept is not None
    answers = {name: tensor + 1e-2 * tensor.abs().max() for name, tensor in kept.answers.items()}
    write_tensors(golden, answers, metadata=metadata)
    found = verify(tmp_path / "ours")
    assert (found.verdict, outcomes(found)["answers"]) == ("failed", "failed")


@pytest.mark.parametrize("said", ["nan", "inf", "-1", "near"])
def test_what_is_no_difference_is_refused(converted: Path, tmp_path: Path, said: str) -> None:
    golden = tmp_path / GOLDEN_FILE
    metadata = read_header(converted / GOLDEN_FILE).metadata
    write_tensors(golden, {"a": torch.ones(1)}, metadata={**metadata, "from_monai": said})
    with pytest.raises(CheckpointError, match="how far its answers"):
        read_golden(tmp_path / "model.safetensors", metadata["weights_sha256"])


def test_weights_that_amplify_rounding_are_not_called_faulty(
    tmp_path: Path, tiny_state: dict[str, Tensor], tiny_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Held to a tolerance below rounding, sound weights are in the place of weights that amplify it.
    write_model(tmp_path / "model", tiny_state, tiny_spec)
    monkeypatch.setattr(verification, "TOLERANCE", 1e-9)
    found = verify(tmp_path / "model")
    assert (found.verdict, outcomes(found)["answers"]) == ("incomplete", "unknown")
    assert "amplify rounding" in found.checks[-1].detail
    monkeypatch.setattr(verification, "_ROUNDING", 0.0)
    assert verify(tmp_path / "model").verdict == "failed"


def test_answers_kept_for_other_weights_do_not_count(converted: Path) -> None:
    weights = converted / "model.safetensors"
    assert read_golden(weights, read_header(converted / GOLDEN_FILE).metadata["weights_sha256"]) is not None
    assert read_golden(weights, "0" * 64) is None


def test_values_not_finite_fail(tmp_path: Path, tiny_state: dict[str, Tensor], tiny_spec: ModelSpec) -> None:
    state = {name: tensor.clone() for name, tensor in tiny_state.items()}
    state["class_head.mlp_in.weight"][0, 0] = float("nan")
    write_model(tmp_path / "model", state, tiny_spec)
    found = verify(tmp_path / "model")
    assert (found.verdict, outcomes(found)["values"]) == ("failed", "failed")
    assert "class_head.mlp_in.weight" in next(check.detail for check in found.checks if check.name == "values")


@pytest.mark.parametrize("fault", ["missing tensor", "planted pickle", "truncated"])
def test_a_faulty_file_fails_with_the_reason(
    tmp_path: Path, foreign: Path, tiny_state: dict[str, Tensor], fault: str
) -> None:
    path = tmp_path / "faulty.pt"
    if fault == "missing tensor":
        official = to_official(tiny_state)
        del official["network.class_head.mlp.0.bias"]
        torch.save(official, path)
    elif fault == "planted pickle":
        torch.save({"a": Any}, path)
    else:
        path.write_bytes(foreign.read_bytes()[:10_000])
    found = verify(path)
    assert (found.verdict, outcomes(found)["keys"]) == ("failed", "failed")
    assert "answers" not in outcomes(found)


def test_a_model_with_one_branch_can_be_kept_and_checked(tmp_path: Path, tiny_spec: ModelSpec) -> None:
    from vesalius.models.build import build

    architecture = dataclasses.replace(tiny_spec.architecture, point_branch=False)
    spec = dataclasses.replace(tiny_spec, architecture=architecture)
    write_model(tmp_path / "model", build(architecture).state_dict(), spec)
    convert_model(tmp_path / "model", tmp_path / "again")
    found = verify(tmp_path / "again")
    assert found.verdict == "incomplete"
    assert "both branches" in found.checks[-1].detail


def test_differences_are_relative_and_see_every_answer() -> None:
    ones = {"a": torch.ones(3), "b": torch.full((2,), 100.0)}
    assert difference(ones, {name: tensor * 2 for name, tensor in ones.items()}) == pytest.approx(0.5)
    assert difference(ones, {"a": torch.ones(3), "b": torch.full((2,), 101.0)}) == pytest.approx(1 / 101)
    assert difference({"a": torch.tensor([float("nan")])}, {"a": torch.ones(1)}) == float("inf")
    with pytest.raises(CheckpointError):
        difference(ones, {"a": torch.ones(3)})
