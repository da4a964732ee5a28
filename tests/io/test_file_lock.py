"""Locks on files: one holder at a time, freed by closing and by whatever ends a process."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vesalius.io import file_lock
from vesalius.io.file_lock import take_lock

pytest.importorskip("fcntl", reason="file locks of POSIX")

HOLDS = """
import sys, time
from vesalius.io.file_lock import take_lock
file = open(sys.argv[1], "w")
take_lock(file)
print("held", flush=True)
time.sleep(60)
"""


def test_a_held_file_is_refused_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as first, path.open("w") as second:
        assert take_lock(first)
        with pytest.raises(BlockingIOError):
            take_lock(second.fileno())
        first.close()
        take_lock(second)


def test_the_system_frees_the_lock_of_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDS, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder, path.open("a") as file:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError):
            take_lock(file)
        holder.kill()
        holder.wait()
        take_lock(file)


def test_a_system_without_locks_keeps_nobody_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_lock, "fcntl", None)
    path = tmp_path / "lock"
    with path.open("w") as first, path.open("w") as second:
        assert not take_lock(first)
        assert not take_lock(second)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP])
def test_nor_does_a_file_system_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr("fcntl.flock", failing(code))
    with (tmp_path / "lock").open("w") as file:
        assert not take_lock(file)


def test_a_lock_that_fails_otherwise_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.flock", failing(errno.EIO))
    with (tmp_path / "lock").open("w") as file, pytest.raises(OSError, match="Input/output"):
        take_lock(file)


def failing(code: int) -> Callable[[object, int], None]:
    def flock(_: object, __: int) -> None:
        raise OSError(code, os.strerror(code))

    return flock
