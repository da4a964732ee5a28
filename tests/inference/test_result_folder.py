"""A result folder is what it was or the whole new result, whatever happens in between."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vesalius.errors import DiskError, UsageError
from vesalius.inference import result_folder
from vesalius.inference.result_folder import (
    check_free,
    is_done,
    locked,
    read_record,
    staged,
    write_record,
)

COMMAND = {"classes": ["liver"], "seed": 0}


def put(out: Path, text: str = "first", *, overwrite: bool = False) -> None:
    """Write a small result."""
    with locked(out), staged(out, overwrite=overwrite) as folder:
        (folder / "labels.txt").write_text(text)
        write_record(folder, {"input_sha256": "abc", "decided_by": COMMAND})


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_result_takes_its_place_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    put(tmp_path / "deep" / "out")
    assert names(tmp_path) == ["deep", "deep/out", "deep/out/labels.txt", "deep/out/run.json"]
    assert read_record(tmp_path / "deep" / "out") == {
        "schema": result_folder.SCHEMA,
        "input_sha256": "abc",
        "decided_by": COMMAND,
        "files": {"labels.txt": 5},
    }


def test_nothing_stands_at_out_while_the_files_are_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with locked(out), staged(out) as folder:
        (folder / "labels.txt").write_text("x")
        assert not out.exists()
        write_record(folder, {})
        assert not out.exists()
    assert out.is_dir()


@pytest.mark.parametrize("error", [ValueError("ours"), KeyboardInterrupt()], ids=repr)
def test_a_failure_leaves_no_trace(tmp_path: Path, error: BaseException) -> None:
    def fail() -> None:
        with locked(tmp_path / "out"), staged(tmp_path / "out") as folder:
            (folder / "labels.txt").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert names(tmp_path) == []


def test_a_failure_leaves_the_old_result(tmp_path: Path) -> None:
    out = tmp_path / "out"
    put(out)

    def fail() -> None:
        with locked(out), staged(out, overwrite=True) as folder:
            (folder / "labels.txt").write_text("second")
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    assert (out / "labels.txt").read_text() == "first"
    assert names(tmp_path) == ["out", "out/labels.txt", "out/run.json"]


def test_a_result_without_its_record_never_takes_the_place(tmp_path: Path) -> None:
    def forget() -> None:
        with locked(tmp_path / "out"), staged(tmp_path / "out") as folder:
            (folder / "labels.txt").write_text("x")

    with pytest.raises(AssertionError):
        forget()
    assert names(tmp_path) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS], ids=errno.errorcode.get)
def test_a_disk_that_fails_is_a_disk_error_and_leaves_nothing(tmp_path: Path, code: int) -> None:
    def fail() -> None:
        with locked(tmp_path / "out"), staged(tmp_path / "out") as folder:
            (folder / "labels.txt").write_text("half")
            raise OSError(code, os.strerror(code))

    with pytest.raises(DiskError) as caught:
        fail()
    assert os.strerror(code) in str(caught.value)
    assert names(tmp_path) == []


def test_too_little_memory_is_no_matter_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="memory") as caught, result_folder.disk_errors(tmp_path):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    assert not isinstance(caught.value, DiskError)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the system refuse files above a size, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_file_the_system_refuses_midway_leaves_nothing(tmp_path: Path) -> None:
    def overflow() -> None:
        with locked(tmp_path / "out"), staged(tmp_path / "out") as folder:
            (folder / "labels.txt").write_bytes(bytes(10_000))

    with largest_file(5_000), pytest.raises(DiskError):
        overflow()
    assert names(tmp_path) == []


def test_a_place_that_cannot_be_a_folder_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DiskError, match=r"Not a directory|exists"), locked(tmp_path / "file" / "out"):
        pass


def test_overwrite_replaces_the_whole_result(tmp_path: Path) -> None:
    out = tmp_path / "out"
    put(out)
    (out / ".DS_Store").write_text("a file browser's")
    put(out, "second", overwrite=True)
    assert names(tmp_path) == ["out", "out/labels.txt", "out/run.json"]
    assert (out / "labels.txt").read_text() == "second"


def test_a_complete_result_is_not_replaced_without_overwrite(tmp_path: Path) -> None:
    put(tmp_path / "out")
    with pytest.raises(UsageError, match="--overwrite"):
        put(tmp_path / "out", "second")
    assert (tmp_path / "out" / "labels.txt").read_text() == "first"


@pytest.mark.parametrize("has_result", [False, True])
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_somebody_else_are_never_deleted(tmp_path: Path, has_result: bool, overwrite: bool) -> None:
    out = tmp_path / "out"
    if has_result:
        put(out)
    (out / "notes").mkdir(parents=True)
    (out / "notes" / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match=r"notes/mine\.txt"):
        put(out, "second", overwrite=overwrite)
    assert (out / "notes" / "mine.txt").read_text() == "precious"


def test_a_result_that_lost_its_record_is_somebody_else_s(tmp_path: Path) -> None:
    put(tmp_path / "out")
    (tmp_path / "out" / "run.json").write_text('{"another": "program"}')
    with pytest.raises(UsageError, match="somebody else"):
        put(tmp_path / "out", "second", overwrite=True)


def test_an_empty_folder_may_be_used_and_stays_the_folder_that_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out" / "classes").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "out")
    with locked(Path()), staged(Path()) as folder:
        (folder / "classes").mkdir()
        (folder / "classes" / "liver.txt").write_text("1")
        write_record(folder, {})
    assert Path.cwd() == tmp_path / "out"
    assert Path("classes", "liver.txt").read_text() == "1"
    assert read_record(Path()) is not None
    assert names(tmp_path) == ["out", "out/classes", "out/classes/liver.txt", "out/run.json"]


@pytest.mark.parametrize("at", ["labels.txt", "run.json"])
def test_an_empty_folder_that_cannot_be_filled_is_empty_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    replace, out = Path.replace, tmp_path / "out"
    out.mkdir()

    def fail(file: Path, place: Path) -> Path:
        if file.name == at:
            raise OSError(errno.EDQUOT, "quota exceeded")
        return replace(file, place)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(DiskError, match="quota exceeded"):
        put(out)
    assert names(tmp_path) == ["out"]


def test_a_run_killed_while_it_fills_an_empty_folder_is_finished_by_the_next(tmp_path: Path) -> None:
    out, partial = tmp_path / "out", tmp_path / ".out.partial"
    put(partial)
    out.mkdir()
    (partial / "labels.txt").rename(out / "labels.txt")
    with locked(out):
        assert is_done(out, input_sha256="abc", command=COMMAND)
    assert names(tmp_path) == ["out", "out/labels.txt", "out/run.json"]


@pytest.mark.parametrize(
    ("name", "text", "was_moved"),
    [
        ("labels.txt", "mine!", False),
        ("labels.txt", "another's", True),
        ("notes.txt", "mine", True),
        ("run.json", "{}", True),
    ],
)
def test_a_killed_run_is_not_finished_over_files_of_somebody_else(
    tmp_path: Path, name: str, text: str, was_moved: bool
) -> None:
    out, partial = tmp_path / "out", tmp_path / ".out.partial"
    put(partial)
    out.mkdir()
    if was_moved:
        (partial / "labels.txt").rename(out / "labels.txt")
    (out / name).write_text(text)
    before = names(tmp_path)
    with pytest.raises(UsageError, match=name), locked(out):
        is_done(out, input_sha256="abc", command=COMMAND)
    assert names(tmp_path) == before, "nothing was moved, nothing was taken away"
    assert (out / name).read_text() == text
    (out / name).unlink()
    if name != "labels.txt":
        with locked(out):
            assert is_done(out, input_sha256="abc", command=COMMAND), "finished once they are away"


def test_a_file_that_somebody_puts_into_an_empty_folder_meanwhile_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()

    def interfere() -> None:
        with locked(out), staged(out) as folder:
            (folder / "labels.txt").write_text("ours")
            write_record(folder, {})
            (out / "labels.txt").write_text("mine")

    with pytest.raises(DiskError, match="File exists"):
        interfere()
    assert names(tmp_path) == ["out", "out/labels.txt"]
    assert (out / "labels.txt").read_text() == "mine"


def test_a_result_is_not_replaced_under_the_feet_of_who_stands_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    with pytest.raises(UsageError, match="run it from another folder"):
        check_free(Path(), overwrite=True)
    monkeypatch.chdir(tmp_path)
    check_free(Path("out"), overwrite=True)


def test_a_mounted_disk_is_refused_before_anything_is_computed_and_folders_in_it_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == out)
    with pytest.raises(UsageError, match=r"name a folder inside it, such as -o .*out/result"), locked(out):
        is_done(out, input_sha256="abc", command=COMMAND)
    put(out / "result")


def test_where_no_lock_can_be_made_the_folder_that_it_would_lie_in_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DiskError) as caught, locked(tmp_path / "out"):
        pass
    assert caught.value.expected == f"to write what becomes out, and its lock, into {tmp_path}"


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(UsageError, match="the file"):
        check_free(tmp_path / "out", overwrite=True)


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    put(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "run.json").is_file()


def test_the_same_input_and_command_are_recognised(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert not is_done(out, input_sha256="abc", command=COMMAND)
    put(out)
    assert is_done(out, input_sha256="abc", command={"classes": ("liver",), "seed": 0})


@pytest.mark.parametrize(
    ("input_sha256", "command", "part"),
    [
        ("abd", COMMAND, "another input"),
        ("abc", {**COMMAND, "seed": 1}, "seed was 0 and is now 1"),
        ("abc", {**COMMAND, "new": True}, "new was None"),
        ("abc", {"seed": 0}, "classes was"),
    ],
)
def test_another_input_or_command_is_refused_with_what_differs(
    tmp_path: Path, input_sha256: str, command: dict[str, object], part: str
) -> None:
    put(tmp_path / "out")
    with pytest.raises(UsageError, match=part):
        is_done(tmp_path / "out", input_sha256=input_sha256, command=command)


@pytest.mark.parametrize("damage", ["missing", "shorter"])
def test_a_result_whose_files_changed_is_not_taken_for_done(tmp_path: Path, damage: str) -> None:
    put(tmp_path / "out")
    file = tmp_path / "out" / "labels.txt"
    file.unlink() if damage == "missing" else file.write_text("f")
    with pytest.raises(UsageError, match=r"missing or changed since: labels\.txt"):
        is_done(tmp_path / "out", input_sha256="abc", command=COMMAND)


HOLD = """
import sys, time
from pathlib import Path
from vesalius.inference.result_folder import locked, staged
out = Path(sys.argv[1])
with locked(out), staged(out) as folder:
    (folder / "labels.txt").write_text("half")
    print("holding", flush=True)
    time.sleep(60)
