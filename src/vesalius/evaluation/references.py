"""Scans with what should be found in them, from a list of cases: one at a time, on the image's own grid."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.errors import GeometryError, UsageError
from vesalius.evaluation.matching import canonical
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io.formats import read, read_labels
from vesalius.labels.mapping import Meaning
from vesalius.labels.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class ReferenceCase:
    """A scan and what should be found in it.

    Args:
        name: The case.
        volume: The image.
        truth: The reference; it names every class that was looked for, also those that are absent.
        unknown: Its ids of voxels that nobody judged.
    """

    name: str
    volume: Volume
    truth: LabelMap
    unknown: frozenset[int] = frozenset()


def labelled(listed: DataList, split: str | None = None) -> tuple[str, tuple[ListedCase, ...]]:
    """Return which split to evaluate on, and its labelled cases.

    Args:
        listed: The list.
        split: ``training``, ``validation`` or ``test``; None is the first of test, validation and training that
            has any labels.

    Raises:
        UsageError: If there are none.
    """
    for name in (split,) if split else ("test", "validation", "training"):
        cases = tuple(case for case in listed.cases if case.split == name and case.is_labelled)
        if cases:
            return name, cases
    raise UsageError(
        expected=f"cases with labels in {listed.path.name}",
        got=f"none for {split}" if split else "none",
        do="name another split, or a list with references",
    )


def read_references(
    listed: DataList, cases: Sequence[ListedCase], vocabulary: Vocabulary
) -> Iterator[ReferenceCase]:
    """Read labelled cases of a list, one at a time.

    Args:
        listed: The list, which says what label ids mean; where it does not, the label files themselves do.
        cases: Which of its cases.
        vocabulary: Of the model, for lists that give class ids instead of names.

    Raises:
        InputError: If a file is refused, or a mask does not lie on the voxels of its image.
        UnknownClassError: If the list gives a class id that the model does not have.
    """
    for case in cases:
        volume = read(case.image)
        if listed.modality != "unknown":
            volume = Volume(volume.data, volume.grid, listed.modality, volume.source)
        truth = _of_one_file(listed, case, vocabulary) if case.label else _of_masks(listed, case, volume.grid)
        yield ReferenceCase(name=case.name, volume=volume, truth=truth, unknown=listed.unknown)


def _of_one_file(listed: DataList, case: ListedCase, vocabulary: Vocabulary) -> LabelMap:
    assert case.label is not None
    labels = read_labels(case.label)
    stated = {
        label: _name(meaning, vocabulary) for label, meaning in listed.meanings.items() if meaning is not None
    }
    names = _looked_for(stated or dict(labels.names), case, vocabulary)
    return LabelMap(labels.data, labels.grid, names, labels.overlaps, labels.source)


def _looked_for(names: dict[int, str], case: ListedCase, vocabulary: Vocabulary) -> dict[int, str]:
    """Return the names of what was looked for in a case; a class that no id stands for gets an id above all."""
    if case.classes is None:
        return names
    wanted = {canonical(name): name for name in (_name(word, vocabulary) for word in case.classes)}
    kept = {label: name for label, name in names.items() if canonical(name) in wanted}
    without_id = [name for key, name in wanted.items() if key not in map(canonical, kept.values())]
    return kept | dict(enumerate(without_id, start=max(names, default=0) + 1))


def _of_masks(listed: DataList, case: ListedCase, grid: Grid) -> LabelMap:
    """Read a file per structure into one layer; a structure that overlaps another gets a layer of its own."""
    names = {label: str(listed.meanings[label]) for label in case.masks}
    kind = np.dtype(np.uint8 if max(names) < 256 else np.uint16)
    base = np.zeros(grid.shape, kind)
    layers: dict[str, np.ndarray] = {}
    for label, path in case.masks.items():
        mask = _on_grid(read_labels(path), grid, f"{case.name}, {names[label]}") > 0
        layer = layers.setdefault(names[label], np.zeros(grid.shape, kind)) if base[mask].any() else base
        layer[mask] = label
    return LabelMap(base, grid, names, layers)


def _on_grid(mask: LabelMap, grid: Grid, what: str) -> np.ndarray:
    moved = mask.reoriented(grid.axis_codes)
    if not moved.grid.is_close(grid, tolerance_voxels=0.05):
        raise GeometryError(
            expected=f"{what}: a mask on the {grid.shape} voxels of its image",
            got=f"{mask.grid.shape} voxels, or at another place",
            do="see `vesalius dataset check`",
        )
    return moved.data


def _name(meaning: Meaning, vocabulary: Vocabulary) -> str:
    return vocabulary.by_id(meaning).name if isinstance(meaning, int) else str(meaning)
