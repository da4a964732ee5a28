"""What is typed about slices: a backbone is refused by ``segment`` with a line that works, and then segments."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from training.small_list import write_list
from training.small_slices import recipe, write_backbone
from vesalius.cli import slice_training, train
from vesalius.cli.main import main


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(slice_training, "MEDDINOV3", recipe(window_size=(32, 32)))
    write_list(tmp_path / "data")
    write_backbone(tmp_path / "backbone")
    return tmp_path


def test_the_line_that_segment_tells_makes_a_backbone_segment(
    place: Path, capsys: pytest.CaptureFixture[str], asked_to_shard: list[bool]
) -> None:
    scan = str(place / "data" / "image-2.nii.gz")
    assert main(["segment", scan, "-o", str(place / "out"), "--model", str(place / "backbone")]) == 4
    (line,) = re.findall(r"vesalius (finetune .*)$", capsys.readouterr().err, flags=re.MULTILINE)
    put_in = {
        "tiny backbone": str(place / "backbone"),
        "LIST": str(place / "data" / "list.json"),
        "DIR": str(place / "run"),
    }
    for word, value in put_in.items():
        line = line.replace(word, shlex.quote(value))
    assert main([*shlex.split(line), "--steps", "1", "--threads", "1", "--device", "cpu", "--shard"]) == 0
    assert asked_to_shard == [True]
    assert capsys.readouterr().out.strip() == str(place / "run")
    done = ["segment", scan, "-o", str(place / "out"), "--model", str(place / "run"), "--unvalidated"]
    assert main(done) == 0
    found = json.loads((place / "out" / "labels.json").read_text())
    assert [one["name"] for one in found["classes"]] == ["liver"]


def test_a_backbone_with_heads_for_prompts_is_fine_tuned_as_a_model_of_volumes(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "RECIPES", {"stage-3": replace(train.RECIPES["stage-3"], window_size=(16, 16, 16))})
    listed = str(place / "data" / "list.json")
    how = ["--data", listed, "--cache", str(place / "cache"), "--threads", "1", "--steps", "1", "--device", "cpu"]
    promptable = ["--model", str(place / "promptable")]
    assert main(["train", "stage-3", *how, "--model", str(place / "backbone"), "--run", promptable[1]]) == 0
    assert main(["finetune", *how, *promptable, "--run", str(place / "tuned"), "--folds", "0"]) == 0
    spec = json.loads((place / "tuned" / "spec.json").read_text())
    assert (spec["architecture"]["kind"], spec["name"]) == ("prompted_vit", "tuned")
    scan = str(place / "data" / "image-2.nii.gz")
    assert main(["segment", scan, "-o", str(place / "out"), "--model", str(place / "tuned"), "--unvalidated"]) == 0
    found = json.loads((place / "out" / "labels.json").read_text())
    assert [one["name"] for one in found["classes"]] == ["liver"]


@pytest.mark.parametrize("flag", ["--folds", "--patience"])
def test_what_only_models_of_volumes_have_is_refused(
    place: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["finetune", "--model", str(place / "backbone"), "--data", str(place / "data" / "list.json")]
    assert main([*words, "--run", str(place / "run"), flag, "3"]) == 2
    assert flag in capsys.readouterr().err
