"""What is said of a result folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from vesalius.cli.result import print_result


def test_a_folder_whose_name_is_no_utf_8_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / os.fsdecode(b"m\xfcller")
    out.mkdir()
    (out / "run.json").write_text('{"duration_s": 1.0}')
    (out / "labels.json").write_text('{"classes": [], "warnings": []}')
    print_result(out, is_done=True, as_json=False)
    told = capsys.readouterr().out
    assert told.encode()  # what is no UTF-8 would raise here, as on a terminal
    assert told.count("m\\udcfcller") == 2


def test_a_correction_says_what_changed_and_an_automatic_result_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.json").write_text('{"classes": [], "warnings": []}')
    liver = {"before_ml": 1000.0, "added_ml": 20.5, "removed_ml": 3.25}
    for changes, expected in (
        ({"changes": {"liver": liver}}, "liver: 1000.0 -> 1017.2 ml (20.5 added, 3.2 taken away)"),
        ({"changes": {}}, "no voxel changed"),
        ({}, None),
    ):
        (tmp_path / "run.json").write_text(json.dumps({"duration_s": 1.0, **changes}))
        print_result(tmp_path, is_done=False, as_json=False)
        _, *said, _ = capsys.readouterr().out.splitlines()
        assert said == ([] if expected is None else [expected])
