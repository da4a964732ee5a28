"""One 128³ window in bf16, encoder to mapped features: plain torch as we run it, torch.compile, OpenVINO.

Each side runs in a process of its own, one after the other, with the same seeded weights and the same window. The
compiled sides get the plain layers (no planes, no Winograd), which a compiler must fuse by itself. A side
whose package is not installed is left out and named; `pip install openvino` for the third.

    python benchmarks/backends.py [--window 128] [--times 3] [--threads 2]
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sides

SIDES = ("torch", "torch-plain-layers", "torch-compile", "openvino")
"""The first is what the package runs, and the reference."""


def main() -> None:
    """Run every side, print a table, write the JSON."""
    options = parse()
    if options.side:
        torch.set_num_threads(options.threads)
        measure_side(options)
        return
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    arguments = [
        part for name in ("window", "times", "threads") for part in (f"--{name}", str(getattr(options, name)))
    ]
    missing = [] if importlib.util.find_spec("openvino") else ["openvino"]
    with tempfile.TemporaryDirectory() as folder:
        measured = {
            side: sides.run_side(__file__, side, *arguments, "--features", str(Path(folder) / side))
            for side in options.sides.split(",")
            if side not in missing
        }
        compare(measured, Path(folder))
    columns = list(measured[SIDES[0]])
    sides.print_table([["side", *columns], *([side, *row.values()] for side, row in measured.items())])
    packages = {} if missing else {"openvino": version("openvino")}
    sides.write_result("backends", {**vars(options), **packages, "not_installed": missing, "sides": measured})


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window", type=int, default=128, help="voxels along each axis")
    parser.add_argument(
        "--times", type=int, default=3, help="windows timed, after one that is not; the median counts"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--features", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure_side(options: argparse.Namespace) -> None:
    """Time one side, print its numbers as JSON, keep a part of its features for the comparison."""
    warnings.simplefilter("ignore")
    window = torch.rand(1, 1, *[options.window] * 3, generator=torch.Generator().manual_seed(0))
    begun = time.perf_counter()
    run = {"torch": streamed, "torch-plain-layers": plain, "torch-compile": compiled, "openvino": converted}
    forward = run[options.side](window)
    features = forward(window)
    ready = time.perf_counter() - begun
    seconds = []
    for _ in range(options.times):
        start = time.perf_counter()
        features = forward(window)
        seconds.append(time.perf_counter() - start)
    torch.save(features[:, :, ::4, ::4, ::4].float().clone(), options.features)
    answer = {"window_s": statistics.median(seconds), "ready_s": ready, "peak_gb": sides.peak_gigabytes()}
    print(json.dumps(answer))


class MappedFeatures(nn.Module):
    """The automatic half of the network as one module with one input and one output."""

    def __init__(self) -> None:
        super().__init__()
        from vesalius.checkpoints.formats.vista3d_official import convert, official_shapes
        from vesalius.models import build, optimise_for_inference
        from vesalius.spec import VistaArchitecture

        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "parity"))
        from seeded_weights import seeded_state

        shapes = official_shapes(VistaArchitecture())
        state, spec = convert(seeded_state({name: torch.empty(shape) for name, shape in shapes.items()}))
        self.network = build(spec.architecture)
        self.network.load_state_dict(state)
        optimise_for_inference(self.network, dtype=torch.bfloat16)

    def forward(self, window: Tensor) -> Tensor:
        """Return the features class vectors are compared with."""
        return self.network.mapped_features(window)


@contextmanager
def plain_layers() -> Iterator[None]:
    """Let every layer take the way it takes in training."""
    from vesalius.models import point_head, segresnet
    from vesalius.models.layers import residual

    rooms = (point_head, segresnet, residual)
    before = [room.streams for room in rooms]
    for room in rooms:
        room.streams = lambda _: False
    try:
        yield
    finally:
        for room, streams in zip(rooms, before, strict=True):
            room.streams = streams


def streamed(_: Tensor) -> Callable[[Tensor], Tensor]:
    """Ours, as it is."""
    from vesalius.models.layers.planes import workspace

    network, shared = MappedFeatures(), ExitStack()
    shared.enter_context(workspace())
    return torch.inference_mode()(network.forward)


def plain(_: Tensor) -> Callable[[Tensor], Tensor]:
    """Ours without planes and Winograd."""
    network = MappedFeatures()

    def forward(window: Tensor) -> Tensor:
        with plain_layers(), torch.inference_mode():
            return network(window)

    return forward


def compiled(_: Tensor) -> Callable[[Tensor], Tensor]:
    """The plain layers through torch.compile, weights frozen."""
    import torch._inductor.config as inductor

    inductor.freezing = True
    network = torch.compile(MappedFeatures())

    def forward(window: Tensor) -> Tensor:
        with plain_layers(), torch.no_grad():
            features: Tensor = network(window)
        return features

    return forward


def converted(window: Tensor) -> Callable[[Tensor], Tensor]:
    """The plain layers through OpenVINO's processor plugin, in bf16."""
    import openvino

    network = MappedFeatures().float()
    with plain_layers(), torch.no_grad():
        model = openvino.convert_model(network, example_input=window)
    model.reshape(list(window.shape))
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "bf16",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino.Core().compile_model(model, "CPU", settings)
    return lambda some: torch.from_numpy(request(some.numpy())[0])


def compare(measured: dict[str, dict[str, Any]], folder: Path) -> None:
    """Add to every side how it stands to the first: time, and how far its features lie away."""
    reference = torch.load(folder / SIDES[0])
    for side, row in measured.items():
        row["window_ratio"] = row["window_s"] / measured[SIDES[0]]["window_s"]
        features = torch.load(folder / side)
        row["difference"] = ((features - reference).abs().max() / reference.abs().max()).item()


if __name__ == "__main__":
    main()
