"""Supervoxels: whether memory grows with the scan, how well parts follow structures, and what SAM takes.

Memory: a phantom and one of twice the slices, each divided in a process of its own (``VmHWM``), at 1.5 mm and with
the settings users get. Following: prepared scans of head and neck, on the grid that they are kept at, divided on
voxels of 4 mm. A structure's Dice is what the parts allow: those of which more than half lies in it are taken.
Beside it stands the same for cubes, as many as there are parts in the body: parts that follow nothing. Structures
of fewer than ``LEAST`` voxels are left out. With 400 parts a scan, the default, nearly every structure is smaller
than a part, so most settings are compared with ten times as many. SAM: its ViT-B with random weights, asked for one
slice, as the job asks it; any slice fills its window.

    python benchmarks/supervoxels.py [--scans 2 --slices 140 --jobs 1]
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sides

sys.path.insert(0, str(Path(__file__).parent / "built_in_model"))
from specification import SPEC

from vesalius.checkpoints.catalog import SAM_SPECS
from vesalius.checkpoints.load import load_any
from vesalius.curation.supervoxels import SupervoxelSettings, supervoxels_of
from vesalius.data.phantom import PhantomConfig, make_phantom
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import Volume
from vesalius.models.build import build

GROUP = "head-neck"
COMPACTNESS = (0.001, 0.01, 0.1)
CHANNELS = (4, 8, 16)
SETTINGS = (
    *((4000, channels, compactness) for channels in CHANNELS for compactness in COMPACTNESS),
    *((400, 16, compactness) for compactness in COMPACTNESS),
)
"""Segments, channels, compactness."""
SPACING_MM = 4.0
"""Of the voxels divided; about the scans' own."""
PLANE = (128, 128)
LEAST = 30
HALVINGS = 16


def main() -> None:
    """Measure both, print tables, write the JSON."""
    options = parse()
    torch.set_num_threads(1)
    if options.side:
        measure = {"sam": encode_by_sam, "following": follow}.get(options.side, divide_phantom)
        print(json.dumps(measure(options)))
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="supervoxels_"))
    scans = ["--cases", str(options.cases), "--group", options.group, "--scans", str(options.scans)]
    runs = [("", side, ["--slices", str(count * options.slices)]) for side, count in (("once", 1), ("twice", 2))]
    runs += [("", "following", scans), ("", "sam", [])]
    *memory, following, sam = sides.each_once(folder, __file__, runs, jobs=options.jobs)
    for table in (memory, list(following.values()), [sam]):
        sides.print_table([list(table[0]), *(list(row.values()) for row in table)])
    about = {"plane": PLANE, "spacing_mm": 1.5, "scans": options.scans, "scans_spacing_mm": SPEC.spacing_mm}
    about |= {"divided_at_mm": SPACING_MM, "least_voxels": LEAST}
    sides.write_result("supervoxels", {**about, "memory": memory, "following": following, "sam": sam})


def divide_phantom(options: argparse.Namespace) -> dict[str, Any]:
    """Divide a phantom with the settings users get, and say what that took."""
    model, slices = load_any("vesalius-small"), options.slices
    config = PhantomConfig(shape=(*PLANE, slices), spacing_mm=(1.5, 1.5, 1.5), overlaps=False)
    volume, _ = make_phantom(config)
    sides.forget_peak()
    before, start = sides.peak_gigabytes(), time.process_time()
    found = supervoxels_of(volume, model, SupervoxelSettings())
    return {
        "slices": slices,
        "million_voxels": volume.data.size / 1e6,
        "parts": int(len(np.unique(found.data)) - 1),
        "held_before_gb": before,
        "peak_gb": sides.peak_gigabytes(),
        "seconds": time.process_time() - start,
    }


@torch.inference_mode()
def encode_by_sam(_options: argparse.Namespace) -> dict[str, Any]:
    """Show SAM's ViT-B a slice, and say what that took beside its weights."""
    height, width, _ = SAM_SPECS[0].window_size
    network, image = build(SAM_SPECS[0].architecture).eval(), torch.rand(1, 1, height, width)
    sides.forget_peak()
    before, start = sides.peak_gigabytes(), time.process_time()
    network(image)
    seconds = time.process_time() - start
    return {"pixels": height, "seconds": seconds, "beside_weights_gb": sides.peak_gigabytes() - before}


