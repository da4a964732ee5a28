"""Slices as far apart as a network learnt to look at them together: a scan is resampled where its own are not.

A convolution along slices knows them by their number: five slices are 5 mm of one scan and 25 mm of another. The
spec of a network with adapters along depth states the distance that it learnt with. A scan of another distance is
interpolated between its slices; labels come back from the nearest. Other networks see slices where they are.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence

from vesalius.errors import UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.planes import Plane
from vesalius.geometry.resample import resample_linear
from vesalius.geometry.volume import Volume
from vesalius.inference.slice_facts import codes_of, plane_of, slices_together
from vesalius.spec import ModelSpec

_NEAR = 0.05
"""Part of the distance by which a scan's may differ from it and still be seen as it is: less than interpolation
would blur."""


def learnt_grid(grid: Grid, spec: ModelSpec, planes: Sequence[Plane] = ()) -> Grid:
    """Return a grid whose slices are as far apart as a model expects; the same where they are, or none says so.

    Args:
        grid: Of the image.
        spec: Of a network of slices; states a distance where the third of ``spacing_mm`` is not 0.
        planes: In which the volume is to be cut; none is the model's own.

    Raises:
        UsageError: If several planes are to be cut: no volume has slices so far apart along all of them.
    """
    wanted = spec.spacing_mm[2] if slices_together(spec) > 1 else 0.0
    if not wanted:
        return grid
    if len(planes) > 1:
        raise UsageError(
            expected=f"one plane, of slices {wanted:g} mm apart, as {spec.name} learnt to look along them",
            got=", ".join(planes),
            do="name one of them",
        )
    axis = _axis(grid, codes_of(spec, planes[0] if planes else plane_of(spec))[2])
    if abs(grid.spacing_mm[axis] / wanted - 1) <= _NEAR:
        return grid
    return grid.respaced([wanted if n == axis else 0.0 for n in range(3)])


def as_learnt(volume: Volume, spec: ModelSpec, planes: Sequence[Plane] = ()) -> Volume:
    """Return a volume on its ``learnt_grid``, interpolated along slices; the same where that is its own.

    Arguments and errors as there.
    """
    target = learnt_grid(volume.grid, spec, planes)
    if target is volume.grid:
        return volume
    data = resample_linear(volume.data[0], volume.grid, target).numpy()
    return Volume(data[None], target, volume.modality, volume.source)


def _axis(grid: Grid, code: str) -> int:
    """Return the axis of a grid that runs from one end of the body to the other, such as ``"S"`` or ``"I"``."""
    ends = next(ends for ends in ("LR", "AP", "IS") if code in ends)
    return next(n for n, own in enumerate(grid.axis_codes) if own in ends)
