"""Two hundred clicks on twenty structures of a large scan: prints bytes held before, at most, and in the cache.

The network is stood in for by what it holds (image maps, and a pass of the full-width VISTA3D in fp32, in windows
of its size); its masks are balls around the clicks.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataclasses import replace

from interactive.small_session import click, segmenter
from vesalius.allowance import peak_resident_bytes, resident_bytes
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.segmenter import Segmenter
from vesalius.interactive import logits as click_logits
from vesalius.interactive.session import Session
from vesalius.models.point_head import PointHead

CACHE_BYTES = 1 << 30
SHAPE = (512, 512, 400)
TARGETS = ("liver", "spleen", "aorta", "hepatic tumor", *(f"new:thing {n}" for n in range(16)))
WINDOW, WIDTH, MAPS_OF_A_PASS = 128, 48, 3
RADIUS = 22.0


def pass_of_a_window(*_: object) -> torch.Tensor:
    torch.ones(MAPS_OF_A_PASS, WIDTH, WINDOW, WINDOW, WINDOW)
    return torch.ones(1, WIDTH, WINDOW // 2, WINDOW // 2, WINDOW // 2)


def balls(_: object, __: object, points: torch.Tensor, labels: torch.Tensor, *___: object) -> torch.Tensor:
    line = torch.arange(float(WINDOW))
    axes = (line[:, None, None], line[:, None], line)
    result = torch.full((1, 1, WINDOW, WINDOW, WINDOW), -RADIUS)
    for point, label in zip(points[0], labels[0].tolist(), strict=True):
        depth = RADIUS - sum((axis - at) ** 2 for axis, at in zip(axes, point.tolist(), strict=True)).sqrt()
        result[0, 0] = torch.maximum(result[0, 0], depth) if label % 2 else torch.minimum(result[0, 0], -depth)
    return result


def main() -> None:
    torch.set_num_threads(1)
    small = segmenter()
    sizes = {"spacing_mm": (1.5, 1.5, 1.5), "window_size": (WINDOW, WINDOW, WINDOW)}
    model = Segmenter(small.network, replace(small.spec, **sizes))
    click_logits.compute_image_map, PointHead.logits = pass_of_a_window, balls
    rng = np.random.default_rng(0)
    data = np.full((1, *SHAPE), -1000, dtype=np.int16)
    data[:, 40:470, 80:430, 10:390] = 40
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[60:260, 120:380, 200:380], labels[300:440, 120:380, 200:380] = 1, 2
    grid = Grid(SHAPE, np.diag([0.8, 0.8, 1.0, 1.0]))
    organs = LabelMap(labels, grid, {1: "liver", 2: "spleen"})
    before, start = resident_bytes(), time.perf_counter()
    session = Session(model, Volume(data, grid, "CT"), labels=organs, cache_bytes=CACHE_BYTES)
    seconds = []
    centres = rng.uniform((40, 40, 40), np.asarray(SHAPE) - 40, (len(TARGETS), 3))
    for number in range(200):
        which = number % len(TARGETS)
        voxel = rng.normal(centres[which], 25).clip(0, np.asarray(SHAPE) - 1).tolist()
        session.add(click(TARGETS[which], *voxel, positive=bool(rng.random() < 0.7)))
        begun = time.process_time()
        session.predict()
        seconds.append(time.process_time() - begun)
        if number in (99, 199):
            session.accept()
    for _ in range(20):
        session.undo()
    sys.stdout.write(f"{before} {peak_resident_bytes()} {session.image_maps.held_bytes}\n")
    median, last = np.median(seconds), np.mean(seconds[-10:])
    sys.stderr.write(f"{time.perf_counter() - start:.0f} s, {len(session.state.windows)} windows; ")
    sys.stderr.write(f"processor time of a prediction: median {median:.2f} s, last ten {last:.2f} s\n")


if __name__ == "__main__":
    main()