def follow(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return setting -> the mean of what parts and cubes allow, over structures and scans, and their numbers."""
    model, scans = load_any("vesalius-small"), read_scans(options)
    rows = {}
    for segments, channels, compactness in SETTINGS:
        wanted = {"segments": segments, "channels": channels, "compactness": compactness}
        settings, start = SupervoxelSettings(**wanted, spacing_mm=SPACING_MM), time.process_time()
        divided = [(supervoxels_of(volume, model, settings).data, labels) for volume, labels in scans]
        seconds = (time.process_time() - start) / len(scans)
        cubes = [(cubes_like(parts), labels) for parts, labels in divided]
        measured = {
            "dice": mean_of(allowed(parts, labels) for parts, labels in divided),
            "dice_of_cubes": mean_of(allowed(parts, labels) for parts, labels in cubes),
            "parts": [count(parts) for parts, _ in divided],
            "cubes": [count(parts) for parts, _ in cubes],
            "structures": sum(len(allowed(parts, labels)) for parts, labels in divided),
        }
        name = f"{segments} segments, {channels} channels, compactness {compactness}"
        rows[name] = {**wanted, **measured, "seconds_a_scan": seconds}
    return rows


def read_scans(options: argparse.Namespace) -> list[tuple[Volume, np.ndarray]]:
    """Return the first scans of head and neck by name, and what was drawn in them."""
    found = []
    for path in sorted(options.cases.glob("[!.]*.npz")):
        with np.load(path, allow_pickle=False) as file:
            if str(file["group"]) != options.group or not file["image"].size:
                continue
            grid = Grid(file["labels"].shape, np.diag([*SPEC.spacing_mm, 1.0]))
            found.append((Volume(file["image"][None], grid, "CT"), file["labels"]))
        if len(found) == options.scans:
            break
    return found


def allowed(parts: np.ndarray, labels: np.ndarray) -> list[float]:
    """Return the Dice of each structure made of the parts of which more than half lies in it."""
    sizes = np.bincount(parts.ravel())
    found = []
    for label in np.unique(labels):
        inside = np.bincount(parts[labels == label], minlength=len(sizes))
        if label in (0, 255) or inside.sum() < LEAST:
            continue
        taken = (2 * inside > sizes) & (np.arange(len(sizes)) > 0)
        found.append(float(2 * inside[taken].sum() / (sizes[taken].sum() + inside.sum())))
    return found


def cubes_like(parts: np.ndarray) -> np.ndarray:
    """Return cubes in the voxels that have a part, of the side at which their number is nearest to that of parts.

    Counted are cubes of which anything is in the body, as parts are. Fewer as they grow, but not at every step: the
    nearest of all that halving the bounds comes by is taken.
    """
    wanted, bounds = count(parts), [min(SPEC.spacing_mm), 2 * max(SPEC.spacing_mm) * max(parts.shape)]
    tried = []
    for _ in range(HALVINGS):
        side_mm = sum(bounds) / 2
        tried.append(cubes_of(parts > 0, side_mm))
        bounds[0 if count(tried[-1]) > wanted else 1] = side_mm
    return min(tried, key=lambda cubes: abs(count(cubes) - wanted))


def cubes_of(body: np.ndarray, side_mm: float) -> np.ndarray:
    """Return a body cut into cubes: numbers from 1."""
    corners = [
        ((np.arange(length) + 0.5) * spacing // side_mm).astype(int)
        for length, spacing in zip(body.shape, SPEC.spacing_mm, strict=True)
    ]
    numbers = 1 + np.ravel_multi_index(np.ix_(*corners), [int(corner[-1]) + 1 for corner in corners])
    return np.where(body, numbers, 0)


def count(parts: np.ndarray) -> int:
    """Return how many parts there are."""
    return int((np.bincount(parts.ravel())[1:] > 0).sum())


def mean_of(scans: Iterable[list[float]]) -> float:
    """Return the mean over scans of the mean over structures."""
    return float(np.mean([np.mean(dice) for dice in scans if dice]))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, default=Path("runs/built_in_model/cases"))
    parser.add_argument("--group", default=GROUP, help="of the prepared cases")
    parser.add_argument("--scans", type=int, default=2)
    parser.add_argument("--slices", type=int, default=140, help="of the smaller phantom")
    parser.add_argument("--folder", type=Path, help="where what was measured is kept; by default a new one")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--side", choices=("once", "twice", "following", "sam"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
