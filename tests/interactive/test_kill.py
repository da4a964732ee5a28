"""SIGKILL at any moment: every acknowledged prompt is there, and replay gives the same as doing it all again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from interactive.small_session import organs, scan, segmenter
from interactive.test_properties import seen
from vesalius.interactive.edits import AddPrompt, MovePrompt, Predict, RemovePrompt, edit_from_json
from vesalius.interactive.journal import Journal
from vesalius.interactive.session import Session

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")

VOLUME = scan()
MODEL = segmenter()


@pytest.fixture(scope="module")
def clicking() -> Iterator[subprocess.Popen[str]]:
    script = Path(__file__).with_name("clicking.py")
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def kill_after(clicking: subprocess.Popen[str], path: Path, seed: int, seconds: float) -> dict[int, list[float]]:
    """Let a child click for a while after its first prompt, kill it, and return what it said was acknowledged."""
    assert clicking.stdin is not None
    assert clicking.stdout is not None
    clicking.stdin.write(f"{path} {seed}\n")
    clicking.stdin.flush()
    child = int(clicking.stdout.readline())
    said = [clicking.stdout.readline()]
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    with suppress(ProcessLookupError):
        while True:  # until the system has let go of what it held
            os.kill(child, 0)
            time.sleep(0.01)
    clicking.stdin.write("mark\n")
    clicking.stdin.flush()
    said += iter(clicking.stdout.readline, "mark\n")
    there: dict[int, list[float]] = {}
    for verb, number, *voxel in (line.split() for line in said):
        if verb == "placed":
            there[int(number)] = [float(at) for at in voxel]
        else:
            del there[int(number)]
    return there


def done_again(path: Path) -> Session:
    """Do by hand what a journal says: every edit, and the predictions that came to an end."""
    journal, _, records = Journal.open(path)
    journal.close()
    ended = {record["predicted"] for record in records if "predicted" in record}
    session = Session(MODEL, VOLUME, labels=organs(VOLUME))
    for record in (record for record in records if "edit" in record):
        match edit_from_json(record):
            case AddPrompt(_, prompt):
                session.add(prompt)
            case MovePrompt(number, prompt):
                session.move(number, prompt)
            case RemovePrompt(number):
                session.remove(number)
            case Predict() if record["revision"] in ended:
                session.predict()
    return session


def check(clicking: subprocess.Popen[str], path: Path, seed: int, seconds: float) -> None:
    acknowledged = kill_after(clicking, path, seed, seconds)
    opened = Session.open(path, MODEL, VOLUME, labels=organs(VOLUME))
    voxels = {number: list(prompt.voxel) for number, prompt in opened.prompts.items()}
    last = opened.revision
    opened.close()
    # One edit more than was said may be there: the kill came between its line on disk and the word of it.
    missing = {number for number, voxel in acknowledged.items() if voxels.get(number) != voxel}
    extra = set(voxels) - set(acknowledged)
    assert len(missing | extra) <= 1, (missing, extra)
    if missing:
        journal, _, records = Journal.open(path)
        journal.close()
        final = [record for record in records if "edit" in record][-1]
        assert (final["revision"], final["edit"]) in {(last, "remove"), (last, "move")}
        assert {final["id"]} == missing
    assert opened.differences == ()
    assert seen(opened) == seen(done_again(path))


def test_a_kill_loses_no_acknowledged_click(clicking: subprocess.Popen[str], tmp_path: Path) -> None:
    check(clicking, tmp_path / "session.jsonl", seed=1, seconds=0.35)


@pytest.mark.slow
def test_twenty_kills_at_random_moments(clicking: subprocess.Popen[str], tmp_path: Path) -> None:
    moments = random.Random(0)
    for seed in range(20):
        check(clicking, tmp_path / f"{seed}.jsonl", seed, seconds=1.5 * moments.random())
