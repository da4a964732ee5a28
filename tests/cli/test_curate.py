"""``vesalius curate``: jobs over a list, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curation.scans import phantom, write_json, write_scan
from vesalius.cli.main import main
from vesalius.data.slices import SliceStore


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
