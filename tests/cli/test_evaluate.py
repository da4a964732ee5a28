"""``vesalius evaluate``: files against files, a model on a list, clicks, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.scenes import written
from inference.small_model import small_network, small_spec
from vesalius.checkpoints.safetensors import write_model
from vesalius.cli.main import main
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap
from vesalius.io.formats import write
from vesalius.spec import VistaArchitecture

NAMES = {1: "liver", 2: "spleen"}
TRUTH = {1: (2, 12, 10, 8), 2: (14, 17, 4, 4)}


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for case in ("a", "b"):
        written(tmp_path / "truth" / f"{case}.nii.gz", TRUTH, NAMES)
        written(tmp_path / "good" / f"{case}.nii.gz", {**TRUTH, 1: (3, 13, 10, 8)}, NAMES)
        written(tmp_path / "bad" / f"{case}.nii.gz", {1: (5, 15, 10, 8)}, NAMES)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["evaluate", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_two_folders(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folders / "out"
    code, text, progress = run(capsys, folders / "good", folders / "truth", "-o", out, "--tolerance", 1)
    assert code == 0
    assert "liver" in text
    assert "0.900 (0.900 to 0.900)" in text
    assert text.splitlines()[-1] == str(out / "report.html")
    assert progress.split() == ["a", "b"]
    files = ["classes.csv", "evaluation.json", "report.html", "scores.csv"]
    assert sorted(file.name for file in out.iterdir()) == files
    (out / "classes.csv").unlink()
    assert run(capsys, folders / "bad", folders / "truth", "-o", out)[0] == 0, "an evaluation may be replaced"
    assert sorted(file.name for file in out.iterdir()) == files


@pytest.mark.parametrize("name", ["report.html", "evaluation.json", "."])
def test_files_of_somebody_else_are_not_touched(
    folders: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folders / "out"
    if name == ".":
        out.write_text("{}")
    else:
        out.mkdir()
        (out / name).write_text("{}")
    code, _, error = run(capsys, folders / "good", folders / "truth", "-o", out)
    assert code == 2
    assert "a\nb" not in error, "refused before anything is measured"
    assert (out / name).read_text() == "{}"


def test_one_object_on_stdout_and_the_gain_over_another_result(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (folders / "good", folders / "truth", "--against", folders / "bad", "--lesions", "spleen", "--json")
    code, text, _ = run(capsys, *words)
    record = json.loads(text)
    assert code == 0
    assert record["comparison"]["overall"]["estimate"] == pytest.approx((0.9 - 0.7 + 1) / 2)
    spleen = record["summary"]["classes"][1]
    assert spleen["detection"]["sensitivity"] == 1.0


def test_labels_on_other_grids_are_refused_with_what_to_do(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = LabelMap(np.ones((5, 5, 5), np.uint8), Grid((5, 5, 5), np.eye(4)), NAMES)
    write(other, folders / "other.nii.gz")
    code, _, error = run(capsys, folders / "other.nii.gz", folders / "truth" / "a.nii.gz")
    assert code == 3
    assert "nearest neighbours" in error


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("good",),
        ("good", "truth", "--data", "list.json"),
        ("good", "truth", "--clicks", "3"),
        ("good", "truth", "--model", "m"),
        ("good", "truth", "--everything"),
        ("good", "truth", "--unvalidated"),
        ("good", "truth", "--allow-outside"),
        ("good", "truth", "--channel", "0"),
        ("--data", "list.json", "--against", "bad"),
        ("good", "truth", "--classes", ","),
        ("good", "truth", "--tolerance", "-1"),
    ],
    ids=" ".join,
)
def test_a_mixture_of_ways_is_refused(
    words: tuple[str, ...], folders: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders)
    assert run(capsys, *words)[0] == 2


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("good", "truth", "--seed", "3"), "--seed"),
        (("--data", "list.json", "--new", "--start", "nothing"), "--start, --new"),
        (("--data", "list.json", "--jitter", "1"), "--jitter"),
        (("--data", "list.json", "--published", "oracle", "--clicks", "3"), "--clicks"),
        (("--data", "list.json", "--published", "oracle", "--everything"), "--everything"),
        (("--data", "list.json", "--published", "iterative", "--clicks", "3", "--seed", "1"), "--seed"),
        (("--data", "list.json", "--clicks", "3", "--lesions", "liver"), "--lesions"),
    ],
)
def test_options_that_would_count_for_nothing_are_named_and_refused(
    words: tuple[str, ...], named: str, folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = run(capsys, *words)
    assert code == 2
    assert f"got:      {named}\n" in error


def test_a_protocol_about_names_is_refused_for_a_suite_of_what_has_none(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--data", folders / "list.json", "--suite", "vista3d-kits", "--published", "oracle")
    code, _, error = run(capsys, *words)
    assert code == 2
    assert "--published iterative" in error


def test_a_class_whose_lesions_nobody_compared_is_named(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, _, said = run(capsys, folders / "good", folders / "truth", "--lesions", "spleen,splen")
    assert "lesions were not counted, because no such class was compared: splen\n" in said


def test_a_model_on_a_list(tiny_model: Path, make_scan, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries: list[dict[str, object]] = []
    for seed in (0, 1):
        scan = make_scan(tmp_path / f"{seed}.nii.gz", seed)
        data = np.zeros((24, 22, 20), np.uint8)
        data[8:14, 8:14, 8:14] = 5
        grid = Grid((24, 22, 20), np.diag([-4.0, 4.0, 4.0, 1.0]))
        write(LabelMap(data, grid, {5: "liver"}), tmp_path / f"{seed}_label.nii.gz")
        entries.append({"image": scan.name, "label": f"{seed}_label.nii.gz"})
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps({"labels": {"5": "liver", "6": "spleen"}, "test": entries}))
    words = ("--data", listed, "--model", tiny_model, "--precision", "fp32", "--json")
    code, text, _ = run(capsys, *words)
    assert code == 0
    record = json.loads(text)
    assert [row["class"] for row in record["summary"]["classes"]] == ["liver", "spleen"]
    assert record["about"] == {"data": "list, test, 2 cases", "model": "tiny 1", "precision": "fp32"}
    assert record["summary"]["classes"][1]["absent"] == 2
    assert run(capsys, *words, "--clicks", "2")[0] == 4  # it has no click branch
    assert (record["summary"]["dice_all"]["n"], "patients" in record["summary"]) == (2, False)
    one = [{**entry, "patient": "one"} for entry in entries]
    listed.write_text(json.dumps({"labels": {"5": "liver", "6": "spleen"}, "test": one}))
    summary = json.loads(run(capsys, *words)[1])["summary"]
    assert (summary["cases"], summary["patients"], summary["dice_all"]["n"]) == (2, 1, 1)
    assert summary["dice_all"]["estimate"] == record["summary"]["dice_all"]["estimate"]
    assert (summary["dice_all"]["low"], record["summary"]["dice_all"]["low"] is None) == (None, False)


def test_a_suite_says_what_ids_mean_and_that_cases_are_missing(
    tiny_model: Path, make_scan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = make_scan(tmp_path / "s.nii.gz")
    grid = Grid((24, 22, 20), np.diag([-4.0, 4.0, 4.0, 1.0]))
    write(LabelMap(np.ones(grid.shape, np.uint8), grid, {1: "label 1"}), tmp_path / "l.nii.gz")
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps({"training": [{"image": scan.name, "label": "l.nii.gz"}]}))
    words = ("--data", listed, "--model", tiny_model, "--precision", "fp32", "--json")
    code, text, _ = run(capsys, *words, "--suite", "vista3d-msd09")
    record = json.loads(text)
    assert code == 0
    assert [row["class"] for row in record["summary"]["classes"]] == ["spleen"]
    assert record["about"]["beware"] == "the authors' list has 8 test cases, this one 1"
    assert record["metrics"]["tolerance_mm"] == 2.0
    assert run(capsys, *words, "--suite", "vista3d-kits")[0] == 4  # all clicks, and this model has no click branch
    assert run(capsys, *words, "--suite", "vista3d-msd9")[0] == 2


@pytest.fixture
def clickable_model(tmp_path: Path) -> Path:
    """A folder with a model of random weights that can be clicked."""
    architecture = VistaArchitecture(width=8, blocks_down=(1, 1), num_embeddings=8)
    spec = small_spec(architecture=architecture, window_size=(16, 16, 16), spacing_mm=(4.0, 4.0, 4.0))
    write_model(tmp_path / "clickable", small_network(spec).state_dict(), spec)
    return tmp_path / "clickable"


def test_clicks_in_a_real_session(
    clickable_model: Path, make_scan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = make_scan(tmp_path / "s.nii.gz")
    data = np.zeros((24, 22, 20), np.uint8)
    data[8:14, 8:14, 8:14] = 5
    write(LabelMap(data, Grid((24, 22, 20), np.diag([-4.0, 4.0, 4.0, 1.0])), {5: "liver"}), tmp_path / "l.nii.gz")
    listed = tmp_path / "list.json"
    listed.write_text(
        json.dumps({"labels": {"5": "liver"}, "test": [{"image": scan.name, "label": "l.nii.gz", "patient": 3}]})
    )
    out = tmp_path / "out"
    words = ("--data", listed, "--model", clickable_model, "--clicks", "2", "--precision", "fp32", "-o", out)
    code, text, _ = run(capsys, *words)
    assert code == 0
    assert "Dice gained" in text
    record = json.loads((out / "evaluation.json").read_text())
    assert record["clicks"]["protocol"]["start"] == "automatic"
    assert record["summary"]["patients"] == 1
    (curve,) = record["clicks"]["curves"]
    assert len(curve["dice"]) == 3
    assert len(curve["seconds"]) == 2
    assert "data:image/png" in (out / "report.html").read_text()
    code, text, _ = run(capsys, *words[:4], "--published", "one-click-per-window", "--precision", "fp32", "--json")
    assert code == 0
    assert "no user can do that" in json.loads(text)["about"]["protocol"]
    assert json.loads(text)["summary"]["patients"] == 1
    iterative = ("--published", "iterative", "--clicks", "2", "--precision", "fp32", "--json")
    code, text, _ = run(capsys, *words[:4], *iterative)
    assert code == 0
    assert "up to 2 clicks by the truth" in json.loads(text)["about"]["protocol"]
    assert len(json.loads(text)["iterative"]["best_dice_so_far"]) == 3
