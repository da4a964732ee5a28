"""A prepared case in a folder of the cache: its arrays in chunks, where its classes lie, and what it is."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num, UInt16

from vesalius.data.case import Case
from vesalius.data.chunked import open_chunked, write_chunked
from vesalius.errors import FileFormatError
from vesalius.geometry.morphology import label_regions
from vesalius.labels.mapping import UNKNOWN
from vesalius.shapes import Affine, LabelArray

_PLACES = 4096
"""Voxels of each class whose places are kept, to draw windows near it without reading its labels."""
_PSEUDO = "p"
"""Before a label in the file of places: where a model found it."""


def keep_case(
    folder: Path,
    arrays: Mapping[str, Num[np.ndarray, "i j k"]],
    *,
    affine: Affine,
    modality: str,
    window: tuple[float, float] | None = None,
) -> None:
    """Fill the folder of one case; ``case.json`` says what is in it.

    Args:
        folder: Empty.
        arrays: ``image`` and ``labels``, and ``pseudo_labels`` and ``supervoxels`` where there are any.
        affine: Of their voxels.
        modality: What made the image.
        window: ``Case.window``.

    Raises:
        MissingExtraError: If Blosc2 is not installed.
    """
    for layer, array in arrays.items():
        write_chunked(folder / f"{layer}.b2nd", array)
    places = {str(label): at for label, at in _places(arrays["labels"])}
    if "pseudo_labels" in arrays:
        places |= {f"{_PSEUDO}{label}": at for label, at in _places(arrays["pseudo_labels"])}
    np.savez(folder / "places.npz", **places)  # type: ignore[arg-type]
    shape = arrays["labels"].shape
    facts: dict[str, Any] = {"layers": sorted(arrays), "shape": shape, "affine": affine.tolist()}
    if window is not None:
        facts["window"] = window
    (folder / "case.json").write_text(json.dumps({**facts, "modality": modality}), encoding="utf-8")


def open_case(folder: Path, *, name: str, group: str, annotated: frozenset[int]) -> Case:
    """Return a prepared case; its arrays are read when they are indexed.

    Raises:
        FileFormatError: If the folder is not one that was prepared.
    """
    try:
        facts = json.loads((folder / "case.json").read_text("utf-8"))
        with np.load(folder / "places.npz", allow_pickle=False) as file:
            every = {name: file[name] for name in file.files}
        layers = {layer: open_chunked(folder / f"{layer}.b2nd") for layer in facts["layers"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileFormatError(
            expected=f"a prepared case in {folder}",
            got=str(error).splitlines()[0],
            do="delete the folder; it is made again",
        ) from None
    return Case(
        name,
        group,
        layers["image"],
        layers["labels"],
        annotated,
        places={int(label): at for label, at in every.items() if label.isdigit()},
        pseudo_labels=layers.get("pseudo_labels"),
        supervoxels=layers.get("supervoxels"),
        window=tuple(facts["window"]) if "window" in facts else None,
        pseudo_places={int(label[1:]): at for label, at in every.items() if label.startswith(_PSEUDO)},
    )


def _places(labels: LabelArray) -> Iterator[tuple[int, UInt16[np.ndarray, "n 3"]]]:
    """Yield where each class lies: its voxels, or an even choice of them."""
    rng = np.random.default_rng(0)
    for label, region in label_regions(labels).items():
        if label == UNKNOWN:
            continue
        at = np.argwhere(labels[region.box.slices] == label) + np.array(region.box.start)
        if len(at) > _PLACES:
            at = at[np.sort(rng.choice(len(at), _PLACES, replace=False))]
        yield label, at.astype(np.uint16)
