"""``vesalius probe``: a table and JSON of what frozen features hold, beside what learnt nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from training.small_list import write_list
from vesalius.checkpoints.safetensors import write_model
from vesalius.cli.main import main
from vesalius.models.build import build
from vesalius.spec import ModelSpec, VitArchitecture


@pytest.fixture
def model(tmp_path: Path) -> Path:
    spec = ModelSpec(
        name="tiny backbone",
        architecture=VitArchitecture(patch_size=4, width=16, depth=2, heads=2),
        spacing_mm=(4.0, 4.0, 0.0),
        orientation="PLS",
        window_size=(16, 16, 1),
    )
    torch.manual_seed(0)
    write_model(tmp_path / "model", build(spec.architecture).state_dict(), spec)
    return tmp_path / "model"


def test_a_list_of_scans(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["probe", "--model", str(model), "--data", str(write_list(tmp_path / "data")), "--slices", "4"]
    words += ["--cache", str(tmp_path / "cache"), "-o", str(tmp_path / "probe.json")]
    assert main(words) == 0
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / "probe.json").read_text())
    assert record["learnt_from"] == ["image-0", "image-1"]
    names = {(score["features"], score["probe"]) for score in record["scores"]}
    assert {name for name, _ in names} == {
        "tiny backbone", "the same, at random", "the place alone", "chance", "the patches' own shares",
    }  # fmt: skip
    assert len(names) == 8
    assert len(record["gains"]) == 4
    assert "liver" in printed
    assert main([*words, "--json", "--taps", "0,1", "--spacing", "2"]) == 0
    other = json.loads(capsys.readouterr().out)
    assert other["scores"] != record["scores"]
    assert main([*words, "--taps", "2"]) == 2


def test_a_file_of_images(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels, split = np.arange(24) % 2, np.repeat([0, 1, 2], 8)
    images = (labels[:, None, None] * 200 + np.random.default_rng(0).integers(0, 20, (24, 8, 8))).astype(np.uint8)
    np.savez(tmp_path / "images.npz", images=images, labels=labels, split=split)
    words = ["probe", "--model", str(model), "--data", str(tmp_path / "images.npz"), "--json"]
    assert main(words) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["cases"] == 8
    thumbnail = next(s for s in record["scores"] if s["features"] == "a thumbnail" and s["probe"] == "k-NN")
    assert thumbnail["mean"]["estimate"] == 1.0
    assert main([*words, "--alone"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert {score["features"] for score in alone["scores"]} == {"tiny backbone", "chance"}
