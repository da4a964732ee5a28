"""``vesalius finetune``: a plan, then a model that segments and says whether it helped; a stopped run goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training.small_list import GRID, write_list, write_tiny
from vesalius.checkpoints.load import load_model
from vesalius.cli import finetune
from vesalius.cli.main import main, make_parser
from vesalius.errors import UsageError
from vesalius.geometry.volume import LabelMap
from vesalius.io.formats import write


def words(folder: Path, *more: str, run: str = "run") -> list[str]:
    given = ["finetune", "--model", str(folder / "tiny"), "--data", str(folder / "data" / "list.json")]
    return [*given, "--run", str(folder / run), "--steps", "2", "--threads", "1", "--device", "cpu", *more]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, and four scans with a structure that it does not know beside one that it does."""
    folder = tmp_path_factory.mktemp("finetune")
    write_tiny(folder / "tiny")
    write_list(folder / "data", training=4, validation=0)
    content = json.loads((folder / "data" / "list.json").read_text())
    for number, entry in enumerate(content["training"]):
        labels = np.zeros(GRID.shape, np.uint8)
        labels[5 + number : 13 + number, 6:14, 5:12], labels[1:4, 1:6, 1:6] = 1, 2
        write(LabelMap(labels, GRID, {}), folder / "data" / entry["label"])
    content["label_mapping"] = {"1": "liver", "2": "hepatic vein"}
    content["test"] = [content["training"].pop()]
    (folder / "data" / "list.json").write_text(json.dumps(content))
    return folder


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "finetune.json").read_text())
    return found


def test_a_dry_run_says_the_plan_and_leaves_no_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(place, "--dry-run", "--cache", str(place / "cache"), run="dry")) == 0
    said = capsys.readouterr().out
    assert "learns liver (known)" in said
    assert "learns hepatic vein (new, id 4)" in said
    assert "will not name left kidney, right kidney" in said
    assert "the model takes no clicks" in said
    assert "s a step as measured" in said
    assert not (place / "dry").exists()


