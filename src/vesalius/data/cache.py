"""Cache: folders under a key, each made once, by whichever process comes first; complete or not there.

The key says everything that the content depends on (``key_of``), so nothing is ever stale. A folder is made under
another name, synced, and renamed when it is complete: a run that is killed leaves nothing that looks finished, and
the next one begins that folder again. Processes that want the same folder wait for one another; the wait ends with
the process that holds the lock, however that ends.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vesalius.errors import DiskError
from vesalius.io.atomic import replacing
from vesalius.io.digest import input_files, input_sha256


@dataclass(frozen=True)
class Cache:
    """A folder of folders.

    Args:
        folder: Made when it is first needed; may be deleted at any time when nothing runs.
    """

    folder: Path

    def ensure(self, key: str, make: Callable[[Path], None]) -> Path:
        """Return the folder of a key, and have it made if it is not there.

        Args:
            key: From ``key_of``.
            make: Fills an empty folder. What it raises is raised, and leaves nothing behind.

        Raises:
            DiskError: If the folder cannot be written.
        """
        made = self._ensured(key, make, wait=True)
        assert made is not None
        return made

    def attempt(self, key: str, make: Callable[[Path], None]) -> Path | None:
        """Do as ``ensure``, but return None at once where another process is making the folder.

        Raises:
            DiskError: If the folder cannot be written.
        """
        return self._ensured(key, make, wait=False)

    def _ensured(self, key: str, make: Callable[[Path], None], *, wait: bool) -> Path | None:
        done = self.folder / key
        if done.is_dir():
            return done
        try:
            with self._written():
                self.folder.mkdir(parents=True, exist_ok=True)
                with FileLock(self.folder / f".{key}.lock", timeout=-1 if wait else 0):
                    if not done.is_dir():
                        self._make(done, make)
        except Timeout:
            return None
        return done

    @contextmanager
    def _written(self) -> Iterator[None]:
        """Say that the cache cannot be written where the system refuses it, but not of files that lie elsewhere."""
        try:
            yield
        except OSError as error:
            named = [Path(name) for name in (error.filename, error.filename2) if isinstance(name, str | Path)]
            is_elsewhere = any(self.folder not in (name, *name.parents) for name in named)
            if isinstance(error, Timeout) or error.errno is None or is_elsewhere:
                raise
            raise DiskError(
                expected=f"to write into the cache {self.folder}",
                got=error.strerror or str(error),
                do="name a cache folder that may be written to, with enough space",
            ) from error

    def _make(self, done: Path, make: Callable[[Path], None]) -> None:
        part = done.with_name(f".{done.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            make(part)
            for file in (*part.iterdir(), part):
                _sync(file)
            part.rename(done)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        _sync(self.folder)

    def sha256(self, path: Path) -> str:
        """Return the hash of an input, remembered for as long as sizes and times of change of its files stay.

        Raises:
            DiskError: If it cannot be noted.
            FileFormatError: If it cannot be read.
            UnsafeFileError: If a detached header names a data file elsewhere.
        """
        if not path.is_file():
            return input_sha256(path)
        stats = {file.name: file.stat() for file in input_files(path)}  # a header, and the data file beside it
        files = {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}
        state = {"path": str(path.resolve()), "files": files}
        note = self.folder / "hashes" / f"{key_of({'path': state['path']})}.json"
        if note.is_file():
            noted = json.loads(note.read_text())
            if {name: noted.get(name) for name in state} == state:
                return str(noted["sha256"])
        digest = input_sha256(path)
        with self._written():
            note.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(note.with_name(f".{note.stem}.lock")), replacing(note) as part:
                part.write_text(json.dumps({**state, "sha256": digest}))
        return digest


def key_of(facts: Mapping[str, Any]) -> str:
    """Return a name for facts, in plain data: equal facts have equal names, whatever their order."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _sync(path: Path) -> None:
    """Have the system write a file, or a folder's entries, to the disk; folders cannot be synced everywhere."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
