"""From a volume to the image a model sees: orientation, crop, spacing, intensity, padding.

Four ways, as data: ours, and the three published pipelines of VISTA3D, which disagree with one another
(order of steps, crop, padding; ``Preprocessing`` says how).
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vesalius.errors import InputError
from vesalius.geometry import affine as affines
from vesalius.geometry.boxes import Box, Triple, bounding_box
from vesalius.geometry.grid import Grid
from vesalius.geometry.resample import resample_linear
from vesalius.geometry.volume import Volume
from vesalius.hounsfield import BODY_HU
from vesalius.spec import ModelSpec
from vesalius.transforms.intensity import image_window, scale_hu_

_BODY_MARGIN_MM = 10.0
_FOREGROUND_MARGIN = 10


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The choices in which the pipelines differ.

    Args:
        crop: ``body``: the box of everything denser than air, found on the input's grid (ours).
            ``foreground``: MONAI's ``CropForeground`` of HU > 0 on the resampled image, margin 10 voxels.
        clip_first: Clip intensities before interpolating, not after.
        orient_first: Reorient before choosing the grid, not after: decides which corner keeps its place.
        keep_extent: Choose the grid that covers the faces of the corner voxels (ours), not MONAI's ``Spacing``,
            which keeps the first voxel's centre where it is.
        padding: How an image smaller than a window is filled up; ``constant`` is the low end of the window.
    """

    crop: Literal["body", "foreground", "none"] = "body"
    clip_first: bool = False
    orient_first: bool = True
    keep_extent: bool = True
    padding: Literal["constant", "replicate"] = "constant"


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the network sees.

    Args:
        image: Intensities in 0..1, at least one window in size.
        grid: Where its voxels are, padding included.
        content: The part that is not padding.
    """

    image: Float[Tensor, "i j k"]
    grid: Grid
    content: Box


def body_box(volume: Volume) -> Box | None:
    """Return the box of all voxels denser than air, or None where there is only air."""
    return bounding_box(_denser_than(volume.data[0], BODY_HU))


def body_middle_mm(volume: Volume) -> float:
    """Return where the middle of what is denser than air lies from left to right, in mm (RAS), by a sparse sample.

    Where there is only air, it is the middle of the volume.
    """
    steps = tuple(slice(None, None, max(1, n // 64)) for n in volume.grid.shape)
    inside = np.argwhere(volume.data[0][steps] > BODY_HU)
    if not len(inside):
        return float(volume.grid.to_world((np.array(volume.grid.shape) - 1) / 2)[0])
    return float(volume.grid.to_world(inside.mean(axis=0) * [step.step for step in steps])[0])


def _denser_than(data: np.ndarray, threshold: float) -> np.ndarray:
    dense = np.empty_like(data, dtype=bool)  # keeps the memory order of views
    np.greater(data, threshold, out=dense)
    return dense


def model_grid(volume: Volume, spec: ModelSpec, steps: Preprocessing, box: Box | None) -> tuple[Volume, Grid]:
    """Return the volume in the orientation in which it is resampled, and the grid it is resampled to.

    Args:
        volume: The input.
        spec: Says spacing and orientation.
        steps: Which pipeline.
        box: The part of the volume to keep, in its own voxels; None keeps all.
    """
    if box is not None:
        volume = Volume(volume.data[:, *box.slices], volume.grid.cropped(box), volume.modality, volume.source)
    if steps.orient_first:
        volume = volume.reoriented(spec.orientation)
    spacing = _in_order(spec, volume.grid)
    return volume, volume.grid.respaced(spacing) if steps.keep_extent else _corner_kept(volume.grid, spacing)


def _in_order(spec: ModelSpec, grid: Grid) -> tuple[float, float, float]:
    """Return the spec's spacing in the axis order of a grid that may not be oriented yet."""
    order, _ = affines.axes_between(spec.orientation, grid.axis_codes)
    return spec.spacing_mm[order[0]], spec.spacing_mm[order[1]], spec.spacing_mm[order[2]]


