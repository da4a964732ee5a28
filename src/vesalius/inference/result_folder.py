"""A folder that holds one complete result or is not touched: written beside, renamed into place, ``run.json`` last.

Whatever happens (a kill, a full disk, Ctrl-C), ``OUT`` is what it was before or the whole new result. Beside it
stand, while a run is at work, ``.OUT.lock`` (held by one process, freed by the system when that dies),
``.OUT.partial`` (what is being written) and for an instant ``.OUT.replaced`` (the old result that gives way).
What a killed run left of these, the next one puts in order.

An OUT that is there and empty stays the folder that it is, since somebody may stand in it (``-o .``): files are
moved in, ``run.json`` last; a run that is killed in that instant is finished by the next one, unless somebody has
put files of their own there: then what is left to move in stays beside it until these are away.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from vesalius.errors import UsageError
from vesalius.io import atomic
from vesalius.io.file_lock import take_lock

RUN_FILE = "run.json"
"""Written last: its presence means that the result is complete."""
SCHEMA = "vesalius result 1"
"""What ``run.json`` says it is; a folder without it is not ours to touch."""

_logger = logging.getLogger(__name__)

_DROSS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other processes off a result folder, and put in order what a killed run left beside it.

    Args:
        out: The result folder; its parent is made if absent.

    Raises:
        UsageError: If another process is writing it.
        DiskError: If nothing can be written beside it.
    """
    out = _real(out)
    with disk_errors(out.parent, what=f"what becomes {out.name}, and its lock,"):
        out.parent.mkdir(parents=True, exist_ok=True)
        lock = _beside(out, "lock")
        descriptor = _acquire(lock, out)
    try:
        with disk_errors(out):
            _put_in_order(out)
        yield
    finally:
        with suppress(OSError):
            lock.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def staged(out: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give an empty folder to write a result into; it becomes ``out`` when the block ends well.

    To be used while ``locked``. The block writes ``run.json`` itself, last (see ``write_record``).

    Args:
        out: The result folder.
        overwrite: Replace a complete result that stands there.

    Raises:
        UsageError: If something stands there that may not be replaced.
        DiskError: If a file cannot be written; nothing is left then.
    """
    out = _real(out)
    check_free(out, overwrite=overwrite)
    partial = _beside(out, "partial")
    with disk_errors(out):
        try:
            partial.mkdir()
            yield partial
            assert (partial / RUN_FILE).is_file(), "a result without its record"
            _sync(partial)
            _swap(partial, out)
            _sync(out.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``run.json``, last, with the sizes of the files that belong to the result."""
    files = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    text = json.dumps({"schema": SCHEMA, **record, "files": files}, indent=2, allow_nan=False)
    with (folder / RUN_FILE).open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_record(out: Path) -> dict[str, Any] | None:
    """Return the ``run.json`` of a result of ours; None where there is none."""
    try:
        record = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("schema") == SCHEMA else None


def results_in(folder: Path) -> list[Path]:
    """Return the results of ours that lie in a folder at any depth; it may be one itself, and does not count."""
    records = folder.rglob(RUN_FILE) if folder.is_dir() else ()
    return [path.parent for path in records if path.parent != folder and read_record(path.parent) is not None]


def is_done(out: Path, *, input_sha256: str, command: Mapping[str, Any]) -> bool:
    """Say whether ``out`` already holds the complete result of this input and this command.

    Args:
        out: The result folder.
        input_sha256: Hash of the input.
        command: What decides the result, as the record states it under ``decided_by``.

    Raises:
        UsageError: If it holds the result of something else, or files that are not a result.
    """
    record = read_record(out)
    if record is None:
        check_free(out, overwrite=False)
        return False
    differences = _differences(out, record, input_sha256, json.loads(json.dumps(command)))
    if differences:
        raise UsageError(
            expected=f"{out} to be empty, or to hold the result of the same input and command",
            got=f"the result of another run ({'; '.join(differences)})",
            do="name another folder, or replace the result with --overwrite",
        )
    return True


def check_free(out: Path, *, overwrite: bool) -> None:
    """Refuse a place where a result may not go.

    Raises:
        UsageError: If it is a file or a mount point, or holds files that are not a result of ours, or a result and
            no ``overwrite``, or one in which this process stands.
    """
    if out.is_file():
        raise UsageError(expected="a folder to write to", got=f"the file {out}", do="name another folder with -o")
    if os.path.ismount(_real(out)):
        raise UsageError(
            expected="a folder that can be put in place whole",
            got=f"{out}, where a disk is mounted",
            do=f"name a folder inside it, such as -o {out / 'result'}",
        )
    strangers = _strangers(out)
    if strangers:
        some = ", ".join(strangers[:3]) + (", ..." if len(strangers) > 3 else "")
        raise UsageError(
            expected=f"{out} to be new, empty, or to hold a result of vesalius and nothing else",
            got=f"{len(strangers)} files of somebody else: {some}",
            do="name another folder, or move these away; they are never deleted",
        )
    if read_record(out) is None:
        return
    if not overwrite:
        raise UsageError(
            expected=f"{out} to be empty", got="a complete result", do="name another folder, or add --overwrite"
        )
    if _stands_in(out):
        raise UsageError(
            expected="to be run from outside the result that --overwrite replaces",
            got=f"{out}, in which it is run",
            do="run it from another folder",
        )


def disk_errors(out: Path, *, what: str = "the result") -> AbstractContextManager[None]:
    """Turn what the system says of a disk into an error of ours.

    Args:
        out: The folder that is written into.
        what: What is written.

    Raises:
        DiskError: For any error of the system while writing but too little memory.
    """
    return atomic.disk_errors(
        f"to write {what} into {out}",
        do="free some space or name a folder that may be written to; nothing half-written was left",
    )


def _real(out: Path) -> Path:
    """Follow a link to a folder, so that the folder is replaced and the link stays."""
    return out.resolve() if out.is_symlink() else out.absolute()


def _stands_in(out: Path) -> bool:
    """Say whether the current folder is ``out`` or lies in it."""
    with suppress(OSError):  # it was taken away
        return Path.cwd().is_relative_to(out.resolve())
    return False


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f".{out.name}.{what}")


