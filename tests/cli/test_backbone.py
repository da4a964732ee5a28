"""A backbone on the command line: told apart from a model, described, and refused with the line to type."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import torch

from parity.seeded_vit import meta_shapes, seeded_vit
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