"""


@contextmanager
def another_process(out: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is writing ``out``."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process, process.stdout:
        try:
            assert process.stdout.readline() == "holding\n"
            yield process
        finally:
            process.kill()


def test_two_processes_cannot_write_one_folder(tmp_path: Path) -> None:
    with another_process(tmp_path / "out") as process:
        with pytest.raises(UsageError, match="another process"):
            put(tmp_path / "out")
        assert (tmp_path / ".out.partial" / "labels.txt").read_text() == "half", "the other's work is left alone"
        process.kill()
        process.wait()
        put(tmp_path / "out")  # what a killed process left is put in order, without being asked
    assert names(tmp_path) == ["out", "out/labels.txt", "out/run.json"]


def test_folders_side_by_side_do_not_wait_for_one_another(tmp_path: Path) -> None:
    with another_process(tmp_path / "out"):
        put(tmp_path / "other")
    assert (tmp_path / "other" / "run.json").is_file()


@pytest.mark.parametrize("new_is_in_place", [False, True])
def test_a_run_killed_while_replacing_loses_neither_result(tmp_path: Path, new_is_in_place: bool) -> None:
    out, replaced = tmp_path / "out", tmp_path / ".out.replaced"
    put(out)
    out.rename(replaced)
    if new_is_in_place:
        with locked(tmp_path / "new"), staged(tmp_path / "new") as folder:
            (folder / "labels.txt").write_text("second")
            write_record(folder, {})
        (tmp_path / "new").rename(out)
    with locked(out):
        assert (out / "labels.txt").read_text() == ("second" if new_is_in_place else "first")
    assert names(tmp_path) == ["out", "out/labels.txt", "out/run.json"]


LOOP = """
import sys
from pathlib import Path
from vesalius.inference.result_folder import locked, staged, write_record
out = Path(sys.argv[1])
for number in range(100000):
    with locked(out), staged(out, overwrite=True) as folder:
        for part in range(20):
            (folder / f"{part}.txt").write_text(str(number))
        write_record(folder, {"number": number})
    if number == 0:
        print("begun", flush=True)
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_one_whole_result(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for trial in range(20):
        process = subprocess.Popen([sys.executable, "-c", LOOP, str(out)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        with process, process.stdout:
            assert process.stdout.readline() == "begun\n"
            time.sleep(0.05 + 0.0137 * trial)
            process.kill()
        with locked(out):
            record = read_record(out)
        assert record is not None
        assert {(out / name).read_text() for name in record["files"]} == {str(record["number"])}
        assert names(tmp_path) == ["out", *(f"out/{name}" for name in sorted([*record["files"], "run.json"]))]


def test_the_record_is_json_without_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_record(tmp_path, {"seconds": float("nan")})
    write_record(tmp_path, {"seconds": 1.5})
    assert json.loads((tmp_path / "run.json").read_text())["seconds"] == 1.5
