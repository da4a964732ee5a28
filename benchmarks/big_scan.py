"""Segment a phantom of 512×512×1000 voxels as a user would, and hold memory and time against the forecast.

The phantom is written as an uncompressed NIfTI; the full-width network has seeded random weights, so its labels
mean nothing, are ragged everywhere and are the worst case for making labels; 117 classes are asked for.

    python benchmarks/big_scan.py [--shape 512,512,1000 --spacing 0.75,0.75,1] [--model vesalius-small]
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import sides
from auto_vs_monai import write_weights


def main() -> None:
    """Make the scan, run the command, print forecast beside measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="512,512,1000")
    parser.add_argument("--spacing", default="0.75,0.75,1")
    parser.add_argument("--model", help="by default the full-width network with seeded weights")
    parser.add_argument("--max-memory", default="8GB")
    parser.add_argument("--name", default="big_scan", help="of the JSON in benchmarks/results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = write_scan(folder, options.shape, options.spacing)
        model = options.model or str(write_weights(folder))
        command = [sys.executable, "-m", "vesalius", "segment", str(scan), "-o", str(folder / "out")]
        command += ["--model", model, "--max-memory", options.max_memory, "--unvalidated"]
        subprocess.run(command, check=True)
        run = json.loads((folder / "out" / "run.json").read_text())
    forecast, took = run["plan"], run["duration_s"]
    measured = {
        "shape": options.shape,
        "spacing_mm": options.spacing,
        "windows": forecast["windows"],
        "empty_windows": forecast["empty_windows"],
        "classes": forecast["classes"],
        "precision": forecast["precision"],
        "peak_gb": run["peak_bytes"] / 1e9,
        "forecast_peak_gb": forecast["peak_bytes"] / 1e9,
        "memory_forecast_over_measured": forecast["peak_bytes"] / run["peak_bytes"],
        "seconds": took,
        "forecast_seconds": forecast["seconds"],
        "time_forecast_over_measured": forecast["seconds"] / took,
        "phases": run["seconds"],
    }
    sides.print_table([["measured", "value"], *([key, value] for key, value in measured.items())])
    sides.write_result(options.name, measured)


def write_scan(folder: Path, shape: str, spacing: str) -> Path:
    """Write a phantom through the command line, in a process of its own; return the image."""
    out = folder / "phantom"
    command = [sys.executable, "-m", "vesalius", "phantom", str(out), "--shape", shape, "--spacing", spacing]
    subprocess.run([*command, "--format", "nifti"], check=True)
    return next(path for path in sorted(out.iterdir()) if "label" not in path.name and ".nii" in path.name)


if __name__ == "__main__":
    main()