def _corner_kept(grid: Grid, spacing_mm: Triple | tuple[float, float, float]) -> Grid:
    """Return the grid of MONAI's ``Spacing``: the first voxel's centre stays, the last comes near its place."""
    factors = np.asarray(spacing_mm, dtype=np.float64) / np.asarray(grid.spacing_mm)
    shape = np.round((np.asarray(grid.shape) - 1) / factors + 1.0).astype(int)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), grid.affine @ affines.scaling(factors))


def prepare(
    volume: Volume, spec: ModelSpec, steps: Preprocessing, *, box: Box | None, dtype: torch.dtype
) -> Prepared:
    """Make the image the network sees.

    Args:
        volume: The input; one channel.
        spec: Says spacing, orientation, Hounsfield window and window size.
        steps: Which pipeline.
        box: The part of the volume to keep (``body_box``), in its own voxels; None keeps all.
        dtype: Of the image.

    Raises:
        InputError: If the volume has more than one channel.
    """
    if volume.data.shape[0] != 1:
        raise InputError(
            expected="an image of one channel",
            got=f"{volume.data.shape[0]} channels",
            do="choose one channel (a phase, an echo) and segment that",
        )
    window = image_window(volume.data[0], spec)
    volume, grid = model_grid(volume, spec, steps, box)
    image = resample_linear(volume.data[0], volume.grid, grid, clip=window if steps.clip_first else None)
    if steps.crop == "foreground":
        image, grid = _crop_foreground(image, grid)
    image = scale_hu_(image, window).to(dtype)
    if grid.axis_codes != spec.orientation:
        order, flips = affines.axes_between(grid.axis_codes, spec.orientation)
        image = image.permute(order).flip([a for a in range(3) if flips[a]])
        grid = grid.reoriented(spec.orientation)
    return _padded(image, grid, spec.window_size, steps)


def _crop_foreground(image: Float[Tensor, "i j k"], grid: Grid) -> tuple[Float[Tensor, "x y z"], Grid]:
    box = bounding_box(_denser_than(image.numpy(), 0.0))
    if box is None:
        return image, grid
    box = box.grown(_FOREGROUND_MARGIN).clipped(grid.shape)
    return image[box.slices], grid.cropped(box)


def padded_grid(grid: Grid, least: Triple) -> Grid:
    """Return a grid of at least ``least`` voxels, filled up on both sides, the odd voxel after it."""
    return grid.cropped(_padded_box(grid, least))


def content_box(grid: Grid, least: Triple) -> Box:
    """Return where the voxels of a grid lie in its ``padded_grid``."""
    return Box((0, 0, 0), grid.shape).relative_to(_padded_box(grid, least).start)


def _padded_box(grid: Grid, least: Triple) -> Box:
    missing = [max(n - size, 0) for n, size in zip(least, grid.shape, strict=True)]
    i, j, k = (m // 2 for m in missing)
    return Box(
        (-i, -j, -k),
        (grid.shape[0] + missing[0] - i, grid.shape[1] + missing[1] - j, grid.shape[2] + missing[2] - k),
    )


def _padded(image: Float[Tensor, "i j k"], grid: Grid, least: Triple, steps: Preprocessing) -> Prepared:
    box = _padded_box(grid, least)
    before = [-start for start in box.start]
    after = [stop - size for stop, size in zip(box.stop, grid.shape, strict=True)]
    if any(before) or any(after):
        sides = [amount for a in (2, 1, 0) for amount in (before[a], after[a])]
        mode = "replicate" if steps.padding == "replicate" else "constant"
        image = torch.nn.functional.pad(image[None, None], sides, mode=mode)[0, 0]
    return Prepared(image, grid.cropped(box), content_box(grid, least))


def margin_box(box: Box, grid: Grid) -> Box:
    """Return a body box with a margin of 10 mm, inside the grid."""
    i, j, k = (round(_BODY_MARGIN_MM / spacing) for spacing in grid.spacing_mm)
    return box.grown((i, j, k)).clipped(grid.shape)
