"""Journal: a file that only grows, a JSON object a line, each on disk before it is acknowledged.

The first line is a header; the others are whatever a session writes. Every line ends with a check that depends on
all lines before it. A last line without its end was being written when its process was killed: nobody was told that
it was there, and it is dropped. Anything else that is not as it was written is refused.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import logging
import os
import weakref
import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from vesalius.errors import FileFormatError, UsageError
from vesalius.io.atomic import disk_errors
from vesalius.io.file_lock import take_lock

_logger = logging.getLogger(__name__)

FORMAT = "vesalius journal 1"
_BEGINS = f'{{"format": "{FORMAT}"'.encode()

Record = Mapping[str, Any]


class Journal:
    """A journal that is open for writing; make it with ``create`` or ``open``.

    Args:
        path: The file.
        descriptor: Of the file, open and locked.
        size: Bytes of its whole lines.
        check: Of the last line.
    """

    def __init__(self, path: Path, descriptor: int, *, size: int, check: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._closing = weakref.finalize(self, os.close, descriptor)  # also of a session that is dropped
        self._size = size
        self._check = check
        self._is_torn = False

    @classmethod
    def create(cls, path: Path, header: Record) -> Journal:
        """Begin a journal.

        Args:
            path: Where there is no journal yet.
            header: What everything after it depends on.

        Raises:
            UsageError: If a journal stands there.
            DiskError: If it cannot be written.
        """
        with _disk_errors(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        journal = cls(path, descriptor, size=0, check=0)
        try:
            _lock(descriptor, path)
            with _disk_errors(path):
                content = _read(descriptor)
            if not _is_torn_header(content):
                raise UsageError(
                    expected=f"no file at {path}, to begin a journal in",
                    got="a file with content",
                    do="open the session that it holds, or name another file",
                )
            with _disk_errors(path):
                journal._truncate()
            journal.append({"format": FORMAT, **header})
            _sync_folder(path.parent)
        except BaseException:
            journal.close()
            raise
        return journal

    @classmethod
    def open(cls, path: Path) -> tuple[Journal, Record, Sequence[Record]]:
        """Open a journal to go on with it.

        Returns:
            The journal, its header, and its records in order.

        Raises:
            FileFormatError: If there is none, or it is damaged.
            UsageError: If another process writes it.
            DiskError: If it cannot be written.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise _damaged(path, error.strerror or str(error), do="check the path and its permissions") from None
        journal = cls(path, descriptor, size=0, check=0)
        try:
            _lock(descriptor, path)
            with _disk_errors(path):
                content = _read(descriptor)
            whole, _, _ = content.rpartition(b"\n")
            records, journal._check = _parse(path, whole)
            journal._size = len(whole) + 1
            if len(content) > journal._size:
                with _disk_errors(path):
                    journal._truncate()
        except BaseException:
            journal.close()
            raise
        return journal, records[0], records[1:]

    def append(self, record: Record) -> None:
        """Write a record; when this returns, it is on the disk.

        Raises:
            DiskError: If it cannot be written; the journal is then as it was before.
            UsageError: If somebody else wrote to the file, as can happen where a file system has no locks.
        """
        text = json.dumps(record, allow_nan=False)
        check = zlib.crc32(text.encode(), self._check)
        line = f'{text[:-1]}, "check": "{check:08x}"}}\n'.encode()
        with _disk_errors(self.path):
            self._check_size()
            try:
                self._is_torn = True
                _write(self._descriptor, line, self._size)
                os.fsync(self._descriptor)
                self._is_torn = False
            except BaseException:  # an interruption, too: half a line, or one that nobody knows of, must not stay
                with suppress(OSError):
                    self._truncate()
                raise
        self._size += len(line)
        self._check = check

    def close(self) -> None:
        """Let go of the file; another process may open it then."""
        self._closing()
        self._descriptor = -1

    def _check_size(self) -> None:
        """Refuse to write over what somebody else has written; half a line of ours is taken away first."""
        if self._is_torn:
            self._truncate()
        size = os.fstat(self._descriptor).st_size
        if size != self._size:
            raise UsageError(
                expected=f"the {self._size} bytes that this session wrote to {self.path}",
                got=f"{size} bytes: another program writes the file too",
                do="keep one of the two sessions, and begin its journal anew in another file",
            )

    def _truncate(self) -> None:
        os.ftruncate(self._descriptor, self._size)
        os.fsync(self._descriptor)
        self._is_torn = False


def _parse(path: Path, whole: bytes) -> tuple[list[dict[str, Any]], int]:
    """Read whole lines and compare each with its check."""
    records: list[dict[str, Any]] = []
    check = 0
    for number, line in enumerate(whole.split(b"\n") if whole else (), start=1):
        try:
            record = json.loads(line.decode("utf-8"))
            stated = record.pop("check")
            check = zlib.crc32(json.dumps(record, allow_nan=False).encode(), check)
        except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
            raise _damaged(path, f"line {number} is not one that vesalius wrote") from None
        if stated != f"{check:08x}":
            raise _damaged(path, f"line {number}, or the one before it, was changed or is missing")
        records.append(record)
    if not records or records[0].get("format") != FORMAT:
        stated = records[0].get("format") if records else "nothing"
        raise _damaged(path, f"it begins with {stated!r}")
    return records, check


def _is_torn_header(content: bytes) -> bool:
    """Say whether a file holds nothing, or the first line of a journal that was being written: nothing to lose."""
    is_ours = _BEGINS.startswith(content) or content.startswith(_BEGINS)
    return is_ours and b"\n" not in content


def _read(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    parts = []
    while part := os.read(descriptor, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def _write(descriptor: int, line: bytes, at: int) -> None:
    os.lseek(descriptor, at, os.SEEK_SET)
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _lock(descriptor: int, path: Path) -> None:
    """Keep other sessions off the file; one that this process has open already is one, too."""
    with _disk_errors(path):
        try:
            has_locks = take_lock(descriptor)
        except BlockingIOError:
            raise UsageError(
                expected=f"no other session that writes {path}",
                got="one that has it open",
                do="close that one first",
            ) from None
    if not has_locks:
        _logger.warning("%s: this file system has no locks; do not open the same session twice at once", path.name)


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _disk_errors(path: Path) -> AbstractContextManager[None]:
    return disk_errors(
        f"to write the journal {path}",
        do="free some space, or name a file in a folder that may be written to; nothing was acknowledged",
    )


def _damaged(
    path: Path, got: str, *, do: str = "take a copy of the file, or begin a new session"
) -> FileFormatError:
    return FileFormatError(expected=f"the journal of a session at {path}", got=got, do=do)
