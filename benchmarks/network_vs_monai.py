"""Time, memory and agreement of one window: our VISTA3D against MONAI's, for class prompts and for one click.

Each side runs in a process of its own, one after the other, with the same seeded weights and the same window. It
says its median time per window, its peak resident set after the weights were loaded, and its logits. Nothing is
downloaded: the weights are random, which changes neither time nor memory. MONAI in bf16 is its fp32 network under
autocast, as its bundle runs it; ours has its convolutions in bf16, as the segmenter runs it.

    python benchmarks/network_vs_monai.py [--window 128] [--times 3] [--classes 117] [--threads 2]
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import sides

SIDES = ("monai-fp32", "monai-bf16", "vesalius-fp32", "vesalius-bf16")
"""The first is the reference."""


class Network(NamedTuple):
    """What is timed: windows to logits ``[1, o, i, j, k]``."""

    segment: Callable[[Tensor], Tensor]
    click: Callable[[Tensor], Tensor]


def main() -> None:
    """Run every side, compare, print a table, write the JSON."""
    options = parse()
    torch.set_num_threads(options.threads)
    if options.side:
        measure_side(options)
        return
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    keep = ("window", "times", "classes", "threads")
    arguments = [part for name in keep for part in (f"--{name}", str(getattr(options, name)))]
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        measured = {
            side: sides.run_side(__file__, side, *arguments, "--logits", str(Path(folder) / side)) for side in SIDES
        }
        compare(measured, Path(folder))
    columns = list(measured[SIDES[0]])
    sides.print_table([["side", *columns], *([side, *row.values()] for side, row in measured.items())])
    load = {"before": before, "after": os.getloadavg()[0]}
    sides.write_result("network_vs_monai", {**vars(options), "load_average": load, "sides": measured})


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window", type=int, default=128, help="voxels along each axis")
    parser.add_argument(
        "--times", type=int, default=3, help="windows timed, after one that is not; the median counts"
    )
    parser.add_argument("--classes", type=int, default=117)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--logits", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure_side(options: argparse.Namespace) -> None:
    """Time one side, print its numbers as JSON, keep a part of its logits for the comparison."""
    warnings.simplefilter("ignore")
    library, precision = options.side.split("-")
    window = torch.rand(1, 1, *[options.window] * 3, generator=torch.Generator().manual_seed(0))
    class_ids = torch.arange(1, options.classes + 1)
    make = monai_network if library == "monai" else vesalius_network
    network = make(precision == "bf16", class_ids, torch.full((1, 1, 3), options.window / 2.5).floor())
    gc.collect()
    sides.forget_peak()
    from vesalius.models.layers.planes import workspace

    with torch.inference_mode(), workspace():  # which MONAI's side makes no use of
        logits, seconds = timed(network.segment, window, options.times)
        peak = sides.peak_gigabytes()
        classes = logits[0, :, ::4, ::4, ::4].float().clone()
        del logits
        clicked, click_seconds = timed(network.click, window, 1)
    torch.save({"class": classes, "click": clicked.float()}, options.logits)
    print(json.dumps({"window_s": seconds, "peak_gb": peak, "click_from_nothing_s": click_seconds}))


def timed(run: Callable[[Tensor], Tensor], window: Tensor, times: int) -> tuple[Tensor, float]:
    """Return the last result and the median seconds, after one run that is not counted."""
    seconds, result = [], run(window)
    for _ in range(times):
        del result
        start = time.perf_counter()
        result = run(window)
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds)


def monai_network(bf16: bool, class_ids: Tensor, point: Tensor) -> Network:
    """MONAI's network, called as its bundle calls it."""
    from monai.networks.nets import vista3d132

    network = vista3d132()
    network.load_state_dict(seeded_state(network.state_dict()))
    network.eval()

    def segment(window: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits: Tensor = network(window, class_vector=class_ids[:, None]).transpose(0, 1)
        return logits

    def click(window: Tensor) -> Tensor:
        one = torch.tensor([[1]])
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits: Tensor = network(window, point_coords=point, point_labels=one.clone(), prompt_class=one)
        return logits

    return Network(segment, click)


def vesalius_network(bf16: bool, class_ids: Tensor, point: Tensor) -> Network:
    """Our network, as the segmenter calls it."""
    from vesalius.checkpoints.formats.vista3d_official import convert, official_shapes
    from vesalius.models import build, optimise_for_inference
    from vesalius.spec import VistaArchitecture

    shapes = official_shapes(VistaArchitecture())
    state, spec = convert(seeded_state({name: torch.empty(shape) for name, shape in shapes.items()}))
    network = build(spec.architecture)
    network.load_state_dict(state)
    optimise_for_inference(network, dtype=torch.bfloat16 if bf16 else torch.float32)

    def click(window: Tensor) -> Tensor:
        return network.point_logits(window, point, torch.tensor([[1]]), torch.tensor([True]))

    return Network(lambda window: network.class_logits(window, class_ids), click)


def seeded_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Draw weights by name, as the parity tests do."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "parity"))
    from seeded_weights import seeded_state as draw

    drawn: dict[str, Tensor] = draw(state)
    return drawn


def compare(measured: dict[str, dict[str, Any]], folder: Path) -> None:
    """Add to every side how it stands to the reference: ratios, and how far its logits lie away."""
    reference = torch.load(folder / SIDES[0])
    for side, row in measured.items():
        row["window_ratio"] = row["window_s"] / measured[SIDES[0]]["window_s"]
        row["peak_ratio"] = row["peak_gb"] / measured[SIDES[0]]["peak_gb"]
        logits = torch.load(folder / side)
        for name, expected in reference.items():
            row[f"{name}_difference"] = ((logits[name] - expected).abs().max() / expected.abs().max()).item()
            row[f"{name}_same_sign"] = ((logits[name] > 0) == (expected > 0)).float().mean().item()


if __name__ == "__main__":
    main()
