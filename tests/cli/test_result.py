"""What is said of a result folder."""

from __future__ import annotations

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
