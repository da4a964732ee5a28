"""How a list is read is typed alike everywhere: where it begins, what made it, which fold is kept aside."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from vesalius.cli.list_options import add_list_options, list_of
from vesalius.cli.main import make_parser
from vesalius.errors import FileFormatError, UsageError
from vesalius.evaluation.suites import suite


def written(folder: Path) -> Path:
    for name in ("images", "lists"):
        (folder / name).mkdir()
    entries = []
    for number in range(4):
        (folder / "images" / f"{number}.nii.gz").touch()
        entries.append({"image": f"images/{number}.nii.gz", "label": f"images/{number}.nii.gz", "fold": number % 2})
    for entry in entries:
        entry["label"] = str(entry["label"]).replace(".nii", "_seg.nii")
        (folder / str(entry["label"])).touch()
    (folder / "lists" / "list.json").write_text(json.dumps({"training": entries, "labels": {"1": "liver"}}))
    return folder / "lists" / "list.json"


def typed(*words: str, folds: bool = True) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_list_options(parser, folds=folds)
    return parser.parse_args(words)


def test_paths_begin_where_it_is_said_and_the_modality_is_what_is_said(tmp_path: Path) -> None:
    listed = list_of(typed("--root", str(tmp_path), "--modality", "MR"), written(tmp_path))
    assert listed.modality == "MR"
    assert listed.cases[0].image == (tmp_path / "images" / "0.nii.gz").resolve()
    assert len(listed.split("training")) == 4


def test_one_fold_is_kept_for_validation(tmp_path: Path) -> None:
    path = written(tmp_path)
    listed = list_of(typed("--root", str(tmp_path), "--fold", "1"), path)
    assert [case.name for case in listed.split("validation")] == ["1", "3"]
    assert [case.name for case in listed.split("training")] == ["0", "2"]
    with pytest.raises(UsageError, match="a fold of"):
        list_of(typed("--root", str(tmp_path), "--fold", "2"), path)
    assert len(list_of(typed("--root", str(tmp_path), folds=False), path).split("training")) == 4


def test_a_suite_says_what_ids_mean_also_where_the_labels_of_nnunet_are_regions(tmp_path: Path) -> None:
    for folder, name in (("imagesTr", "a_0000.nii.gz"), ("labelsTr", "a.nii.gz")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch()
    labels = {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2}
    content = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(FileFormatError, match="say what each id means"):
        list_of(typed(), tmp_path)
    listed = list_of(typed(), tmp_path, suite=suite("meddinov3-kits23"))
    assert dict(listed.meanings) == {1: "kidney", 2: "kidney tumor", 3: "kidney cyst"}
    assert listed.unknown == frozenset()


@pytest.mark.parametrize("command", ["train", "finetune", "evaluate", "dataset"])
def test_every_command_that_reads_lists_has_them(command: str) -> None:
    words = {
        "train": ["train", "stage-3", "--data", "l", "--run", "r"],
        "finetune": ["finetune", "--data", "l", "--run", "r"],
        "evaluate": ["evaluate", "--data", "l"],
        "dataset": ["dataset", "check", "l"],
    }[command]
    more = ["--root", "f", "--allow-outside", "--channel", "1", "--modality", "MR"]
    args = make_parser(command).parse_args([*words, *more])
    assert (args.root, args.allow_outside, args.channel, args.modality) == (Path("f"), True, 1, "MR")
