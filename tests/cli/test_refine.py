"""``vesalius refine``: clicks from a file, a folder like ``segment``'s, and what is refused before it computes."""

from __future__ import annotations

import errno
import importlib.util
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from cli.conftest import write_scan
from vesalius.checkpoints.safetensors import write_model
from vesalius.cli.main import main
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.segmenter import load
from vesalius.interactive.features import CACHE_BYTES
from vesalius.interactive.session import Session
from vesalius.io.dicom_series import write_series
from vesalius.io.formats import read, read_labels, write
from vesalius.models.build import build
from vesalius.prompts.click_files import read_clicks
from vesalius.spec import ModelSpec, VistaArchitecture

CLICKS = [
    {"target": "liver", "positive": True, "voxel": [12, 11, 10]},
    {"target": "liver", "positive": False, "voxel": [7, 8, 9]},
    {"target": "new:lesion", "positive": True, "ras_mm": [-40.0, 48.0, 36.0]},
]


@pytest.fixture(scope="session")
def clicking_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of random weights that has both branches."""
    architecture = VistaArchitecture(width=8, blocks_down=(1, 1, 1), num_embeddings=8)
    spec = ModelSpec(
        name="clicking",
        architecture=architecture,
        spacing_mm=(4.0, 4.0, 4.0),
        window_size=(16, 16, 16),
        vocabulary=((1, "liver"), (3, "spleen"), (4, "pancreas")),
        dice={"liver": 0.9, "pancreas": 0.6},
    )
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(tensor.shape, generator=generator) * 0.3
        for name, tensor in build(architecture).state_dict().items()
    }
    folder = tmp_path_factory.mktemp("models") / "clicking"
    write_model(folder, state, spec)
    return folder


@dataclass(frozen=True)
class Case:
    """A scan, clicks on it, labels to correct with a liver and a spleen; and what refining them gave."""

    scan: Path
    clicks: Path
    earlier: Path
    out: Path


@pytest.fixture(scope="module")
def refined(tmp_path_factory: pytest.TempPathFactory, clicking_model: Path) -> Case:
    folder = tmp_path_factory.mktemp("refined")
    case = Case(
        scan=write_scan(folder / "one.nii.gz"),
        clicks=folder / "clicks.json",
        earlier=folder / "earlier.nii.gz",
        out=folder / "results" / "one",
    )
    case.clicks.write_text(json.dumps({"clicks": CLICKS}))
    grid = read(case.scan).grid
    data = np.zeros(grid.shape, np.uint8)
    data[4:16, 5:15, 5:15] = 1
    data[17:20, 5:9, 5:9] = 3
    write(LabelMap(data, grid, {1: "liver", 3: "spleen"}), case.earlier)
    more = ("--labels", case.earlier, "--format", "nifti,seg.nrrd")
    assert refine(case.scan, case.clicks, case.out, clicking_model, *more) == 0
    return case


@pytest.fixture
def clicks(refined: Case, tmp_path: Path) -> Path:
    """A copy of the clicks, to change."""
    return Path(shutil.copy(refined.clicks, tmp_path / "clicks.json"))


@pytest.fixture
def scan(refined: Case) -> Path:
    return refined.scan


@pytest.fixture
def earlier(refined: Case) -> Path:
    return refined.earlier


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results" / "one"


def refine(scan: Path, clicks: Path, out: Path, model: Path, *more: str | Path) -> int:
    words = [str(scan), "--clicks", str(clicks), "-o", str(out), "--model", str(model), "--precision", "fp32"]
    return main(["refine", *words, *map(str, more)])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_folder_holds_what_segment_s_holds_and_clicks_and_journal(refined: Case) -> None:
    out = refined.out
    assert sorted(contents(out)) == [
        "clicks.json",
        "labels.json",
        "labels.nii.gz",
        "labels.seg.nrrd",
        "overlap_new.nii.gz",
        "preview.png",
        "report.html",
        "run.json",
        "session.jsonl",
        "statistics.csv",
    ]
    assert [path.name for path in out.parent.iterdir()] == ["one"], "nothing is left beside it"
    run = json.loads((out / "run.json").read_text())
    assert set(run["files"]) == set(contents(out)) - {"run.json"}
    assert run["clicks"] == {
        "liver": {"positive": 1, "negative": 1},
        "new:lesion": {"positive": 1, "negative": 0},
    }
    assert read_clicks(out / "clicks.json") == read_clicks(refined.clicks)
    before, after = read_labels(refined.earlier), read_labels(out / "labels.nii.gz")
    one, other = before.mask("liver"), after.mask("liver")
    changed = run["changes"]["liver"]
    voxels = [changed[f"{what}_ml"] / before.grid.voxel_volume_ml for what in ("before", "added", "removed")]
    assert voxels == pytest.approx([one.sum(), (other & ~one).sum(), (one & ~other).sum()])
    assert run["changes"]["lesion"]["before_ml"] == 0 < run["changes"]["lesion"]["added_ml"]
    assert run["model"]["dice"] == {"pancreas": 0.6}, "what was measured of names alone says nothing of clicks"
    assert "liver (1 inside, 1 outside)" in (out / "report.html").read_text()


def test_the_result_is_the_session_s(refined: Case, clicking_model: Path) -> None:
    volume, earlier, out = read(refined.scan), refined.earlier, refined.out
    session = Session(load(clicking_model, precision="fp32"), volume, labels=read_labels(earlier))
    for click in read_clicks(refined.clicks):
        session.add(click)
    session.predict()
    expected, found = session.labels, read_labels(out / "labels.nii.gz")
    assert np.array_equal(found.data, expected.data)
    assert not np.array_equal(found.data, read_labels(earlier).data), "the clicks changed something"
    assert np.array_equal(found.mask("spleen"), read_labels(earlier).mask("spleen") & ~found.mask("liver"))
    lesion = read_labels(out / "overlap_new.nii.gz")
    assert np.array_equal(lesion.mask("lesion"), expected.mask("lesion"))
    rows = {row["name"]: row for row in json.loads((out / "labels.json").read_text())["classes"]}
    assert rows["liver"]["voxels"] == expected.mask("liver").sum()
    assert rows["lesion"]["voxels"] == expected.mask("lesion").sum() > 0


def test_the_journal_in_the_folder_opens_to_the_same_labels(
    refined: Case, clicking_model: Path, tmp_path: Path
) -> None:
    journal = shutil.copy(refined.out / "session.jsonl", tmp_path)
    segmenter, volume = load(clicking_model, precision="fp32"), read(refined.scan)
    again = Session.open(journal, segmenter, volume, labels=read_labels(refined.earlier))
    assert not again.differences
    assert np.array_equal(again.labels.data, read_labels(refined.out / "labels.nii.gz").data)


def test_clicks_without_labels_begin_from_nothing(
    scan: Path, clicks: Path, out: Path, clicking_model: Path, tmp_path: Path
) -> None:
    image = read(scan)
    write_series(Volume(image.data, image.grid, "CT"), tmp_path / "ct")
    more = ("--source", tmp_path / "ct", "--format", "nifti,dicom-seg")
    assert refine(scan, clicks, out, clicking_model, *more) == 0
    found = read_labels(out / "labels.nii.gz")
    assert set(np.unique(found.data)) <= {0, 1}
    assert found.mask("liver").any()
    segments = pydicom.dcmread(out / "labels.seg.dcm").SegmentSequence
    assert {segment.SegmentAlgorithmType for segment in segments} == {"SEMIAUTOMATIC"}


def test_a_result_folder_is_corrected_with_its_layers(
    refined: Case, clicks: Path, out: Path, clicking_model: Path
) -> None:
    clicks.write_text(json.dumps({"clicks": [{"target": "spleen", "positive": True, "voxel": [15, 12, 11]}]}))
    assert refine(refined.scan, clicks, out, clicking_model, "--labels", refined.out) == 0
    before, after = (read_labels(folder / "overlap_new.nii.gz") for folder in (refined.out, out))
    assert before.mask("lesion").any()
    assert np.array_equal(before.mask("lesion"), after.mask("lesion"))
    assert read_labels(out / "labels.nii.gz").mask("spleen").any()


def test_what_segment_knew_of_a_structure_goes_on_while_nobody_changes_it(
    refined: Case, clicks: Path, tmp_path: Path, out: Path, clicking_model: Path
) -> None:
    before = Path(shutil.copytree(refined.out, tmp_path / "before"))
    record = json.loads((before / "labels.json").read_text())
    known = {"confidence": 0.5, "pieces_removed": 3, "removed_ml": 1e6}
    record["classes"] = [entry | known for entry in record["classes"]]
    (before / "labels.json").write_text(json.dumps(record))
    clicks.write_text(json.dumps({"clicks": [{"target": "spleen", "positive": True, "voxel": [15, 12, 11]}]}))
    assert refine(refined.scan, clicks, out, clicking_model, "--labels", before) == 0
    after = json.loads((out / "labels.json").read_text())
    found = {entry["name"]: {key: entry[key] for key in known} for entry in after["classes"]}
    assert found["lesion"] == known
    assert found["spleen"] == {"confidence": None, "pieces_removed": 0, "removed_ml": 0.0}
    assert any(warning.startswith("lesion: the largest piece") for warning in after["warnings"])


def test_fiducials_of_slicer_mean_the_same_clicks(
    refined: Case, out: Path, clicking_model: Path, tmp_path: Path
) -> None:
    scan, earlier, grid = refined.scan, refined.earlier, read(refined.scan).grid
    labels = ["liver-1", "liver--2", "F-3"]
    places = [click.point_ijk(grid) for click in read_clicks(refined.clicks)]
    points = [
        {"label": label, "position": (grid.to_world(np.array(place)) * [-1, -1, 1]).tolist()}
        for label, place in zip(labels, places, strict=True)
    ]
    slicer = tmp_path / "F.mrk.json"
    markups = [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": points}]
    slicer.write_text(json.dumps({"@schema": "https://x/markups-schema-v1.0.3.json#", "markups": markups}))
    assert refine(scan, slicer, out, clicking_model, "--labels", earlier) == 3, "a point says no target"
    assert refine(scan, slicer, out, clicking_model, "--labels", earlier, "--target", "new:lesion") == 0
    for name in ("labels.nii.gz", "overlap_new.nii.gz"):
        assert np.array_equal(read_labels(out / name).data, read_labels(refined.out / name).data)


def test_the_same_again_is_left_alone_and_other_clicks_are_refused(
    scan: Path, clicks: Path, earlier: Path, out: Path, clicking_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refine(scan, clicks, out, clicking_model, "--labels", earlier)
    before = contents(out)
    capsys.readouterr()
    assert refine(scan, clicks, out, clicking_model, "--labels", earlier) == 0
    assert "already holds" in capsys.readouterr().out
    assert refine(scan, clicks, out, clicking_model) == 2, "without the labels it is something else"
    clicks.write_text(json.dumps({"clicks": CLICKS[:1]}))
    assert refine(scan, clicks, out, clicking_model, "--labels", earlier) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert contents(out) == before
    assert refine(scan, clicks, out, clicking_model, "--labels", earlier, "--overwrite") == 0
    assert len(read_clicks(out / "clicks.json")) == 1


def test_the_command_in_the_record_does_it_again(refined: Case, out: Path) -> None:
    command = json.loads((refined.out / "run.json").read_text())["command"][1:]
    command[command.index("-o") + 1] = str(out)
    assert main(command) == 0
    before, after = contents(refined.out), contents(out)
    assert {name for name in before if before[name] != after[name]} == {"run.json"}


def test_a_model_without_a_click_branch_is_code_4(
    scan: Path, clicks: Path, out: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refine(scan, clicks, out, tiny_model, "--json") == 4
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "NoHeadError"
    assert "--model" in error["do"]
    assert main(["refine", str(scan), "--clicks", str(clicks), "--dry-run"]) == 0, "the built-in one has a branch"
    assert not out.parent.exists()


def click_file(folder: Path, **changes: object) -> Path:
    path = folder / "clicks.json"
    path.write_text(json.dumps({"clicks": [{**CLICKS[0], **changes}]}))
    return path


@pytest.mark.parametrize(
    ("change", "code", "part"),
    [
        ({"target": "livr"}, 2, "did you mean 'liver'"),
        ({"voxel": [99, 0, 0]}, 2, "inside the volume"),
        ({"voxel": [1, 2]}, 3, "three finite numbers"),
        ({"positive": None}, 3, "click 1 of clicks.json"),
    ],
)
def test_clicks_that_make_no_sense_are_refused_and_leave_nothing(
    scan: Path,
    tmp_path: Path,
    out: Path,
    clicking_model: Path,
    change: dict[str, Any],
    code: int,
    part: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = click_file(tmp_path, **change)
    assert refine(scan, path, out, clicking_model, "--dry-run") == code
    assert part in capsys.readouterr().err
    assert refine(scan, path, out, clicking_model) == code
    assert part in capsys.readouterr().err
    assert not out.exists()
    assert not out.parent.exists() or list(out.parent.iterdir()) == []


@pytest.mark.parametrize("reads", ["cli.refine.open_scan", "inference.result_labels.read_earlier_labels"])
def test_an_input_that_cannot_be_read_is_no_matter_of_the_disk_written_to(
    refined: Case,
    out: Path,
    clicking_model: Path,
    reads: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(f"vesalius.{reads}", refuse)
    assert refine(refined.scan, refined.clicks, out, clicking_model, "--labels", refined.earlier) != 5
    said = capsys.readouterr().err
    assert "Permission denied" in said
    assert "free some space" not in said
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("text", ["", '{"clicks": []}', '{"points": []}'])
def test_files_without_clicks_are_code_3(
    scan: Path, tmp_path: Path, out: Path, clicking_model: Path, text: str
) -> None:
    path = tmp_path / "clicks.json"
    path.write_text(text)
    assert refine(scan, path, out, clicking_model) == 3
    assert refine(scan, tmp_path / "absent.json", out, clicking_model) == 3


def test_a_target_beside_clicks_that_name_theirs_is_refused(
    scan: Path, clicks: Path, out: Path, clicking_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refine(scan, clicks, out, clicking_model, "--target", "liver") == 2
    assert "leave it out" in capsys.readouterr().err


def test_labels_of_another_scan_are_code_3(
    scan: Path, clicks: Path, out: Path, clicking_model: Path, tmp_path: Path, make_scan: Any
) -> None:
    other = make_scan(tmp_path / "other.nii.gz", 1, shape=(20, 20, 20))
    grid = read(other).grid
    labels = tmp_path / "labels.nii.gz"
    write(LabelMap(np.ones(grid.shape, np.uint8), grid, {1: "liver"}), labels)
    assert refine(scan, clicks, out, clicking_model, "--labels", labels) == 3
    assert refine(scan, clicks, out, clicking_model, "--labels", tmp_path / "none.nii.gz") == 3
    assert not out.exists()


def test_dry_run_checks_clicks_says_what_they_need_and_writes_nothing(
    scan: Path, clicks: Path, out: Path, clicking_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refine(scan, clicks, out, clicking_model, "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert plan["clicks"]["liver"] == {"positive": 1, "negative": 1}
    assert plan["structures"] == ["liver", "lesion"]
    assert plan["windows"] == plan["passes"] > 0
    assert plan["peak_bytes"] > plan["bytes"]["clicks"]["network"] > 0
    assert plan["seconds"] > 0
    assert refine(scan, clicks, out, clicking_model, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "liver: 1 positive and 1 negative clicks" in said
    assert f"{plan['windows']} window of 16 x 16 x 16" in said
    assert "GB" in said
    assert "forecast" in said
    assert not out.parent.exists()


def test_the_dry_run_has_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    helps = {}
    for command in ("segment", "refine"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        helps[command] = " ".join(capsys.readouterr().out.split())
    assert "check the clicks, print what they need" in helps["refine"]
    assert "print the plan" not in helps["refine"]
    assert "check the clicks" not in helps["segment"]


def test_less_memory_than_the_clicks_need_is_code_5_and_leaves_nothing(
    scan: Path, clicks: Path, out: Path, clicking_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in ((), ("--dry-run",)):
        assert refine(scan, clicks, out, clicking_model, "--max-memory", "1MB", "--json", *more) == 5
        assert json.loads(capsys.readouterr().out)["error"]["code"] == "MemoryBudgetError"
    assert not out.exists()


def test_what_is_left_of_the_memory_allowed_bounds_what_the_session_remembers_and_no_voxel(
    refined: Case, clicks: Path, out: Path, clicking_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vesalius.inference.click_plan.resident_bytes", lambda: 0)
    bounds = []

    class Noted(Session):
        def __init__(self, *args: Any, cache_bytes: int, **how: Any) -> None:
            bounds.append(cache_bytes)
            super().__init__(*args, cache_bytes=cache_bytes, **how)

    monkeypatch.setattr("vesalius.interactive.session.Session", Noted)
    assert (
        refine(refined.scan, clicks, out, clicking_model, "--labels", refined.earlier, "--max-memory", "2MB") == 0
    )
    assert 0 <= bounds[0] < 2_000_000
    assert np.array_equal(read_labels(out / "labels.nii.gz").data, read_labels(refined.out / "labels.nii.gz").data)
    refine(refined.scan, clicks, out, clicking_model, "--max-memory", "64GB", "--overwrite")
    assert bounds[1] == CACHE_BYTES


def test_json_is_one_object(
    scan: Path, clicks: Path, earlier: Path, out: Path, clicking_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refine(scan, clicks, out, clicking_model, "--labels", earlier, "--json") == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result["status"] == "done"
    assert {row["name"] for row in result["classes"]} >= {"liver", "spleen", "lesion"}
    assert {"liver", "lesion"} <= result["changes"].keys()
    assert printed.err.splitlines()[:2] == ["reading", "clicks"]


def test_the_script_that_draws_before_and_after_runs_with_any_model_that_takes_clicks(
    refined: Case, clicking_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "refine_pictures.py"
    spec = importlib.util.spec_from_file_location("refine_pictures", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    sys.modules["refine_pictures"] = script
    spec.loader.exec_module(script)
    words = ["--model", clicking_model, "--image", refined.scan, "--truth", refined.earlier, "--clicks", "2"]
    script.main([*map(str, words), "--out", str(tmp_path / "picture.png")])
    said = capsys.readouterr().out.splitlines()
    assert [line.split(" clicks")[0] for line in said] == ["0", "1", "2"]
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (3 * script.PANEL, 2 * (script.PANEL + script.CAPTION))
        upper = picture.crop((0, 0, picture.width, picture.height // 2))
        lower = picture.crop((0, picture.height // 2, *picture.size))
        assert upper.tobytes() != lower.tobytes()
