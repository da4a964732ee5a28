"""Twenty DICOM slices through MedDINOv3 (ViT-B) at 896 x 896: speed, memory, labels, ours against nnU-Net's loop.

Each side is a process of its own, one after the other; all load the same name-seeded weights of the published
architecture (its decoder of four depths, 3072 channels wide). The published loop is written out from the
specification of nnU-Net 2.5.2, which MedDINOv3 runs in: a slice at a time, four passes (the slice and its three
reflections), three equal channels, the decoder as published, fp32 (nnU-Net uses autocast on CUDA alone), logits of
the whole volume in half precision, then each class resized on its own to the scan's pixels, then argmax. Two
kindnesses to it: the encoder is ours, and slices are resized linearly, as ours are, instead of by splines.

Ours runs as ``vesalius segment`` does: by default in bf16 where the processor has it and *without* reflections
(``vesalius``), which is a fourth of the work and another answer; with ``--mirror``, the same passes
(``vesalius-mirror``); both again in fp32. ``vesalius-mirror-fp32`` does what the published loop does, and is
compared with it voxel by voxel. ``published-bf16`` is the loop under autocast on a few slices. ``vesalius-40`` is
the default over the slices and over them again: its memory should be the same, but for input and labels. Seconds of
a slice go from the resized image to labels on the scan's pixels, and are means over the slices.

    python benchmarks/slices_vs_published.py [--pixels 896] [--slices 20] [--classes 16] [--threads 2]
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sides

EXAMPLE = sides.SHARED_DATA / "totalsegmentator-example" / "example_ct_dicom"
SIDES = (
    "published-fp32",
    "published-bf16",
    "vesalius",
    "vesalius-mirror",
    "vesalius-fp32",
    "vesalius-mirror-fp32",
    "vesalius-40",
)
REFERENCE = "published-fp32"
FEW = 3
"""Slices of ``published-bf16``, whose whole run is not measured."""


def main() -> None:
    """Run the sides, compare, print a table, write the JSON."""
    options = parse()
    if options.side:
        torch.set_num_threads(options.threads)
        measure(options)
        return
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    folder = Path(options.folder or tempfile.mkdtemp(prefix="slices_vs_published_"))
    folder.mkdir(exist_ok=True)
    print(f"working in {folder}; cut short, give it as --folder to go on", file=sys.stderr)
    write_weights(folder, options)
    keep = ("image", "pixels", "slices", "classes", "threads")
    shared = [word for name in keep for word in (f"--{name}", str(getattr(options, name)))]
    shared += ["--folder", str(folder)]
    measured = {side: sides.run_side_once(folder, __file__, side, *shared) for side in options.sides.split(",")}
    for name, row in measured.items():
        add_ratios(row, measured.get(REFERENCE), name, folder)
    columns = list(dict.fromkeys(column for row in measured.values() for column in row))
    sides.print_table(
        [["side", *columns], *([name, *(row.get(c, "") for c in columns)] for name, row in measured.items())]
    )
    result = {name: getattr(options, name) for name in ("pixels", "slices", "classes", "threads")}
    result |= {"sides": measured, "kept": sides.kept_sides(folder, measured)}
    if {"vesalius", "vesalius-40"} <= measured.keys():
        twice, once = measured["vesalius-40"]["peak_gb"], measured["vesalius"]["peak_gb"]
        result["memory_growth_gb"] = twice - once
    sides.write_result(options.result, result)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default=str(EXAMPLE))
    parser.add_argument("--pixels", type=int, default=896, help="along each side of what the network sees")
    parser.add_argument("--slices", type=int, default=20, help="of the scan, from its first")
    parser.add_argument("--classes", type=int, default=16, help="background included")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help="where the sides work and leave what they measured; by default a new one")
    parser.add_argument("--result", default="slices_vs_published", help="name of the JSON")
    return parser.parse_args()


def read_slices(options: argparse.Namespace) -> Any:
    """Return the first slices of the scan; over again for ``vesalius-40``."""
    import vesalius
    from vesalius.geometry.grid import Grid
    from vesalius.geometry.volume import Volume

    volume = vesalius.read(options.image)
    data = volume.data[..., : options.slices]
    if options.side == "vesalius-40":
        data = np.concatenate([data, data], axis=-1)
    return Volume(np.ascontiguousarray(data), Grid(data.shape[1:], volume.grid.affine), volume.modality)


def write_weights(folder: Path, options: argparse.Namespace) -> None:
    """Write a model of the published architecture with seeded weights, which sees the scan at the wanted size."""
    from vesalius.checkpoints.safetensors import write_model
    from vesalius.models.build import build
    from vesalius.spec import MedDinoArchitecture, ModelSpec

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from parity.seeded_weights import seeded_state

    if (folder / "model").is_dir():
        return
    architecture = MedDinoArchitecture(decoder="primus", num_classes=options.classes)
    grid = read_slices(options).grid.reoriented("PLS")
    height, width = (s * n / options.pixels for s, n in zip(grid.spacing_mm[:2], grid.shape[:2], strict=True))
    spec = ModelSpec(
        name="meddinov3-seeded",
        architecture=architecture,
        spacing_mm=(height, width, 0.0),
        orientation="PLS",
        window_hu=(-1000.0, 1000.0),
        normalisation="fixed",
        mean_std_hu=(65.1084213256836, 178.01663208007812),
        window_size=(options.pixels, options.pixels, 1),
        overlap=0.5,
        mirror_axes=(0, 1),
        vocabulary=tuple((n, f"structure {n}") for n in range(1, options.classes)),
        everything=tuple(range(1, options.classes)),
    )
    network = build(architecture).eval().requires_grad_(False)
    network.load_state_dict(seeded_state(network.state_dict()))
    image = torch.from_numpy(np.ascontiguousarray(read_slices(options).data[0, :, :, 0])).float()[None, None]
    image = torch.nn.functional.interpolate(image, size=[112, 112], mode="bilinear")
    image = (image.clamp_(*spec.window_hu) - spec.mean_std_hu[0]) / spec.mean_std_hu[1]
    network.decoder.classify.bias -= network(image).mean(dim=(0, 2, 3))  # so that no class is everywhere
    write_model(folder / "model", network.state_dict(), spec)


def measure(options: argparse.Namespace) -> None:
    """Run one side; print its numbers as JSON, keep its labels."""
    start = time.perf_counter()
    run = published_side if options.side.startswith("published") else vesalius_side
    answer = run(options)
    if options.side != "published-bf16":  # a few slices of it only: its end-to-end time is not measured
        answer |= {"total_s": time.perf_counter() - start, "peak_gb": sides.peak_gigabytes()}
    print(json.dumps(answer))


def published_side(options: argparse.Namespace) -> dict[str, Any]:
    """Run nnU-Net's loop, written out."""
    from skimage.transform import resize

    from vesalius.checkpoints.load import load_slice_model

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from parity.published_decoder import PatchDecode

    loaded = load_slice_model(Path(options.folder) / "model")
    network, spec = loaded.network, loaded.spec
    decoder = PatchDecode(4 * 768, patch_size=16, num_classes=options.classes).eval().requires_grad_(False)
    for mine, theirs in zip(decoder.parameters(), network.decoder.parameters(), strict=True):
        mine.copy_(theirs)
    volume = read_slices(options).reoriented(spec.orientation)
    image = torch.from_numpy(np.ascontiguousarray(volume.data[0])).float().permute(2, 0, 1)[:, None]
    image = torch.nn.functional.interpolate(image, size=[options.pixels] * 2, mode="bilinear")
    image = (image.clamp_(*spec.window_hu) - spec.mean_std_hu[0]) / spec.mean_std_hu[1]
    is_half = options.side == "published-bf16"

    def predict(part: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
            maps = network.encoder.feature_maps(part.repeat(1, 3, 1, 1), (2, 5, 8, 11))
            logits: torch.Tensor = decoder(torch.cat([one.contiguous() for one in maps], dim=1))
        return logits

    start, count = time.perf_counter(), FEW if is_half else len(image)
    whole = torch.zeros(options.classes, len(image), options.pixels, options.pixels, dtype=torch.half)
    with torch.inference_mode():
        for k in range(count):
            part = image[k : k + 1]
            logits = predict(part)
            for axes in ((2,), (3,), (2, 3)):
                logits += predict(part.flip(axes)).flip(axes)
            whole[:, k] = logits[0] / 4
    network_s = time.perf_counter() - start
    if is_half:
        return {"precision": "bf16", "passes": 4, "slice_s": network_s / count}
    rows, columns, _ = volume.grid.shape
    native = np.empty((options.classes, count, rows, columns), dtype=np.float32)
    for of_class, logits in zip(native, whole.numpy(), strict=True):
        for k in range(count):
            of_class[k] = resize(
                logits[k].astype(np.float32), (rows, columns), order=1, mode="edge", anti_aliasing=False
            )
    labels = torch.from_numpy(native).softmax(dim=0).argmax(dim=0).permute(1, 2, 0).numpy().astype(np.uint8)
    seconds = time.perf_counter() - start
    np.save(Path(options.folder) / f"{options.side}.npy", labels)
    return {"precision": "fp32", "passes": 4, "slice_s": seconds / count, "resizing_s": seconds - network_s}


def vesalius_side(options: argparse.Namespace) -> dict[str, Any]:
    """Run ours as a user would."""
    import vesalius
    from vesalius.inference.segmenter import SegmentOptions

    precision = "fp32" if options.side.endswith("fp32") else "auto"
    segmenter = vesalius.load(Path(options.folder) / "model", precision=precision)
    how = SegmentOptions(mirror="mirror" in options.side, unvalidated=True)
    done = segmenter.segment(read_slices(options), options=how)
    np.save(Path(options.folder) / f"{options.side}.npy", done.labels.reoriented(segmenter.spec.orientation).data)
    plan = done.plan
    return {
        "precision": segmenter.precision,
        "passes": 4 if plan.mirror else 1,
        "slice_s": done.seconds["windows"] / plan.views[0].num_slices,
        "forecast_s": plan.seconds,
        "forecast_gb": plan.peak_bytes / 1e9,
    }


def add_ratios(row: dict[str, Any], reference: dict[str, Any] | None, name: str, folder: Path) -> None:
    """Add to a side how it stands to the published loop, and how many voxels have the same label."""
    if reference is None:
        return
    for key in ("slice_s", "total_s", "peak_gb"):
        if key in row:
            row[f"{key}_ratio"] = row[key] / reference[key]
    ours, theirs = (folder / f"{side}.npy" for side in (name, REFERENCE))
    if ours.is_file() and theirs.is_file() and name != "vesalius-40":
        row["same_label"] = float((np.load(ours) == np.load(theirs)).mean())
        row["largest_label"] = float(np.bincount(np.load(ours).ravel()).max() / np.load(ours).size)


if __name__ == "__main__":
    main()
