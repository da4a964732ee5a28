"""``vesalius train``: what is typed becomes a recipe; what comes out is a model; a stopped run goes on."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.small_list import SPEC, write_list, write_tiny
from training.small_slices import recipe, write_backbone
from vesalius import precision
from vesalius.cli import slice_training, train
from vesalius.cli.main import main, make_parser
from vesalius.engine.settings import LoopSettings
from vesalius.errors import UnknownClassError, UsageError
from vesalius.training.slice_recipes import MEDDINOV3_TOY, NNUNET_2D
from vesalius.training.vista3d_task import Vista3DTask, VistaSample

TINY = replace(train.RECIPES["stage-3"], window_size=(16, 16, 16))


def typed(*words: str) -> argparse.Namespace:
    return make_parser("train").parse_args(["train", *words, "--data", "list.json", "--run", "run"])


def test_what_is_typed_takes_the_place_of_the_recipe_s() -> None:
    loop = train.recipe_of(typed("stage-3", "--steps", "7", "--seed", "3", "--validate-every", "2")).loop
    assert (loop.steps, loop.seed, loop.validate_every, loop.patience) == (7, 3, 2, None)
    assert train.recipe_of(typed("stage-3", "--minutes", "2")).loop.progress(0, 60.0) == 0.5


def test_windows_that_pass_together_are_typed_for_volumes_and_slices() -> None:
    assert train.recipe_of(typed("stage-3", "--batch", "3")).batch == 3
    slices = typed("meddinov3", "--batch", "7")
    assert slice_training.slice_recipe_of(slices, train.typed_of(slices)).batch == 7
    with pytest.raises(UsageError, match="at least one window"):
        train.recipe_of(typed("stage-3", "--batch", "0"))


def test_the_augmentation_is_the_recipe_s_unless_it_is_typed() -> None:
    for name, word, expected in (
        ("meddinov3", None, NNUNET_2D),
        ("meddinov3", "nnunet", "nnunet"),
        ("meddinov3-nnunet", None, "nnunet"),
        ("meddinov3-nnunet", "vesalius", NNUNET_2D),
        ("meddinov3-toy", "vesalius", MEDDINOV3_TOY.augmentation),
    ):
        words = typed(name, *([] if word is None else ["--augmentation", word]))
        assert slice_training.slice_recipe_of(words, train.typed_of(words)).augmentation == expected
    kept = replace(MEDDINOV3_TOY, augmentation="nnunet").window_size
    words = typed("meddinov3-toy", "--augmentation", "nnunet")
    assert slice_training.slice_recipe_of(words, train.typed_of(words)).window_size == kept, "the rest stays"


@pytest.mark.parametrize("words", [["--augmentation", "nnunet"], ["--window-size", "32"]])
def test_what_is_for_slices_alone_is_refused_with_a_stage(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed, run = str(tmp_path / "no such list.json"), str(tmp_path / "run")
    assert main(["train", "stage-3", "--data", listed, "--run", run, *words]) == 2
    assert f"{words[0]} with a recipe of slices" in capsys.readouterr().err


def test_novel_classes_are_named_in_the_model_s_words() -> None:
    assert train.novel_ids(("liver", "kidney"), SPEC) == (1, 2, 3)
    assert train.novel_ids((), SPEC) == ()
    with pytest.raises(UnknownClassError):
        train.novel_ids(("spleen",), SPEC)


def test_novel_classes_are_in_no_prompt_and_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "RECIPES", {"stage-3": TINY})
    listed, model = write_list(tmp_path / "data"), write_tiny(tmp_path / "tiny")
    content = json.loads(listed.read_text())
    listed.write_text(json.dumps({**content, "label_mapping": {"1": "liver", "2": "left kidney"}}))
    asked: set[int] = set()
    learnt: set[int] = set()
    draw = Vista3DTask.draw

    def heard(task: Vista3DTask, rng: np.random.Generator) -> VistaSample:
        sample = draw(task, rng)
        for one in sample.windows:
            assert one.question is not None
            asked.update(one.question.class_ids.tolist())
            learnt.update(one.labels.unique().tolist())
        return sample

    monkeypatch.setattr(Vista3DTask, "draw", heard)
    words = ["train", "stage-3", "--data", str(listed), "--model", str(model), "--threads", "1", "--steps", "2"]
    words += ["--device", "cpu", "--cache", str(tmp_path / "cache"), "--run"]
    for run, novel in (("all", []), ("few", ["--novel", "liver"])):
        asked.clear()
        learnt.clear()
        assert main([*words, str(tmp_path / run), *novel]) == 0
        assert (1 in asked, 1 in learnt) == (run == "all", run == "all")
        assert 2 in asked
    assert json.loads((tmp_path / "few" / "config.json").read_text())["recipe"]["novel"] == [1]
    capsys.readouterr()
    assert main(["train", "meddinov3-toy", "--at-random", *words[2:], str(tmp_path / "slices"), *novel]) == 2
    assert "--novel with a stage" in capsys.readouterr().err


@pytest.mark.parametrize("has_bf16", [False, True])
def test_the_precision_is_what_was_typed_or_what_the_device_has(
    has_bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_has_fast_bf16", lambda: has_bf16)
    for words, expected in (
        ((), "bf16" if has_bf16 else "fp32"),
        (("--precision", "auto"), "bf16" if has_bf16 else "fp32"),
        (("--precision", "bf16"), "bf16"),
        (("--precision", "fp32"), "fp32"),
    ):
        volumes, slices = typed("stage-3", "--device", "cpu", *words), typed("meddinov3", "--device", "cpu", *words)
        assert train.recipe_of(volumes).loop.precision == expected
        assert slice_training.slice_recipe_of(slices, train.typed_of(slices)).loop.precision == expected
    with pytest.raises(UsageError, match="fp16"):
        typed("stage-3", "--precision", "fp16")


def test_a_preset_makes_it_bearable() -> None:
    small, large = (train.recipe_of(typed("stage-3", "--preset", preset)) for preset in ("cpu", "cluster"))
    assert max(small.window_size) < max(large.window_size)
    assert small.loop.windows < large.loop.windows


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(UsageError):
        train.recipe_of(typed("stage-3", "--patience", "2"))
    with pytest.raises(UsageError, match="stage-9"):
        typed("stage-9")


def test_it_ends_with_a_model_and_is_told_apart_from_a_new_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked_to_shard: list[bool],
) -> None:
    monkeypatch.setattr(train, "RECIPES", {"stage-3": TINY})
    listed, model = write_list(tmp_path / "data"), write_tiny(tmp_path / "tiny")
    words = ["train", "stage-3", "--data", str(listed), "--run", str(tmp_path / "run"), "--model", str(model)]
    words += ["--threads", "1", "--steps", "2", "--device", "cpu"]
    assert main(words) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "spec.json").read_text())["name"] == "run"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]["loop"]["steps"] == 2

    assert main(words) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*words, "--resume", "--shard"]) == 0  # alone it changes nothing
    assert asked_to_shard == [False, True]
    events = [
        json.loads(line).get("event") for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [event for event in events if event] == ["started", "finished", "resumed", "finished"]


def test_a_dry_run_says_the_plan_and_leaves_prepared_cases_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "RECIPES", {"stage-3": TINY})
    run = tmp_path / "run"
    words = ["--data", str(write_list(tmp_path / "data")), "--run", str(run), "--threads", "1", "--device", "cpu"]
    words += ["--precision", "fp32", "--dry-run"]
    stage = ["train", "stage-3", *words, "--model", str(write_tiny(tmp_path / "tiny"))]
    assert main([*stage, "--steps", "40", "--validate-every", "10"]) == 0
    said = capsys.readouterr().out
    assert "learns from 2 cases of list, by names\nall learns but encoder\n" in said  # it has no click branch
    assert "40 steps, " in said
    assert "1 case validated every 10, " in said
    assert "GB at the peak" in said
    assert [entry.name for entry in run.iterdir()] == ["cache"]
    assert main(["train", "meddinov3-toy", "--at-random", *words, "--steps", "6"]) == 0
    said = capsys.readouterr().out
    assert "6 steps, " in said
    assert "the whole network learns" in said
    assert main([*stage, "--resume"]) == 2
    assert "got:      both" in capsys.readouterr().err
    assert main([*stage[:-3], *stage[-2:], "--steps", "1"]) == 0, "nothing has begun there"


def test_several_lists_are_learnt_from_together_but_slices_from_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "RECIPES", {"stage-3": TINY})
    one, two, model = write_list(tmp_path / "a"), write_list(tmp_path / "b", seed=10), write_tiny(tmp_path / "tiny")
    two.write_text(json.dumps({**json.loads(two.read_text()), "name": "second"}))
    lists = ["--data", str(one), "--data", str(two), "--run", str(tmp_path / "run")]
    words = ["--model", str(model), "--threads", "1", "--steps", "1", "--device", "cpu"]
    assert main(["train", "stage-3", *lists, *words]) == 0
    assert list(json.loads((tmp_path / "run" / "config.json").read_text())["others"]) == ["second"]
    capsys.readouterr()
    assert main(["train", "meddinov3-toy", "--at-random", *lists[:-1], str(tmp_path / "slices")]) == 2
    assert "one --data" in capsys.readouterr().err


def test_synthetic_scans_are_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = replace(TINY, synthetic=replace(TINY.synthetic, phantoms=1, paintings=1))
    monkeypatch.setattr(train, "RECIPES", {"stage-3": few})
    words = ["--data", str(write_list(tmp_path / "data")), "--threads", "1", "--steps", "2", "--device", "cpu"]
    words += ["--synthetic", "0.5", "--cache", str(tmp_path / "cache"), "--run"]
    model = ["--model", str(write_tiny(tmp_path / "tiny"))]
    assert main(["train", "stage-3", *words, str(tmp_path / "run"), *model]) == 0
    recipe = json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]
    assert recipe["synthetic"] == {"share": 0.5, "phantoms": 1, "paintings": 1}
    assert len(list((tmp_path / "cache").glob("*/case.json"))) == 4  # two scans, a phantom, a painting
    capsys.readouterr()
    assert main(["train", "meddinov3-toy", "--at-random", *words, str(tmp_path / "slices")]) == 2
    assert "--synthetic with a stage" in capsys.readouterr().err
    assert main(["train", "stage-3", *words, str(tmp_path / "b"), *model, "--synthetic", "2"]) == 2
    assert "a share in [0, 1]" in capsys.readouterr().err


def test_the_recipes_of_the_command_last_long_enough_to_be_meant() -> None:
    assert all(isinstance(recipe.loop, LoopSettings) for recipe in train.RECIPES.values())
    assert all((recipe.loop.steps or 0) >= 1000 for recipe in train.RECIPES.values())


def test_slices_are_learnt_from_a_backbone_or_at_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(slice_training, "SLICE_RECIPES", {"meddinov3": recipe()})
    listed, backbone = write_list(tmp_path / "data"), write_backbone(tmp_path / "backbone")
    words = ["train", "meddinov3", "--data", str(listed), "--threads", "1", "--steps", "1", "--device", "cpu"]
    words += ["--cache", str(tmp_path / "cache")]
    assert main([*words, "--run", str(tmp_path / "a"), "--model", str(backbone), "--spacing", "8"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "a")
    spec = json.loads((tmp_path / "a" / "spec.json").read_text())
    assert (spec["spacing_mm"], spec["vocabulary"]) == ([8.0, 8.0, 0.0], [[1, "liver"]])
    assert main([*words, "--run", str(tmp_path / "b")]) == 2
    assert "--at-random" in capsys.readouterr().err


def test_spacing_is_for_slices_and_for_volumes_on_a_backbone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "RECIPES", {"stage-3": TINY})
    listed, model, backbone = write_list(tmp_path / "data"), tmp_path / "tiny", tmp_path / "backbone"
    write_tiny(model)
    write_backbone(backbone)
    words = ["train", "stage-3", "--data", str(listed), "--threads", "1", "--steps", "1", "--device", "cpu"]
    words += ["--spacing", "6", "--cache", str(tmp_path / "cache")]
    assert main([*words, "--run", str(tmp_path / "a"), "--model", str(model)]) == 2
    assert "keeps its own spacing" in capsys.readouterr().err
    other = write_list(tmp_path / "other", training=1, validation=0, seed=9)
    other.write_text(json.dumps({**json.loads(other.read_text()), "name": "o", "label_mapping": {"1": "spleen"}}))
    words += ["--data", str(other)]
    assert main([*words, "--run", str(tmp_path / "b"), "--model", str(backbone)]) == 0
    spec = json.loads((tmp_path / "b" / "spec.json").read_text())
    assert (spec["architecture"]["kind"], spec["spacing_mm"]) == ("prompted_vit", [6.0, 6.0, 6.0])
    assert spec["vocabulary"] == [[1, "liver"], [2, "spleen"]]  # all lists name the structures


def test_minutes_and_steps_take_each_other_s_place() -> None:
    words = typed("meddinov3-toy", "--steps", "5")
    loop = slice_training.slice_recipe_of(words, train.typed_of(words)).loop
    assert (loop.steps, loop.minutes) == (5, None)
    words = typed("meddinov3", "--minutes", "3", "--preset", "cluster")
    loop = slice_training.slice_recipe_of(words, train.typed_of(words)).loop
    assert (loop.steps, loop.minutes, loop.windows) == (None, 3.0, 16)
