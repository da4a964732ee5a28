"""Where downloaded models are kept, and the hashes they were first seen with.

Below ``HF_HOME`` (by default ``~/.cache/huggingface``): ``vesalius/<name>/`` holds a model, ``vesalius/pins.json``
the hash of every file on its first pull. Where a publisher states no hash this is trust on first use: what came
first is what every later pull must equal, on this machine. A copy that another program put into the hub's own cache
is found too, so that nothing is downloaded twice.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from vesalius.checkpoints.catalog import BUILTIN, CatalogRow
from vesalius.checkpoints.hub import HubFile, Progress, by_hand, download, file_sha256
from vesalius.errors import CheckpointError, DiskError, HubError, UnknownModelError
from vesalius.io.atomic import replacing

MODEL_FILE = "model.safetensors"
SPEC_FILE = "spec.json"


@dataclass(frozen=True, kw_only=True)
class PulledModel:
    """A model that is on this machine."""

    path: Path
    size_bytes: int
    sha256: str
    pinned_by: str
    """What the hash was compared with: the publisher's, the first pull's, or nothing yet."""
    downloaded: bool
    """Whether it came over the network just now."""


def hub_home() -> Path:
    """The folder of hub downloads: ``HF_HOME``, or the usual cache folder of the user."""
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "huggingface"


def model_folder(row: CatalogRow) -> Path:
    """The folder in which a model is looked for, and into which ``pull`` puts it."""
    if row.is_builtin:
        return BUILTIN / row.name
    return hub_home() / "vesalius" / row.name.replace("/", "--")


def find_weights(row: CatalogRow) -> Path | None:
    """Return the weights file of a model if it is on this machine."""
    own = model_folder(row) / MODEL_FILE
    if own.is_file():
        return own
    if row.is_builtin:
        return None
    repository = hub_home() / "hub" / ("models--" + row.repo.replace("/", "--"))
    snapshots = sorted(repository.glob(f"snapshots/*/{row.file}"))
    current = repository / "refs" / row.revision
    if current.is_file():
        wanted = repository / "snapshots" / current.read_text().strip() / row.file
        return wanted if wanted.is_file() else next(iter(snapshots), None)
    return next(iter(snapshots), None)


def require_weights(row: CatalogRow) -> Path:
    """Return the weights file of a model.

    Raises:
        UnknownModelError: If this installation does not hold it; with the line to type.
    """
    found = find_weights(row)
    if found is None and row.is_builtin:
        raise UnknownModelError(
            expected=f"the weights of {row.name} inside the package",
            got="an installation without them",
            do="install the published package, or name another model (`vesalius models list`)",
        )
    if found is None:
        target = model_folder(row) / MODEL_FILE
        raise UnknownModelError(
            expected=f"the weights of {row.name} at {target}",
            got="they have not been downloaded",
            do=f"vesalius models pull {row.name}; or {by_hand(_hub_file(row), target)}",
        )
    return found


def pull(row: CatalogRow, *, again: bool = False, progress: Progress | None = None) -> PulledModel:
    """Bring a model onto this machine, or say that it is there.

    Args:
        row: A row of the catalog.
        again: Download even if it is there; the hash must stay the same.
        progress: Told how far the download is.

    Raises:
        HubError: If it cannot be downloaded, or is not what was seen before.
        UnknownModelError: If it should be in the package and is not.
    """
    if row.is_builtin:
        path = require_weights(row)
        return _present(path, row.sha256, "published" if row.sha256 else "nothing")
    known, pinned_by = _expected_sha256(row)
    found = None if again else find_weights(row)
    if found is not None:
        present = _present(found, known, pinned_by)
        _pin(row, present.sha256, present.size_bytes)
        return present
    target = model_folder(row) / MODEL_FILE
    wanted = dataclasses.replace(_hub_file(row), sha256=known)
    came = download(wanted, target, progress=progress)
    _pin(row, came.sha256, came.size_bytes)
    _pull_spec(row, target.parent)
    _write_json(target.with_name("source.json"), _source(row, came.commit, came.sha256))
    return PulledModel(
        path=target, size_bytes=came.size_bytes, sha256=came.sha256, pinned_by=pinned_by, downloaded=True
    )


def first_seen_sha256(row: CatalogRow) -> str:
    """Return the hash that a file had on its first pull to this machine, or nothing."""
    return str(_read_pins().get(_pin_key(row), {}).get("sha256", ""))


def _hub_file(row: CatalogRow) -> HubFile:
    return HubFile(
        repo=row.repo, file=row.file, revision=row.revision, size_bytes=row.size_bytes, sha256=row.sha256
    )


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


def _pull_spec(row: CatalogRow, folder: Path) -> None:
    """Fetch the ``spec.json`` beside weights that the catalog has no spec for; without one the weights must say."""
    if row.spec is not None:
        return
    beside = "/".join([*row.file.split("/")[:-1], SPEC_FILE])
    try:
        download(HubFile(repo=row.repo, file=beside, revision=row.revision), folder / SPEC_FILE, attempts=1)
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


def _pins_file() -> Path:
    return hub_home() / "vesalius" / "pins.json"


def _pin_key(row: CatalogRow) -> str:
    return f"{row.repo}@{row.revision}/{row.file}"


def _read_pins() -> dict[str, dict[str, object]]:
    path = _pins_file()
    if not path.is_file():
        return {}
    try:
        pins = json.loads(path.read_text())
    except ValueError:
        pins = None
    if not isinstance(pins, dict) or not all(isinstance(pin, dict) for pin in pins.values()):
        raise CheckpointError(
            expected=f"the record of first-seen hashes in {path}",
            got="a file that is not that",
            do="restore it, or delete it to trust the next download anew",
        )
    return pins


def _expected_sha256(row: CatalogRow) -> tuple[str, str]:
    if row.sha256:
        return row.sha256, "published"
    first_seen = first_seen_sha256(row)
    return first_seen, "first pull" if first_seen else "nothing"


def _pin(row: CatalogRow, sha256: str, size_bytes: int) -> None:
    pins = _read_pins()
    if _pin_key(row) not in pins:
        pins[_pin_key(row)] = {"sha256": sha256, "size_bytes": size_bytes}
        _write_json(_pins_file(), pins)


def _write_json(path: Path, content: object) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(
            expected=f"to write {path}", got=str(error), do="set HF_HOME to a folder you may write to"
        ) from None
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n")
