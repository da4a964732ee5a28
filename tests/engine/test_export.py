"""Export: with every checkpoint a model for others, whatever ends the training; those of some steps stay."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from engine.line_task import LineTask, line_learner, same, settings
from vesalius.engine.export import Export
from vesalius.engine.loop import train
from vesalius.engine.run import RunFolder, opened
from vesalius.errors import InterruptedRun, UsageError


class CrashError(Exception):
    """Stands for whatever ends a process."""


def train_in(path: Path, task: LineTask, *, keep_every: int | None = None, writes: bool = True) -> list[str]:
    """Train 12 steps with a checkpoint after every fifth; return under which names models were written."""
    learner, names = line_learner(), list[str]()

    def write(folder: Path, name: str) -> None:
        folder.mkdir(exist_ok=True)
        torch.save(learner.average.state_dict(), folder / "model.pt")
        names.append(name)

    with opened(path, {}) as run:
        place = run if writes else RunFolder(path, writes=False)
        chosen = settings(steps=12)
        train(
            task, learner, place, chosen, clock=lambda: task.now, export=Export(write=write, keep_every=keep_every)
        )
    return names


def test_the_model_in_a_run_folder_is_that_of_its_checkpoint_when_a_training_crashed(tmp_path: Path) -> None:
    def crash(drawn: int) -> None:
        if drawn == 8:
            raise CrashError

    with pytest.raises(CrashError):
        train_in(tmp_path, LineTask(crash))
    saved = RunFolder(tmp_path).checkpoint()
    assert saved is not None
    assert saved["step"] == 5
    assert same(torch.load(tmp_path / "model.pt"), saved["average"])


def test_it_is_that_of_the_last_step_when_a_training_was_told_to_stop(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRun):
        train_in(tmp_path, LineTask(lambda drawn: os.kill(os.getpid(), signal.SIGTERM) if drawn == 7 else None))
    saved = RunFolder(tmp_path).checkpoint()
    assert saved is not None
    assert saved["step"] == 8
    assert same(torch.load(tmp_path / "model.pt"), saved["average"])


def test_models_of_some_steps_stay_and_are_named_by_them(tmp_path: Path) -> None:
    path = tmp_path / "one"
    names = train_in(path, LineTask(), keep_every=4)
    assert [name for name in names if "-at-" in name] == ["one-at-4", "one-at-8", "one-at-12"]
    models = {folder.name: torch.load(folder / "model.pt") for folder in path.glob("at-*")}
    assert same(models["at-12"], torch.load(path / "model.pt"))
    assert not same(models["at-8"], models["at-12"])


def test_a_process_that_does_not_write_the_run_writes_no_model(tmp_path: Path) -> None:
    assert not train_in(tmp_path, LineTask(), keep_every=1, writes=False)


@pytest.mark.parametrize("steps", [0, -5])
def test_models_are_not_kept_more_often_than_every_step(steps: int) -> None:
    with pytest.raises(UsageError, match=f"every {steps} steps"):
        Export(write=lambda folder, name: None, keep_every=steps)
