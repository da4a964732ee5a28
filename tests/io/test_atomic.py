"""A file is complete or absent, whatever stops the writer."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from vesalius.errors import DiskError
from vesalius.io.atomic import disk_errors, replacing, suffix_of


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.nii.gz", ".nii.gz"),
        ("A.NII.GZ", ".nii.gz"),
        ("scan.v2.nii", ".nii"),
        ("a.seg.nrrd", ".seg.nrrd"),
        ("a.dcm", ".dcm"),
        ("noext", ""),
    ],
)
def test_the_suffix_names_the_format(name: str, suffix: str) -> None:
    assert suffix_of(Path(name)) == suffix


def test_the_file_appears_when_the_block_ends_and_keeps_its_suffix_before(tmp_path: Path) -> None:
    target = tmp_path / "a.nii.gz"
    target.write_text("old")
    with replacing(target) as part:
        assert part.parent == tmp_path
        assert part.name.endswith(".nii.gz")
        part.write_text("new")
        assert target.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.nii.gz"]
    assert target.read_text() == "new"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
def test_an_interrupted_writer_leaves_the_old_file_and_nothing_else(error: type, tmp_path: Path) -> None:
    target = tmp_path / "a.nii.gz"
    target.write_text("old")
    with pytest.raises(error), replacing(target) as part:  # noqa: PT012 - the block is what is interrupted
        part.write_text("half")
        raise error
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.nii.gz"]
    assert target.read_text() == "old"


def test_a_failing_disk_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="No space left"), replacing(tmp_path / "a.nii"):
        raise OSError(28, "No space left on device")
    with pytest.raises(DiskError), replacing(tmp_path / "no folder" / "a.nii") as part:
        part.write_text("x")


def test_what_is_no_matter_of_the_disk_is_left_as_it_is() -> None:
    with pytest.raises(DiskError) as caught, disk_errors("to write into there", do="go elsewhere"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.as_dict() == {
        "code": "DiskError",
        "expected": "to write into there",
        "got": "No space left on device",
        "do": "go elsewhere",
    }
    for error in (OSError("no image"), OSError(errno.ENOMEM, "Cannot allocate memory")):
        with pytest.raises(OSError, match=str(error.args[-1])) as kept, disk_errors("to write into there"):
            raise error
        assert kept.value is error


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    program = """
        import resource, signal, sys
        import numpy as np
        from vesalius.errors import DiskError
        from vesalius.geometry.grid import Grid
        from vesalius.geometry.volume import LabelMap
        from vesalius.io import formats
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        noise = np.random.default_rng(0).integers(0, 255, (32, 32, 32)).astype(np.uint8)
        labels = LabelMap(noise, Grid(noise.shape, np.eye(4)), {})
        for name in sys.argv[1:]:
            try:
                formats.write(labels, name)
            except DiskError:
                continue
            raise SystemExit(name + " was written")
    """
    names = ["a.nii", "a.nii.gz", "a.nrrd", "a.seg.nrrd", "a.mha"]
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *names],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_no_file_of_that_name_and_the_next_clears_up(tmp_path: Path) -> None:
    program = f"""
        import os, signal
        from pathlib import Path
        from vesalius.io.atomic import replacing
        with replacing(Path({str(tmp_path / "a.nii.gz")!r})) as part:
            part.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], env=dict(os.environ), check=False)
    assert run.returncode == -signal.SIGKILL
    assert not (tmp_path / "a.nii.gz").exists()
    assert len(list(tmp_path.iterdir())) == 1
    with replacing(tmp_path / "a.nii.gz") as part:
        part.write_text("whole")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("a.nii.gz", "whole")]
