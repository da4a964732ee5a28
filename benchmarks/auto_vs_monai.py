"""Automatic segmentation of a real CT with 117 classes: speed, memory and agreement, ours against MONAI's bundle.

Each side is a process of its own, one after the other; all load the same name-seeded weights from one file in the
official layout. Seconds per window are the median of one, divided by how many run at once (ours: one a core).
MONAI's side is what its bundle runs (transforms, ``SlidingWindowInfererAdapt``, post-processing,
inversion, NIfTI). Ours runs twice: by default (bf16 where the processor has it), timed; and with ``--compat
bundle`` in fp32, compared voxel by voxel with MONAI's labels on the model's grid.

    python benchmarks/auto_vs_monai.py [--image ../shared/data/totalsegmentator-example/example_ct.nii.gz]
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sides

EXAMPLE = sides.SHARED_DATA / "totalsegmentator-example" / "example_ct.nii.gz"
ROI = (128, 128, 128)
EVERYTHING = [n for n in range(1, 133) if n not in (2, 16, 18, 20, 21, 23, 24, 25, 26, 27, 128, 129, 130, 131, 132)]
SIDES = ("monai-fp32", "monai-bf16", "vesalius", "vesalius-fp32", "vesalius-1-class", "vesalius-compat-fp32")


def main() -> None:
    """Run the sides, compare, print a table, write the JSON."""
    options = parse()
    if options.side:
        torch.set_num_threads(options.threads)
        measure(options)
        return
    folder = Path(options.folder or tempfile.mkdtemp(prefix="auto_vs_monai_"))
    print(f"working in {folder}; cut short, give it as --folder to go on", file=sys.stderr)
    weights = Path(options.weights) if options.weights else write_weights(folder)
    shared = ["--image", options.image, "--weights", str(weights), "--folder", str(folder)]
    shared += ["--threads", str(options.threads)]
    measured = {side: sides.run_side_once(folder, __file__, side, *shared) for side in options.sides.split(",")}
    agreement = compare(folder)
    reference = measured.get("monai-fp32")
    for row in measured.values():
        if reference:
            row |= {
                key + "_ratio": row[key] / reference[key]
                for key in ("window_s", "total_s", "peak_gb")
                if key in row
            }
    columns = ["windows", "window_s", "total_s", "peak_gb", "window_s_ratio", "total_s_ratio", "peak_gb_ratio"]
    sides.print_table(
        [["side", *columns], *([name, *(row.get(c, "") for c in columns)] for name, row in measured.items())]
    )
    print(agreement)
    sides.write_result(
        "auto_vs_monai",
        {
            "sides": measured,
            "kept": sides.kept_sides(folder, measured),
            "agreement": agreement,
            "classes": len(EVERYTHING),
            "threads": options.threads,
        },
    )


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default=str(EXAMPLE))
    parser.add_argument("--weights", help="an official checkpoint; by default seeded weights")
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help="where the sides work and leave what they measured; by default a new one")
    return parser.parse_args()


def write_weights(folder: Path) -> Path:
    """Write seeded weights as a file in the official layout (MONAI's names, fp32)."""
    from safetensors.torch import save_file

    from vesalius.checkpoints.formats.vista3d_official import official_shapes
    from vesalius.spec import VistaArchitecture

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from parity.seeded_weights import seeded_state

    shapes = official_shapes(VistaArchitecture())
    path = folder / "vista3d_seeded.safetensors"
    if path.is_file():
        return path
    save_file(seeded_state({n: torch.empty(s) for n, s in shapes.items()}), path, metadata={"format": "pt"})
    return path


def measure(options: argparse.Namespace) -> None:
    """Run one side and print its numbers as JSON."""
    warnings.simplefilter("ignore")
    seconds: list[float] = []
    run = monai_side if options.side.startswith("monai") else vesalius_side
    start = time.perf_counter()
    extra = run(options, seconds)
    total = time.perf_counter() - start
    window_s = statistics.median(seconds) / extra.get("at_once", 1)
    answer: dict[str, Any] = {"windows": len(seconds), "window_s": window_s}
    if options.side != "monai-bf16":  # a few windows of it only: its end-to-end time is not measured
        answer |= {"total_s": total, "peak_gb": sides.peak_gigabytes()}
    print(json.dumps(answer | extra))


def timed(run: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """Return ``run`` with its times noted."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = run(*args, **kwargs)
        seconds.append(time.perf_counter() - start)
        return result

    return wrapper


class _EnoughError(Exception):
    """Enough windows were timed."""


def monai_side(options: argparse.Namespace, seconds: list[float]) -> dict[str, Any]:
    """Run MONAI's bundle pipeline over the image, written out from its ``inference.json``."""
    import monai.transforms as mt
    from monai.apps.vista3d.transforms import VistaPostTransformd
    from monai.inferers import SlidingWindowInfererAdapt
    from monai.networks.nets import vista3d132
    from safetensors.torch import load_file

    bf16 = options.side == "monai-bf16"
    network = vista3d132(in_channels=1).eval()
    network.load_state_dict(load_file(options.weights))
    before = mt.Compose(
        [
            mt.LoadImaged("image", image_only=True),
            mt.EnsureChannelFirstd("image"),
            mt.Spacingd("image", pixdim=[1.5] * 3, mode="bilinear"),
            mt.CropForegroundd(
                "image", source_key="image", select_fn=lambda x: x > 0, margin=10, allow_smaller=True
            ),
            mt.ScaleIntensityRanged("image", -963.8247715525971, 1053.678477684517, 0, 1, clip=True),
            mt.Orientationd("image", axcodes="RAS"),
        ]
    )
    data = before({"image": options.image})
    prompts = torch.tensor(EVERYTHING)[:, None]

    def one_window(window: torch.Tensor, _coordinates: Any, **rest: Any) -> torch.Tensor:
        if bf16 and len(seconds) == 3:
            raise _EnoughError
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits: torch.Tensor = network(window, class_vector=prompts, **rest)
        return logits

    inferer = SlidingWindowInfererAdapt(ROI, sw_batch_size=1, with_coord=True, padding_mode="replicate")
    with torch.inference_mode():
        try:
            logits = inferer(data["image"][None], timed(one_window, seconds), transpose=True)
        except _EnoughError:
            return {}
    data["pred"] = logits[0].clone()  # post-processing writes in place, which an inference tensor refuses
    data["label_prompt"] = prompts[:, 0]
    data = VistaPostTransformd(keys="pred")(data)
    np.save(Path(options.folder) / "monai_model_grid.npy", data["pred"][0].numpy().astype(np.uint8))
    data = mt.Invertd("pred", transform=before, orig_keys="image", nearest_interp=True)(data)
    mt.SaveImage(output_dir=options.folder, output_postfix="monai", print_log=False)(data["pred"])
    return {}


def vesalius_side(options: argparse.Namespace, seconds: list[float]) -> dict[str, Any]:
    """Run ours by default, files written; or a published pipeline, its labels kept on the model's grid."""
    import vesalius
    from vesalius.inference.automatic import BASE_LAYER, segment_automatic
    from vesalius.inference.pipelines import pipeline
    from vesalius.inference.segmenter import SegmentOptions

    precision = "fp32" if options.side.endswith("fp32") else "auto"
    segmenter = vesalius.load(options.weights, precision=precision)
    volume = vesalius.read(options.image)
    segmenter.network.mapped_features = timed(segmenter.network.mapped_features, seconds)
    classes = EVERYTHING[:1] if options.side == "vesalius-1-class" else EVERYTHING
    if "compat" not in options.side:
        done = segmenter.segment(volume, classes, options=SegmentOptions(unvalidated=True))
        vesalius.write(done.labels, Path(options.folder) / "vesalius.nii.gz", like=volume)
        forecast = {"forecast_s": done.plan.seconds, "forecast_gb": done.plan.peak_bytes / 1e9}
        return {"precision": segmenter.precision, "at_once": done.plan.at_once, **forecast}
    targets = segmenter.vocabulary.resolve(classes)
    prepared, plan = segmenter.prepare(volume, targets, SegmentOptions(compat="bundle"))
    found = segment_automatic(
        segmenter.network,
        segmenter.spec,
        prepared,
        plan,
        targets,
        grid=prepared.grid.cropped(prepared.content),
        pipeline=pipeline("bundle"),
    )
    np.save(Path(options.folder) / "vesalius_model_grid.npy", found.layers[BASE_LAYER])
    return {"precision": segmenter.precision, "at_once": plan.at_once}


def compare(folder: Path) -> dict[str, float]:
    """Say how many voxels of the model's grid have the same label."""
    names = ("vesalius_model_grid.npy", "monai_model_grid.npy")
    if not all((folder / name).is_file() for name in names):
        return {}
    ours, theirs = (np.load(folder / name) for name in names)
    return {
        "voxels": float(theirs.size),
        "same_label": float((ours == theirs).mean()),
        "labels_found": float(len(np.unique(theirs)) - 1),
        "foreground": float((theirs > 0).mean()),
    }


if __name__ == "__main__":
    main()
