"""What a stranger's file says of itself is shown, and does nothing to the terminal that shows it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest

from vesalius.cli.main import main
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import Volume
from vesalius.io.dicom_writer import write_series
from vesalius.io.plain_text import plain_text
from vesalius.io.pydicom_silence import quiet_pydicom


def test_what_is_not_printable_is_written_out() -> None:
    assert plain_text("Leber, 3 mm³") == "Leber, 3 mm³"
    assert plain_text("a\x1b]0;x\x07\n\u202eb\udc80") == r"a\x1b]0;x\x07\n\u202eb\udc80"


def test_neither_a_header_nor_a_name_in_a_zip_steers_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = Grid((8, 8, 2), np.diag([-2.0, -2.0, 5.0, 1.0]))
    write_series(Volume(np.zeros((1, 8, 8, 2), np.int16), grid, "CT"), tmp_path / "ct")
    with quiet_pydicom(), zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        for number, file in enumerate(sorted((tmp_path / "ct").iterdir())):
            header = pydicom.dcmread(file)
            header.Modality, header.SeriesInstanceUID = "CT\x1b[31mX", "1.2.\x1b]0;owned\x07"
            header.save_as(file)
            archive.write(file, f"{number}\x1b[2J.dcm")
        archive.writestr("notes\x1b[31m.txt", "no DICOM")
    for source in (tmp_path / "ct", tmp_path / "ct.zip"):
        main(["series", str(source)])
        said = capsys.readouterr()
        assert "\x1b" not in said.out + said.err
        assert r"1.2.\x1b]0;owned\x07" in said.out
    assert r"notes\x1b[31m.txt" in said.out
    assert main(["segment", str(tmp_path / "no\x1b[31m.nii"), "--dry-run", "--model", "ab\x1bsent"]) != 0
    error = capsys.readouterr().err
    assert "\x1b" not in error
    assert len(error.splitlines()) == 3
