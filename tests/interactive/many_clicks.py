"""Two hundred clicks on a large scan, in a process of its own: prints what it held before and at most, in bytes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataclasses import replace

from interactive.small_session import click, segmenter
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.machine import peak_resident_bytes
from vesalius.inference.plan import resident_bytes
from vesalius.inference.segmenter import Segmenter
from vesalius.interactive.session import Session

SHAPE = (512, 512, 400)
TARGETS = ("liver", "spleen", "aorta", "hepatic tumor", "new:cyst")


def main() -> None:
    torch.set_num_threads(1)
    small = segmenter()
    model = Segmenter(small.network, replace(small.spec, spacing_mm=(1.5, 1.5, 1.5), window_size=(96, 96, 96)))
    rng = np.random.default_rng(0)
    data = np.full((1, *SHAPE), -1000, dtype=np.int16)
    data[:, 40:470, 80:430, 10:390] = rng.normal(40, 60, (1, 430, 350, 380)).astype(np.int16)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[60:260, 120:380, 200:380], labels[300:440, 120:380, 200:380] = 1, 2
    grid = Grid(SHAPE, np.diag([0.8, 0.8, 1.0, 1.0]))
    before = resident_bytes()
    session = Session(
        model,
        Volume(data, grid, "CT"),
        labels=LabelMap(labels, grid, {1: "liver", 2: "spleen"}),
        cache_bytes=1 << 30,
    )
    for number in range(200):
        voxel = (int(rng.integers(n)) for n in SHAPE)
        session.add(click(TARGETS[number % 5], *voxel, positive=bool(rng.random() < 0.7)))
        if number % 4 == 3:
            session.predict()
    while session.revision and session.state.prompts:
        session.undo()
    sys.stdout.write(f"{before} {peak_resident_bytes()} {len(session._workspace.history.future)}\n")


if __name__ == "__main__":
    main()
