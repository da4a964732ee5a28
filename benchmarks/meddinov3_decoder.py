"""Memory of one training step of the decoder: ours, fused, against MedDINOv3's as published.

Each side runs in a process of its own, one after the other: features of ViT-B at the taps 2-5-8-11 of slices of
448 x 448 pixels come in with gradients, logits of 16 classes go out, cross-entropy, backward. It says by how much
the resident set grew at most during the step (gradients of weights included), how many bytes the graph kept for the
gradient, and the floating-point operations of the forward pass. A third side is the published decoder with our
layer norm, whose logits must equal the published ones: what of the saving is the norm's alone.

    python benchmarks/meddinov3_decoder.py [--side-pixels 448] [--batch 2] [--classes 16] [--threads 2]
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import sides

SIDES = ("published", "primus", "fused")
"""The first is the reference."""
WIDTH, TAPS, PATCH = 768, 4, 16


def main() -> None:
    """Run every side, compare, print a table, write the JSON."""
    options = parse()
    torch.set_num_threads(options.threads)
    if options.side:
        measure_side(options)
        return
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    keep = ("side_pixels", "batch", "classes", "threads")
    arguments = [part for name in keep for part in (f"--{name.replace('_', '-')}", str(getattr(options, name)))]
    with tempfile.TemporaryDirectory() as folder:
        measured = {
            side: sides.run_side(__file__, side, *arguments, "--logits", str(Path(folder) / side)) for side in SIDES
        }
        compare(measured, Path(folder))
    columns = list(measured["primus"])
    sides.print_table(
        [["side", *columns], *([s, *(row.get(c, "") for c in columns)] for s, row in measured.items())]
    )
    sides.write_result("meddinov3_decoder", {**vars(options), "sides": measured})


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side-pixels", type=int, default=448, help="of the slice")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--classes", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--logits", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure_side(options: argparse.Namespace) -> None:
    """Measure one side, print its numbers as JSON, keep a part of its logits for the comparison."""
    decoder = make_decoder(options.side, options.classes)
    side = options.side_pixels // PATCH
    generator = torch.Generator().manual_seed(0)
    features = [
        torch.randn(options.batch, WIDTH, side, side, generator=generator).requires_grad_() for _ in range(TAPS)
    ]
    target = torch.randint(
        options.classes, (options.batch, options.side_pixels, options.side_pixels), generator=generator
    )
    gc.collect()
    before = forget_peak()
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = nn.functional.cross_entropy(decoder(features), target)
    loss.backward()
    peak = status_bytes("VmHWM")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        torch.save(decoder(features)[:, :, ::7, ::7].clone(), options.logits)
    numbers = {
        "step_mb": (peak - before) / 1e6,
        "kept_mb": sum(kept.values()) / 1e6,
        "forward_gflop": counter.get_total_flops() / 1e9,
        "parameters_m": sum(parameter.numel() for parameter in decoder.parameters()) / 1e6,
    }
    print(json.dumps(numbers))


def make_decoder(side: str, classes: int) -> nn.Module:
    """Return the decoder of a side, from a list of features to logits; the first two have the same weights."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from parity.published_decoder import PatchDecode
    from vesalius.models.decoders import FusedDecoder, PrimusDecoder

    torch.manual_seed(0)
    published = PatchDecode(TAPS * WIDTH, patch_size=PATCH, num_classes=classes)
    if side == "published":

        class Joined(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.decoder = published

            def forward(self, features: list[Tensor]) -> Tensor:
                logits: Tensor = self.decoder(torch.cat(features, dim=1))
                return logits

        return Joined()
    if side == "fused":
        return FusedDecoder(WIDTH, taps=TAPS, patch_size=PATCH, num_classes=classes)
    primus = PrimusDecoder(TAPS * WIDTH, patch_size=PATCH, num_classes=classes)
    for mine, theirs in zip(primus.parameters(), published.parameters(), strict=True):
        mine.data.copy_(theirs.data)
    return primus


def forget_peak() -> int:
    """Start counting the peak of the resident set anew (Linux), and return what it is now."""
    Path("/proc/self/clear_refs").write_text("5")
    return status_bytes("VmRSS")


def status_bytes(name: str) -> int:
    """Return a line of what the system says of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def compare(measured: dict[str, dict[str, Any]], folder: Path) -> None:
    """Add to every side how it stands to the published one; the logits of the second must be the same."""
    reference, ours = torch.load(folder / "published"), torch.load(folder / "primus")
    measured["primus"]["difference"] = ((ours - reference).abs().max() / reference.abs().max()).item()
    for row in measured.values():
        for name in ("step_mb", "kept_mb", "forward_gflop"):
            row[name.partition("_")[0] + "_ratio"] = row[name] / measured["published"][name]


if __name__ == "__main__":
    main()