def test_a_few_shot_suite_says_what_ids_mean_and_the_first_cases_alone_are_learnt_from(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--dry-run", "--cache", str(place / "cache"), "--suite", "vista3d-word-few-shot", "--cases")
    assert main(words(place, *few, "1", run="dry")) == 0
    said = capsys.readouterr().out
    assert "learns spleen (new" in said
    assert "hepatic vein" not in said
    assert "1 labelled case" in said
    assert main(words(place, *few, "9", run="dry")) == 2
    assert "1 to 3 cases" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "env", "do"),
    [
        (["--shard"], {}, "leave --shard and torchrun out"),
        ([], {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}, "leave torchrun out"),
        (["--preset", "cluster"], {}, "use --preset gpu"),
        (["--spacing", "1.5"], {}, "leave --spacing out"),
        (["--augmentation", "nnunet"], {}, "leave --augmentation out"),
    ],
)
def test_what_only_models_of_slices_can_be_told_is_refused_before_anything_is_read(
    place: Path,
    typed: list[str],
    env: dict[str, str],
    do: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    given = words(place, *typed, run="several")
    given[given.index("--data") + 1] = str(place / "no such list.json")
    assert main(given) == 2
    assert do in capsys.readouterr().err
    assert not (place / "several").exists()


def test_folds_are_held_out_and_the_model_is_made_of_all_cases_and_measured(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = words(place, "--folds", "2", "--cache", str(place / "cache"))
    assert main(typed) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == str(place / "run")
    assert "over copied labels and tiny; n = 3, held out in 2 folds" in said
    assert "n = 1, test cases" in said
    held_out, tested = record(place / "run")["benefit"]
    assert held_out["against"] == {"liver": "tiny", "hepatic vein": "copied labels"}
    assert set(held_out["cases"]) == {"image-0", "image-1", "image-2"}
    assert set(tested["cases"]) == {"image-3"}
    assert len(record(place / "run")["folds"]) == 2
    spec = load_model(place / "run").spec
    assert spec.names == {1: "liver", 4: "hepatic vein"}
    assert spec.dice == {name: round(tested["dice"][name]["estimate"], 4) for name in spec.names.values()}
    assert "test cases" in spec.dice_source
    assert "tiny, SHA-256" in spec.provenance
    assert not list((place / "run" / "folds").glob("*/*.pt"))

    out = place / "out"
    image = str(place / "data" / "image-0.nii.gz")
    assert main(["segment", image, "-o", str(out), "--model", str(place / "run"), "--unvalidated"]) == 0
    names = {one["name"] for one in json.loads((out / "labels.json").read_text())["classes"]}
    assert names == {"liver", "hepatic vein"}

    assert main(typed) == 2
    assert "--resume" in capsys.readouterr().err
    before = (place / "run" / "model.safetensors").read_bytes()
    assert main([*typed, "--resume"]) == 0
    assert (place / "run" / "model.safetensors").read_bytes() == before


def test_cases_that_chose_the_weights_are_recorded_and_the_spec_states_no_dice(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((place / "data" / "list.json").read_text())
    judged = {**content, "training": content["training"][:1], "validation": content["training"][1:2], "test": []}
    (place / "data" / "judged.json").write_text(json.dumps(judged))
    typed = words(place, "--cache", str(place / "cache"), run="judged")
    typed[typed.index("--data") + 1] = str(place / "data" / "judged.json")
    assert main([*typed, "--precision", "bf16"]) == 0
    assert "n = 1, validation cases, which chose the weights" in capsys.readouterr().out
    assert json.loads((place / "judged" / "config.json").read_text())["recipe"]["loop"]["precision"] == "bf16"
    assert [one["chose_the_weights"] for one in record(place / "judged")["benefit"]] == [True]
    spec = load_model(place / "judged").spec
    assert (spec.dice, spec.dice_source) == ({}, "")


def test_what_is_typed_becomes_options() -> None:
    typed = [
        "finetune",
        "--data",
        "l",
        "--run",
        "r",
        "--new",
        "a,b",
        "--like",
        "a=liver,b=spleen",
        "--freeze",
        "encoder",
    ]
    options = finetune.options_of(make_parser("finetune").parse_args(typed))
    assert (options.new, options.like, options.freeze) == (("a", "b"), {"a": "liver", "b": "spleen"}, "encoder")
    for wrong in (["--like", "liver"], ["--freeze", "head"], ["--like", "=liver"]):
        with pytest.raises(UsageError):
            make_parser("finetune").parse_args([*typed[:5], *wrong])
    for wrong in (["--folds", "1"], ["--minutes", "0"], ["--patience", "0"]):
        with pytest.raises(UsageError):
            finetune.options_of(make_parser("finetune").parse_args([*typed[:5], *wrong]))


@pytest.mark.slow
def test_a_fine_tuning_that_was_told_to_stop_ends_with_the_weights_of_one_that_was_not(place: Path) -> None:
    def typed(run: str, *more: str) -> list[str]:
        given = words(place, "--folds", "2", "--cache", str(place / "cache"), *more, run=run)
        given[given.index("--steps") + 1] = "60"
        return [sys.executable, "-m", "vesalius.cli.main", *given]

    subprocess.run(typed("whole"), check=True, capture_output=True)
    stopped = subprocess.Popen(typed("stopped"), stderr=subprocess.PIPE, text=True)
    begun = place / "stopped" / "folds" / "1" / "metrics.jsonl"
    while not begun.exists() and stopped.poll() is None:
        time.sleep(0.05)
    stopped.send_signal(signal.SIGTERM)
    _, said = stopped.communicate()
    assert stopped.returncode == 6, said
    assert "--resume" in said
    assert not (place / "stopped" / "model.safetensors").exists()
    subprocess.run(typed("stopped", "--resume"), check=True, capture_output=True)
    one, other = (load_model(place / run).network.state_dict() for run in ("whole", "stopped"))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    whole, again = (record(place / run) for run in ("whole", "stopped"))
    assert (whole["folds"], whole["benefit"]) == (again["folds"], again["benefit"])
