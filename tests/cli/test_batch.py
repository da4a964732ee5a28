"""``vesalius batch``: killed anywhere and run again it ends as if nothing had happened, and does nothing twice."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from vesalius.cli.main import main
from vesalius.cli.scan import Scan

MakeScan = Callable[..., Path]


@pytest.fixture
def scans(tmp_path: Path, make_scan: MakeScan) -> Path:
    """A folder of three tiny scans."""
    for number in range(3):
        make_scan(tmp_path / "scans" / f"case_{number}.nii.gz", number, shape=(18, 16, 14))
    return tmp_path / "scans"


def batch_words(source: Path, out: Path, model: Path, *more: str) -> list[str]:
    return ["batch", str(source), "-o", str(out), "--model", str(model), "--precision", "fp32", *more]


def batch(source: Path, out: Path, model: Path, *more: str) -> int:
    return main(batch_words(source, out, model, *more))


TIMES = ("created", "seconds", "duration_s", "peak_bytes", "environment")
"""What of ``run.json`` may differ between two equal runs, beside the forecast and the folder in the command."""


def tree(out: Path) -> dict[str, object]:
    """Everything below a folder, by content; of ``run.json`` all but times, memory and the place of the result."""
    found: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.name == "run.json":
            record: dict[str, Any] = json.loads(path.read_text())
            for key in (*TIMES, "plan"):
                assert record.pop(key) is not None
            record["command"] = [word.replace(str(out), "OUT") for word in record["command"]]
            found[name] = record
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def inodes(out: Path) -> dict[str, tuple[int, int]]:
    """Which file each finished case's record is: a case that is done again gets another.

    A hidden folder is a case that was still being written, record and all, when the kill came.
    """
    records = [record for record in out.glob("*/run.json") if not record.parent.name.startswith(".")]
    return {record.parent.name: (record.stat().st_ino, record.stat().st_mtime_ns) for record in records}


def summary(out: Path) -> list[dict[str, str]]:
    with (out / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_scan_gets_its_folder_and_its_row(scans: Path, tmp_path: Path, tiny_model: Path) -> None:
    out = tmp_path / "out"
    assert batch(scans, out, tiny_model) == 0
    assert sorted(path.name for path in out.iterdir()) == ["case_0", "case_1", "case_2", "summary.csv"]
    rows = summary(out)
    assert [(row["case"], row["status"]) for row in rows] == [(f"case_{n}", "done") for n in range(3)]
    for row in rows:
        labels = json.loads((out / row["case"] / "labels.json").read_text())
        assert [float(row[f"{c['name']} (ml)"]) for c in labels["classes"]] == [
            c["volume_ml"] for c in labels["classes"]
        ]
    assert len({row["liver (ml)"] for row in rows} | {row["spleen (ml)"] for row in rows}) > 2, "different scans"


def test_names_in_another_encoding_than_utf_8_are_written_out(
    tmp_path: Path, tiny_model: Path, make_scan: MakeScan, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "scans", tmp_path / "out"
    make_scan(folder / os.fsdecode(b"m\xfcller.nii.gz"), shape=(18, 16, 14))
    (folder / os.fsdecode(b"\xe9mpty")).mkdir()
    (folder / os.fsdecode(b"\xf8.nii.gz")).write_text("no scan")
    assert batch(folder, out, tiny_model) == 3
    assert {(row["status"], Path(row["input"]).name) for row in summary(out)} == {
        ("done", r"m\udcfcller.nii.gz"), ("failed", r"\udcf8.nii.gz"), ("left out", r"\udce9mpty"),
    }  # fmt: skip
    assert r"m\udcfcller.nii.gz" in (out / "m_ller" / "report.html").read_text(encoding="utf-8")
    assert (
        json.loads((out / "m_ller" / "run.json").read_text())["input"].encode(errors="surrogateescape")[1] == 0xFC
    )
    assert r"\udce9mpty: holds neither" in capsys.readouterr().err


def test_a_batch_gives_what_segment_gives(scans: Path, tmp_path: Path, tiny_model: Path) -> None:
    batch(scans, tmp_path / "out", tiny_model, "--split")
    words = [str(scans / "case_1.nii.gz"), "-o", str(tmp_path / "alone"), "--model", str(tiny_model)]
    main(["segment", *words, "--precision", "fp32", "--split"])
    alone, among = tree(tmp_path / "alone"), tree(tmp_path / "out" / "case_1")
    assert alone == among
    assert len(alone) >= 8


def test_the_model_is_loaded_once_and_not_at_all_for_finished_cases(
    scans: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vesalius.cli.request import Request

    loads = []
    right = Request.load
    monkeypatch.setattr(Request, "load", lambda self: loads.append(1) or right(self))
    assert batch(scans, tmp_path / "out", tiny_model) == 0
    assert len(loads) == 1
    before = inodes(tmp_path / "out")
    assert batch(scans, tmp_path / "out", tiny_model) == 0
    assert len(loads) == 1
    assert inodes(tmp_path / "out") == before


@pytest.mark.parametrize("is_limited", [True, False])
def test_with_a_limit_of_memory_one_scan_is_held_at_a_time(
    is_limited: bool, scans: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vesalius.cli import batch as command
    from vesalius.inference.segmenter import Segmenter

    opens, writes, segments = command.open_scan, command.write_scan, Segmenter.segment
    said: list[str] = []
    volumes: list[weakref.ref[Any]] = []
    second_begins = threading.Event()

    def opened(scan: Any) -> Any:
        said.append("read")
        if len(volumes) == 1:
            second_begins.set()
        assert not (is_limited and any(volume() for volume in volumes)), "the one before is held"
        found = opens(scan)
        volumes.append(weakref.ref(found.volume))
        return found

    def segmented(*args: Any, **how: Any) -> Any:
        assert is_limited or second_begins.wait(60), "the next is not read meanwhile"
        said.append("segmented")
        return segments(*args, **how)

    def written(*args: Any, **how: Any) -> None:
        writes(*args, **how)
        said.append("written")

    monkeypatch.setattr(command, "open_scan", opened)
    monkeypatch.setattr(command, "write_scan", written)
    monkeypatch.setattr(Segmenter, "segment", segmented)
    limit = ["--max-memory", "64GB"] if is_limited else []
    assert batch(scans, tmp_path / "out", tiny_model, *limit) == 0
    assert sorted(said) == sorted(["read", "segmented", "written"] * 3)
    assert (said == ["read", "segmented", "written"] * 3) is is_limited


def test_one_bad_case_never_stops_the_rest(
    scans: Path, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scans / "case_0a.nii.gz").write_bytes(b"not an image")
    (scans / "case_1a.nii").write_bytes((scans / "case_1.nii.gz").read_bytes()[:200])
    (scans / "no_scan").mkdir()
    out = tmp_path / "out"
    assert batch(scans, out, tiny_model, "--json") == 3
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert (result["cases"], result["done"], result["already_done"]) == (5, 3, 0)
    assert [failed["case"] for failed in result["failed"]] == ["case_0a", "case_1a"]
    assert [row["status"] for row in summary(out)] == ["done", "failed", "done", "failed", "done", "left out"]
    assert [left["path"] for left in result["left_out"]] == [summary(out)[-1]["input"]] == [str(scans / "no_scan")]
    assert f"left out: {scans / 'no_scan'}: holds neither" in said.err
    assert {row["error"] for row in summary(out)} == {"", "FileFormatError"}
    assert not (out / "case_0a").exists()


def test_a_bug_in_one_case_is_recorded_and_is_code_1(
    scans: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vesalius.inference.segmenter import Segmenter

    right, count = Segmenter.segment, iter(range(9))

    def sometimes(self: Segmenter, *args: Any, **how: Any) -> Any:
        if next(count) == 1:
            raise ZeroDivisionError("division by zero")
        return right(self, *args, **how)

    monkeypatch.setattr(Segmenter, "segment", sometimes)
    assert batch(scans, tmp_path / "out", tiny_model) == 1
    assert [row["status"] for row in summary(tmp_path / "out")] == ["done", "failed", "done"]
    monkeypatch.undo()
    assert batch(scans, tmp_path / "out", tiny_model) == 0, "a case that failed is tried again"
    assert [row["status"] for row in summary(tmp_path / "out")] == ["done", "done", "done"]


def test_a_case_that_cannot_be_written_is_recorded_and_the_rest_goes_on(
    scans: Path, tmp_path: Path, tiny_model: Path
) -> None:
    (tmp_path / "out" / "case_1").mkdir(parents=True)
    (tmp_path / "out" / "case_1" / "mine.txt").write_text("precious")
    assert batch(scans, tmp_path / "out", tiny_model) == 2
    assert [row["status"] for row in summary(tmp_path / "out")] == ["done", "failed", "done"]
    assert (tmp_path / "out" / "case_1" / "mine.txt").read_text() == "precious"


def test_an_input_that_changed_is_not_passed_off_as_done(
    scans: Path, tmp_path: Path, tiny_model: Path, make_scan: MakeScan
) -> None:
    out = tmp_path / "out"
    batch(scans, out, tiny_model)
    make_scan(scans / "case_1.nii.gz", 77, shape=(18, 16, 14))
    assert batch(scans, out, tiny_model) == 2
    assert summary(out)[1]["got"].endswith("(of another input)")
    before = tree(out)
    assert batch(scans, out, tiny_model, "--overwrite") == 0
    assert tree(out)["case_1/labels.nii.gz"] != before["case_1/labels.nii.gz"]


def test_what_is_wrong_for_all_stops_at_once(scans: Path, tmp_path: Path, tiny_model: Path) -> None:
    assert batch(scans, tmp_path / "out", tiny_model, "--classes", "livr") == 2
    assert batch(scans, tmp_path / "out2", tmp_path / "no.safetensors") == 4
    assert batch(tmp_path / "absent", tmp_path / "out3", tiny_model) == 3


def test_dry_run_plans_every_case_and_writes_nothing(
    scans: Path, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scans / "bad.nii.gz").write_bytes(b"x")
    assert batch(scans, tmp_path / "out", tiny_model, "--dry-run", "--json") == 3
    plans = json.loads(capsys.readouterr().out)["plans"]
    assert plans["case_0"]["windows"] > 0
    assert plans["bad"]["error"]["code"] == "FileFormatError"
    assert not (tmp_path / "out").exists()


def test_results_inside_the_folder_of_scans_are_no_scans(scans: Path, tiny_model: Path) -> None:
    for _ in range(2):
        assert batch(scans, scans / "out", tiny_model) == 0
        assert len(summary(scans / "out")) == 3


def test_results_inside_a_scan_s_own_folder_are_no_part_of_it(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes: list[str] = []

    def hash_all(_: object, scans: Sequence[Scan], *__: object, **___: object) -> int:
        hashes.extend(scan.sha256 for scan in scans)
        return 0

    monkeypatch.setattr("vesalius.cli.batch._dry_run", hash_all)
    out = tmp_path / "study" / "results"
    out.mkdir(parents=True)
    (tmp_path / "list.csv").write_text("image,name\nstudy,a\n")
    for name in ("1.dcm", "results/summary.csv", "2.dcm"):
        (tmp_path / "study" / name).write_text("content")
        assert batch(tmp_path / "list.csv", out, tiny_model, "--dry-run") == 0
    slice_alone, with_results, two_slices = hashes
    assert slice_alone == with_results != two_slices


def kill_and_finish(scans: Path, out: Path, model: Path, seconds: float) -> bool:
    """Kill a batch after a time, then run it to its end; whether the kill came before the end.

    Asserts that what was finished at the kill was not done again.
    """
    command = [sys.executable, "-m", "vesalius", *batch_words(scans, out, model)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    was_killed = process.wait() == -signal.SIGKILL
    finished = inodes(out)
    assert main(command[3:]) == 0
    after = inodes(out)
    assert {name: after[name] for name in finished} == finished, "a finished case was done again"
    return was_killed


def test_killed_and_rerun_it_ends_as_if_nothing_had_happened(scans: Path, tmp_path: Path, tiny_model: Path) -> None:
    assert batch(scans, tmp_path / "whole", tiny_model) == 0
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "vesalius", *batch_words(scans, out, tiny_model)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process, process.stderr:
        next(line for line in process.stderr if line.startswith("case_0: done"))
        process.kill()
    finished = inodes(out)
    assert 1 <= len(finished) <= 3
    assert batch(scans, out, tiny_model) == 0
    assert {name: inodes(out)[name] for name in finished} == finished
    assert tree(out) == tree(tmp_path / "whole")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.slow
def test_killed_at_twenty_random_moments(tmp_path: Path, tiny_model: Path, make_scan: MakeScan) -> None:
    for number in range(30):
        make_scan(tmp_path / "scans" / f"{number:02d}.nii.gz", number, shape=(18, 16, 14))
    start = time.perf_counter()
    assert kill_and_finish(tmp_path / "scans", tmp_path / "whole", tiny_model, 600) is False
    whole, duration = tree(tmp_path / "whole"), time.perf_counter() - start
    moments = random.Random(0)
    killed = 0
    for trial in range(20):
        out = tmp_path / f"killed_{trial}"
        start = time.perf_counter()
        was_killed = kill_and_finish(tmp_path / "scans", out, tiny_model, moments.uniform(0.02, 0.95) * duration)
        if not was_killed:  # the machine has become faster than it was at first
            duration = min(duration, time.perf_counter() - start)
        killed += was_killed
        assert tree(out) == whole
    assert killed >= 15, "most kills came before the end"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_interruption_keeps_what_is_done_and_says_so(
    tmp_path: Path, tiny_model: Path, make_scan: MakeScan
) -> None:
    make_scan(tmp_path / "scans" / "a.nii.gz", shape=(18, 16, 14))
    make_scan(tmp_path / "scans" / "b.nii.gz", shape=(96, 96, 96))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "vesalius", *batch_words(tmp_path / "scans", out, tiny_model)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process, process.stderr:
        next(line for line in process.stderr if "b: windows " in line)
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 6
    assert "an interruption after 1" in rest
    assert "Traceback" not in rest
    assert sorted(path.name for path in out.iterdir()) == ["a", "summary.csv"]


def test_two_batches_cannot_write_one_folder(scans: Path, tmp_path: Path, tiny_model: Path) -> None:
    from vesalius.inference.result_folder import locked

    with locked(tmp_path / "out"):
        assert batch(scans, tmp_path / "out", tiny_model) == 2
    assert batch(scans, tmp_path / "out", tiny_model) == 0
