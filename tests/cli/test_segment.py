"""``vesalius segment``: one scan in, one complete folder out, and what it refuses before it computes."""

from __future__ import annotations

import csv
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from vesalius.cli.main import main
from vesalius.cli.request import Request
from vesalius.errors import UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import Volume
from vesalius.io.dicom_series import write_series
from vesalius.io.formats import read, read_labels
from vesalius.views.preview import render_preview


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results" / "one"


def segment(scan: Path, out: Path, model: Path, *more: str) -> int:
    return main(["segment", str(scan), "-o", str(out), "--model", str(model), "--precision", "fp32", *more])


MakeScan = Callable[..., Path]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_folder_holds_the_agreed_files(scan: Path, out: Path, tiny_model: Path) -> None:
    assert segment(scan, out, tiny_model, "--format", "nifti,seg.nrrd") == 0
    assert sorted(contents(out)) == [
        "labels.json",
        "labels.nii.gz",
        "labels.seg.nrrd",
        "preview.png",
        "report.html",
        "run.json",
        "statistics.csv",
    ]
    assert [path.name for path in out.parent.iterdir()] == ["one"], "nothing is left beside it"


def test_labels_lie_on_the_input_s_own_grid_with_names_inside(scan: Path, out: Path, tiny_model: Path) -> None:
    segment(scan, out, tiny_model)
    image, labels = nib.load(scan), nib.load(out / "labels.nii.gz")
    assert labels.shape == image.shape
    assert np.array_equal(labels.affine, image.affine)
    assert labels.get_data_dtype() in (np.uint8, np.uint16)
    assert dict(read_labels(out / "labels.nii.gz").names) == {1: "liver", 3: "spleen", 4: "pancreas"}


