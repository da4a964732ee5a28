"""A training killed ten times ends as one that was not, and does no more again than since its last checkpoint."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.line_task import JudgedLineTask, line_learner, same, without_times
from vesalius.engine.loop import train
from vesalius.engine.run import RunFolder, opened
from vesalius.engine.settings import LoopSettings

pytestmark = pytest.mark.slow

KILLS, STEPS, WINDOWS, SAVED_EVERY = 10, 160, 3, 4
CHOSEN = LoopSettings(
    steps=STEPS,
    windows=WINDOWS,
    precision="fp32",
    log_every=5,
    validate_every=9,
    save_every_s=float(SAVED_EVERY * WINDOWS),  # a second a window, by the task's clock
)

LIVES = """
# One training in a process that is killed ten times, at random steps and at moments that matter; torch is imported
# once. Each life writes down what it draws and what it is sure to have saved.
import os, random, signal, sys
from pathlib import Path
folder, tests, begins_anew = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "anew"
sys.path.insert(0, tests)
from engine.line_task import JudgedLineTask, line_learner
from engine.test_faults import CHOSEN, KILLS, WINDOWS
from vesalius.engine.loop import train
from vesalius.engine.run import RunFolder, opened
from vesalius.engine.settings import LoopSettings

rng = random.Random(7)
die = lambda: os.kill(os.getpid(), signal.SIGKILL)

class Witness(RunFolder):
    def __init__(self, path, moment):
        super().__init__(path)
        self.moment, self.saves = moment, 0

    def save(self, state):
        self.saves += 1
        if (self.moment, self.saves) in (("before a checkpoint", 3), ("before the first checkpoint", 1)):
            die()
        super().save(state)
        if (self.moment, self.saves) == ("after a checkpoint", 3):
            die()

class Mortal(JudgedLineTask):
    def __init__(self, diary, moment, draws):
        super().__init__(self.live)
        self.diary, self.moment, self.draws = diary, moment, draws

    def live(self, drawn):
        if self.moment == "in a step" and drawn == self.draws:
            die()

    def draw(self, rng):
        sample = super().draw(rng)
        self.diary.write(f"{self.drawn[-1]!r}\\n")
        self.diary.flush()
        return sample

    def validate(self, network):
        if self.moment == "in a validation" and len(self.judged) == 2:
            die()
        return super().validate(network)

with opened(folder / "warm-up", {}) as run:  # what torch loads late, it loads here
    train(JudgedLineTask(), line_learner(), run, LoopSettings(steps=1))
moments = ["in a step"] * (KILLS - 4) + ["before a checkpoint", "after a checkpoint", "in a validation"]
rng.shuffle(moments)
moments.insert(0, "before the first checkpoint")
for life, moment in enumerate([*moments, "never"]):
    draws = rng.randrange(1, 16 * WINDOWS)
    if begins_anew:
        (folder / "run" / "last.pt").unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        with (folder / f"life.{life:02d}").open("w") as diary, opened(folder / "run", {}) as run:
            task = Mortal(diary, moment, draws)
            train(task, line_learner(), Witness(run.path, moment), CHOSEN, clock=lambda: task.now)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    state = RunFolder(folder / "run").checkpoint()
    print(life, status, state["step"] if state else 0, flush=True)
"""


@dataclass(frozen=True)
class Life:
    """One process: how it ended, the step of the checkpoint it left, and the steps it began."""

    status: int
    saved: int
    begun: list[int]


def lives_of(folder: Path, kind: str) -> list[Life]:
    tests = str(Path(__file__).resolve().parents[1])
    words = [sys.executable, "-c", LIVES, str(folder), tests, kind]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    step_of = {
        float(np.random.default_rng((0, step, window)).uniform(-1, 1, 8)[0]): step
        for step in range(STEPS)
        for window in range(WINDOWS)
    }
    lives = []
    for line in done.stdout.splitlines():
        life, status, saved = map(int, line.split())
        drawn = (folder / f"life.{life:02d}").read_text().split()
        lives.append(Life(status, saved, sorted({step_of[float(number)] for number in drawn})))
    return lives


def check_that_little_was_done_again(lives: list[Life]) -> int:
    """Return how many steps were begun more than once."""
    again = 0
    saved, reached = 0, 0
    for life in lives:
        assert life.saved >= saved, "a checkpoint went back"
        if life.begun:
            assert life.begun[0] == saved, "a life begins at the checkpoint"
            repeated = max(reached - saved, 0)
            assert repeated <= SAVED_EVERY, "more was done again than since the last checkpoint"
            again += repeated
            reached = life.begun[-1] + 1
        saved = life.saved
    return again


def comparable(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in state.items() if name != "trained_s"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder, task = tmp_path_factory.mktemp("whole"), JudgedLineTask()
    with opened(folder, {}) as run:
        train(task, line_learner(), run, CHOSEN, clock=lambda: task.now)
    return RunFolder(folder)


def test_killed_ten_times_it_ends_as_one_that_was_not(tmp_path: Path, whole: RunFolder) -> None:
    lives = lives_of(tmp_path, "resumed")
    assert [life.status for life in lives] == [9] * KILLS + [0]
    again = check_that_little_was_done_again(lives)
    assert 0 < again <= KILLS * SAVED_EVERY
    run = RunFolder(tmp_path / "run")
    saved, expected = run.checkpoint(), whole.checkpoint()
    assert saved is not None
    assert expected is not None
    assert same(comparable(saved), comparable(expected))
    best = run.best()
    assert best is not None
    assert same(best, whole.best())
    assert without_times(run) == without_times(whole)
    counted = [record["steps_again"] for record in run.metrics() if record.get("event") == "resumed"]
    assert max(counted) <= SAVED_EVERY


def test_begun_anew_each_time_it_is_told_apart_although_the_end_is_the_same(
    tmp_path: Path, whole: RunFolder
) -> None:
    lives = lives_of(tmp_path, "anew")
    saved, expected = RunFolder(tmp_path / "run").checkpoint(), whole.checkpoint()
    assert saved is not None
    assert expected is not None
    assert same(comparable(saved), comparable(expected))
    with pytest.raises(AssertionError, match=r"begins at the checkpoint|went back"):
        check_that_little_was_done_again(lives)
