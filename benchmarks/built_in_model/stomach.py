"""Say what the stomach of the one development torso is worth as a judge, and what two editions find of it.

::

    python benchmarks/built_in_model/stomach.py --first runs/small/first-edition

Its silver label ends where swallowed contrast begins. Both editions are measured by that label and by the one that
``rules.filled_stomach`` makes of it, asked for all twenty classes, in fp32; volumes are on voxels of the scan.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from evaluate import MENDED, dice, segment, torso
from export import FOLDER
from prepare import OBELISK

sys.path.insert(0, str(Path(__file__).parents[1]))
import sides
import vesalius
from vesalius.checkpoints.load import load_model
from vesalius.inference.segmenter import Segmenter

OUT = Path("benchmarks/results/built_in_model_stomach.json")


def main() -> None:
    """Measure both editions by both labels; print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first", type=Path, required=True, help="a folder with the first edition")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    reference = next(iter(torso(arguments.data)))
    drawn = vesalius.read(arguments.data / "abdomen-ct-silver" / f"{reference.name}_obelisk_silver.nii.gz").data[0]
    silver = drawn == {name: label for label, name in OBELISK.items()}[MENDED]
    mended = reference.masks[MENDED]
    voxel_ml = float(np.prod(reference.scan.grid.spacing_mm)) / 1000
    results: dict[str, object] = {
        "command": " ".join(["python", *sys.argv]),
        "commit": sides.commit(),
        "silver_ml": round(float(silver.sum()) * voxel_ml, 1),
        "mended_ml": round(float(mended.sum()) * voxel_ml, 1),
    }
    for edition, folder in (("first", arguments.first), ("second", FOLDER)):
        loaded = load_model(folder, dtype=torch.float32)
        found = segment(Segmenter(loaded.network, loaded.spec), reference.scan).mask(MENDED)
        results[edition] = {
            "weights": sides.weights(folder),
            "dice_silver": round(dice(found, silver) or 0.0, 4),
            "dice_mended": round(dice(found, mended) or 0.0, 4),
            "found_ml": round(float(found.sum()) * voxel_ml, 1),
            "found_of_mended": round(float((found & mended).sum() / mended.sum()), 3),
        }
    print(json.dumps(results, indent=1))
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
