"""A prepared case: image, labels, and which classes were looked for; in memory, in a cache, or one ``.npz``.

Labels are partial. ``annotated`` says which classes were looked for in the whole scan: one of them that has no
voxel is absent, a class that is not among them may be anywhere.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from vesalius.errors import FileFormatError, UsageError
from vesalius.io.atomic import replacing
from vesalius.labels.mapping import UNKNOWN
from vesalius.shapes import Voxels

__all__ = ["LARGEST_CLASS", "NO_CLASS", "UNKNOWN", "UNSURE", "Case", "load_case", "save_case"]

UNSURE = 254
"""In a window: a voxel that people gave to no class that they looked for, and of which a model was not sure."""
NO_CLASS = (0, UNSURE, UNKNOWN)
"""What a voxel of a window may be beside a class."""
LARGEST_CLASS = 100
"""In a map of tissues, ids above are no classes: they are what a synthetic scan is painted from, and UNKNOWN."""


@dataclass(frozen=True, eq=False)
class Case:
    """One scan on a model's grid.

    Args:
        name: Its file's name.
        group: Where it comes from, such as ``head-neck``; cases are drawn by group.
        image_hu: Hounsfield units (int16), or what another scanner measured; None for a map of tissues, which is
            painted anew whenever it is drawn.
        labels: Class ids, UNKNOWN, 0 is neither; in a map of tissues class ids go up to LARGEST_CLASS, and ids of
            tissues lie above.
        annotated: Class ids that were looked for in the whole scan.
        places: Label id -> some of its voxels (n, 3), where they are known without reading the labels.
        pseudo_labels: Class ids that a model gave, UNKNOWN where it was not sure, 0; where there are any.
        supervoxels: Numbers of parts without names, where there are any.
        disbelieved: Classes that a model found and that do not count.
        spacing_mm: Of its voxels, where they need not be as large as the model's; None: they are.
        window: The values of an image without a unit that stand for the ends of the spec's Hounsfield window
            (``transforms.intensity.image_window``); None of Hounsfield units.

    Raises:
        UsageError: If arrays differ in shape, or nothing was looked for and there are no pseudo labels.
    """

    name: str
    group: str
    image_hu: Voxels | None
    labels: Voxels
    annotated: frozenset[int]
    places: Mapping[int, Integer[np.ndarray, "_ 3"]] | None = None
    pseudo_labels: Voxels | None = None
    supervoxels: Voxels | None = None
    window: tuple[float, float] | None = None
    pseudo_places: Mapping[int, Integer[np.ndarray, "_ 3"]] | None = None
    disbelieved: frozenset[int] = frozenset()
    spacing_mm: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        for layer in (self.image_hu, self.pseudo_labels, self.supervoxels):
            if layer is not None and layer.shape != self.labels.shape:
                raise _refused(f"layers of {self.labels.shape} voxels, as the labels", layer.shape, self.name)
        last = UNKNOWN if self.pseudo_labels is None else UNSURE
        largest = LARGEST_CLASS if self.image_hu is None else last - 1
        is_learnt = bool(self.annotated) or self.pseudo_labels is not None
        if not is_learnt or not all(0 < label <= largest for label in self.annotated):
            raise _refused(f"class ids from 1 to {largest} that were looked for", self.annotated, self.name)

    @cached_property
    def drawn(self) -> tuple[int, ...]:
        """Return the ids that the labels hold, in order, without 0 and UNKNOWN."""
        found = self.places if self.places is not None else np.unique(self._in_memory()).tolist()
        return tuple(label for label in sorted(found) if label not in (0, UNKNOWN))

    @property
    def present(self) -> tuple[int, ...]:
        """Return the classes that were looked for and found, in order."""
        return tuple(label for label in self.drawn if label in self.annotated)

    @cached_property
    def claimed(self) -> tuple[int, ...]:
        """Return the classes that a model is believed to have found and nobody looked for, in order."""
        if self.pseudo_labels is None:
            return ()
        found = self.pseudo_places
        ids = np.unique(self.pseudo_labels[:, :, :]).tolist() if found is None else found
        others = {0, UNKNOWN} | self.annotated | self.disbelieved
        return tuple(label for label in sorted(ids) if label not in others)

    def place_of(self, label: int, rng: np.random.Generator) -> Integer[np.ndarray, " 3"]:
        """Draw a voxel of a class that was found, each as likely as any other (of those whose places are kept).

        Args:
            label: One of ``present``, or of ``claimed``.
            rng: Where the choice comes from.
        """
        by_model = label in self.claimed
        places = self.pseudo_places if by_model else self.places
        if places is not None:
            some = places[label]
            return np.array(some[int(rng.integers(len(some)))], dtype=np.int64)
        labels = self.pseudo_labels if by_model else self.labels
        assert labels is not None
        voxels = np.flatnonzero(labels[:, :, :].ravel() == label)
        return np.array(np.unravel_index(int(voxels[rng.integers(len(voxels))]), self.labels.shape))

    def _in_memory(self) -> np.ndarray:
        return self.labels[:, :, :]


def save_case(case: Case, folder: Path) -> Path:
    """Write a case as ``folder/<name>.npz``, complete or not at all, and return the file.

    Raises:
        DiskError: If it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{case.name}.npz"
    image = np.zeros((0, 0, 0), np.int16) if case.image_hu is None else case.image_hu[:, :, :]
    annotated = np.array(sorted(case.annotated), dtype=np.uint8)
    with replacing(path) as part:
        np.savez_compressed(part, group=case.group, image=image, labels=case.labels[:, :, :], annotated=annotated)
    return path


def load_case(path: Path) -> Case:
    """Read a case that ``save_case`` wrote.

    Raises:
        FileFormatError: If it is not such a file, is damaged, or holds pickled objects.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            image, labels = file["image"], file["labels"]
            annotated = frozenset(file["annotated"].tolist())
            return Case(path.stem, str(file["group"]), image if image.size else None, labels, annotated)
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, UsageError) as error:
        raise FileFormatError(
            expected=f"a prepared case at {path}", got=str(error).splitlines()[0], do="prepare the case again"
        ) from None


def _refused(expected: str, got: object, name: str) -> UsageError:
    return UsageError(expected=expected, got=f"{got} in {name}", do="prepare the case again")
