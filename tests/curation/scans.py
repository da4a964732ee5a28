"""Scans of phantoms of several seeds on disk, with lists of them: what a job of curation works on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from vesalius.data.phantom import PhantomConfig, make_phantom
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io.formats import write


@lru_cache(maxsize=8)
def phantom(seed: int, shape: tuple[int, int, int] = (72, 56, 8)) -> tuple[Volume, LabelMap]:
    """Return slices of a torso, 5 mm apart; another seed is another person."""
    return make_phantom(PhantomConfig(shape=shape, spacing_mm=(5.5, 5.5, 8.0), seed=seed))


def write_scan(folder: Path, name: str, volume: Volume) -> str:
    """Write a scan, and return its file's name."""
    folder.mkdir(parents=True, exist_ok=True)
    write(volume, folder / f"{name}.nii.gz")
    return f"{name}.nii.gz"


def write_json(folder: Path, training: Sequence[str], *, name: str = "list", **others: Sequence[str]) -> Path:
    """Write a list of files that have no labels."""
    content = {key: [{"image": file} for file in files] for key, files in {"training": training, **others}.items()}
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**content, "modality": "CT"}))
    return path


def with_data(volume: Volume, data: np.ndarray, grid: Grid | None = None) -> Volume:
    """Return a volume with other voxels."""
    return Volume(np.ascontiguousarray(data)[None], grid or volume.grid, "CT")
