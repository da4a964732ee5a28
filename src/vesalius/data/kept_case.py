"""A prepared case in a folder of the cache: its arrays in chunks, where its classes lie, and what it is."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num, UInt16

from vesalius.data.case import Case
from vesalius.data.chunked import open_chunked, write_chunked
from vesalius.errors import FileFormatError
from vesalius.geometry import affine as affines
from vesalius.geometry.morphology import label_regions
from vesalius.labels.mapping import UNKNOWN
from vesalius.shapes import Affine, LabelArray

_PLACES = 4096
"""Voxels of each class whose places are kept, to draw windows near it without reading its labels."""
_PLACES_FILE = "places.npz"
_PSEUDO = "p"
"""Before a label in the file of places: where a model found it."""


class KeptPlaces(Mapping[int, UInt16[np.ndarray, "n 3"]]):
    """Where each class of a case lies, read when it is asked for: of a list's thousand cases it would be gigabytes.

    Args:
        path: A file of arrays, uncompressed.
        names: Label id -> what its array is called there.
    """

    def __init__(self, path: Path, names: Mapping[int, str]) -> None:
        self._path, self._names = path, dict(names)

    def __getitem__(self, label: int) -> UInt16[np.ndarray, "n 3"]:
        name = self._names[label]
        try:
            with np.load(self._path, allow_pickle=False) as file:
                found: UInt16[np.ndarray, "n 3"] = file[name]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise _unreadable(self._path.parent, error) from None
        return found

    def __iter__(self) -> Iterator[int]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def keep_case(
    folder: Path,
    arrays: Mapping[str, Num[np.ndarray, "i j k"]],
    *,
    affine: Affine,
    modality: str,
    window: tuple[float, float] | None = None,
    is_flat: bool = False,
) -> None:
    """Fill the folder of one case; ``case.json`` says what is in it.

    Args:
        folder: Empty.
        arrays: ``image`` and ``labels``, and ``pseudo_labels`` and ``supervoxels`` where there are any.
        affine: Of their voxels.
        modality: What made the image.
        window: ``Case.window``.
        is_flat: It will be read by slices along the last axis.

    Raises:
        MissingExtraError: If Blosc2 is not installed.
    """
    for layer, array in arrays.items():
        write_chunked(folder / f"{layer}.b2nd", array, is_flat=is_flat)
    places = {str(label): at for label, at in _places(arrays["labels"])}
    if "pseudo_labels" in arrays:
        places |= {f"{_PSEUDO}{label}": at for label, at in _places(arrays["pseudo_labels"])}
    np.savez(folder / _PLACES_FILE, **places)  # type: ignore[arg-type]
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
        with np.load(folder / _PLACES_FILE, allow_pickle=False) as file:
            names = list(file.files)
        drawn = {int(name): name for name in names if name.isdigit()}
        found = {int(name[1:]): name for name in names if name.startswith(_PSEUDO)}
        layers = {layer: open_chunked(folder / f"{layer}.b2nd") for layer in facts["layers"]}
        spacing_mm = affines.spacing_mm(np.asarray(facts["affine"], np.float64).reshape(4, 4))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise _unreadable(folder, error) from None
    return Case(
        name,
        group,
        layers["image"],
        layers["labels"],
        annotated,
        places=KeptPlaces(folder / _PLACES_FILE, drawn),
        pseudo_labels=layers.get("pseudo_labels"),
        supervoxels=layers.get("supervoxels"),
        window=tuple(facts["window"]) if "window" in facts else None,
        pseudo_places=KeptPlaces(folder / _PLACES_FILE, found),
        spacing_mm=spacing_mm,
    )


def _unreadable(folder: Path, error: Exception) -> FileFormatError:
    return FileFormatError(
        expected=f"a prepared case in {folder}",
        got=(str(error).splitlines() or ["nothing"])[0],
        do="delete the folder; it is made again",
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
