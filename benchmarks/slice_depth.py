"""Whether a frozen 2-D transformer learns from neighbouring slices by adapters along depth, and only by them.

A phantom that cannot be labelled slice by slice: rods run through the slices, each dim or bright in every slice by
the toss of a coin, and what a rod is called in a slice says its brightness in the *next* one. Whoever sees slices
one at a time can find the rods and must guess their names: half of them, whatever it has learnt. The backbone is
random and frozen. Beside the decoder learn: nothing else; LoRA, which is of no help either; adapters along five
slices; and these again, with training and inference showing them one slice at a time.

Learnt with ``training.meddinov3_task``, measured on phantoms never seen with ``inference.Segmenter``, as
``segment`` runs it. The last slice of each, which has no next one, does not count.

    python benchmarks/slice_depth.py [--steps 400] [--seed 0]
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass

import numpy as np
import torch

import sides
from vesalius.data.case import Case
from vesalius.engine.settings import LoopSettings, Optimisation
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import Volume
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.metrics.overlap import dice
from vesalius.models.build import build, optimise_for_inference
from vesalius.models.meddinov3 import MedDino
from vesalius.spec import AdapterPlan, Depth, Lora, MedDinoArchitecture, ModelSpec, VitArchitecture
from vesalius.training.meddinov3_task import MedDinoTask
from vesalius.training.slice_recipes import SliceRecipe
from vesalius.transforms.augment import Augmentation

SIDE, COUNT, RADIUS = 32, 12, 4
NAMES = ((1, "before bright"), (2, "before dim"))
HU = {"bright": 250.0, "dim": 120.0, "around": 0.0, "noise": 15.0}
DEPTH = Depth(width=16, neighbours=5, site="before_attention")
ENCODER = VitArchitecture(in_channels=1, patch_size=4, width=48, depth=2, heads=3, layer_scale=1.0)


@dataclass(frozen=True)
class Way:
    """What learns beside the decoder, and how many neighbouring slices are shown together."""

    adapters: tuple[AdapterPlan, ...]
    slices: int


WAYS = {
    "decoder alone": Way((), 1),
    "lora": Way((Lora(rank=8),), 1),
    "depth, one slice shown": Way((DEPTH,), 1),
    "depth, five slices shown": Way((DEPTH,), 5),
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


def spec_of(way: Way) -> ModelSpec:
    """Return the model of a way."""
    architecture = MedDinoArchitecture(encoder=ENCODER, taps=(0, 1), num_classes=3, adapters=way.adapters)
    return ModelSpec(
        name="rods",
        architecture=architecture,
        modality="MR",  # numbers without a unit: nothing is checked, no slice is taken for air
        spacing_mm=(1.0, 1.0, 0.0),
        orientation="RAS",
        window_hu=(-50.0, 300.0),
        window_size=(SIDE, SIDE, way.slices),
        vocabulary=NAMES,
        everything=(1, 2),
    )


def learn(way: Way, *, steps: int, seed: int) -> tuple[MedDino, ModelSpec]:
    """Teach a network for some steps; its encoder stays as it was drawn."""
    torch.manual_seed(seed)
    spec = spec_of(way)
    network = build(spec.architecture)
    if not way.adapters:
        network.encoder.requires_grad_(False)
    recipe = SliceRecipe(
        adapters=way.adapters,
        slices=way.slices,
        batch=4 if way.slices > 1 else 20,
        mirror=(0.5, 0.5),
        drop_path=0.0,
        augmentation=Augmentation(keep_sharp=1.0, low_resolution=0.0, noise=0.0, drift=0.0, cut=0.0),
        optimisation=Optimisation(),
        loop=LoopSettings(steps=steps),
    )
    phantoms = (phantom(seed * 1000 + number) for number in range(24))
    cases = [Case(f"rods {n}", "rods", *pair, frozenset((1, 2))) for n, pair in enumerate(phantoms)]
    task, rng = MedDinoTask(cases, spec, recipe=recipe), np.random.default_rng(seed)
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=3e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps, pct_start=0.1)
    network.train()
    for _ in range(steps):
        loss = torch.stack(list(task.outcome(network, task.draw(rng)).terms.values())).sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        schedule.step()
    return network, spec


def measure(network: MedDino, spec: ModelSpec, *, seed: int, count: int = 8) -> dict[str, float]:
    """Return Dice on phantoms never seen: of each name, their mean, and of rods whatever they are called."""
    segmenter, how = Segmenter(optimise_for_inference(network), spec), SegmentOptions(unvalidated=True)
    scores: dict[str, list[float]] = {name: [] for name in ("rods", *dict(NAMES).values())}
    for number in range(count):
        image, labels = phantom(500_000 + seed * 1000 + number)
        found = segmenter(Volume(image[None], Grid(image.shape, np.eye(4)), "MR"), options=how).data
        found, labels = found[..., :-1], labels[..., :-1]
        scores["rods"].append(dice(found > 0, labels > 0))
        for label, name in NAMES:
            scores[name].append(dice(found == label, labels == label))
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    return {**means, "mean": float(np.mean([means[name] for _, name in NAMES]))}


def main() -> None:
    """Learn every way, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = {}
    for name, way in WAYS.items():
        start = time.process_time()
        network, spec = learn(way, steps=options.steps, seed=options.seed)
        seconds = time.process_time() - start
        learning = sum(p.numel() for p in network.parameters() if p.requires_grad)
        found[name] = {
            **measure(network, spec, seed=options.seed),
            "learning": learning,
            "cpu_s": round(seconds, 1),
        }
        print(name, found[name], flush=True)
    sides.print_table([("way", *found["lora"]), *((name, *row.values()) for name, row in found.items())])
    sides.write_result("slice_depth", {**vars(options), "phantoms": 8, "dice": found})


if __name__ == "__main__":
    main()