def _acquire(lock: Path, out: Path) -> int:
    """Open and lock a file, and make sure that it is still the one that stands there."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock(descriptor, out)
            if os.path.samestat(lock.stat(), os.fstat(descriptor)):
                return descriptor
        except FileNotFoundError:  # whoever held it has just taken it away
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, out: Path) -> None:
    try:
        has_locks = take_lock(descriptor)
    except BlockingIOError:
        raise UsageError(
            expected=f"no other run that writes {out}",
            got="another process at work on it",
            do="wait until it has ended, or name another folder with -o",
        ) from None
    if not has_locks:
        _logger.warning("%s: this file system has no locks; do not write the same folder twice at once", out)


def _put_in_order(out: Path) -> None:
    """Finish or undo what a killed run left; only called by who holds the lock."""
    partial, replaced = _beside(out, "partial"), _beside(out, "replaced")
    if partial.is_dir():
        record = read_record(partial)
        if out.is_dir() and read_record(out) is None and record is not None:  # complete; some of it may be there
            if not all(_was_moved(name, out, partial, record) for name in _strangers(out)):
                return  # who asks whether the place is free hears of them
            _fill(out, partial)
        shutil.rmtree(partial)
    if replaced.is_dir():
        if read_record(out) is not None:  # the new result had already taken its place
            shutil.rmtree(replaced)
        else:
            replaced.rename(out)


def _was_moved(name: str, out: Path, partial: Path, record: Mapping[str, Any]) -> bool:
    """Say whether a file in ``out`` is the result's: the run that was killed had already moved it there."""
    size = record.get("files", {}).get(name)
    return size is not None and _size(out / name) == size and not (partial / name).exists()


def _swap(partial: Path, out: Path) -> None:
    replaced = _beside(out, "replaced")
    if read_record(out) is not None:
        out.rename(replaced)
    elif out.is_dir():
        _fill(out, partial)
        return
    try:
        partial.rename(out)
    except OSError:
        if replaced.is_dir():
            replaced.rename(out)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _fill(out: Path, partial: Path) -> None:
    """Move a complete result into a folder that is there, its record last; take it back where that fails."""
    record = partial / RUN_FILE
    files = [*(path for path in partial.rglob("*") if path.is_file() and path != record), record]
    begun: list[tuple[Path, Path]] = []
    try:
        for file in files:
            place = out / file.relative_to(partial)
            place.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(place):  # somebody's, who put it there since the place was found free
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place))
            begun.append((file, place))
            file.replace(place)
    except BaseException:
        for file, place in begun:
            if not file.exists():
                place.replace(file)
        raise
    _sync(out)


def _strangers(out: Path) -> list[str]:
    """Name the files in ``out`` that no record of ours lists."""
    record = read_record(out) or {}
    ours = {*record.get("files", {}), *([RUN_FILE] if record else [])}
    files = (path for path in sorted(out.rglob("*")) if path.is_symlink() or not path.is_dir())
    names = (path.relative_to(out).as_posix() for path in files if path.name not in _DROSS)
    return [name for name in names if name not in ours]


def _differences(out: Path, record: Mapping[str, Any], input_sha256: str, command: Mapping[str, Any]) -> list[str]:
    found = []
    if record.get("input_sha256") != input_sha256:
        found.append("of another input")
    before = record.get("decided_by") or {}
    for name in sorted({*before, *command}):
        if before.get(name) != command.get(name):
            found.append(f"{name} was {before.get(name)!r} and is now {command.get(name)!r}")
    files = record.get("files") or {}
    damaged = [name for name, size in files.items() if _size(out / name) != size]
    if damaged:
        found.append(f"missing or changed since: {', '.join(damaged[:3])}")
    return found


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _sync(folder: Path) -> None:
    """Make a folder's entries survive a power cut, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
