"""The run folder: what was asked for, what happened, and the state from which a training goes on.

::

    config.json     the resolved configuration, written once; a resumed run must have the same
    metrics.jsonl   a line per ``log_every`` steps, and one for each start and end; steps go up
    last.pt         the latest checkpoint: complete, or the one before it
    .lock           held by the process that trains, freed by the system when that dies
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vesalius.errors import CheckpointError, DiskError, UnsafeCheckpointError, UsageError
from vesalius.io.atomic import replacing

try:
    import fcntl
except ImportError:  # not a POSIX system: runs there are not locked against one another
    fcntl = None  # type: ignore[assignment]

CONFIG, METRICS, CHECKPOINT = "config.json", "metrics.jsonl", "last.pt"


class RunFolder:
    """A folder that one training writes; get one by ``opened``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint. A crash leaves the old one or the new one, never half of either.

        Raises:
            DiskError: If it cannot be written; the old one stays.
        """
        with replacing(self.path / CHECKPOINT) as part, part.open("wb") as file:
            try:
                torch.save(dict(state), file)
            except RuntimeError as error:  # torch's own archive writer hides what the system said
                raise DiskError(
                    expected=f"to write {CHECKPOINT} into {self.path}",
                    got=str(error).splitlines()[0],
                    do="make space on the disk and resume; the checkpoint before this one is whole",
                ) from error

    def checkpoint(self) -> dict[str, Any] | None:
        """Return what ``save`` was last given, or None before the first."""
        path = self.path / CHECKPOINT
        return read_checkpoint(path) if path.exists() else None

    def log(self, record: Mapping[str, object]) -> None:
        """Append a line to the metrics."""
        with _disk_errors(self.path), (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(record)) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Return every whole line of the metrics; a kill may have torn the last."""
        path = self.path / METRICS
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def forget_after(self, step: int) -> int:
        """Remove metrics of steps that no checkpoint holds and that will be done again.

        Args:
            step: The checkpoint's.

        Returns:
            How many steps were logged beyond it.
        """
        records = self.metrics()
        kept = [record for record in records if record["step"] <= step]
        with replacing(self.path / METRICS) as part:
            part.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        return max([int(record["step"]) for record in records] + [step]) - step


@contextmanager
def opened(path: Path, config: Mapping[str, Any]) -> Iterator[RunFolder]:
    """Open a run folder, new or to be resumed, and keep other processes off it.

    Args:
        path: Made if absent.
        config: The resolved configuration, of plain values; what JSON makes of it must be what it was before.

    Raises:
        UsageError: If the folder holds a run of another configuration, or another process trains in it.
        DiskError: If it cannot be written.
    """
    with _disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / ".lock").open("w")
    with lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    expected=f"to be the only training in {path}",
                    got="another process that trains there",
                    do="wait for it, or stop it",
                ) from None
        _agree(path / CONFIG, config)
        yield RunFolder(path)


def _agree(path: Path, config: Mapping[str, Any]) -> None:
    """Write the configuration, or compare it with the one that stands there."""
    text = json.dumps(dict(config), indent=1, sort_keys=True) + "\n"
    if not path.exists():
        with replacing(path) as part:
            part.write_text(text, encoding="utf-8")
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        before = {"(unreadable)": True}
    changes = sorted(_differences(before, json.loads(text), ""))
    if changes:
        raise UsageError(
            expected=f"the configuration with which {path.parent} began",
            got="; ".join(changes),
            do="resume it unchanged, or begin a new run, from the old one's weights if you like",
        )


def _differences(before: Any, now: Any, name: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before.keys() | now.keys():
            yield from _differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif before != now:
        yield f"{name} {before} -> {now}"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint with torch's restricted loader: tensors and plain values, and nothing that runs.

    Raises:
        UnsafeCheckpointError: If the file asks for more.
        CheckpointError: If it is absent or damaged.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UnsafeCheckpointError(
            expected=f"tensors and plain values in {path}",
            got="a file that wants code run",
            do="do not open it; begin a new run",
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, LookupError) as error:
        raise CheckpointError(
            expected=f"a checkpoint at {path}", got=str(error).splitlines()[0], do="begin a new run"
        ) from None
    if not isinstance(loaded, dict):
        raise CheckpointError(
            expected=f"a checkpoint at {path}", got=f"a {type(loaded).__name__}", do="name the run's last.pt"
        )
    return loaded


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(
            expected=f"to write into {path}",
            got=error.strerror or str(error),
            do="name a folder that may be written to, with enough space",
        ) from error
