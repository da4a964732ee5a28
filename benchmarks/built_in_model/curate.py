"""Make what stages 1 and 3 read beside people's labels: supervoxels, and an earlier model's reliable answers.

::

    python benchmarks/built_in_model/curate.py --model runs/small/first-edition --limit 69

The code of ``vesalius curate``, on the cases that ``prepare.py`` made. Both come from a model, by default the one
in the package; the second edition learnt from the first's. Synthetic cases are left as they are: every voxel of
them has a name. What is there is kept, so the script goes on where it was stopped.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from specification import SPEC

from vesalius.checkpoints.load import load_any, load_model
from vesalius.curation.pseudo_labels import reliable
from vesalius.curation.reliability import ReliabilitySettings, judge
from vesalius.curation.supervoxels import SupervoxelSettings, supervoxels_of
from vesalius.data.case import Case, load_case
from vesalius.errors import UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import Volume
from vesalius.inference.segmenter import Segmentation, Segmenter, SegmentOptions
from vesalius.io.atomic import replacing
from vesalius.models.build import optimise_for_inference

BUILT_IN = Path("src/vesalius/checkpoints/builtin/vesalius-small")
SUPERVOXELS = SupervoxelSettings(spacing_mm=4.0, segments=400, channels=8)
"""On voxels of about the model's own."""


def listed(folder: Path | None) -> dict[str, str]:
    """Return file name -> SHA-256 of what ``main`` made; a run that learnt from other files is not gone on with.

    Raises:
        UsageError: If there is nothing.
    """
    if folder is None:
        return {}
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("[!.]*.npz"))}
    if not files:
        raise UsageError(expected=f"what curate.py makes, in {folder}", got="nothing", do="run curate.py first")
    return files


def is_synthetic(case: Case) -> bool:
    """Say whether a case was made here, so that every voxel of it has a name."""
    return case.image_hu is None or case.group == "phantom"


def curated(case: Case, folder: Path | None) -> Case:
    """Return a scan with what ``main`` made for it; as it is if synthetic, or where nothing was made."""
    path = (folder or Path()) / f"{case.name}.npz"
    if folder is None or is_synthetic(case) or not path.is_file():
        return case
    with np.load(path) as made:
        return replace(case, supervoxels=made["supervoxels"], pseudo_labels=made["pseudo_labels"])


def main() -> None:
    """Divide and label every scan, and print how many answers of each class are kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=Path, default=Path("runs/built_in_model/cases"))
    parser.add_argument("--model", type=Path, default=BUILT_IN, help="whose encoder and whose answers")
    parser.add_argument("--out", type=Path, default=Path("runs/built_in_model/curated"))
    parser.add_argument(
        "--share", type=int, nargs=2, default=(0, 1), metavar=("I", "N"), help="every Nth from the Ith"
    )
    parser.add_argument("--limit", type=int, help="the first of them only")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    encoder, loaded = load_any(options.model), load_model(options.model)
    segmenter = Segmenter(optimise_for_inference(loaded.network), loaded.spec)
    how = SegmentOptions(unvalidated=True)

    def segment(volume: Volume) -> Segmentation:
        return segmenter.segment(volume, [label for label, _ in SPEC.vocabulary], options=how)

    kept: Counter[str] = Counter()
    for number, path in enumerate(sorted(options.cases.glob("[!.]*.npz"))[: options.limit]):
        case, place = load_case(path), options.out / path.name
        first, step = options.share
        if case.image_hu is None or is_synthetic(case) or number % step != first or place.is_file():
            continue
        volume = Volume(
            np.asarray(case.image_hu)[None], Grid(case.labels.shape, np.diag([*SPEC.spacing_mm, 1.0])), "CT"
        )
        rng = np.random.default_rng(number)
        answer, decisions = judge(volume, segment, segmenter.vocabulary, ReliabilitySettings(), rng)
        with replacing(place) as part:
            np.savez_compressed(
                part,
                supervoxels=supervoxels_of(volume, encoder, SUPERVOXELS).data,
                pseudo_labels=reliable(answer, decisions, segmenter.vocabulary).data,
            )
        kept.update(one.name for one in decisions if one.is_kept and one.class_id not in case.annotated)
        print(number, case.name, case.group, flush=True)
    print(json.dumps(kept))


if __name__ == "__main__":
    main()
