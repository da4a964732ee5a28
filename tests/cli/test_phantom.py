"""``vesalius phantom`` writes what it says, refuses before it works, and reads back as it was made."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from vesalius.cli.main import main
from vesalius.data.phantom import PhantomConfig, make_phantom
from vesalius.io.formats import read, read_labels

ARGUMENTS = ["--shape", "40,32,12", "--spacing", "10,11,50", "--seed", "3"]
CONFIG = PhantomConfig(shape=(40, 32, 12), spacing_mm=(10.0, 11.0, 50.0), seed=3, tumours=True)


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(CONFIG)


@pytest.mark.parametrize("kind", ["nifti", "dicom"])
def test_the_files_hold_the_phantom(tmp_path, capsys, phantom, kind):
    out = tmp_path / "case"
    assert main(["phantom", str(out), *ARGUMENTS, "--format", kind, "--tumours"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert all((tmp_path / line).exists() for line in printed)
    volume, labels = phantom
    ct = read(out / ("ct" if kind == "dicom" else "ct.nii.gz")).reoriented("RAS")
    found = read_labels(out / "labels.nii.gz").reoriented("RAS")
    assert ct.grid.is_close(volume.grid)
    assert found.grid.is_close(volume.grid)
    assert np.array_equal(found.data, labels.data)
    assert found.names[1] == "liver"
    assert (out / "overlap_tumours.nii.gz").exists()
    assert np.array_equal(ct.data, volume.data)


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["phantom", str(tmp_path), *ARGUMENTS]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert "new or empty folder" in capsys.readouterr().err


@pytest.mark.parametrize("shape", ["64,48", "64,48,x", "64,48,0", "1.5,2,3"])
def test_a_wrong_shape_is_a_usage_error(tmp_path, shape):
    assert main(["phantom", str(tmp_path / "out"), "--shape", shape]) == 2
    assert not (tmp_path / "out").exists()
