"""A tiny backbone, a recipe of seconds and cases in memory: what trainings of slices need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from vesalius.checkpoints.safetensors import write_model
from vesalius.data.case import Case
from vesalius.engine.settings import LoopSettings, Optimisation
from vesalius.models.build import build
from vesalius.spec import MedDinoArchitecture, ModelSpec, VitArchitecture
from vesalius.training.slice_recipes import SliceRecipe
from vesalius.transforms.augment import Augmentation

VIT = VitArchitecture(in_channels=1, patch_size=4, width=16, depth=2, heads=2, layer_scale=1.0)
BACKBONE = ModelSpec(
    name="tiny backbone",
    architecture=VIT,
    spacing_mm=(4.0, 4.0, 0.0),
    orientation="PLS",
    window_hu=(-200.0, 300.0),
    window_size=(16, 16, 1),
)
NAMES = ((1, "left kidney"), (2, "right kidney"))
SPEC = replace(
    BACKBONE,
    name="tiny slices",
    architecture=MedDinoArchitecture(encoder=VIT, taps=(0, 1), num_classes=3),
    vocabulary=NAMES,
    everything=(1, 2),
)
STILL = Augmentation(keep_sharp=1.0, low_resolution=0.0, noise=0.0, drift=0.0, cut=0.0)


def recipe(**changes: object) -> SliceRecipe:
    """Return a recipe in which nothing is changed about a window, for a few steps."""
    fields: dict[str, object] = {
        "window_size": (16, 16),
        "batch": 2,
        "mirror": (0.0, 0.0),
        "encoder_rate": 1.0,
        "layer_decay": 1.0,
        "drop_path": 0.0,
        "augmentation": STILL,
        "optimisation": Optimisation(learning_rate=5e-3, size=1.0, plateau=1.0, ema_decay=0.8),
        "loop": LoopSettings(steps=2, precision="fp32", log_every=1),
    }
    return SliceRecipe(**{**fields, **changes})  # type: ignore[arg-type]


def case(number: int = 0, *, annotated: frozenset[int] = frozenset((1, 2))) -> Case:
    """Two bright blocks in a dark body; the left kidney lies at high columns, as seen from the front."""
    rng = np.random.default_rng(number)
    labels = np.zeros((20, 24, 6), np.uint8)
    labels[6:12, 14:20, 1:5] = 1
    labels[8:13, 4:9, 1:5] = 2
    image = np.select([labels == 1, labels == 2], [200, 100], -100) + rng.normal(0, 5, labels.shape)
    return Case(f"case {number}", "made up", image.astype(np.int16), labels, annotated)


def write_backbone(folder: Path) -> Path:
    """Write the backbone with random weights."""
    torch.manual_seed(7)
    write_model(folder, build(VIT).state_dict(), BACKBONE)
    return folder
