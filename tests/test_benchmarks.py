"""What the benchmarks share: a side is run once and says how it was made; and the grid that one measures on."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from vesalius.data.case import Case
from vesalius.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import json, pathlib, sys
runs = pathlib.Path(__file__).with_name("runs")
runs.write_text(runs.read_text() + "x" if runs.is_file() else "x")
print("talk before the answer")
print(json.dumps({"side": sys.argv[2], "runs": len(runs.read_text())}))
"""


@pytest.fixture(scope="module")
def sides() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sides", ROOT / "benchmarks" / "sides.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def supervoxels(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name in ("built_in_model", "."):
        monkeypatch.syspath_prepend(ROOT / "benchmarks" / name)
    return importlib.import_module("supervoxels")


@pytest.fixture
def script(tmp_path: Path) -> str:
    """A side that counts how often it was run."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return str(path)


def test_a_side_is_run_once_and_says_with_which_arguments_and_code(
    sides: ModuleType, script: str, tmp_path: Path
) -> None:
    arguments = ("--image", "/somewhere/ct.nii.gz", "--threads", "2")
    first = sides.run_side_once(tmp_path, script, "ours", *arguments)
    assert first == {"side": "ours", "runs": 1}
    before = sides.kept_sides(tmp_path, ["ours"])
    assert sides.run_side_once(tmp_path, script, "ours", *arguments) == first
    assert sides.kept_sides(tmp_path, ["ours"]) == before
    how = before["ours"]
    assert how["arguments"] == "--image ct.nii.gz --threads 2", "no place of this machine goes into a result"
    assert how["commit"] == sides.commit() != ""
    assert how["began"].startswith("20")


def test_a_side_made_with_other_arguments_is_refused(sides: ModuleType, script: str, tmp_path: Path) -> None:
    sides.run_side_once(tmp_path, script, "ours", "--threads", "2")
    with pytest.raises(SystemExit, match="--threads 2"):
        sides.run_side_once(tmp_path, script, "ours", "--threads", "1")
    (tmp_path / "theirs.json").write_text(json.dumps({"side": "theirs"}))
    with pytest.raises(SystemExit, match="does not say"):
        sides.run_side_once(tmp_path, script, "theirs", "--threads", "2")


def test_a_result_says_with_which_code_it_was_measured(
    sides: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sides, "RESULTS", tmp_path)
    sides.write_result("speed", {"seconds": 1.0})
    written = json.loads((tmp_path / "speed.json").read_text())
    assert written["commit"] == sides.commit() != ""
    assert written["seconds"] == 1.0


HOLDER = """
import mmap, subprocess, sys
held = mmap.mmap(-1, 300_000_000)
for page in range(0, len(held), 4096):
    held[page] = 1
done = subprocess.run([sys.executable, "-c", sys.argv[1]], capture_output=True, text=True, check=True)
print(done.stdout)
"""
ASKER = """
import sys
sys.path.insert(0, {folder!r})
import sides
first = sides.peak_gigabytes()
held = bytes([1]) * 100_000_000
del held
print(first, sides.peak_gigabytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system tells the peak otherwise")
def test_a_side_s_peak_is_its_own_and_not_what_its_parent_held() -> None:
    asker = ASKER.format(folder=str(ROOT / "benchmarks"))
    done = subprocess.run([sys.executable, "-c", HOLDER, asker], capture_output=True, text=True, check=True)
    first, then = map(float, done.stdout.split())
    assert first < 0.2
    assert 0.09 < then - first < 0.15, "and it holds what the side itself let go"


def made(variable: str) -> list[str]:
    """What the Makefile gives a variable."""
    words = re.search(rf"^{variable} := (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert words is not None
    return words[1].split()


def asks_for_arguments(script: Path) -> bool:
    """Whether a script's parser has an argument that must be given."""
    calls = [call for call in ast.walk(ast.parse(script.read_text())) if isinstance(call, ast.Call)]
    adds = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"]
    return any(
        not str(ast.literal_eval(call.args[0])).startswith("-")
        or any(word.arg == "required" and ast.literal_eval(word.value) for word in call.keywords)
        for call in adds
    )


def test_make_bench_runs_every_script_that_measures_and_none_that_wants_arguments() -> None:
    first, parts, pictures = (made(f"BENCH_{part}") for part in ("FIRST", "PARTS", "PICTURES"))
    scripts = {path.stem: path for path in (ROOT / "benchmarks").glob("*.py")}
    left_out = {*parts, *pictures}
    assert left_out < scripts.keys(), "each is there"
    run = [*(scripts.keys() - left_out - {*first}), *first]
    assert [name for name in run if asks_for_arguments(ROOT / "benchmarks" / f"{name}.py")] == []
    assert [name for name in pictures if not asks_for_arguments(scripts[name])] == []
    whole = [name for name in parts if '"__main__"' in scripts[name].read_text()]
    assert whole == ["few_shot_nnunet"], "a part of others is nothing by itself"


@pytest.mark.parametrize(
    ("sets", "over"), [(1, "cases of one pair of scans and one seed"), (2, "cases and 2 pairs, a seed each")]
)
def test_an_interval_says_over_what_it_is(sets: int, over: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    augmentation, runs = (importlib.import_module(name) for name in ("slice_augmentation", "slice_runs"))

    def run(dice: float) -> dict[str, object]:
        return {"dice": {"a": dict.fromkeys(runs.LABELS.values(), dice)}, "steps": 1, "processor_s": 1.0}

    found = {
        (number, name): run(number + (name == "nnunet")) for number in range(sets) for name in augmentation.LEARNT
    }
    told = augmentation.learning(argparse.Namespace(sets=sets, minutes=3.0, judged=1), found)
    assert told["dice_of"].endswith(f"intervals of 95 % over {over}")
    assert told["intervals_over"] == over
    assert [pair["mean"] for pair in told["more_by_pair"]] == [1.0] * sets


def test_without_git_the_code_is_named_by_its_version(sides: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert sides.commit().startswith("vesalius ")


def test_supervoxels_are_measured_on_the_grid_that_scans_are_prepared_on(
    supervoxels: ModuleType, tmp_path: Path
) -> None:
    image = np.zeros((6, 5, 4), np.int16)
    np.savez(tmp_path / "one.npz", group="head-neck", image=image, labels=image.astype(np.uint8))
    ((volume, _),) = supervoxels.read_scans(argparse.Namespace(cases=tmp_path, group="head-neck", scans=2))
    assert volume.grid.spacing_mm == supervoxels.SPEC.spacing_mm == (4.0, 4.0, 3.0)


@pytest.mark.parametrize("wanted", [20, 60, 200])
def test_cubes_are_as_many_as_the_parts_and_have_equal_sides(supervoxels: ModuleType, wanted: int) -> None:
    places = np.indices((30, 32, 40)) - np.array([15, 16, 20])[:, None, None, None]
    body = (places**2).sum(axis=0) < 200
    parts = np.where(body, 1 + np.arange(body.size).reshape(body.shape) % wanted, 0)
    cubes = supervoxels.cubes_like(parts)
    assert ((cubes > 0) == body).all()
    assert supervoxels.count(cubes) == pytest.approx(supervoxels.count(parts), rel=0.05)
    widest = [max(int(np.ptp(axis[cubes == one])) + 1 for one in np.unique(cubes)[1:]) for axis in places]
    sides_mm = np.array(widest) * supervoxels.SPEC.spacing_mm
    assert np.ptp(sides_mm) < 2 * 4


def test_the_readme_of_the_built_in_model_names_every_stage_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "built_in_model")
    named = re.findall(
        r"^\$train (\S+)", (ROOT / "benchmarks/built_in_model/README.md").read_text("utf-8"), re.MULTILINE
    )
    assert sorted(named) == sorted(importlib.import_module("train").STAGES)


def test_what_was_curated_reaches_scans_alone_and_a_folder_without_any_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "built_in_model")
    curate = importlib.import_module("curate")
    labels = np.ones((2, 2, 2), np.uint8)
    scan, phantom = (
        Case(name, name, labels.astype(np.int16), labels, frozenset({1})) for name in ("chest", "phantom")
    )
    with pytest.raises(UsageError, match=r"curate\.py"):
        curate.listed(tmp_path)
    for name in ("chest", "phantom"):
        np.savez(tmp_path / f"{name}.npz", supervoxels=labels.astype(np.uint16), pseudo_labels=2 * labels)
    assert curate.curated(scan, tmp_path).claimed == (2,)
    assert curate.curated(phantom, tmp_path) is phantom
    assert curate.curated(scan, None) is scan
    before = curate.listed(tmp_path)
    np.savez(tmp_path / "chest.npz", supervoxels=labels.astype(np.uint16), pseudo_labels=3 * labels)
    assert curate.listed(tmp_path).keys() == before.keys()
    assert curate.listed(tmp_path) != before
    assert curate.listed(None) == {}