def test_tables_record_and_labels_say_the_same(scan: Path, out: Path, tiny_model: Path) -> None:
    segment(scan, out, tiny_model)
    labels = read_labels(out / "labels.nii.gz")
    record = json.loads((out / "labels.json").read_text())
    with (out / "statistics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["liver", "spleen", "pancreas"]
    for row, finding in zip(rows, record["classes"], strict=True):
        mask = labels.mask(finding["name"])
        assert int(row["voxels"]) == finding["voxels"] == mask.sum() > 0
        assert float(row["volume_ml"]) == finding["volume_ml"] == pytest.approx(mask.sum() * 0.064, abs=1e-3)
        values = read(scan).data[0][mask]
        assert float(row["mean_hu"]) == finding["mean_hu"] == pytest.approx(values.mean(), abs=0.05)
    weights = hashlib.sha256((tiny_model / "model.safetensors").read_bytes()).hexdigest()
    assert record["model"] == {"name": "tiny", "version": "1", "sha256": weights, "licence": "none"}


def test_the_record_of_the_run_says_how_to_do_it_again(scan: Path, out: Path, tiny_model: Path) -> None:
    segment(scan, out, tiny_model, "--classes", "liver", "--threads", "1")
    run = json.loads((out / "run.json").read_text())
    assert run["input_sha256"] == hashlib.sha256(scan.read_bytes()).hexdigest()
    assert set(run["seconds"]) == {"reading", "preparing", "windows", "measuring", "writing"}
    assert 0 < sum(run["seconds"].values()) <= run["duration_s"] + 0.01
    assert run["peak_bytes"] > 50_000_000
    assert run["environment"]["torch"]
    before = contents(out)
    command = list(run["command"][1:])
    command[command.index("-o") + 1] = str(out.parent / "again")
    assert main(command) == 0
    after = contents(out.parent / "again")
    assert {name: after[name] for name in after if name != "run.json"} == {
        name: before[name] for name in before if name != "run.json"
    }


def test_classes_that_were_not_asked_for_are_absent(scan: Path, out: Path, tiny_model: Path) -> None:
    segment(scan, out, tiny_model, "--classes", "Spleen,1")
    assert set(np.unique(read_labels(out / "labels.nii.gz").data)) <= {0, 1, 3}
    assert [row["id"] for row in json.loads((out / "labels.json").read_text())["classes"]] == [1, 3]


def test_split_writes_each_class_as_a_mask_of_its_own(scan: Path, out: Path, tiny_model: Path) -> None:
    segment(scan, out, tiny_model, "--split")
    labels = read_labels(out / "labels.nii.gz")
    files = sorted((out / "classes").iterdir())
    assert [path.name for path in files] == ["liver.nii.gz", "pancreas.nii.gz", "spleen.nii.gz"]
    for path in files:
        mask = read_labels(path)
        assert np.array_equal(mask.data, labels.mask(path.name.removesuffix(".nii.gz")))
        assert mask.grid.is_close(labels.grid)


def test_the_picture_and_the_page_show_this_result(scan: Path, out: Path, tiny_model: Path) -> None:
    segment(scan, out, tiny_model)
    png = (out / "preview.png").read_bytes()
    with Image.open(out / "preview.png") as picture:
        assert picture.width == 1280
    page = (out / "report.html").read_text()
    import base64

    assert base64.b64encode(png).decode() in page
    assert all(name in page for name in ("liver", "spleen", "pancreas", "tiny", "one.nii.gz"))
    assert str(scan.parent) not in page, "a page that is handed on names no folders"


def test_the_same_again_is_left_alone(
    scan: Path, out: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segment(scan, out, tiny_model)
    before = contents(out)
    capsys.readouterr()
    assert segment(scan, out, tiny_model, "--threads", "1") == 0, "threads decide nothing"
    assert "already holds" in capsys.readouterr().out
    assert contents(out) == before


def test_something_else_is_refused_and_overwrite_replaces_it(
    scan: Path, out: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segment(scan, out, tiny_model)
    before = contents(out)
    assert segment(scan, out, tiny_model, "--classes", "liver") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert contents(out) == before
    assert segment(scan, out, tiny_model, "--classes", "liver", "--overwrite") == 0
    assert [row["name"] for row in json.loads((out / "labels.json").read_text())["classes"]] == ["liver"]


def test_weights_that_changed_are_another_model(scan: Path, out: Path, tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    from vesalius.spec import ModelSpec

    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    assert segment(scan, out, model) == 0
    spec = ModelSpec.from_json((model / "spec.json").read_text())
    (model / "spec.json").write_text(spec.to_json().replace("1053.678477684517", "1000.0"))
    assert segment(scan, out, model) == 2, "another HU window gives another result"


def test_json_is_one_object_with_progress_on_stderr(
    scan: Path, out: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment(scan, out, tiny_model, "--json") == 0
    printed = capsys.readouterr()
    result: dict[str, Any] = json.loads(printed.out)
    assert result["status"] == "done"
    assert result["files"]["labels.nii.gz"] == (out / "labels.nii.gz").stat().st_size
    assert [row["name"] for row in result["classes"]] == ["liver", "spleen", "pancreas"]
    lines = printed.err.splitlines()
    assert lines[0] == "reading"
    assert lines[-1] == "writing"
    assert "windows 8/8" in lines


def test_dry_run_prints_the_plan_and_writes_nothing(
    scan: Path, out: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment(scan, out, tiny_model, "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert plan["windows"] == 8
    assert plan["precision"] == "fp32"
    assert plan["peak_bytes"] > 0
    assert not out.parent.exists()
    assert main(["segment", str(scan), "--model", str(tiny_model), "--dry-run"]) == 0
    assert "8 windows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "code", "part"),
    [
        (("--classes", "livr"), 2, "did you mean 'liver'"),
        (("--format", "dicom-seg"), 2, "--source"),
        (("--max-memory", "1MB"), 5, "--max-memory"),
        (("--device", "cuda:9"), 2, "--device auto"),
        (("--overlap", "1.5"), 2, "overlap in [0, 1)"),
        (("--overlap", "0.5", "--compat", "paper"), 2, "leave one of the two out"),
        (("--series", "1.2.3"), 2, "leave --series out"),
        (("--fill-gaps",), 2, "leave --fill-gaps out"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    scan: Path,
    out: Path,
    tiny_model: Path,
    more: tuple[str, ...],
    code: int,
    part: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert segment(scan, out, tiny_model, *more) == code
    assert part in capsys.readouterr().err
    assert not out.exists()
    assert list(out.parent.glob("*")) == []


@pytest.mark.parametrize("content", [None, b"", b"not an image", b"\x1f\x8b\x08broken"])
def test_a_bad_input_is_refused_with_code_3_before_anything_is_made(
    tmp_path: Path, out: Path, tiny_model: Path, content: bytes | None
) -> None:
    path = tmp_path / "bad.nii.gz"
    if content is not None:
        path.write_bytes(content)
    assert segment(path, out, tiny_model) == 3
    assert not out.exists()


def test_a_truncated_scan_is_refused_with_code_3(scan: Path, out: Path, tiny_model: Path) -> None:
    scan.write_bytes(scan.read_bytes()[: scan.stat().st_size // 2])
    assert segment(scan, out, tiny_model) == 3
    assert not out.exists()


def test_a_model_that_is_not_there_is_code_4(scan: Path, out: Path, tmp_path: Path) -> None:
    assert segment(scan, out, tmp_path / "no-model.safetensors") == 4
    assert main(["segment", str(scan), "-o", str(out), "--model", "vesalus-smal"]) == 4


def test_outside_its_field_a_model_is_refused_or_every_output_is_marked(
    tmp_path: Path, out: Path, tiny_model: Path, make_scan: MakeScan, capsys: pytest.CaptureFixture[str]
) -> None:
    image = read(make_scan(tmp_path / "scan.nii.gz", shape=(9, 8, 7)))
    scan = tmp_path / "coarse"
    write_series(Volume(image.data, Grid(image.grid.shape, np.diag([12.0, 12.0, 12.0, 1.0])), "CT"), scan)
    assert segment(scan, out, tiny_model) == 3
    assert "--unvalidated" in capsys.readouterr().err
    asked = ("--format", "nifti,dicom-seg,seg.nrrd", "--split")
    assert segment(scan, out, tiny_model, "--unvalidated", *asked) == 0
    reason = "voxels of 12 x 12 x 12 mm"
    for name in ("labels.json", "run.json"):
        assert json.loads((out / name).read_text())["unvalidated"] == [reason]
    assert any(reason in warning for warning in json.loads((out / "labels.json").read_text())["warnings"])
    assert "Unvalidated" in (out / "report.html").read_text()
    assert (out / "statistics.csv").read_text().splitlines()[0].endswith(",unvalidated")
    with Image.open(out / "preview.png") as picture:
        assert picture.getpixel((3, picture.height - 3)) == (163, 22, 29)
    masks = sorted((out / "classes").iterdir())
    assert masks
    for file in (out / "labels.nii.gz", *masks):
        assert nib.load(file).header["descrip"].item().startswith(b"UNVALIDATED")
    assert b"UNVALIDATED" in (out / "labels.seg.nrrd").read_bytes()
    segmentation = pydicom.dcmread(out / "labels.seg.dcm")
    assert segmentation.SeriesDescription.startswith("UNVALIDATED")
    (algorithm,) = segmentation.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmName == "tiny"


def test_a_failing_disk_is_code_5_and_leaves_nothing(
    scan: Path, out: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("vesalius.inference.result_files.render_preview", full)
    assert segment(scan, out, tiny_model) == 5
    assert list(out.parent.iterdir()) == []
    monkeypatch.setattr("vesalius.inference.result_files.render_preview", render_preview)
    assert segment(scan, out, tiny_model) == 0


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)],
    ids=lambda number: number.name,
)
def test_a_second_run_is_refused_meanwhile_and_an_interruption_is_code_6_and_leaves_nothing(
    tmp_path: Path,
    out: Path,
    tiny_model: Path,
    make_scan: MakeScan,
    number: signal.Signals,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scan = make_scan(tmp_path / "large.nii.gz", shape=(96, 96, 96))
    words = ["segment", str(scan), "-o", str(out), "--model", str(tiny_model), "--precision", "fp32"]
    process = subprocess.Popen([sys.executable, "-m", "vesalius", *words], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process, process.stderr:
        line = next(line for line in process.stderr if line.startswith("windows "))
        process.send_signal(signal.SIGSTOP)  # it holds the folder for as long as the second needs
        second = main(words)
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 6, line + rest
    assert second == 2
    assert "another process" in capsys.readouterr().err
    assert "Traceback" not in rest
    assert list(out.parent.iterdir()) == []


def write_dicom(scan: Path, folder: Path) -> None:
    """Write a scan as a DICOM series."""
    volume = read(scan)
    write_series(Volume(volume.data, volume.grid, "CT"), folder)


def test_a_dicom_input_gives_a_dicom_seg_that_lies_where_the_labels_lie(
    tmp_path: Path, out: Path, tiny_model: Path, make_scan: MakeScan
) -> None:
    write_dicom(make_scan(tmp_path / "scan.nii.gz"), tmp_path / "dicom")
    assert segment(tmp_path / "dicom", out, tiny_model, "--format", "nifti,dicom-seg") == 0
    source = read(tmp_path / "dicom").source
    series = {"uid": source.series_uid, "description": source.description}
    assert json.loads((out / "run.json").read_text())["input_series"] == series
    labels, seg = read_labels(out / "labels.nii.gz"), read_labels(out / "labels.seg.dcm")
    moved = seg.reoriented(labels.grid.axis_codes)
    for name in ("liver", "spleen", "pancreas"):
        ours, theirs = np.argwhere(labels.mask(name)), np.argwhere(moved.mask(name))
        assert len(ours) == len(theirs) > 0
        apart = labels.grid.to_world(ours.mean(0)) - moved.grid.to_world(theirs.mean(0))
        assert np.abs(apart).max() < 0.5


def test_a_missing_slice_is_refused_unless_told_to_interpolate(
    tmp_path: Path, out: Path, tiny_model: Path, make_scan: MakeScan
) -> None:
    write_dicom(make_scan(tmp_path / "scan.nii.gz"), tmp_path / "dicom")
    sorted((tmp_path / "dicom").iterdir())[9].unlink()
    assert segment(tmp_path / "dicom", out, tiny_model) == 3
    assert not out.exists()
    assert segment(tmp_path / "dicom", out, tiny_model, "--fill-gaps") == 0
    record = json.loads((out / "labels.json").read_text())
    assert any("interpolated" in warning for warning in record["warnings"])
    assert read_labels(out / "labels.nii.gz").data.shape == (24, 22, 20)


def test_a_nifti_input_takes_the_headers_of_its_series(
    tmp_path: Path, out: Path, tiny_model: Path, make_scan: MakeScan
) -> None:
    from vesalius.io.formats import write

    write_dicom(make_scan(tmp_path / "scan.nii.gz"), tmp_path / "dicom")
    write(read(tmp_path / "dicom"), tmp_path / "same.nii.gz")
    source = ("--source", str(tmp_path / "dicom"))
    assert segment(tmp_path / "same.nii.gz", out, tiny_model, "--format", "dicom-seg", *source) == 0
    assert (out / "labels.seg.dcm").is_file()
    assert segment(tmp_path / "same.nii.gz", out, tiny_model, "--format", "dicom-seg", *source) == 0
    with sorted((tmp_path / "dicom").iterdir())[0].open("ab") as file:
        file.write(bytes(2))  # other headers make another file, wherever they lie
    assert segment(tmp_path / "same.nii.gz", out, tiny_model, "--format", "dicom-seg", *source) == 2
    other = make_scan(tmp_path / "other.nii.gz", shape=(20, 20, 20))
    assert segment(other, out.parent / "two", tiny_model, "--format", "dicom-seg", *source) == 3


def test_the_series_of_a_source_can_be_named(tmp_path: Path, make_scan: MakeScan) -> None:
    from vesalius.cli.scan import Scan, open_scan
    from vesalius.io.formats import write

    scans = [make_scan(tmp_path / f"{side}.nii.gz", shape=(8, 8, side)) for side in (6, 9)]
    for scan in scans:
        write_dicom(scan, tmp_path / "dicom" / scan.name)
    smaller = read(tmp_path / "dicom" / scans[0].name)
    write(smaller, tmp_path / "same.nii.gz")
    series = smaller.source.series_uid
    request = Request(formats=("dicom-seg",))
    opened = open_scan(Scan(tmp_path / "same.nii.gz", tmp_path, request, series, tmp_path / "dicom"))
    assert opened.like is not None
    assert opened.like.source.series_uid == series
    with pytest.raises(UsageError, match="which is not DICOM"):
        open_scan(Scan(tmp_path / "same.nii.gz", tmp_path, Request(), series))


def test_a_request_s_words_give_the_request_back() -> None:
    import argparse

    from vesalius.cli.request import add_arguments, request_of

    request = Request(
        model="m", classes=("liver", "left kidney"), formats=("seg.nrrd",), split=True, device="cpu",
        precision="bf16", overlap=0.5, max_memory=8_000_000_000, threads=2, seed=3, compat="bundle",
        unvalidated=True, fill_gaps=True,
    )  # fmt: skip
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert request_of(parser.parse_args(request.words())) == request


def test_a_second_run_that_changes_nothing_is_quick_to_say_so(
    scan: Path, out: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment(scan, out, tiny_model)

    def load(self: Request) -> None:
        raise AssertionError("the model was loaded for nothing")

    monkeypatch.setattr(Request, "load", load)
    start = time.perf_counter()
    assert segment(scan, out, tiny_model) == 0
    assert time.perf_counter() - start < 60
