"""The cache: each folder is made once, by one process, and is complete or not there, also after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vesalius.data.cache import Cache, key_of
from vesalius.errors import DiskError

WORKER = """
import sys, time
from pathlib import Path
from vesalius.data.cache import Cache
def make(folder):
    (folder / "a").write_text("x")
    print("making", flush=True)
    time.sleep(float(sys.argv[2]))
    (folder / "b").write_text("y")
done = Cache(Path(sys.argv[1])).ensure("key", make)
print(sorted(file.name for file in done.iterdir()), flush=True)
"""


def worker(folder: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(folder), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def fill(folder: Path) -> None:
    (folder / "a").write_text("x")


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    made: list[Path] = []
    cache = Cache(tmp_path / "cache")
    for _ in range(2):
        done = cache.ensure("key", lambda folder: (made.append(folder), fill(folder))[1])
        assert (done / "a").read_text() == "x"
    assert len(made) == 1


def test_what_fails_leaves_nothing_and_can_be_tried_again(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        fill(folder)
        raise RuntimeError("in the middle")

    cache = Cache(tmp_path)
    with pytest.raises(RuntimeError):
        cache.ensure("key", fail)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    assert (cache.ensure("key", fill) / "a").exists()


def test_a_disk_that_is_full_is_said(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(DiskError, match="No space"):
        Cache(tmp_path).ensure("key", fail)


def test_a_cache_that_cannot_be_written_is_said_and_no_other_file_is_taken_for_it(tmp_path: Path) -> None:
    file = tmp_path / "a.nii"
    file.write_bytes(b"one")
    for use in (lambda cache: cache.sha256(file), lambda cache: cache.ensure("key", fill)):
        with pytest.raises(DiskError, match="into the cache"):
            use(Cache(file))
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        Cache(tmp_path / "cache").ensure("key", lambda _: (tmp_path / "elsewhere").read_bytes())


def test_two_processes_make_it_once_and_both_find_it_complete(tmp_path: Path) -> None:
    workers = [worker(tmp_path, 0.3) for _ in range(2)]
    printed = [process.communicate(timeout=60)[0] for process in workers]
    assert [out.splitlines()[-1] for out in printed] == ["['a', 'b']"] * 2
    assert sum("making" in out for out in printed) == 1


def test_after_a_kill_the_next_process_makes_it_whole(tmp_path: Path) -> None:
    with worker(tmp_path, 60) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "making\n"
        os.kill(first.pid, signal.SIGKILL)
    assert not (tmp_path / "key").exists()
    assert worker(tmp_path, 0).communicate(timeout=60)[0].splitlines()[-1] == "['a', 'b']"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["key"]


def test_a_hash_is_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.nii"
    file.write_bytes(b"one")
    cache = Cache(tmp_path / "cache")
    first = cache.sha256(file)
    monkeypatch.setattr("vesalius.data.cache.input_sha256", lambda path: pytest.fail("hashed again"))
    assert cache.sha256(file) == first
    monkeypatch.undo()
    file.write_bytes(b"two")
    os.utime(file, ns=(time.time_ns(), time.time_ns() + 1))
    assert cache.sha256(file) != first


def test_a_hash_is_not_remembered_when_the_data_file_of_a_header_changes(tmp_path: Path) -> None:
    header, data = tmp_path / "a.mhd", tmp_path / "a.raw"
    header.write_text("NDims = 3\nElementDataFile = a.raw\n")
    data.write_bytes(b"one")
    cache = Cache(tmp_path / "cache")
    first = cache.sha256(header)
    data.write_bytes(b"two")
    os.utime(data, ns=(time.time_ns(), time.time_ns() + 1))
    assert cache.sha256(header) != first


def test_equal_facts_have_equal_keys() -> None:
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})
