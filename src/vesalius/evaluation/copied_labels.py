"""Copied labels: the answer that learns nothing, which every model made from a few cases has to beat.

The labels of the drawn case whose image is most alike, stretched from its extent to that of the scan. Where a data
set shows one place in one pose, as crops around a structure do, that is far from nothing.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float32, Num, Shaped

from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.errors import UsageError
from vesalius.evaluation.matching import canonical
from vesalius.evaluation.references import read_references
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.labels.vocabulary import Vocabulary

_THUMBNAIL = (48, 48, 48)


class CopiedLabels:
    """Drawn cases to copy from; of each only a small picture is kept, and the chosen one is read again.

    Args:
        listed: The list, which says what label ids mean.
        cases: Its labelled cases to copy from.
        vocabulary: For lists that give class ids instead of names.

    Raises:
        UsageError: If there are none.
        InputError: If one cannot be read.
    """

    def __init__(self, listed: DataList, cases: Sequence[ListedCase], vocabulary: Vocabulary) -> None:
        if not cases:
            raise UsageError(expected="labelled cases to copy from", got="none", do="name some")
        self._listed, self._cases, self._vocabulary = listed, tuple(cases), vocabulary
        self._thumbnails: list[Float32[np.ndarray, "i j k"]] = []
        self._stated: list[frozenset[str]] = []
        for one in read_references(listed, cases, vocabulary):
            self._thumbnails.append(_thumbnail(one.volume))
            self._stated.append(frozenset(map(canonical, one.stated)))

    def nearest(self, volume: Volume) -> int:
        """Return the place, among the cases, of the one whose image correlates most with a volume's."""
        return int(np.argmax(self._likeness(volume)))

    def __call__(self, volume: Volume) -> LabelMap:
        """Return the labels of the nearest case on a volume's own grid."""
        return self._copied(self.nearest(volume), volume)

    def by_class(self, volume: Volume, names: Sequence[str]) -> Iterator[tuple[LabelMap, list[str]]]:
        """Yield labels on a volume's own grid, each with the classes that are to be taken from it.

        Of every class it is the nearest case of those that state it: where cases are partly labelled, the nearest
        of all may say nothing about it. A class that no case states is left out.

        Args:
            volume: To label.
            names: The classes.
        """
        likeness = self._likeness(volume)
        chosen: dict[int, list[str]] = {}
        for name in names:
            stating = [place for place, stated in enumerate(self._stated) if canonical(name) in stated]
            if stating:
                chosen.setdefault(max(stating, key=likeness.__getitem__), []).append(name)
        for place, taken in chosen.items():
            yield self._copied(place, volume), taken

    def _likeness(self, volume: Volume) -> list[float]:
        own = _thumbnail(volume)
        return [float(np.mean(own * other)) for other in self._thumbnails]

    def _copied(self, place: int, volume: Volume) -> LabelMap:
        (drawn,) = read_references(self._listed, [self._cases[place]], self._vocabulary)
        labels, grid = drawn.truth.reoriented("RAS"), volume.grid.reoriented("RAS")
        layers = {name: stretched(layer, grid.shape) for name, layer in labels.overlaps.items()}
        copied = LabelMap(stretched(labels.data, grid.shape), grid, labels.names, layers)
        return copied.reoriented(volume.grid.axis_codes)


def stretched(data: Shaped[np.ndarray, "i j k"], shape: tuple[int, int, int]) -> Shaped[np.ndarray, "x y z"]:
    """Return an array stretched to a shape: each voxel takes the nearest, faces fall on faces."""
    indices = [(np.arange(new) + 0.5) * old // new for new, old in zip(shape, data.shape, strict=True)]
    return np.ascontiguousarray(data[np.ix_(*(index.astype(np.intp) for index in indices))])


def _thumbnail(volume: Volume) -> Float32[np.ndarray, "i j k"]:
    """Return an image in RAS, small, with mean 0 and deviation 1; of one without contrast, 0."""
    small: Num[np.ndarray, "i j k"] = stretched(volume.reoriented("RAS").data[0], _THUMBNAIL)
    centred = small.astype(np.float32) - np.float32(small.mean())
    deviation = float(centred.std())
    return centred / np.float32(deviation) if deviation > 0 else centred
