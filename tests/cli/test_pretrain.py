"""``vesalius pretrain``: from a store to a backbone that can be loaded, resumed, and gone on from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pretraining.small_store import write_store
from vesalius import precision
from vesalius.checkpoints.load import load_encoder
from vesalius.cli.main import main
from vesalius.cli.pretrain import add_arguments, recipe_of
from vesalius.engine.run import RunFolder


def words(tmp_path: Path, *more: str) -> list[str]:
    short = ["--preset", "toy", "--batch", "2", "--steps", "1", "--device", "cpu", "--threads", "1"]
    return ["pretrain", "stage-1", "--data", str(tmp_path / "store"), "--run", str(tmp_path / "run"), *short, *more]


def test_a_store_becomes_a_backbone_and_a_run_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked_to_shard: list[bool]
) -> None:
    write_store(tmp_path / "store")
    assert main(words(tmp_path, "--keep-every", "1")) == 0
    assert load_encoder(tmp_path / "run" / "at-1").spec.name == "run-at-1"
    assert str(tmp_path / "run") in capsys.readouterr().out
    assert load_encoder(tmp_path / "run").spec.name == "run"
    assert RunFolder(tmp_path / "run").metrics()[-1]["event"] == "finished"
    assert main(words(tmp_path)) == 2
    assert "--resume" in capsys.readouterr().err
    assert main(words(tmp_path, "--resume", "--shard")) == 0
    assert asked_to_shard == [False, True]


def test_one_scan_is_learnt_from_without_validations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_store(tmp_path / "store", cases=1)
    assert main(words(tmp_path)) == 2
    assert "--no-validation" in capsys.readouterr().err
    assert main(words(tmp_path, "--no-validation", "--validate-every", "2")) == 2
    assert main(words(tmp_path, "--no-validation")) == 0
    assert not [line for line in RunFolder(tmp_path / "run").metrics() if line.get("event") == "validated"]


def test_what_is_no_store_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tmp_path)) == 3
    assert "curate slices" in capsys.readouterr().err


def test_what_was_typed_takes_the_place_of_the_recipes() -> None:
    import argparse

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    base = ["stage-3", "--data", "s", "--run", "r"]
    typed = recipe_of(parser.parse_args([*base, "--minutes", "3", "--batch", "7", "--windows", "2", "--seed", "5"]))
    assert (typed.loop.steps, typed.loop.minutes, typed.loop.windows, typed.loop.seed) == (None, 3.0, 2, 5)
    assert typed.batch == 7
    assert typed.gram is not None
    assert recipe_of(parser.parse_args([*base, "--no-gram"])).gram is None
    warm = recipe_of(parser.parse_args([*base, "--warm-heads", "0.05"])).optimisation.waiting
    assert warm is not None
    assert warm["backbone.*"] == 0.05


@pytest.mark.parametrize(("words", "expected"), [((), "fp32"), (("--precision", "bf16"), "bf16")])
def test_the_precision_is_what_was_typed_or_what_the_device_has(
    words: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import argparse

    monkeypatch.setattr(precision, "_has_fast_bf16", lambda: False)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    typed = parser.parse_args(["stage-1", "--data", "s", "--run", "r", "--device", "cpu", *words])
    assert recipe_of(typed).loop.precision == expected


def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_store(tmp_path / "store")
    assert main(words(tmp_path, "--dry-run")) == 0
    told = capsys.readouterr()
    said = json.loads(told.out)
    assert said["data"]["slices"] == 12
    assert said["recipe"]["batch"] == 2
    assert re.search(r"^about \d+ s in all; \d\.\d GB at the peak$", told.err, re.MULTILINE)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_is_of_a_pretraining_that_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_store(tmp_path / "store")
    assert main(words(tmp_path, "--dry-run", "--resume")) == 2
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    assert main(words(tmp_path, "--dry-run")) == 2
    assert capsys.readouterr().out == ""
