"""``vesalius curate``: jobs over a list, as they are typed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from curation.scans import phantom, write_json, write_scan
from parity.seeded_sam import seeded_sam, toy_shapes
from training.small_list import write_list, write_tiny
from vesalius.cli.curate import CHANGES
from vesalius.cli.main import main
from vesalius.curation.reliability import Change
from vesalius.data.datalists.read import read_list
from vesalius.data.slices import SliceStore
from vesalius.io.formats import read_labels


def test_slices_are_stored_and_what_is_kept_aside_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, seed in (("one", 1), ("two", 2), ("again", 1)):
        write_scan(tmp_path, name, phantom(seed)[0])
    data = write_json(tmp_path, ["one.nii.gz", "two.nii.gz"])
    aside = write_json(tmp_path, ["again.nii.gz"], name="eval")
    words = ["curate", "slices", "--data", str(data), "-o", str(tmp_path / "store"), "--spacing", "native"]
    assert main([*words, "--exclude", str(aside)]) == 0
    out = capsys.readouterr().out
    assert "refused list/one" in out
    assert "eval/again" in out
    assert SliceStore(tmp_path / "store").cases == ("two",)
    assert main(words) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*words, "--resume", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["there"], said["made"], said["scans"]) == (2, 0, 1)
    assert [one["case"] for one in said["refused"]] == ["one"]


def test_a_bad_scan_gives_its_exit_code_and_the_others_are_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path, "one", phantom(1)[0])
    (tmp_path / "bad.nii.gz").write_bytes(b"nothing")
    data = write_json(tmp_path, ["bad.nii.gz", "one.nii.gz"])
    assert main(["curate", "slices", "--data", str(data), "-o", str(tmp_path / "store")]) == 3
    assert "bad: failed" in capsys.readouterr().err
    assert SliceStore(tmp_path / "store").cases == ("one",)


def test_a_spacing_is_a_positive_number(tmp_path: Path) -> None:
    for text in ("0", "-1", "fine"):
        assert main(["curate", "slices", "--data", "x", "-o", str(tmp_path), "--spacing", text]) == 2


def test_supervoxels_and_pseudo_labels_hand_on_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = write_list(tmp_path / "data"), write_tiny(tmp_path / "tiny")
    assert get_args(Change) == CHANGES
    words = ["--data", str(data), "--model", str(model), "--json"]
    store = tmp_path / "data" / "sv"
    assert main(["curate", "supervoxels", *words, "-o", str(store), "--segments", "20", "--spacing", "4"]) == 0
    assert json.loads(capsys.readouterr().out)["list"] == str(tmp_path / "data" / "sv.json")
    with_parts = read_list(tmp_path / "data" / "sv.json")
    assert [case.supervoxels is not None for case in with_parts.cases] == [True, True, False]
    words[1] = str(tmp_path / "data" / "sv.json")
    words += ["-o", str(tmp_path / "data" / "pl"), "--classes", "liver,left kidney", "--threads", "1"]
    assert main(["curate", "pseudo-labels", *words, "--changes", "blur"]) == 2
    assert "noise, zoom, mirror" in capsys.readouterr().err
    assert main(["curate", "pseudo-labels", *words]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["made"], said["structures"]) == (2, 4)
    with (tmp_path / "data" / "pl" / "decisions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["liver", "left kidney"] * 2
    assert all((row["kept"] == "True") == (row["why"] == "") for row in rows)
    handed_on = read_list(tmp_path / "data" / "pl.json")
    assert [case.supervoxels for case in handed_on.cases] == [case.supervoxels for case in with_parts.cases]
    assert handed_on.meanings == with_parts.meanings == {1: "liver"}


def test_supervoxels_by_sam_as_its_publisher_stores_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = write_list(tmp_path / "data"), tmp_path / "sam_vit_toy.pth"
    torch.save(seeded_sam(toy_shapes(10)), model)
    words = ["curate", "supervoxels", "--data", str(data), "--model", str(model), "--json"]
    store = tmp_path / "data" / "sv"
    assert main([*words, "-o", str(store), "--device", "abacus"]) == 2
    assert "abacus" in capsys.readouterr().out
    assert main([*words, "-o", str(store), "--segments", "20", "--spacing", "4", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["made"] == 2
    cases = [case for case in read_list(tmp_path / "data" / "sv.json").cases if case.supervoxels is not None]
    assert len(cases) == 2
    for case in cases:
        assert case.supervoxels is not None
        assert 5 <= len(np.unique(read_labels(case.supervoxels).data)) <= 60
