"""Time the hand-over: features on the model's grid to labels, statistics and files on the scan's own.

Features are made from the labels of a phantom at 1.5 mm, 117 classes asked for; the scan is 512×512×400 at
0.75×0.75×1 mm. ``--check`` also computes every voxel densely (no shortcut) and counts the differences.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from sides import peak_gigabytes, print_table, run_side, write_result
from vesalius.data.phantom import PhantomConfig, make_phantom
from vesalius.geometry.grid import Grid
from vesalius.geometry.resample import axis_maps
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.labelling import LabelMaker, Layer
from vesalius.inference.result_files import statistics_csv
from vesalius.inference.review import measure
from vesalius.io.formats import write
from vesalius.labels.vista3d import EVERYTHING, STRUCTURES
from vesalius.labels.vocabulary import Vocabulary

WIDTH, PLANES = 48, 96


def class_features() -> tuple[torch.Tensor, torch.Tensor]:
    """Return a class vector for each class, and the feature of a voxel of each id (row 0: background)."""
    generator = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(len(EVERYTHING), WIDTH - 1, generator=generator), dim=1)
    vectors = torch.cat([torch.ones(len(EVERYTHING), 1), 2 * unit], dim=1)
    table = torch.zeros(256, WIDTH)
    table[:, 0] = -3.0
    for row, label in enumerate(EVERYTHING):
        table[label] = torch.cat([torch.tensor([-1.4]), 1.2 * unit[row]])
    return vectors, table


def feature_blocks(labels: torch.Tensor, table: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield smooth features plane by plane (k, j, i), as finished windows would."""
    for start in range(0, labels.shape[0], PLANES):
        first, last = max(start - 1, 0), min(start + PLANES, labels.shape[0])
        padded = range(first - 1, last + 1)
        planes = labels[[min(max(p, 0), labels.shape[0] - 1) for p in padded]].long()
        features = table[planes].permute(3, 0, 1, 2)[None]
        for axis in (2, 3, 4):
            kernel, stride, pad = [1, 1, 1], [1, 1, 1], [0, 0, 0]
            kernel[axis - 2] = 3
            pad[axis - 2] = 0 if axis == 2 else 1
            features = torch.nn.functional.avg_pool3d(features, kernel, stride, pad, count_include_pad=False)
        yield features[0].permute(1, 2, 3, 0).half().contiguous()


def side(name: str, shape: tuple[int, int, int]) -> dict[str, float]:
    """Make labels one way; write them to a file the other way can be compared with."""
    volume, phantom = make_phantom(PhantomConfig(shape=shape, spacing_mm=(0.75, 0.75, 1.0), overlaps=False))
    grid, model = volume.grid, volume.grid.respaced((1.5, 1.5, 1.5))
    coarse = _nearest(phantom, model)
    vectors, table = class_features()
    target = np.zeros(grid.shape, dtype=np.uint8, order="F")
    maps = axis_maps(model, grid)
    layer = Layer(class_vectors=vectors, labels=torch.tensor(EVERYTHING), target=target.transpose(2, 1, 0))
    maker = LabelMaker(maps=(maps[2], maps[1], maps[0]), layers=[layer], shortcut=name == "ours")
    labelling = 0.0
    for block in feature_blocks(coarse, table):
        start = time.perf_counter()
        with torch.inference_mode():
            maker.feed(block)
        labelling += time.perf_counter() - start
    times = {"labelling": labelling} | (_deliver(volume, target) if name == "ours" else {})
    np.save(Path(tempfile.gettempdir()) / f"handover_{name}.npy", target)
    return {**times, "total": sum(times.values()), "peak_gb": peak_gigabytes()}


def _nearest(labels: LabelMap, model: Grid) -> torch.Tensor:
    index = [axis.nearest().numpy() for axis in axis_maps(labels.grid, model)]
    return torch.from_numpy(np.ascontiguousarray(labels.data[np.ix_(*index)].transpose(2, 1, 0)))


def _deliver(volume: Volume, target: np.ndarray) -> dict[str, float]:
    vocabulary = Vocabulary.of([(s.id, s.name) for s in STRUCTURES if s.id in EVERYTHING])
    targets = vocabulary.resolve([])
    labels = LabelMap(target, volume.grid, {t.id: t.name for t in targets})
    start = time.perf_counter()
    findings = measure(volume, labels, targets, vocabulary)
    measured = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        write(labels, Path(folder) / "labels.nii.gz", like=volume)
        (Path(folder) / "statistics.csv").write_text(statistics_csv(findings))
        (Path(folder) / "labels.json").write_text(json.dumps(findings.as_dict()))
        written = time.perf_counter()
    return {"statistics": measured - start, "files": written - measured}


def main() -> None:
    """Run the sides and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="512,512,400")
    parser.add_argument("--check", action="store_true", help="also compute every voxel densely, and compare")
    parser.add_argument("--side")
    args = parser.parse_args()
    shape = tuple(int(n) for n in args.shape.split(","))
    if args.side:
        print(json.dumps(side(args.side, shape)))
        return
    ours = run_side(__file__, "ours", "--shape", args.shape)
    result: dict[str, object] = {"shape": shape, "classes": len(EVERYTHING), "ours": ours}
    rows: list[list[object]] = [["", *ours], ["ours", *ours.values()]]
    if args.check:
        dense = run_side(__file__, "dense", "--shape", args.shape)
        a, b = (
            np.load(Path(tempfile.gettempdir()) / f"handover_{n}.npy", mmap_mode="r") for n in ("ours", "dense")
        )
        result |= {
            "dense": dense,
            "voxels_that_differ": int((a != b).sum()),
            "voxels": a.size,
            "labels_found": len(np.unique(a)) - 1,
        }
        print(f"voxels that differ from the dense computation: {result['voxels_that_differ']} of {a.size}")
    print_table(rows)
    write_result("handover", result)


if __name__ == "__main__":
    main()
