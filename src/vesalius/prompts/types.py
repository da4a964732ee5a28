"""Prompts: what a person asks of a model, in names and places of their own, before any window or tensor."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vesalius.errors import GeometryError, InputError, UsageError
from vesalius.geometry.boxes import Box
from vesalius.geometry.grid import Grid
from vesalius.geometry.packed_mask import PackedMask
from vesalius.labels.spelling import is_text
from vesalius.shapes import MaskArray

Place = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class ClassPrompt:
    """Find a structure by its name, without a click."""

    target: str
    """A class name, a synonym, or an id as text."""


@dataclass(frozen=True, kw_only=True)
class PointPrompt:
    """A click: this place belongs to the target, or does not.

    Raises:
        UsageError: If not exactly one place is given, it is not three finite numbers, or the target is no text.
    """

    target: str
    """A class name, a synonym or an id as text; or ``new:<name>`` for a structure the model has no name for."""
    positive: bool = True
    """Whether the place belongs to the target."""
    ras_mm: Place | None = None
    """The place in the world: right, anterior, superior, in millimetres."""
    voxel: Place | None = None
    """The place as an index into the volume's own array; 0 is the centre of the first voxel."""

    def __post_init__(self) -> None:
        _refuse_what_is_no_text(self.target)
        for name in ("ras_mm", "voxel"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _place(getattr(self, name)))
        if (self.ras_mm is None) == (self.voxel is None):
            raise UsageError(
                expected="a click with one place: `ras_mm` or `voxel`",
                got="both" if self.voxel is not None else "neither",
                do="leave one of the two out" if self.voxel is not None else "say where the click is",
            )

    def point_ijk(self, grid: Grid) -> Place:
        """Return the click in the voxels of the volume's own grid.

        Args:
            grid: The grid of the volume that was clicked on.

        Raises:
            UsageError: If the click lies outside that grid's voxels.
        """
        if self.voxel is not None:
            i, j, k = self.voxel
        else:
            i, j, k = grid.to_voxel(np.asarray(self.ras_mm, dtype=np.float64)).tolist()
        reach = 0.5 + _ROUNDING  # half a voxel around the outermost centres
        if not all(-reach <= at <= side - 1 + reach for at, side in zip((i, j, k), grid.shape, strict=True)):
            place = f"voxel {_written((i, j, k))}"
            given = place if self.ras_mm is None else f"RAS {_written(self.ras_mm)} mm, which is {place}"
            raise UsageError(
                expected=f"a click inside the volume's {' x '.join(map(str, grid.shape))} voxels",
                got=given,
                do="check that the click was made on this volume, and whether it is in millimetres or in voxels",
            )
        return i, j, k


@dataclass(frozen=True, kw_only=True, eq=False, init=False)
class MaskPrompt:
    """An earlier mask of the target to start from; what it is given is packed, and may be written to afterwards.

    Args:
        target: A class name, a synonym or an id as text; or ``new:<name>``.
        mask: Voxels of the target, ``(i, j, k)``, bool.
        grid: Where the voxels of ``mask`` are.

    Raises:
        GeometryError: If the mask is not on its grid.
        InputError: If it is not bool.
        UsageError: If the target is no text.
    """

    target: str
    packed: PackedMask
    grid: Grid

    def __init__(self, *, target: str, mask: np.ndarray, grid: Grid) -> None:
        _refuse_what_is_no_text(target)
        if mask.dtype != np.bool_:
            raise InputError(
                expected="a mask of bool",
                got=f"an array of {mask.dtype}",
                do="compare it with a label or a threshold",
            )
        if mask.shape != grid.shape:
            raise GeometryError(
                expected=f"a mask on a grid of {grid.shape}",
                got=f"an array of {mask.shape}",
                do="give the mask the grid it was made on",
            )
        for name, value in (("target", target), ("packed", PackedMask.of(mask)), ("grid", grid)):
            object.__setattr__(self, name, value)

    @property
    def mask(self) -> MaskArray:
        """The voxels of the target, unpacked anew each time."""
        return self.packed.within(Box((0, 0, 0), self.grid.shape))


Prompt = ClassPrompt | PointPrompt | MaskPrompt

_ROUNDING = 1e-4
"""Of a voxel: a click on the outermost face, written in millimetres and read again, is still inside."""


def _refuse_what_is_no_text(target: str) -> None:
    if not is_text(target):
        raise UsageError(expected="a target that can be written", got=repr(target), do="give it another name")


def _place(given: Place) -> Place:
    place = tuple(float(at) for at in given)
    if len(place) != 3 or not all(math.isfinite(at) for at in place):
        raise UsageError(
            expected="a place of three finite numbers", got=repr(given), do="give (x, y, z), or (i, j, k)"
        )
    return place


def _written(place: Place | None) -> str:
    assert place is not None
    return "(" + ", ".join(f"{at:.4g}" for at in place) + ")"
