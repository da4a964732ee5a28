"""``vesalius dataset``: what it prints, what it writes, and its exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from vesalius.cli.main import main


@pytest.fixture
def folder(tmp_path: Path, make_scan: Any) -> Path:
    """Two scans without labels."""
    for seed, name in enumerate(("a", "b")):
        make_scan(tmp_path / "set" / "images" / f"{name}_ct.nii.gz", seed, shape=(24, 22, 20 + seed * 12))
    return tmp_path / "set"


def test_check_says_what_is_wrong_and_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "check", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 wrong, 2 worth a look"  # no labels
    (folder / "val").mkdir()
    shutil.copy(folder / "images" / "a_ct.nii.gz", folder / "val" / "copied.nii.gz")
    assert main(["dataset", "check", str(folder), "--modality", "CT"]) == 3
    out = capsys.readouterr().out
    assert "WRONG leak      copied: the same voxels as a (validation and training)" in out
    assert "      do: keep one of them" in out


def test_check_prints_one_object(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "check", str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["format"], report["cases"], report["wrong"]) == ("folders", 2, 0)
    assert {problem["case"] for problem in report["problems"]} == {"a", "b"}


def test_fingerprint_is_json_on_stdout_or_in_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "fingerprint", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["spacing_mm"][0]["median"] == 4.0
    assert main(["dataset", "fingerprint", str(folder), "-o", str(folder / "f.json")]) == 0
    assert json.loads((folder / "f.json").read_text()) == json.loads(printed)
    assert "median 24 x 22 x 26 voxels of 4 x 4 x 4 mm" in capsys.readouterr().out


def test_what_is_no_data_set_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "check", str(tmp_path / "gone.json")]) == 3
    assert main(["dataset", "fingerprint", str(tmp_path)]) == 3
    assert main(["dataset", "weigh", str(tmp_path)]) == 2
    assert "MONAI or MSD list" in capsys.readouterr().err
