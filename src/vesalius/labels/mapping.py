"""LabelMapping: a data set's label ids -> the class ids of a vocabulary; partial labels stay partial.

A data set draws some structures and says nothing about the others. What is mapped was looked for; what is not is
never a negative. VISTA3D keeps such maps as pairs of ids (``label_mappings.json``, He et al., CVPR 2025, section 4)
and turns every id it does not map into background; here an id that the data set never declared is refused, because
it means that the map is not this data set's.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from vesalius.errors import FileFormatError, UnknownClassError
from vesalius.labels.structure import Structure
from vesalius.labels.vocabulary import Vocabulary
from vesalius.shapes import LabelArray

UNKNOWN = 255
"""A voxel of which nothing is known: it is left out of every class's loss."""

Meaning = str | int | None
"""What a data set says an id means: a name, a class id of the vocabulary, or nothing the vocabulary has."""


@dataclass(frozen=True)
class LabelMapping:
    """What a data set's label ids are in a vocabulary; build it with ``LabelMapping.of``.

    Args:
        classes: The data set's id -> class id, 1 to 254; several ids may be one class.
        left_out: Ids that the data set declares and the vocabulary has no class for. They become UNKNOWN: of a
            lesion that is left out, nobody says whether it counts as the organ around it.
        unknown: Ids that mark voxels nobody judged (nnU-Net's ``ignore``): they become UNKNOWN.
    """

    classes: Mapping[int, int]
    left_out: frozenset[int] = frozenset()
    unknown: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        wrong = {a: b for a, b in self.classes.items() if not (0 < a <= 65535 and 0 < b < UNKNOWN)}
        twice = set(self.classes) & (self.left_out | self.unknown)
        if wrong or twice:
            raise _refused("label ids from 1 to 65535, each once, with class ids from 1 to 254", wrong or twice)
        object.__setattr__(self, "classes", dict(sorted(self.classes.items())))

    @classmethod
    def of(
        cls,
        meanings: Mapping[int, Meaning],
        vocabulary: Vocabulary,
        *,
        unknown: Iterable[int] = (),
    ) -> LabelMapping:
        """Find the class of every id of a data set.

        Args:
            meanings: The data set's id -> a name or synonym, however it is spelled; a class id; or None where the
                vocabulary has no class for it. 0 is the background and may be left away.
            vocabulary: What the model can name.
            unknown: Ids that mark voxels nobody judged.

        Raises:
            UnknownClassError: If a name or id means no class (close names are suggested) or several (``kidney``:
                which of them a voxel is, nobody knows).
            FileFormatError: If an id is out of range.

        Example:
            >>> vocabulary = Vocabulary.of([(1, "liver"), (26, "hepatic tumor")])
            >>> dict(LabelMapping.of({1: "Liver", 2: "hepatic tumour"}, vocabulary).classes)
            {1: 1, 2: 26}
        """
        named = {label: meaning for label, meaning in meanings.items() if label != 0}
        left_out = frozenset(label for label, meaning in named.items() if meaning is None)
        return cls(
            {a: class_of(b, vocabulary, label=a).id for a, b in named.items() if b is not None},
            left_out,
            frozenset(unknown),
        )

    @property
    def annotated(self) -> frozenset[int]:
        """The class ids that this data set looked for."""
        return frozenset(self.classes.values())

    @property
    def declared(self) -> frozenset[int]:
        """The ids that a label file of this data set may hold, the background included."""
        return frozenset((0, *self.classes, *self.left_out, *self.unknown))

    def foreign(self, found: Iterable[int]) -> tuple[int, ...]:
        """Return those of the ids found in a file that the data set does not declare, in order."""
        return tuple(sorted(set(found) - self.declared))

    def apply(self, labels: LabelArray) -> UInt8[np.ndarray, "i j k"]:
        """Return the class ids of a label map.

        Args:
            labels: The data set's ids.

        Raises:
            FileFormatError: If an id is found that the data set does not declare.
        """
        largest = max(*self.declared, int(labels.max()))
        found = np.flatnonzero(np.bincount(labels.ravel(), minlength=largest + 1)).tolist()
        if foreign := self.foreign(found):
            raise _refused(f"the declared label ids {sorted(self.declared)}", f"{list(foreign)} in a label map")
        table = np.zeros(largest + 1, dtype=np.uint8)
        for label, class_id in self.classes.items():
            table[label] = class_id
        table[list(self.unknown | self.left_out)] = UNKNOWN
        renamed: np.ndarray = table[labels]
        return renamed


def class_of(meaning: str | int, vocabulary: Vocabulary, *, label: object = None) -> Structure:
    """Return the one class that a name, a synonym or an id means.

    Args:
        meaning: What a data set says.
        vocabulary: What the model can name.
        label: The data set's id, for the message.

    Raises:
        UnknownClassError: If it means no class, one that cannot be predicted, or several.
    """
    where = "" if label is None else f" for label {label}"
    try:
        structure = vocabulary.by_id(meaning) if isinstance(meaning, int) else vocabulary.by_name(meaning)
    except UnknownClassError as error:
        raise UnknownClassError(
            expected=f"{error.expected}{where}",
            got=error.got,
            do=f"{error.do}; or map it to null, to leave it out",
        ) from None
    if structure.status != "trained":
        raise UnknownClassError(
            expected=f"one class of the vocabulary{where}",
            got=f"{structure.name!r}, which " + _why_not(structure, vocabulary),
            do="map it to one class, or to null, to leave it out",
        )
    return structure


def _why_not(structure: Structure, vocabulary: Vocabulary) -> str:
    if structure.status == "composite":
        return f"is made of {', '.join(vocabulary.by_id(part).name for part in structure.parts)}"
    return f"cannot be predicted: {structure.reason}"


def _refused(expected: str, got: object) -> FileFormatError:
    return FileFormatError(
        expected=expected, got=str(got), do="correct the data set's `labels` or `label_mapping`, or the file"
    )
