"""The list that a job writes beside its store, as ``<store>.json``: over none but those of its own.

A store notes the hash of every list before it is written. A list that is there and has none of these hashes is
somebody's: it may say what no list of ours does, and is never replaced.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
from pathlib import Path

from vesalius.data.datalists.record import DataList
from vesalius.data.datalists.write import list_json, write_list
from vesalius.errors import UsageError
from vesalius.io.atomic import replacing

NOTED = ".lists"
"""In a store: the SHA-256 of each list that was written beside it, one a line."""


def path_beside(store: Path) -> Path:
    """Return where the new list of a store is."""
    return store.with_name(f"{store.name}.json")


def refuse_foreign(store: Path, given: DataList) -> None:
    """Refuse to write a list where one is that jobs in this store did not write.

    Args:
        store: The job's.
        given: The list that the job reads.

    Raises:
        UsageError: If there is one.
    """
    path = path_beside(store)
    if not (path.exists() or path.is_symlink()):
        return
    is_given = path.exists() and given.path.exists() and path.samefile(given.path)
    if not is_given and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() in _noted(store):
        return
    raise UsageError(
        expected=f"a store beside which a new list, {path.name}, can be written",
        got=f"{path}, " + ("the list to read" if is_given else f"which no job in {store} wrote as it is"),
        do="name another store with -o" + ("" if is_given else ", or move that list away"),
    )


def write_beside(store: Path, listed: DataList) -> Path:
    """Write the new list of a store, and return its path; for one process at a time (``jobs.alone``).

    Args:
        store: The job's, which is there.
        listed: The list that was read, with what the job made.

    Raises:
        UsageError: If somebody put another list there meanwhile.
        DiskError: If it cannot be written.
    """
    refuse_foreign(store, listed)
    path = path_beside(store)
    digest = hashlib.sha256(list_json(listed, path.parent)).hexdigest()
    with replacing(store / NOTED) as part:
        part.write_text("\n".join(sorted({*_noted(store), digest})) + "\n", encoding="utf-8")
    write_list(listed, path)
    return path


def _noted(store: Path) -> frozenset[str]:
    notes = store / NOTED
    return frozenset(notes.read_text("utf-8").split()) if notes.is_file() else frozenset()
