"""Time the files of one result: 512×512×400 voxels, 117 classes; by file, and together as ``segment`` writes them.

``python benchmarks/result_files.py [--shape I,J,K]``. The labels are the phantom's,
made at half the resolution, doubled, and cut along the body into 117.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sides import RESULTS, machine, peak_gigabytes
from vesalius.checkpoints.catalog import VISTA3D_SPEC
from vesalius.data.phantom import PhantomConfig, make_phantom
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.plan import Plan
from vesalius.inference.result_files import ResultOptions, RunFacts, write_result
from vesalius.inference.review import measure
from vesalius.inference.segmenter import Segmentation
from vesalius.inference.windows import WindowLayout
from vesalius.io.formats import write
from vesalius.labels.vocabulary import Vocabulary
from vesalius.views.preview import png_bytes, render_preview

CLASSES = 117


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="512,512,400")
    shape = tuple(int(side) for side in parser.parse_args().shape.split(","))
    seconds: dict[str, float] = {}
    volume, labels = timed(seconds, "phantom", lambda: cut_phantom(shape))
    vocabulary = Vocabulary.of(VISTA3D_SPEC.vocabulary, everything=VISTA3D_SPEC.everything)
    targets = vocabulary.resolve(())
    findings = timed(seconds, "measuring", lambda: measure(volume, labels, targets, vocabulary))
    result = Segmentation(labels=labels, findings=findings, plan=plan_of(volume), seconds={})
    with tempfile.TemporaryDirectory() as folder:
        for name in ("labels.nii.gz", "labels.seg.nrrd"):
            timed(seconds, name, lambda name=name: write(labels, Path(folder) / name))
        timed(seconds, "preview.png", lambda: png_bytes(render_preview(volume, labels, findings)))
        for name, options in {
            "all files": ResultOptions(),
            "all files, --format nifti,seg.nrrd": ResultOptions(formats=("nifti", "seg.nrrd")),
            "all files, --split": ResultOptions(split=True),
        }.items():
            place = Path(folder) / name.replace(" ", "_")
            place.mkdir()
            timed(seconds, name, lambda o=options, p=place: write_result(p, volume, result, facts(), options=o))
    record = {
        "machine": machine(),
        "shape": shape,
        "classes": CLASSES,
        "found": len(findings.found),
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "peak_gb": peak_gigabytes(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "result_files.json").write_text(json.dumps(record, indent=2) + "\n")


def cut_phantom(shape: tuple[int, ...]) -> tuple[Volume, LabelMap]:
    """Return the phantom, doubled, with its labels cut along the body until there are 117."""
    volume, labels = doubled(*make_phantom(PhantomConfig(shape=(shape[0] // 2, shape[1] // 2, shape[2] // 2))))
    there = np.flatnonzero(np.bincount(labels.data.ravel(), minlength=256))[1:]
    pieces = -(-CLASSES // len(there))
    ids = VISTA3D_SPEC.everything
    for k in range(shape[2]):
        table = np.zeros(256, np.uint8)
        piece = k * pieces // shape[2]
        table[there] = [ids[(number * pieces + piece) % CLASSES] for number in range(len(there))]
        labels.data[:, :, k] = table[labels.data[:, :, k]]
    names = {label: VISTA3D_SPEC.names[label] for label in ids}
    return volume, LabelMap(labels.data, labels.grid, names)


def doubled(volume: Volume, labels: LabelMap) -> tuple[Volume, LabelMap]:
    """Return both with every voxel cut into eight, stored as a segmentation stores them: i fastest."""
    grid = volume.grid.respaced([side / 2 for side in volume.grid.spacing_mm])
    fine = [
        np.asfortranarray(array.repeat(2, 0).repeat(2, 1).repeat(2, 2)) for array in (volume.data[0], labels.data)
    ]
    return Volume(fine[0][None], grid, volume.modality), LabelMap(fine[1], grid, labels.names)


def plan_of(volume: Volume) -> Plan:
    """Return a plan that says nothing; the record of a run holds one."""
    layout = WindowLayout(
        shape=(128, 128, 128),
        window_size=(128, 128, 128),
        starts=((0,), (0,), (0,)),
        axis=2,
        blending="partition",
    )
    return Plan(
        layout=layout, grid=volume.grid, precision="bf16", accumulate=torch.float16, gave_way=False,
        num_empty=0, num_classes=CLASSES, phases={"none": {"nothing": 0}}, seconds=0.0,
    )  # fmt: skip


def facts() -> RunFacts:
    """Return what a run would know of itself."""
    model = {"name": "none", "version": "1", "sha256": "", "licence": "none"}
    return RunFacts(
        input_name="phantom",
        input_path="phantom",
        input_sha256="",
        decided_by={},
        command=("vesalius",),
        model=model,
        created="",
        started=time.perf_counter(),
    )


def timed(seconds: dict[str, float], name: str, job: Callable[[], Any]) -> Any:
    """Do a job, print and remember how long it took."""
    start = time.perf_counter()
    result = job()
    seconds[name] = time.perf_counter() - start
    print(f"{name:<36} {seconds[name]:6.2f} s", flush=True)
    return result


if __name__ == "__main__":
    main()
