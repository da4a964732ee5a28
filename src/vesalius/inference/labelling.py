"""Make labels on the input's own grid out of features on the model's grid.

Features are interpolated linearly and compared with the class vectors at every voxel of the input: borders follow
the sub-voxel surface, no staircase. Most voxels need none of that work: logits are linear in the features and
trilinear weights are convex, so where one class wins at all eight corners of a cell it wins everywhere inside
(one class, not one label: between two that are written alike a third may win). Only voxels of mixed cells are
interpolated; the result equals the dense computation in every voxel.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from vesalius.geometry.boxes import Box
from vesalius.geometry.resample import AxisMap

_ROWS_AT_ONCE = 1 << 15
_UNDECIDED = -1
_ROUNDING = 1e-5
"""Bound on the relative rounding error of an interpolated logit in fp32, with room to spare (it is about 3e-6)."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Classes of which at most one holds a voxel: argmax runs inside a layer, layers may overlap.

    Args:
        class_vectors: What features are compared with.
        labels: The label each class is written as; several classes may share one (composites).
        target: Where labels are written, axes in the order of the features; any strides.
    """

    class_vectors: Float[Tensor, "o d"]
    labels: Int[Tensor, " o"]
    target: Integer[np.ndarray, "z y x"]


@dataclass
class Confidence:
    """Sums over the model's voxels of an image from which a mean probability per label is made."""

    probability: Float[Tensor, " l"]
    voxels: Int[Tensor, " l"]

    def mean(self, label: int) -> float | None:
        """Return the mean probability of a label's voxels, or None where it has none."""
        count = int(self.voxels[label])
        return float(self.probability[label]) / count if count else None


@dataclass(kw_only=True)
class LabelMaker:
    """Takes finished planes of features as they come and writes labels.

    Args:
        maps: Where the target's voxels fall on the model's grid, axes in the order of the features.
        layers: What to write.
        content: Voxels of the features, axes in their order, that confidence is counted over: not what fills up an
            image to the size of a window. None counts all.
        shortcut: Decide uniform cells from their corners. Without it every voxel is computed (the reference).
    """

    maps: tuple[AxisMap, AxisMap, AxisMap]
    layers: Sequence[Layer]
    content: Box | None = None
    shortcut: bool = True
    confidence: list[Confidence] = field(init=False)
    _fed: int = field(init=False, default=0)
    _written: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        sizes = [int(layer.labels.max()) + 1 for layer in self.layers]
        self.confidence = [
            Confidence(torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.int64)) for n in sizes
        ]
        self._neighbours = [axis.neighbours() for axis in self.maps]
        self._needed = self._neighbours[0][0] + (1 if self.maps[0].length > 1 else 0)

    def feed(self, block: Float[Tensor, "p y x d"]) -> None:
        """Write every target plane that the next planes of features complete.

        Args:
            block: Finished planes; every block but the first begins with the last plane of the one before.
        """
        repeated = 1 if self._fed else 0
        first = self._fed - repeated
        self._fed = first + block.shape[0]
        ready = int(torch.searchsorted(self._needed, self._fed))
        self._neighbours = [(low.to(block.device), part.to(block.device)) for low, part in self._neighbours]
        counted = self._counted(block, first, repeated).flatten()
        for layer, confidence in zip(self.layers, self.confidence, strict=True):
            winners = self._winners(block, layer, confidence, counted)
            if ready > self._written:
                self._write(block, winners, layer, slice(self._written, ready), first)
        self._written = max(ready, self._written)

    def _counted(self, block: Float[Tensor, "p y x d"], first: int, repeated: int) -> Bool[Tensor, "p y x"]:
        """Return which voxels of a block, whose first plane is ``first``, confidence is counted over."""
        planes, height, width, _ = block.shape
        content = self.content or Box((0, 0, 0), (first + planes, height, width))
        _, y, x = content.slices
        counted = torch.zeros(planes, height, width, dtype=torch.bool, device=block.device)
        counted[max(content.start[0] - first, repeated) : max(content.stop[0] - first, 0), y, x] = True
        return counted

    def _winners(
        self,
        block: Float[Tensor, "p y x d"],
        layer: Layer,
        confidence: Confidence,
        counted: Bool[Tensor, " m"],
    ) -> Int[Tensor, "p y x"]:
        """Return 1 + the winning class of each model voxel, ``_UNDECIDED`` where rounding could change it.

        Args:
            block: Planes of features.
            layer: Which classes compete.
            confidence: Gets the probability of what wins.
            counted: Whose probability counts.
        """
        rows = block.reshape(-1, block.shape[-1])
        winners = torch.zeros(rows.shape[0], dtype=torch.int16, device=rows.device)
        longest = torch.linalg.vector_norm(layer.class_vectors, dim=1).max()
        for start in range(0, rows.shape[0], _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE].float()
            logits = part @ layer.class_vectors.T  # [rows o]
            margin = _ROUNDING * longest * torch.linalg.vector_norm(part, dim=1)
            place = (logits.amax(dim=1) >= -margin).nonzero()[:, 0]  # the others are background, most of a scan
            logits, margin = logits[place], margin[place]
            best, column = logits.max(dim=1)
            winner = torch.where(best > 0, column + 1, 0)
            near = (logits >= (best - margin)[:, None]).sum(dim=1, dtype=torch.int16)
            certain = (near == 1) & (best > margin)
            winners[place + start] = torch.where(certain, winner, _UNDECIDED).to(torch.int16)
            _count(confidence, layer.labels, column, best, counts=counted[place + start])
        return winners.view(block.shape[:3])

    def _write(
        self,
        block: Float[Tensor, "p y x d"],
        winners: Int[Tensor, "p y x"],
        layer: Layer,
        planes: slice,
        first: int,
    ) -> None:
        """Write the target's planes: whole cells where the corners agree, interpolated voxels elsewhere."""
        won = _decided_cells(winners) if self.shortcut else torch.full_like(winners, _UNDECIDED)
        cells = _labels_of(won, layer.labels)
        lower = [low for low, _ in self._neighbours]
        rolling = lower[0][planes] - first
        labels = cells.index_select(0, rolling).index_select(1, lower[1]).index_select(2, lower[2])
        flat = labels.view(-1)
        mixed = (flat == _UNDECIDED).nonzero()[:, 0]
        for start in range(0, len(mixed), _ROWS_AT_ONCE):
            voxels = mixed[start : start + _ROWS_AT_ONCE]
            features = self._interpolated(block, voxels, planes, first)
            best, column = (features @ layer.class_vectors.T).max(dim=1)
            flat[voxels] = torch.where(best > 0, layer.labels[column], 0).to(torch.int16)
        layer.target[planes] = labels.cpu().numpy()

    def _interpolated(
        self, block: Float[Tensor, "p y x d"], voxels: Int[Tensor, " n"], planes: slice, first: int
    ) -> Float[Tensor, "n d"]:
        """Interpolate the features at target voxels given by flat index into ``planes``."""
        (low_z, part_z), (low_y, part_y), (low_x, part_x) = self._neighbours
        size_y, size_x = len(low_y), len(low_x)
        z, y, x = voxels // (size_y * size_x) + planes.start, (voxels // size_x) % size_y, voxels % size_x
        _, ny, nx, _ = block.shape
        base = ((low_z[z] - first) * ny + low_y[y]) * nx + low_x[x]
        steps = (ny * nx * (block.shape[0] > 1), nx * (ny > 1), int(nx > 1))
        rows = block.reshape(-1, block.shape[-1])
        weights = (part_z[z, None], part_y[y, None], part_x[x, None])
        return _trilinear(rows, base, steps, weights)


