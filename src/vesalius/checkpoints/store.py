"""Where downloaded models are kept, and the hashes and commits they were first seen with.

Below ``HF_HOME`` (by default ``~/.cache/huggingface``): ``vesalius/<name>/`` holds a model, ``vesalius/pins.json``
the hash of every file on its first pull, and the commit that its revision was then. Where a publisher states no
hash this is trust on first use: what came first is what every later pull must equal, on this machine. A copy that
another program put into the hub's own cache (``HF_HUB_CACHE``, by default ``hub`` below ``HF_HOME``) is found too,
so that nothing is downloaded twice.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
from pathlib import Path

from filelock import FileLock

from vesalius.checkpoints.catalog import BUILTIN, CatalogRow
from vesalius.checkpoints.content import refuse_pickled_text
from vesalius.checkpoints.header import SPEC_KEY, Header
from vesalius.checkpoints.hub_file import HubFile, by_hand
from vesalius.errors import CheckpointError, DiskError, UnknownModelError
from vesalius.io.atomic import replacing
from vesalius.io.written_paths import at_home
from vesalius.spec import ModelSpec

MODEL_FILE = "model.safetensors"
SPEC_FILE = "spec.json"


def hub_home() -> Path:
    """The folder of hub downloads: ``HF_HOME``, or the usual cache folder of the user."""
    if home := os.environ.get("HF_HOME"):
        return at_home(home)
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return at_home(cache) / "huggingface"


def hub_cache() -> Path:
    """The folder in which other programs keep what they got from the hub, which clusters often share."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):  # the second is what the first was called before
        if cache := os.environ.get(name):
            return at_home(cache)
    return hub_home() / "hub"


def model_folder(row: CatalogRow) -> Path:
    """The folder in which a model is looked for, and into which ``pull`` puts it."""
    if row.is_builtin:
        return BUILTIN / row.name
    return hub_home() / "vesalius" / row.name.replace("/", "--")


def own_file(row: CatalogRow) -> Path:
    """The file in that folder: ``model.safetensors``, or what the publisher's other format is called."""
    suffix = Path(row.file).suffix
    return model_folder(row) / (MODEL_FILE if suffix == ".safetensors" else f"model{suffix}")


def find_weights(row: CatalogRow) -> Path | None:
    """Return the weights file of a model if it is on this machine."""
    own = own_file(row)
    if own.is_file():
        return own
    if row.is_builtin:
        return None
    repository = hub_cache() / ("models--" + row.repo.replace("/", "--"))
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
        target = own_file(row)
        raise UnknownModelError(
            expected=f"the weights of {row.name} at {target}",
            got="they have not been downloaded",
            do=f"vesalius models pull {row.name}; or {by_hand(hub_file_of(row), target)}",
        )
    return found


def stated_spec(path: Path, header: Header | None) -> ModelSpec | None:
    """Return the spec beside the file, or else the one inside it.

    Only ``model.safetensors`` and ``model.pt`` own the ``spec.json`` of their folder: another file in it need not
    be the model that the spec speaks of.

    Raises:
        CheckpointError: If it is no spec.
        UnsafeCheckpointError: If it is a pickle or an archive.
    """
    beside = path.with_name(SPEC_FILE)
    if path.stem == "model" and beside.is_file():
        content = beside.read_bytes()
        refuse_pickled_text(beside, content)
        return ModelSpec.from_json(content.decode("utf-8", errors="replace"))
    text = header.metadata.get(SPEC_KEY) if header else None
    return ModelSpec.from_json(text) if text else None


def hub_file_of(row: CatalogRow) -> HubFile:
    """Return the weights file of a row of the catalog, on the hub."""
    return HubFile(
        repo=row.repo, file=row.file, revision=row.revision, size_bytes=row.size_bytes, sha256=row.sha256
    )


def first_seen_sha256(row: CatalogRow) -> str:
    """Return the hash that a file had on its first pull to this machine, or nothing."""
    return str(_read_pins().get(_pin_key(row), {}).get("sha256", ""))


def first_seen_commit(row: CatalogRow) -> str:
    """Return the commit that a file's revision was on its first pull to this machine, or nothing."""
    return str(_read_pins().get(_pin_key(row), {}).get("commit", ""))


def record_first_seen(row: CatalogRow, sha256: str, size_bytes: int, *, commit: str = "") -> None:
    """Record the hash of a file on its first pull, and its commit where that is known; what is recorded stays.

    Raises:
        DiskError: If it cannot be written.
    """
    came = {"sha256": sha256, "size_bytes": size_bytes, **({"commit": commit} if commit else {})}
    if not came.keys() - _read_pins().get(_pin_key(row), {}).keys():
        return  # nothing to note: the folder need not be writable
    path = _pins_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.stem}.lock")):  # else what two pulls at once note, one of them loses
            pins = _read_pins()
            pins[_pin_key(row)] = {**came, **pins.get(_pin_key(row), {})}
            write_json(path, pins)
    except OSError as error:
        raise _not_writable(path, error) from None


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


def write_json(path: Path, content: object) -> None:
    """Write a small record: complete, or not at all.

    Raises:
        DiskError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(path, error) from None
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n")


def _not_writable(path: Path, error: OSError) -> DiskError:
    return DiskError(expected=f"to write {path}", got=str(error), do="set HF_HOME to a folder you may write to")
