"""What is typed about slices: a backbone is refused by ``segment`` with a line that works, and then segments."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.small_list import write_list
from training.small_slices import BACKBONE, VIT, recipe, write_backbone
from vesalius.checkpoints.load import load_encoder, load_slice_model
from vesalius.checkpoints.safetensors import write_model
from vesalius.cli import slice_training, train
from vesalius.cli.main import main
from vesalius.cli.named_model import check_clickable
from vesalius.engine.forecast import Costs
from vesalius.errors import NoHeadError
from vesalius.models.build import build
from vesalius.training.slice_recipes import as_wide


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(slice_training, "MEDDINOV3", recipe(window_size=(32, 32)))
    write_list(tmp_path / "data")
    write_backbone(tmp_path / "backbone")
    return tmp_path


def put_folder(place: Path) -> str:
    shutil.move(place / "backbone", place / "the first run")
    return str(place / "the first run")


def put_file(place: Path) -> str:
    shutil.move(place / "backbone" / "model.safetensors", place / "it's a backbone.safetensors")
    return "it's a backbone.safetensors"


def put_catalog_name(place: Path) -> str:
    stored = place / "hub" / "vesalius" / "meddinov3"
    stored.mkdir(parents=True)
    torch.save(build(VIT).state_dict(), stored / "model.pth")
    shutil.copy(place / "backbone" / "spec.json", stored)
    return "meddinov3"


@pytest.mark.parametrize("put", [put_folder, put_file, put_catalog_name])
def test_the_line_that_segment_tells_makes_a_backbone_segment(
    place: Path,
    put: Callable[[Path], str],
    capsys: pytest.CaptureFixture[str],
    asked_to_shard: list[bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("HF_HOME", str(place / "hub"))
    scan = str(place / "data" / "image-2.nii.gz")
    assert main(["segment", scan, "-o", str(place / "out"), "--model", put(place)]) == 4
    (line,) = re.findall(r"vesalius (finetune .*)$", capsys.readouterr().err, flags=re.MULTILINE)
    put_in = {" LIST": place / "data" / "list.json", " DIR": place / "run"}
    for word, value in put_in.items():
        line = line.replace(word, f" {shlex.quote(str(value))}")
    assert main([*shlex.split(line), "--steps", "1", "--threads", "1", "--device", "cpu", "--shard"]) == 0
    assert asked_to_shard == [True]
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == str(place / "run")
    assert said[1] == "learns liver, by a decoder that begins anew"
    assert re.match(r"so few cases decide nothing: Dice 0\.\d{3}, .* over copied labels; n = 1, valid", said[-2])
    (benefit,) = json.loads((place / "run" / "finetune.json").read_text())["benefit"]
    dice = json.loads((place / "run" / "spec.json").read_text())["dice"]
    assert dice == {"liver": round(benefit["dice"]["liver"]["estimate"], 4)}
    done = ["segment", scan, "-o", str(place / "out"), "--model", str(place / "run"), "--unvalidated"]
    assert main(done) == 0
    found = json.loads((place / "out" / "labels.json").read_text())
    assert [one["name"] for one in found["classes"]] == ["liver"]


def test_a_dry_run_says_the_plan_and_a_finished_run_is_gone_on_with_without_one(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["finetune", "--model", str(place / "backbone"), "--data", str(place / "data" / "list.json")]
    words += ["--run", str(place / "run"), "--steps", "1", "--threads", "1", "--device", "cpu"]
    assert main([*words, "--cache", str(place / "cache"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"about \d+ s in all, \d+ s of them to measure whether it helped; \d+\.\d GB", said)
    assert "1 validation case will say how good it is" in said
    assert not (place / "run").exists()
    assert main(words) == 0
    first, weights = capsys.readouterr().out, (place / "run" / "model.safetensors").read_bytes()
    assert "s a step as measured" in first
    measured = json.loads((place / "run" / "finetune.json").read_text())["costs"]
    assert measured["step_s"] > 0
    assert main([*words, "--resume"]) == 0
    assert json.loads((place / "run" / "finetune.json").read_text())["costs"] == measured, (
        "kept, not measured again"
    )
    again = capsys.readouterr().out
    assert again.splitlines() == first.splitlines()[-2:]
    assert (place / "run" / "model.safetensors").read_bytes() == weights


def test_clicks_on_a_backbone_are_refused_with_the_line_that_teaches_what_was_named(place: Path) -> None:
    with pytest.raises(NoHeadError, match=re.escape(f"--model {place / 'backbone'} --data")):
        check_clickable(str(place / "backbone"))


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


def test_on_a_processor_a_backbone_of_large_windows_sees_as_much_of_a_body_unless_told_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = Costs(step_s=1.0, validation_s=0.0, peak_bytes=1)
    monkeypatch.setattr("vesalius.training.finetune.slices.measure_slices", lambda *_, **__: costs)
    listed = write_list(tmp_path / "data", training=1, validation=0)
    large = replace(BACKBONE, window_size=(512, 512, 1), spacing_mm=(0.5, 0.5, 0.0))
    write_model(tmp_path / "backbone", build(VIT).state_dict(), large)
    how = ["--model", str(tmp_path / "backbone"), "--data", str(listed), "--threads", "1", "--device", "cpu"]
    how += ["--steps", "1", "--cache", str(tmp_path / "cache")]
    for number, (words, spacing_mm, said) in enumerate(
        [
            (["finetune"], 2.0, "128 x 128 pixels of 2 mm: 256 x 256 mm"),
            (["finetune", "--spacing", "0.5"], 0.5, "128 x 128 pixels of 0.5 mm: 64 x 64 mm"),
            (["train", "meddinov3-frozen", "--batch", "1"], 2.0, "128 x 128 pixels of 2 mm: 256 x 256 mm"),
        ]
    ):
        run = tmp_path / f"run-{number}"
        assert main([*words, *how, "--run", str(run)]) == 0
        assert said in capsys.readouterr().err
        spec = json.loads((run / "spec.json").read_text())
        assert (spec["spacing_mm"][:2], spec["window_size"][:2]) == ([spacing_mm] * 2, [128, 128])


def test_a_window_that_is_typed_shows_as_much_of_a_body_in_finer_pixels_unless_told_otherwise(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = ["--data", str(place / "data" / "list.json"), "--threads", "1", "--device", "cpu", "--steps", "1"]
    how += ["--model", str(place / "backbone"), "--cache", str(place / "cache")]
    fine_tuned = ["finetune", "--window-size", "24"]
    for number, (words, wanted, decoder) in enumerate(
        [
            (
                fine_tuned,
                (24, 4 * 32 / 24),
                "fused",
            ),  # planned are 32 pixels of 4 mm: tests make the recipe so small
            ([*fine_tuned, "--spacing", "4"], (24, 4.0), "fused"),
            (["train", "meddinov3-primus", "--batch", "1", "--window-size", "32"], (32, 4 * 16 / 32), "primus"),
            (["train", "meddinov3-linear", "--batch", "1", "--window-size", "8"], (8, 4 * 16 / 8), "linear"),
        ]
    ):
        run = place / f"run-{number}"
        assert main([*words, *how, "--run", str(run)]) == 0
        spec = json.loads((run / "spec.json").read_text())
        assert (spec["window_size"][:2], spec["architecture"]["decoder"]) == ([wanted[0]] * 2, decoder)
        assert spec["spacing_mm"][:2] == pytest.approx([wanted[1]] * 2)
    assert "8 x 8 pixels of 8 mm: 64 x 64 mm" in capsys.readouterr().err
    before, after = load_encoder(place / "backbone"), load_slice_model(place / "run-3")
    found = after.network.encoder.state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in before.network.state_dict().items())


@pytest.mark.parametrize(("window", "do"), [("30", "take 28 or 32"), ("3", "take 4"), ("-8", "take 4")])
def test_a_window_of_broken_patches_is_refused(
    place: Path, window: str, do: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(place / "backbone"), "--data", str(place / "data" / "list.json")]
    for command in (["finetune"], ["train", "meddinov3"]):
        assert main([*command, *words, "--run", str(place / "run"), f"--window-size={window}"]) == 2
        said = capsys.readouterr().err
        assert "a multiple of 4 pixels" in said
        assert do in said
    assert not (place / "run").exists()


def test_windows_that_the_machine_can_bear_stay_as_they_are() -> None:
    for planned, limited, wanted in (
        (None, (128, 128), ((16, 16), None)),
        ((32, 48), (32, 48), ((32, 48), None)),
        ((256, 128), (128, 128), ((128, 128), 8.0)),
    ):
        found = as_wide(recipe(window_size=limited), BACKBONE, planned=planned)
        assert (found.window_size, found.spacing_mm) == wanted


@pytest.mark.parametrize("flag", ["--folds", "--patience"])
def test_what_only_models_of_volumes_have_is_refused(
    place: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["finetune", "--model", str(place / "backbone"), "--data", str(place / "data" / "list.json")]
    assert main([*words, "--run", str(place / "run"), flag, "3"]) == 2
    assert flag in capsys.readouterr().err
