"""Whether a frozen 2-D transformer learns from neighbouring slices by adapters along depth, and only by them.

A phantom that cannot be labelled slice by slice: rods run through the slices, each dim or bright in every slice by
the toss of a coin, and what a rod is called in a slice says its brightness in the *next* one. Whoever sees slices
one at a time can find the rods and must guess their names: half of them, whatever it has learnt. The backbone is
random and frozen. Beside the decoder learn: nothing else; LoRA, which is of no help either; LoRA and adapters along
five slices, as in the recipe; and these again, with training and inference showing them one slice at a time.

Learnt with the recipe of ``vesalius train meddinov3-depth``, made small (``depth_recipe``), and its differences, by
what that command runs: a list, a backbone, the engine, a run folder. Measured on phantoms never seen with that
folder's model, as ``segment`` runs it. The last slice of each, which has no next one, does not count.

    python benchmarks/slice_depth.py --folder runs/slice_depth [--steps 400] [--seeds 1]

Every seed has its own backbone and phantoms to learn from; all are measured on the same. A model that is in the
folder is not learnt again.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import sides
from few_shot import interval
from slice_steps import in_words
from vesalius.checkpoints.catalog import MEDDINOV3_SPEC
from vesalius.checkpoints.safetensors import write_model
from vesalius.data.cache import Cache
from vesalius.data.datalists.read import read_list
from vesalius.engine.settings import LoopSettings
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.segmenter import Segmenter, SegmentOptions, load
from vesalius.io.formats import write
from vesalius.metrics.overlap import dice
from vesalius.models.build import build
from vesalius.spec import Depth, Lora, VitArchitecture
from vesalius.training.slice_course import SliceBeginning, SliceCourse, carry_out_slices
from vesalius.training.slice_recipes import MEDDINOV3_DEPTH, SliceRecipe

SIDE, COUNT, RADIUS = 32, 12, 4
NAMES = ((1, "before bright"), (2, "before dim"))
HU = {"bright": 250.0, "dim": 120.0, "around": 0.0, "noise": 15.0}
TRAINING = 24
"""Phantoms that are learnt from."""
SPACING_MM = (1.0, 1.0, 3.0)
ENCODER = VitArchitecture(in_channels=1, patch_size=4, width=48, depth=2, heads=3, layer_scale=1.0)


def depth_recipe(*, steps: int, seed: int) -> SliceRecipe:
    """Return ``MEDDINOV3_DEPTH`` for a small frozen backbone that nobody taught anything, and a few minutes."""
    own = MEDDINOV3_DEPTH
    return replace(
        own,
        window_size=(SIDE, SIDE),
        spacing_mm=SPACING_MM[0],
        taps=(0, 1),
        adapters=(Lora(rank=8), Depth(width=16)),
        batch=4,
        optimisation=replace(own.optimisation, learning_rate=3e-3, clip_norm=1.0, ema_decay=0.98),
        loop=LoopSettings(steps=steps, seed=seed, precision="fp32"),
    )


def recipes(*, steps: int, seed: int) -> dict[str, SliceRecipe]:
    """Return what learns beside the decoder, and how many neighbouring slices are shown together."""
    deep = depth_recipe(steps=steps, seed=seed)
    flat = replace(deep, slices=1, batch=deep.batch * deep.slices)  # as many slices a step
    return {
        "decoder alone": replace(flat, adapters=(), encoder_rate=0.0),
        "lora": replace(flat, adapters=deep.adapters[:1]),
        "depth, one slice shown": flat,
        "depth, neighbours shown": deep,
    }


def phantom(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Hounsfield units and labels ``(i, j, k)`` of four rods."""
    rng = np.random.default_rng(seed)
    i, j = np.ogrid[:SIDE, :SIDE]
    image = rng.normal(HU["around"], HU["noise"], (SIDE, SIDE, COUNT))
    labels = np.zeros((SIDE, SIDE, COUNT), np.uint8)
    for centre in ((8, 8), (8, 24), (24, 8), (24, 24)):
        at = np.asarray(centre) + rng.integers(-3, 4, 2)
        rod = (i - at[0]) ** 2 + (j - at[1]) ** 2 <= RADIUS**2
        is_bright = rng.random(COUNT) < 0.5
        for k in range(COUNT):
            image[rod, k] += HU["bright"] if is_bright[k] else HU["dim"]
            labels[rod, k] = 1 if is_bright[min(k + 1, COUNT - 1)] else 2
    return image.astype(np.int16), labels


