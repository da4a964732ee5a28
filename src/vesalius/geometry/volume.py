"""Volume and LabelMap: data on a grid, and nothing about files or pictures."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np

from vesalius.errors import GeometryError, UnknownClassError
from vesalius.geometry.affine import axes_between
from vesalius.geometry.grid import Grid
from vesalius.shapes import LabelArray, MaskArray, VolumeArray

Modality = Literal["CT", "MR", "unknown"]


@dataclass(frozen=True, eq=False)
class Volume:
    """An image on a grid.

    Args:
        data: Voxel values ``(c, i, j, k)``, as stored; Hounsfield units for CT. Never copied.
        grid: Where the voxels are; its shape is ``data.shape[1:]``.
        modality: What made the image.
        source: Opaque to everyone but ``io``: what a writer needs of the file it came from.
    """

    data: VolumeArray
    grid: Grid
    modality: Modality = "unknown"
    source: object | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check_fits("volume data (c, i, j, k)", self.data.shape[1:], self.grid, self.data.ndim == 4)

    def reoriented(self, codes: str) -> Volume:
        """Return the volume with axes permuted and flipped towards ``codes``; a view, nothing is copied."""
        data = _reorient(self.data, self.grid, codes, first=1)
        return Volume(data, self.grid.reoriented(codes), self.modality, self.source)


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Which structure each voxel belongs to.

    Args:
        data: Label ids ``(i, j, k)``, uint8 or uint16; 0 is background.
        grid: Where the voxels are.
        names: Label id -> name, for every id the map could hold (also those not found).
        overlaps: Layer name -> label ids ``(i, j, k)`` of structures that lie inside others (tumours,
            vessels), with ids of the same ``names``.
        source: Opaque to everyone but ``io``.
    """

    data: LabelArray
    grid: Grid
    names: Mapping[int, str]
    overlaps: Mapping[str, LabelArray] = field(default_factory=dict)
    source: object | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for layer in (self.data, *self.overlaps.values()):
            _check_fits("label data (i, j, k)", layer.shape, self.grid, layer.ndim == 3)
        object.__setattr__(self, "names", MappingProxyType(dict(sorted(self.names.items()))))
        object.__setattr__(self, "overlaps", MappingProxyType(dict(self.overlaps)))

    def mask(self, name: str) -> MaskArray:
        """Return the voxels of one structure, from whichever layer holds it.

        Raises:
            UnknownClassError: If ``names`` has no such structure.
        """
        ids = [label for label, known in self.names.items() if known == name]
        if not ids:
            raise UnknownClassError(
                expected=f"one of {', '.join(self.names.values())}", got=repr(name), do="name one of these"
            )
        found: np.ndarray = self.data == ids[0]
        for layer in self.overlaps.values():
            found |= layer == ids[0]
        return found

    def reoriented(self, codes: str) -> LabelMap:
        """Return the map with axes permuted and flipped towards ``codes``; views, nothing is copied."""
        return LabelMap(
            _reorient(self.data, self.grid, codes, first=0),
            self.grid.reoriented(codes),
            self.names,
            {name: _reorient(layer, self.grid, codes, first=0) for name, layer in self.overlaps.items()},
            self.source,
        )


def _reorient(data: np.ndarray, grid: Grid, codes: str, *, first: int) -> np.ndarray:
    """Permute and flip the three axes of ``data`` that begin at ``first``; a view."""
    order, flips = axes_between(grid.axis_codes, codes)
    moved = data.transpose(*range(first), *(first + a for a in order))
    steps = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    return np.asarray(moved[(slice(None),) * first + steps])


def _check_fits(what: str, shape: tuple[int, ...], grid: Grid, right_rank: bool) -> None:
    if not right_rank or tuple(shape) != grid.shape:
        raise GeometryError(
            expected=f"{what} on a grid of {grid.shape}",
            got=f"an array whose voxel axes are {tuple(shape)}",
            do="give the data the grid it was made on",
        )
