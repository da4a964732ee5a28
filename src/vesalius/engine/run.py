"""The run folder: what was asked for, what happened, and the state from which a training goes on.

::

    config.json     the resolved configuration, written once; a resumed run must have the same
    metrics.jsonl   a line per ``log_every`` steps, one for each validation, start and end; steps go up
    curves.png      the same, to look at; drawn with a checkpoint and at the end
    last.pt         the latest checkpoint: complete, or the one before it
    best.pt         the weights of the best validation, where there were any
    model.safetensors, spec.json   a model for others to use; of trainings that export one, that of ``last.pt``
    at-STEP/        such a model of a step, where it was asked for
    pictures/       what validations gave to look at: ``step_00000200_NAME.png``
    events.*        for TensorBoard, where it was asked for
    .lock           held by the process that trains, freed by the system when that dies
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import logging
import pickle
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from vesalius.engine.board import Board
from vesalius.engine.team import ALONE, Team
from vesalius.errors import CheckpointError, DiskError, UnsafeCheckpointError, UsageError
from vesalius.io.atomic import disk_errors, replacing
from vesalius.io.file_lock import take_lock
from vesalius.views.curves import Curve, render_curves

log = logging.getLogger(__name__)

CONFIG, METRICS, CURVES, CHECKPOINT, BEST = "config.json", "metrics.jsonl", "curves.png", "last.pt", "best.pt"
PICTURES = "pictures"
_DRAWN_EVERY_S = 30.0
"""Drawing takes a tenth of a second; checkpoints may be more frequent."""


class RunFolder:
    """A folder that one training writes; get one by ``opened``.

    Args:
        path: Where it is.
        writes: Whether this process is the one that writes; in others every writing method does nothing.
        board: Gets what is logged, too.
    """

    def __init__(self, path: Path, *, writes: bool = True, board: Board | None = None) -> None:
        self.path = path
        self.writes = writes
        self._board = board
        self._drawn = time.monotonic()

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint. A crash leaves the old one or the new one, never half of either.

        Raises:
            DiskError: If it cannot be written; the old one stays.
        """
        self._write_state(CHECKPOINT, state)

    def checkpoint(self) -> dict[str, Any] | None:
        """Return what ``save`` was last given, or None before the first."""
        path = self.path / CHECKPOINT
        return read_checkpoint(path) if path.exists() else None

    def keep_best(self, state: Mapping[str, Any]) -> None:
        """Replace the best weights; as ``save``."""
        self._write_state(BEST, state)

    def best(self) -> dict[str, Any] | None:
        """Return ``network`` (a state dict), ``step`` and ``score`` of the best validation; None without any."""
        path = self.path / BEST
        return read_checkpoint(path) if path.exists() else None

    def _write_state(self, name: str, state: Mapping[str, Any]) -> None:
        if not self.writes:
            return
        with replacing(self.path / name) as part, part.open("wb") as file:
            try:
                torch.save(dict(state), file)
            except RuntimeError as error:  # torch's own archive writer hides what the system said
                raise DiskError(
                    expected=f"to write {name} into {self.path}",
                    got=str(error).splitlines()[0],
                    do="make space on the disk and resume; the checkpoint before this one is whole",
                ) from error

    def log(self, record: Mapping[str, object]) -> None:
        """Append a line to the metrics."""
        if not self.writes:
            return
        with disk_errors(f"to write into {self.path}"), (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(record)) + "\n")
        if self._board is not None:
            self._board.write(record)

    def keep_picture(self, name: str, step: int, picture: UInt8[np.ndarray, "height width 3"]) -> None:
        """Write a picture that belongs to a step; what a file's name cannot hold becomes ``_``."""
        if not self.writes:
            return
        folder = self.path / PICTURES
        with disk_errors(f"to write into {folder}"):
            folder.mkdir(exist_ok=True)
        with replacing(folder / f"step_{step:08d}_{re.sub(r'[^0-9A-Za-z-]+', '_', name)}.png") as part:
            Image.fromarray(picture).save(part)
        if self._board is not None:
            self._board.show(name, step, picture)

    def draw_curves(self, *, at_once: bool = False) -> None:
        """Draw what was logged so far; nothing if that was done less than half a minute ago, unless ``at_once``."""
        if not self.writes or (time.monotonic() - self._drawn < _DRAWN_EVERY_S and not at_once):
            return
        self._drawn = time.monotonic()
        with replacing(self.path / CURVES) as part:
            render_curves(curves_of(self.metrics())).save(part)

    def metrics(self) -> list[dict[str, Any]]:
        """Return every whole line of the metrics; a kill may have torn the last."""
        path = self.path / METRICS
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def forget_after(self, step: int, *, validated: int | None = None) -> int:
        """Remove metrics and pictures of what no checkpoint holds and will be done again.

        Args:
            step: The checkpoint's.
            validated: The step of the last validation that the checkpoint knows of; by default its own.

        Returns:
            How many steps were logged beyond it.
        """
        if not self.writes:
            return 0
        records = self.metrics()
        last_validated = step if validated is None else validated
        kept = [
            record
            for record in records
            if record["step"] <= (last_validated if record.get("event") == "validated" else step)
        ]
        with replacing(self.path / METRICS) as part:
            part.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        for picture in (self.path / PICTURES).glob("step_*.png"):
            if int(picture.name.split("_")[1]) > last_validated:
                picture.unlink()
        return max([int(record["step"]) for record in records] + [step]) - step


def curves_of(records: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """Return a curve for every number in the metrics; those of validations are told apart from those of steps."""
    points: dict[tuple[bool, str], list[tuple[int, float]]] = {}
    for record in records:
        is_validation = record.get("event") == "validated"
        numbers = {} if "event" in record and not is_validation else record
        for name, value in numbers.items():
            if isinstance(value, float) and name != "trained_s":
                points.setdefault((is_validation, name), []).append((record["step"], value))
    return [Curve(name, tuple(places), is_validation) for (is_validation, name), places in points.items()]


@contextmanager
def opened(
    path: Path, config: Mapping[str, Any], *, team: Team = ALONE, tensorboard: bool = False
) -> Iterator[RunFolder]:
    """Open a run folder, new or to be resumed, and keep other trainings off it.

    Args:
        path: Made if absent.
        config: The resolved configuration, of plain values; what JSON makes of it must be what it was before.
        team: The processes of the training; all but the first get a folder that they do not write.
        tensorboard: Also write what is logged as TensorBoard's events.

    Raises:
        UsageError: If the folder holds a run of another configuration, or another process trains in it.
        MissingExtraError: If the writer of events is not installed.
        DiskError: If it cannot be written.
    """
    if not team.is_first:
        yield RunFolder(path, writes=False)
        return
    with disk_errors(f"to write into {path}"):
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / ".lock").open("w")
    with lock:
        _take_lock(lock, path)
        _agree(path / CONFIG, config)
        if not tensorboard:
            yield RunFolder(path)
            return
        with Board(path) as board:
            yield RunFolder(path, board=board)


def _take_lock(lock: IO[str], path: Path) -> None:
    """Keep other trainings off a folder, where its file system can."""
    with disk_errors(f"to write into {path}"):
        try:
            has_locks = take_lock(lock)
        except BlockingIOError:
            raise UsageError(
                expected=f"to be the only training in {path}",
                got="another process that trains there",
                do="wait for it, or stop it",
            ) from None
    if not has_locks:
        log.warning("%s: this file system has no locks; start no other training there", path)


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
