"""A prepared case: image, labels, and which classes were looked for; one ``.npz`` on disk, without pickle.

Labels are partial. ``annotated`` says which classes were looked for in the whole scan: one of them that has no
voxel is absent, a class that is not among them may be anywhere.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int16, UInt8

from vesalius.errors import FileFormatError, UsageError
from vesalius.io.atomic import replacing
from vesalius.labels.mapping import UNKNOWN

__all__ = ["LARGEST_CLASS", "UNKNOWN", "Case", "load_case", "save_case"]

LARGEST_CLASS = 100
"""In a map of tissues, ids above are no classes: they are what a synthetic scan is painted from, and UNKNOWN."""


@dataclass(frozen=True, eq=False)
class Case:
    """One scan on a model's grid.

    Args:
        name: Its file's name.
        group: Where it comes from, such as ``head-neck``; cases are drawn by group.
        image_hu: Hounsfield units; None for a map of tissues, which is painted anew whenever it is drawn.
        labels: Class ids, UNKNOWN, 0 is neither; in a map of tissues class ids go up to LARGEST_CLASS, and ids of
            tissues lie above.
        annotated: Class ids that were looked for in the whole scan.

    Raises:
        UsageError: If image and labels differ in shape, or nothing was looked for.
    """

    name: str
    group: str
    image_hu: Int16[np.ndarray, "_ _ _"] | None
    labels: UInt8[np.ndarray, "i j k"]
    annotated: frozenset[int]

    def __post_init__(self) -> None:
        if self.image_hu is not None and self.image_hu.shape != self.labels.shape:
            raise _refused(f"an image of {self.labels.shape} voxels, as its labels", self.image_hu.shape, self.name)
        largest = LARGEST_CLASS if self.image_hu is None else UNKNOWN - 1
        if not self.annotated or not all(0 < label <= largest for label in self.annotated):
            raise _refused(f"class ids from 1 to {largest} that were looked for", self.annotated, self.name)

    @cached_property
    def present(self) -> tuple[int, ...]:
        """Return the classes that were looked for and found, in order."""
        found = np.flatnonzero(np.bincount(self.labels.ravel(), minlength=256)).tolist()
        return tuple(label for label in found if label in self.annotated)


def save_case(case: Case, folder: Path) -> Path:
    """Write a case as ``folder/<name>.npz``, complete or not at all, and return the file.

    Raises:
        DiskError: If it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{case.name}.npz"
    image = np.zeros((0, 0, 0), np.int16) if case.image_hu is None else case.image_hu
    annotated = np.array(sorted(case.annotated), dtype=np.uint8)
    with replacing(path) as part:
        np.savez_compressed(part, group=case.group, image=image, labels=case.labels, annotated=annotated)
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
