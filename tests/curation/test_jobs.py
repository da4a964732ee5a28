"""Jobs: a bad case stops nobody, an interruption loses only the case in hand, two processes share the work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vesalius.curation.jobs import Outcome, alone, carry_out, exit_code_of, refuse_begun
from vesalius.data.cache import Cache
from vesalius.data.datalists.record import ListedCase
from vesalius.errors import DiskError, FileFormatError, InterruptedRun, UsageError

WORKER = """
import sys, time
from pathlib import Path
from vesalius.curation.jobs import carry_out
from vesalius.data.cache import Cache
from vesalius.data.datalists.record import ListedCase
def make(case, folder):
    print("making", case.name, flush=True)
    time.sleep(float(sys.argv[2]))
    (folder / "x").write_text(case.name)
cases = [ListedCase(name=f"c{n}", image=Path("x")) for n in range(6)]
for one in carry_out(cases, Cache(Path(sys.argv[1])), key=lambda case: case.name, make=make):
    print(one.case.name, one.state, flush=True)
"""
CASES = tuple(ListedCase(name=name, image=Path("x")) for name in ("a", "b", "c"))


def worker(store: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(store), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def write(case: ListedCase, folder: Path) -> None:
    (folder / "x").write_text(case.name)


def run(store: Path, make=write) -> tuple[Outcome, ...]:
    return carry_out(CASES, Cache(store), key=lambda case: case.name, make=make)


def test_cases_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    assert [one.state for one in run(tmp_path)] == ["made"] * 3
    assert [one.state for one in run(tmp_path)] == ["there"] * 3
    assert (tmp_path / "b" / "x").read_text() == "b"


def test_a_bad_case_is_noted_and_stops_nobody(tmp_path: Path) -> None:
    def make(case: ListedCase, folder: Path) -> None:
        write(case, folder)
        if case.name == "b":
            raise FileFormatError(expected="a scan", got="a cat", do="look")

    outcomes = run(tmp_path, make)
    assert [one.state for one in outcomes] == ["made", "failed", "made"]
    assert outcomes[1].error is not None
    assert outcomes[1].error.got == "a cat"
    assert exit_code_of(outcomes) == 3
    assert not (tmp_path / "b").exists()


def test_a_full_disk_stops_everything(tmp_path: Path) -> None:
    def make(case: ListedCase, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(DiskError):
        run(tmp_path, make)


def test_an_interruption_keeps_what_was_done(tmp_path: Path) -> None:
    def make(case: ListedCase, folder: Path) -> None:
        write(case, folder)
        if case.name == "b":
            raise KeyboardInterrupt

    with pytest.raises(InterruptedRun, match="after 1"):
        run(tmp_path, make)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["a"]
    assert [one.state for one in run(tmp_path)] == ["there", "made", "made"]


def test_two_processes_make_each_case_once_and_share_the_work(tmp_path: Path) -> None:
    workers = [worker(tmp_path, 0.2) for _ in range(2)]
    printed = [process.communicate(timeout=60)[0].splitlines() for process in workers]
    made = sorted(line for out in printed for line in out if line.startswith("making"))
    assert made == [f"making c{n}" for n in range(6)]
    assert all(sum(line.startswith("making") for line in out) >= 1 for out in printed)
    assert all(sum(line[0] == "c" for line in out) == 6 for out in printed)


def test_what_a_killed_process_had_in_hand_is_made_by_another(tmp_path: Path) -> None:
    with worker(tmp_path, 60) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "making c0\n"
        os.kill(first.pid, signal.SIGKILL)
    out = worker(tmp_path, 0).communicate(timeout=60)[0].splitlines()
    assert sum(line.endswith(" made") for line in out) == 6
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [f"c{n}" for n in range(6)]


def test_a_store_that_was_begun_is_resumed_only_when_told(tmp_path: Path) -> None:
    refuse_begun(tmp_path / "new", resume=False)
    refuse_begun(tmp_path, resume=False)
    (tmp_path / "x").touch()
    refuse_begun(tmp_path, resume=True)
    with pytest.raises(UsageError, match="--resume"):
        refuse_begun(tmp_path, resume=False)


def test_a_store_that_cannot_be_written_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DiskError, match="store"), alone(tmp_path / "file" / "store"):
        pass


def test_what_fails_inside_lets_the_next_in(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), alone(tmp_path / "store"):
        raise ValueError("inside")
    with alone(tmp_path / "store"):
        assert (tmp_path / "store").is_dir()
