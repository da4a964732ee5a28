"""Brings a model onto this machine, once, and holds it to its hash: the published one, or the first pull's.

A branch can move between two requests and between two pulls: the commit that it was when the weights first came is
the one of which all other files are asked for, and of which they are asked for again.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from vesalius.checkpoints.catalog import CatalogRow
from vesalius.checkpoints.content import file_sha256
from vesalius.checkpoints.hub import DO_NOT_USE, Progress, download
from vesalius.checkpoints.store import (
    SPEC_FILE,
    find_weights,
    first_seen_commit,
    first_seen_sha256,
    hub_file_of,
    own_file,
    record_first_seen,
    require_weights,
    write_json,
)
from vesalius.errors import HubError

_SOURCE_FILE = "source.json"
"""Where a model came from; written last, so that a pull that was interrupted is known."""


@dataclass(frozen=True, kw_only=True)
class PulledModel:
    """A model that is on this machine."""

    path: Path
    size_bytes: int
    sha256: str
    pinned_by: str
    """What the hash was compared with: published, first pull, or nothing yet; package where nothing is pulled."""
    downloaded: bool
    """Whether it came over the network just now."""
    note: str = ""
    """What is not as it should be, though the weights are there and right."""


def pull(row: CatalogRow, *, again: bool = False, progress: Progress | None = None) -> PulledModel:
    """Bring a model onto this machine, or say that it is there.

    Args:
        row: A row of the catalog.
        again: Download even if it is there, of the commit that came first; the hash must stay the same.
        progress: Told how far the download is.

    Raises:
        HubError: If it cannot be downloaded, or is not what was seen before. Where weights are there and right, a
            spec that cannot be fetched is a note of the result instead.
        UnknownModelError: If it should be in the package and is not.
    """
    if row.is_builtin:
        path = require_weights(row)
        return _present(path, row.sha256, "published" if row.sha256 else "package")
    known, pinned_by = _expected_sha256(row)
    found = None if again else find_weights(row)
    if found is not None:
        present = _present(found, known, pinned_by)
        record_first_seen(row, present.sha256, present.size_bytes)
        if found == own_file(row) and not any(found.with_name(name).exists() for name in (_SOURCE_FILE, SPEC_FILE)):
            try:  # an earlier pull ended before it had all, or the file came by hand
                _pull_spec(row, found.parent, first_seen_commit(row))
            except HubError as error:
                if error.do.startswith(DO_NOT_USE):
                    raise
                note = f"the weights are there, a {SPEC_FILE} could not be looked for: {error.got}; {error.do}"
                return dataclasses.replace(present, note=note)
            write_json(found.with_name(_SOURCE_FILE), _source(row, first_seen_commit(row), present.sha256))
        return present
    target, first = own_file(row), first_seen_commit(row)
    wanted = dataclasses.replace(hub_file_of(row), sha256=known, revision=first or row.revision)
    came = download(wanted, target, progress=progress)
    commit = first or came.commit
    record_first_seen(row, came.sha256, came.size_bytes, commit=commit)
    _pull_spec(row, target.parent, commit)
    write_json(target.with_name(_SOURCE_FILE), _source(row, commit, came.sha256))
    return PulledModel(
        path=target, size_bytes=came.size_bytes, sha256=came.sha256, pinned_by=pinned_by, downloaded=True
    )


def _expected_sha256(row: CatalogRow) -> tuple[str, str]:
    if row.sha256:
        return row.sha256, "published"
    first_seen = first_seen_sha256(row)
    return first_seen, "first pull" if first_seen else "nothing"


def _present(path: Path, known: str, pinned_by: str) -> PulledModel:
    sha256 = file_sha256(path)
    if known and known != sha256:
        raise HubError(
            expected=f"SHA-256 {known} ({pinned_by}) of {path}",
            got=sha256,
            do="the file was changed or damaged; delete it and pull again",
        )
    return PulledModel(
        path=path, size_bytes=path.stat().st_size, sha256=sha256, pinned_by=pinned_by, downloaded=False
    )


def _pull_spec(row: CatalogRow, folder: Path, commit: str) -> None:
    """Fetch the ``spec.json`` beside weights that the catalog has no spec for; without one the weights must say.

    What it says is as good as the weights: it too is held to the hash of the first that came.

    Args:
        row: The model's.
        folder: In which its weights are.
        commit: That the weights came from; where no hub said it, the row's revision is asked for.
    """
    if row.spec is not None:
        return
    beside = "/".join([*row.file.split("/")[:-1], SPEC_FILE])
    try:
        known = dataclasses.replace(row, file=beside, size_bytes=None, sha256="")
        wanted = dataclasses.replace(
            hub_file_of(known), sha256=first_seen_sha256(known), revision=commit or row.revision
        )
        came = download(wanted, folder / SPEC_FILE, attempts=1)
        record_first_seen(known, came.sha256, came.size_bytes, commit=commit)
    except HubError as error:
        if "HTTP 404" not in error.got:
            raise


def _source(row: CatalogRow, commit: str, sha256: str) -> dict[str, str]:
    return {
        "repo": row.repo,
        "file": row.file,
        "revision": row.revision,
        "commit": commit,
        "sha256": sha256,
        "licence": row.licence,
        "licence_note": row.licence_note,
    }
