"""A backbone on the command line: told apart from a model, described, and refused with the line to type."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import torch

from parity.seeded_sam import seeded_sam, toy_shapes
from parity.seeded_vit import meta_shapes, seeded_vit
from training.small_list import write_list
from vesalius.cli.main import main


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    state = seeded_vit(meta_shapes(width=128, depth=1, heads=2, patch=8, qkv_bias=False))
    path = tmp_path / "model.pth"
    torch.save({"teacher": {f"backbone.{name}": tensor for name, tensor in state.items()}}, path)
    return path


def test_segment_refuses_a_backbone_and_says_how_to_teach_it(
    scan: Path, backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["segment", str(scan), "-o", str(out), "--model", str(backbone), "--json"]) == 4
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "NoHeadError"
    assert error["do"].endswith(f"vesalius finetune --model {shlex.quote(str(backbone))} --data LIST --run DIR")
    assert not (out / "labels.nii.gz").exists()


def test_a_backbone_is_converted_and_described(
    backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "convert", str(backbone), "-o", str(tmp_path / "ours")]) == 0
    assert "meddinov3 (torch zip)" in capsys.readouterr().out
    assert main(["models", "info", str(tmp_path / "ours"), "--json"]) == 0
    spec = json.loads(capsys.readouterr().out)["spec"]
    assert spec["architecture"]["kind"] == "vit"
    assert spec["mean_std_hu"] == [65.1084213256836, 178.01663208007812]
    assert main(["models", "info", str(tmp_path / "ours")]) == 0
    said = capsys.readouterr().out
    assert "sees 0.4464 x 0.4464 mm, PLS, HU -1000 to 1000 less 65.1084, by 178.017, slices of 896 x 896" in said


def test_segment_refuses_sam_and_says_what_it_is_for(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sam = tmp_path / "sam toy.pth"
    torch.save(seeded_sam(toy_shapes(10)), sam)
    out = tmp_path / "out"
    assert main(["segment", str(scan), "-o", str(out), "--model", str(sam), "--json"]) == 4
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "NoHeadError"
    assert "SAM's encoder" in error["got"]
    assert error["do"].endswith(f"vesalius curate supervoxels --model {shlex.quote(str(sam))} --data LIST -o STORE")
    assert not (out / "labels.nii.gz").exists()


def test_a_sam_is_described_and_nothing_is_taught_on_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sam = tmp_path / "sam.pth"
    torch.save(seeded_sam(toy_shapes(10)), sam)
    assert main(["models", "convert", str(sam), "-o", str(tmp_path / "ours")]) == 0
    assert "sam (torch zip): 71 tensors loaded, 131 unused tensors dropped" in capsys.readouterr().out
    assert main(["models", "info", str(tmp_path / "ours")]) == 0
    assert "HU -1000 to 1000 as 0 to 1, slices of 80 x 80" in capsys.readouterr().out
    words = ["--model", str(sam), "--data", str(write_list(tmp_path / "data")), "--run", str(tmp_path / "run")]
    for command in (["train", "meddinov3"], ["finetune", "--minutes", "1"]):
        assert main([*command, *words]) == 4
        assert "a sam network" in capsys.readouterr().err