def _trilinear(
    rows: Float[Tensor, "m d"],
    base: Int[Tensor, " n"],
    steps: tuple[int, int, int],
    weights: tuple[Float[Tensor, "n 1"], Float[Tensor, "n 1"], Float[Tensor, "n 1"]],
) -> Float[Tensor, "n d"]:
    """Interpolate between rows ``base`` and its neighbours at ``steps``, one axis after the other."""

    def along(axis: int, index: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        if axis == 3:
            return rows.index_select(0, index).float()
        return along(axis + 1, index).lerp_(along(axis + 1, index + steps[axis]), weights[axis])

    return along(0, base)


def _decided_cells(winners: Int[Tensor, "p y x"]) -> Int[Tensor, "cp cy cx"]:
    """Return what has won in each cell whose corners all agree, ``_UNDECIDED`` for the others.

    A cell is named by its lowest corner; an axis of one voxel has one cell, with that voxel on both sides.
    """
    low = high = winners
    for axis, size in enumerate(winners.shape):
        if size > 1:
            low = torch.minimum(low.narrow(axis, 0, size - 1), low.narrow(axis, 1, size - 1))
            high = torch.maximum(high.narrow(axis, 0, size - 1), high.narrow(axis, 1, size - 1))
    return torch.where(low == high, low, _UNDECIDED)


def _labels_of(winners: Int[Tensor, "cp cy cx"], labels: Int[Tensor, " o"]) -> Int[Tensor, "cp cy cx"]:
    """Return the label that each winner is written as; background and ``_UNDECIDED`` stay."""
    table = torch.cat([labels.new_tensor([_UNDECIDED, 0]), labels]).to(winners.dtype)
    return table.index_select(0, (winners + 1).flatten().int()).view(winners.shape)


def _count(
    confidence: Confidence,
    labels: Int[Tensor, " o"],
    column: Int[Tensor, " n"],
    best: Float[Tensor, " n"],
    *,
    counts: Bool[Tensor, " n"],
) -> None:
    """Add the probability of the class that won, where one did, to that of its label."""
    found = (counts & (best > 0)).nonzero()[:, 0]
    if len(found):
        label, size = labels[column[found]].cpu(), len(confidence.voxels)
        probability = torch.sigmoid(best[found]).cpu().double()  # not every device has float64
        confidence.voxels += torch.bincount(label, minlength=size)
        confidence.probability += torch.bincount(label, weights=probability, minlength=size)
