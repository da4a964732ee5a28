"""A stand-in for the network: a click is a cube, a class prompt a slab, so that edits can be foretold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest

from interactive.small_session import segmenter
from vesalius.geometry.boxes import Box, bounding_box
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.merge import MaskChange
from vesalius.inference.points import PointLogits
from vesalius.inference.segmenter import Segmenter

_HALF_SIDE = 2


class Slabs(Segmenter):
    """Finds each class in a slab of its own, the same in every volume."""

    def __call__(self, volume: Volume, classes: Sequence[str | int] = (), *, options: object = None) -> LabelMap:
        data = np.zeros(volume.grid.shape, dtype=np.uint8)
        targets = self.vocabulary.resolve(classes)
        for target in targets:
            data[:, :, 3 * target.id : 3 * target.id + 4] = target.id
        return LabelMap(data, volume.grid, {target.id: target.name for target in targets})


def slabs() -> Slabs:
    real = segmenter()
    return Slabs(real.network, real.spec)


def change_by_cubes(
    _: object, earlier: np.ndarray, points_ijk: np.ndarray, positive: np.ndarray, **__: object
) -> MaskChange:
    after = earlier.copy()
    for point, is_inside in zip(points_ijk, positive, strict=True):
        i, j, k = np.rint(point).astype(int).tolist()
        after[Box((i, j, k), (i + 1, j + 1, k + 1)).grown(_HALF_SIDE).clipped(earlier.shape).slices] = is_inside
    box = bounding_box(after != earlier)
    if box is None:
        return MaskChange(Box((0, 0, 0), (0, 0, 0)), after[:0, :0, :0], after[:0, :0, :0])
    return MaskChange(box, (after & ~earlier)[box.slices], (earlier & ~after)[box.slices])


@contextmanager
def cubes() -> Iterator[pytest.MonkeyPatch]:
    """Let clicks be cubes within the block; what else is patched there goes through what this gives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vesalius.interactive.prediction.change_mask", change_by_cubes)
        patch.setattr("vesalius.interactive.logits.ClickLogits.of", lambda *_: PointLogits((1, 1, 1), (), ()))
        patch.setattr("vesalius.interactive.canvas._BLOCK", 10)  # several in a small volume
        yield patch
