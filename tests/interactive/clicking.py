"""A process that clicks until it is killed: the children of one parent that has imported all it needs.

A line on standard input, ``JOURNAL SEED``, begins a session in a child of its own, which prints its process id and
then each prompt that was acknowledged. Forking spares every child the seconds that importing takes.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from interactive.small_session import SHAPE, click, organs, scan, segmenter
from vesalius.interactive.session import Session

TARGETS = ("liver", "spleen", "aorta", "new:cyst")


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def run(path: Path, seed: int) -> None:
    """Add, remove and move clicks, predict now and then; say what was acknowledged."""
    rng = np.random.default_rng(seed)
    volume = scan()
    session = Session(segmenter(), volume, labels=organs(volume), journal=path)
    say(os.getpid())
    for _ in range(10_000):
        prompt = click(TARGETS[rng.integers(4)], *(int(rng.integers(n)) for n in SHAPE))
        match int(rng.integers(8)):
            case 0:
                session.predict()
            case 1 if session.prompts:
                gone = int(rng.choice(list(session.prompts)))
                session.remove(gone)
                say("removed", gone)
            case 2 if session.prompts:
                moved = int(rng.choice(list(session.prompts)))
                session.move(moved, prompt)
                say("placed", moved, *prompt.voxel)
            case _:
                say("placed", session.add(prompt), *prompt.voxel)
        time.sleep(rng.random() / 200)


def main() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are not waited for
    for line in sys.stdin:
        if line == "mark\n":
            say("mark")
            continue
        path, seed = line.split()
        if os.fork() == 0:
            run(Path(path), int(seed))
            os._exit(0)


if __name__ == "__main__":
    main()