def write_data(folder: Path, *, seed: int) -> tuple[Path, Path]:
    """Write a random backbone, phantoms and their list, and return where backbone and list are."""
    torch.manual_seed(seed)
    spec = replace(
        MEDDINOV3_SPEC, name="random", architecture=ENCODER, spacing_mm=(1.0, 1.0, 0.0), window_size=(SIDE, SIDE, 1)
    )
    write_model(folder / "backbone", build(ENCODER).state_dict(), spec)
    entries = []
    for number in range(TRAINING):
        image, labels = (folder / f"{kind}-{number}.nii.gz" for kind in ("image", "label"))
        voxels, drawn = phantom(seed * 1000 + number)
        write(as_volume(voxels), image)
        write(LabelMap(drawn, as_volume(voxels).grid, dict(NAMES)), labels)
        entries.append({"image": image.name, "label": labels.name})
    content = {"training": entries, "label_mapping": {str(label): name for label, name in NAMES}}
    (folder / "rods.json").write_text(json.dumps(content))
    return folder / "backbone", folder / "rods.json"


def as_volume(voxels: np.ndarray) -> Volume:
    """Return a phantom where it lies."""
    return Volume(voxels[None], Grid(voxels.shape, np.diag([*SPACING_MM, 1.0])), "CT")


def learn(recipe: SliceRecipe, data: tuple[Path, Path], folder: Path, *, threads: int = 1) -> Segmenter:
    """Train as ``vesalius train`` does, and return the model of the run folder."""
    backbone, listed = data[0], read_list(data[1])
    beginning = SliceBeginning.of(backbone, recipe, listed)
    course = SliceCourse(recipe=recipe, beginning=beginning, listed=listed)
    carry_out_slices(course, folder, cache=Cache(data[1].parent / "cache"), workers=threads)
    return load(folder, precision="fp32")


def measure(segmenter: Segmenter, *, seed: int, count: int = 8) -> dict[str, float]:
    """Return mean Dice on phantoms never seen (``measure_each``)."""
    return {
        name: float(np.mean(values)) for name, values in measure_each(segmenter, seed=seed, count=count).items()
    }


def measure_each(segmenter: Segmenter, *, seed: int, count: int) -> dict[str, list[float]]:
    """Return Dice of each phantom never seen: of each name, their mean, and of rods whatever they are called."""
    scores: dict[str, list[float]] = {name: [] for name in ("rods", *dict(NAMES).values(), "mean")}
    for number in range(count):
        image, labels = phantom(500_000 + seed * 1000 + number)
        found = segmenter(as_volume(image), options=SegmentOptions()).data
        found, labels = found[..., :-1], labels[..., :-1]
        of_name = {name: dice(found == label, labels == label) for label, name in NAMES}
        of_phantom = {
            **of_name,
            "rods": dice(found > 0, labels > 0),
            "mean": float(np.mean(list(of_name.values()))),
        }
        for name, value in of_phantom.items():
            scores[name].append(value)
    return scores


def main() -> None:
    """Learn every way with every seed, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="for phantoms and run folders; by default a temporary one")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--phantoms", type=int, default=16, help="to measure on")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = options.folder or Path(tempfile.mkdtemp()) / "slice_depth"
    found: dict[str, list[dict[str, list[float]]]] = {}
    for seed in range(options.seeds):
        place = folder / f"seed-{seed}"
        for name, recipe in recipes(steps=options.steps, seed=seed).items():
            segmenter = learnt_once(recipe, place, name.replace(", ", "-"), seed=seed, threads=options.threads)
            found.setdefault(name, []).append(measure_each(segmenter, seed=0, count=options.phantoms))
            print(seed, name, np.mean(found[name][-1]["mean"]), flush=True)
    of_way = {
        name: {part: interval(np.array([run[part] for run in runs])) for part in runs[0]}
        for name, runs in found.items()
    }
    rows = [[name, *map(in_words, parts.values())] for name, parts in of_way.items()]
    sides.print_table([("way", *next(iter(of_way.values()))), *rows])
    asked = {name: value for name, value in vars(options).items() if name != "folder"}
    about = {"slices_shown": MEDDINOV3_DEPTH.slices, "dice_of": "intervals of 95 %: seeds and phantoms drawn"}
    dice_of = {name: {**parts.pop("mean"), **parts} for name, parts in of_way.items()}
    sides.write_result("slice_depth", {**asked, **about, "dice": dice_of})


def learnt_once(recipe: SliceRecipe, place: Path, name: str, *, seed: int, threads: int) -> Segmenter:
    """Return the model of a folder, learnt if it is not there."""
    if (place / name / "model.safetensors").is_file():
        return load(place / name, precision="fp32")
    listed = place / "backbone", place / "rods.json"
    if not listed[1].is_file():
        place.mkdir(parents=True, exist_ok=True)
        write_data(place, seed=seed)
    return learn(recipe, listed, place / name, threads=threads)


if __name__ == "__main__":
    main()
