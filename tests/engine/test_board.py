"""Board: what is logged can be read back by a reader of TensorBoard's events, also after a resumed start."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from engine.line_task import JudgedLineTask, line_learner, settings
from vesalius.engine.loop import train
from vesalius.engine.run import opened
from vesalius.errors import MissingExtraError

pytest.importorskip("tensorboardX", reason="needs the extra 'train'")


def events(folder: Path) -> list[tuple[str, int, object]]:
    """(tag, step, value) of every event, in the order of files; pictures as their height and width."""
    from tensorboardX.proto.event_pb2 import Event

    found: list[tuple[str, int, object]] = []
    for path in sorted(folder.glob("events.*")):
        data = path.read_bytes()
        while data:  # a record: length, its checksum, the event, its checksum
            length = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                picture = (value.image.height, value.image.width)
                found.append((value.tag, event.step, picture if any(picture) else value.simple_value))
            if event.HasField("session_log"):
                found.append(("session", event.step, event.session_log.status))
    return found


class CrashError(Exception):
    """Stands for whatever ends a process."""


def train_with_events(path: Path, task: JudgedLineTask, **chosen: object) -> list[dict[str, object]]:
    with opened(path, {}, tensorboard=True) as run:
        train(task, line_learner(), run, settings(**chosen), clock=lambda: task.now)
        return run.metrics()


def test_events_say_what_the_metrics_say(tmp_path: Path) -> None:
    records = train_with_events(tmp_path, JudgedLineTask(), steps=8, log_every=2, validate_every=4)
    found = events(tmp_path)
    losses = [(step, value) for tag, step, value in found if tag == "training/loss"]
    assert [step for step, _ in losses] == [2, 4, 6, 8]
    expected = [record["loss"] for record in records if "loss" in record]
    assert [value for _, value in losses] == pytest.approx(expected)
    assert [step for tag, step, _ in found if tag == "validation/score"] == [0, 4, 8]
    assert [value for tag, _, value in found if tag == "validation/the_line"] == [(4, 6)] * 3


def test_a_resumed_start_hides_what_will_be_done_again(tmp_path: Path) -> None:
    def before(drawn: int) -> None:
        if drawn == 7:
            raise CrashError

    with pytest.raises(CrashError):
        train_with_events(tmp_path, JudgedLineTask(before), steps=9)
    train_with_events(tmp_path, JudgedLineTask(), steps=9)
    found = events(tmp_path)
    assert ("session", 6, 1) in found  # START: of earlier events, TensorBoard shows those before step 6
    assert [step for tag, step, _ in found if tag == "training/loss"] == [1, 2, 3, 4, 5, 6, 7, 6, 7, 8, 9]


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingExtraError, match=r"vesalius\[train\]"), opened(tmp_path, {}, tensorboard=True):
        pass


def test_without_being_asked_for_there_are_no_events(tmp_path: Path) -> None:
    task = JudgedLineTask()
    with opened(tmp_path, {}) as run:
        run.keep_picture("x", 1, np.zeros((2, 2, 3), np.uint8))
        train(task, line_learner(), run, settings(steps=2), clock=lambda: task.now)
    assert not list(tmp_path.glob("events.*"))
