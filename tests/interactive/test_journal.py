"""The journal: what was acknowledged is there, what was not is dropped, what was changed is refused."""

from __future__ import annotations

import errno
import gc
import os
from pathlib import Path

import pytest

from vesalius.errors import DiskError, FileFormatError, UsageError
from vesalius.interactive.journal import Journal

RECORDS = [{"n": 1, "place": [0.1, -2.5e-7, 3.0]}, {"n": 2, "name": "Läsion"}, {"n": 3}]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "session.jsonl"
    journal = Journal.create(path, {"volume": "abc"})
    for record in RECORDS:
        journal.append(record)
    journal.close()
    return path


def test_records_come_back_and_more_can_be_written(written: Path) -> None:
    journal, header, records = Journal.open(written)
    assert header["volume"] == "abc"
    assert records == RECORDS
    journal.append({"n": 4})
    journal.close()
    again, _, more = Journal.open(written)
    again.close()
    assert more == [*RECORDS, {"n": 4}]


def test_every_length_of_a_torn_last_line_is_dropped(written: Path) -> None:
    content = written.read_bytes()
    last = content[:-1].rindex(b"\n") + 1
    for end in range(last, len(content) - 1):
        written.write_bytes(content[:end])
        journal, _, records = Journal.open(written)
        journal.append(RECORDS[-1])
        journal.close()
        assert records == RECORDS[:-1]
        assert written.read_bytes() == content


def test_a_changed_line_is_refused(written: Path) -> None:
    written.write_bytes(written.read_bytes().replace(b'"n": 2', b'"n": 7'))
    with pytest.raises(FileFormatError, match="line 3"):
        Journal.open(written)


def test_a_missing_line_is_refused(written: Path) -> None:
    lines = written.read_bytes().splitlines(keepends=True)
    written.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    with pytest.raises(FileFormatError, match="line 3"):
        Journal.open(written)


@pytest.mark.parametrize("content", [b"", b"{}\n", b"[1]\n", b"\xff\n", b'{"format": "vesalius jour'])
def test_what_is_no_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.jsonl"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="journal"):
        Journal.open(path)


def test_a_journal_is_not_begun_over_another_file(written: Path) -> None:
    before = written.read_bytes()
    with pytest.raises(UsageError, match="content"):
        Journal.create(written, {})
    assert written.read_bytes() == before


@pytest.mark.parametrize("content", [b'{"clicks": []}', b'{"format": "vesalius journal 2"', b"{\x00", b"{}"])
def test_a_journal_is_not_begun_over_another_file_of_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clicks.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="content"):
        Journal.create(path, {})
    assert path.read_bytes() == content


@pytest.mark.parametrize("end", [0, 1, 15, 20, 40])
def test_a_journal_whose_first_line_was_torn_is_begun_again(written: Path, end: int) -> None:
    written.write_bytes(written.read_bytes()[:end])
    Journal.create(written, {"volume": "new"}).close()
    journal, header, records = Journal.open(written)
    journal.close()
    assert (header["volume"], records) == ("new", [])


def test_two_sessions_do_not_write_one_journal(written: Path) -> None:
    journal, _, _ = Journal.open(written)
    with pytest.raises(UsageError, match="open"):
        Journal.open(written)
    journal.close()
    Journal.open(written)[0].close()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_where_a_file_system_has_no_locks_a_second_writer_is_noticed(
    written: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    def refuse(_: int, __: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    first, _, _ = Journal.open(written)
    assert "no locks" in caplog.text
    second, _, _ = Journal.open(written)
    first.append({"n": 4})
    with pytest.raises(UsageError, match="another program"):
        second.append({"n": 5})
    first.append({"n": 6})
    for journal in (first, second):
        journal.close()
    third, _, records = Journal.open(written)
    third.close()
    assert records == [*RECORDS, {"n": 4}, {"n": 6}]


def test_a_lock_that_fails_otherwise_is_an_error(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int, __: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.raises(DiskError, match="Input/output"):
        Journal.open(written)


def test_half_a_line_that_could_not_be_taken_away_is_taken_away_before_the_next(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _, _ = Journal.open(written)

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.setattr(os, "ftruncate", fail)
    with pytest.raises(DiskError):
        journal.append({"n": "never acknowledged"})
    monkeypatch.undo()
    journal.append({"n": 4})
    journal.close()
    reopened, _, records = Journal.open(written)
    reopened.close()
    assert records == [*RECORDS, {"n": 4}]


def test_a_line_is_synced_before_it_is_acknowledged(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    journal, _, _ = Journal.open(written)
    journal.append({"n": 4})
    journal.close()
    assert synced == [written.stat().st_size]


def test_a_line_whose_writing_was_interrupted_is_not_there(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, fsync = written.read_bytes(), os.fsync
    interrupt = iter([True])

    def interrupted(descriptor: int) -> None:
        if next(interrupt, False):
            raise KeyboardInterrupt
        fsync(descriptor)

    journal, _, _ = Journal.open(written)
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        journal.append({"n": 4})
    assert written.read_bytes() == before
    journal.close()


def test_a_journal_that_is_dropped_can_be_opened_again(written: Path) -> None:
    journal, _, _ = Journal.open(written)
    del journal
    gc.collect()
    Journal.open(written)[0].close()


def test_a_full_disk_leaves_the_journal_as_it_was(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, write = written.read_bytes(), os.write
    journal, _, _ = Journal.open(written)

    def half(descriptor: int, data: bytes) -> int:
        if len(data) > 10:
            return write(descriptor, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(DiskError, match="No space"):
        journal.append({"n": 4, "name": "of thirteen!"})
    assert written.read_bytes() == before
    monkeypatch.undo()
    journal.append({"n": 4})
    journal.close()
    reopened, _, records = Journal.open(written)
    reopened.close()
    assert records == [*RECORDS, {"n": 4}]
