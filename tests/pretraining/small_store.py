"""Slices of made-up bodies in memory, and a recipe small enough to learn from them in a second."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vesalius.data.slices import FORMAT, MANIFEST, SliceStore, StoredSlice, sha256_of
from vesalius.engine.settings import LoopSettings
from vesalius.pretraining.recipes import STAGE_1, PretrainingRecipe, for_preset, spec_of
from vesalius.pretraining.settings import Cropping, HeadSettings, Resolution
from vesalius.pretraining.student_teacher import Pupil
from vesalius.pretraining.task import PretrainingTask, Split
from vesalius.spec import VitArchitecture

TINY = VitArchitecture(in_channels=1, patch_size=8, width=16, depth=2, heads=2, registers=1, layer_scale=0.5)
HEAD = HeadSettings(prototypes=12, hidden=16, bottleneck=8, spread=0.3)


def body(seed: int, size: tuple[int, int] = (40, 52)) -> np.ndarray:
    """A disc of soft tissue in air, with two organs at places of their own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    image = np.full(size, -1000.0)
    image[(y - 20) ** 2 / 15**2 + (x - 26) ** 2 / 20**2 < 1] = 40
    for value in (250, -700):
        row, column, radius = rng.uniform(12, 28), rng.uniform(16, 36), rng.uniform(3, 7)
        image[(y - row) ** 2 + (x - column) ** 2 < radius**2] = value
    return (image + rng.normal(0, 10, size)).astype(np.int16)


class SomeSlices:
    """Slices in memory; ``read`` lists which were asked for."""

    def __init__(self, count: int = 12) -> None:
        self.slices = [body(seed) for seed in range(count)]
        self.read: list[int] = []

    def __getitem__(self, index: int) -> StoredSlice:
        self.read.append(index)
        return StoredSlice(self.slices[index], f"case-{index // 4}", "made up", index % 4, (1.5, 1.5), "chest")


def recipe(**changes: Any) -> PretrainingRecipe:
    fields: dict[str, Any] = {
        "architecture": TINY,
        "batch": 3,
        "resolutions": (Resolution(global_size=32, local_size=16),),
        "cropping": Cropping(local_views=2),
        "class_head": HEAD,
        "patch_head": HEAD,
        "drop_path": 0.2,
        "loop": LoopSettings(steps=4, precision="fp32", log_every=1, validate_every=2),
    }
    return replace(for_preset(STAGE_1, "toy"), **{**fields, **changes})


def task(chosen: PretrainingRecipe | None = None, **changes: Any) -> PretrainingTask:
    chosen = chosen or recipe()
    split = Split(learnt=range(8), held_out=range(8, 12))
    fields = {"slices": SomeSlices(), "split": split, "spec": spec_of(chosen, "tiny"), "recipe": chosen, **changes}
    return PretrainingTask(**fields)


def pupil(seed: int = 0, *, drop_path: float = 0.2, rescale: float = 2.0) -> Pupil:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = Pupil(TINY, class_head=HEAD, patch_head=HEAD)
    made.vary(drop_path=drop_path, rescale=rescale)
    return made


def write_store(folder: Path, *, cases: int = 3, slices: int = 4) -> SliceStore:
    """Write a store of made-up scans, as ``data.slices`` says that it looks."""
    shards = []
    for number in range(cases):
        shard = folder / "shards" / f"key{number}"
        shard.mkdir(parents=True)
        pixels = np.stack([body(slices * number + index) for index in range(slices)])
        np.save(shard / "pixels.npy", pixels)
        facts = {
            "case": f"case-{number}",
            "group": "made up",
            "numbers": list(range(slices)),
            "regions": ["chest"] * slices,
            "size": pixels.shape[1:],
            "spacing_mm": (1.5, 1.5),
            "sha256": {"pixels.npy": sha256_of(shard / "pixels.npy")},
        }
        (shard / "shard.json").write_text(json.dumps(facts))
        digest = sha256_of(shard / "shard.json")
        shards.append({"key": shard.name, "case": facts["case"], "slices": slices, "sha256": digest})
    manifest = {
        "format": FORMAT,
        "settings": {"plane": "axial", "spacing_mm": 1.5},
        "excluded": {},
        "refused": [],
        "shards": shards,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return SliceStore(folder)
