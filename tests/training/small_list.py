"""A list of tiny scans on disk and a tiny model to begin with: what a course needs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from vesalius.checkpoints.safetensors import write_model
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io.formats import write
from vesalius.models.build import build
from vesalius.spec import ModelSpec, VistaArchitecture

GRID = Grid((20, 16, 14), np.diag([4.0, 4.0, 4.0, 1.0]))
"""Two windows: every course reads, and judges itself on, several of these scans."""
SPEC = ModelSpec(
    name="tiny",
    architecture=VistaArchitecture(
        width=8, blocks_down=(1, 1), num_embeddings=8, last_supported=7, special_classes=(6,), point_branch=False
    ),
    spacing_mm=(4.0, 4.0, 4.0),
    window_size=(16, 16, 16),
    vocabulary=((1, "liver"), (2, "left kidney"), (3, "right kidney")),
    dice={"liver": 0.9},
    dice_source="made up",
)


def write_list(folder: Path, *, training: int = 2, validation: int = 1, seed: int = 0) -> Path:
    """Write scans of a bright liver and its labels, and the list of them; other seeds are other scans."""
    folder.mkdir(parents=True, exist_ok=True)
    entries: dict[str, list[dict[str, str]]] = {"training": [], "validation": []}
    for number in range(training + validation):
        rng, labels = np.random.default_rng(seed + number), np.zeros(GRID.shape, np.uint8)
        labels[5 + number : 13 + number, 6:14, 5:12] = 1
        image = (np.where(labels, 150, 0) + rng.normal(0, 10, GRID.shape)).astype(np.int16)
        write(Volume(image[None], GRID, "CT"), folder / f"image-{number}.nii.gz")
        write(LabelMap(labels, GRID, {1: "liver"}), folder / f"label-{number}.nii.gz")
        split = "training" if number < training else "validation"
        entries[split].append({"image": f"image-{number}.nii.gz", "label": f"label-{number}.nii.gz"})
    content = {**entries, "label_mapping": {"1": "liver"}}
    (folder / "list.json").write_text(json.dumps(content))
    return folder / "list.json"


def write_tiny(folder: Path) -> Path:
    """Write a model without a click branch."""
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(tensor.shape, generator=generator) * 0.2
        for name, tensor in build(SPEC.architecture).state_dict().items()
    }
    write_model(folder, state, SPEC)
    return folder
