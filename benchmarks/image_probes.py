"""MedNIST by frozen features: a toy that learnt without labels, and VISTA3D's encoder of the built-in model.

    python benchmarks/pretraining_works.py --folder runs/pretraining_works --seeds 1
    python benchmarks/image_probes.py [--models runs/pretraining_works/seed-0 vesalius-small]

What ``vesalius probe`` prints for each: k-NN and a linear map on 1,800 images of six classes, asked of 600 others,
beside the same encoder at random, a thumbnail of eight by eight pixels, and chance.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

import sides

IMAGES = sides.SHARED_DATA / "classification" / "mednist_subset_2700.npz"

MODELS = ("runs/pretraining_works/seed-0", "vesalius-small")


def main() -> None:
    """Probe every model, print a table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS, help="names, model folders or runs")
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    rows: list[list[object]] = [["model", "features", "probe", "accuracy (95 %)"]]
    for model in arguments.models:
        words = ["probe", "--model", model, "--data", str(IMAGES), "--split", "test", "--threads", "1", "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "vesalius", *words], check=True, stdout=subprocess.PIPE, text=True
        )
        report = json.loads(done.stdout)
        found[model] = {name: report[name] for name in ("learnt_from", "cases", "scores", "gains")}
        for one in report["scores"]:
            mean = one["mean"]
            interval = f"{mean['estimate']:.3f} ({mean['low']:.3f} to {mean['high']:.3f})"
            rows.append([model, one["features"], one["probe"], interval])
    sides.print_table(rows)
    sides.write_result("image_probes", {"images": IMAGES.name, "models": found})


if __name__ == "__main__":
    main()
