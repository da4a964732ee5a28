"""Writes tiny data sets to disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from data.small_set import AFFINE, LABELS, Written, make_case
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io.formats import write


@pytest.fixture
def write_set(tmp_path: Path) -> Written:
    """Writes a MONAI list of cases: ``write_set({"a": {...changes}}, labels=...)`` and returns the list."""

    def written(cases: dict[str, dict[str, Any]], **content: Any) -> Path:
        entries: dict[str, list[Any]] = {"training": [], "validation": [], "test": []}
        for seed, (name, changes) in enumerate(cases.items()):
            image, labels = make_case(changes.get("seed", seed))
            image, labels = changes.get("image", image), changes.get("labels", labels)
            grid = Grid(image.shape, changes.get("affine", AFFINE))
            write(Volume(image[None], grid, "CT"), tmp_path / f"{name}_ct.nii.gz")
            entry = {"image": f"{name}_ct.nii.gz", "name": name, **changes.get("entry", {})}
            if labels is not None:
                drawn = Grid(labels.shape, changes.get("label_affine", grid.affine))
                write(LabelMap(labels, drawn, LABELS), tmp_path / f"{name}_seg.nii.gz")
                entry["label"] = f"{name}_seg.nii.gz"
            entries[changes.get("split", "training")].append(entry)
        path = tmp_path / "list.json"
        listed = {"modality": {"0": "CT"}, "labels": {str(a): b for a, b in LABELS.items()}, **entries, **content}
        path.write_text(json.dumps(listed))
        return path

    return written
