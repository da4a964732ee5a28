"""Move voxels: turn, scale, bend and mirror what a window shows, and end a scan early.

Image and labels are sampled at the same points. Left and right swap names when a scan is mirrored.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Integer, UInt8
from torch import Tensor
from torch.nn import functional

from vesalius.hounsfield import LOWEST_HU
from vesalius.labels.mapping import UNKNOWN
from vesalius.shapes import Voxels
from vesalius.transforms.augment import Augmentation

_KNOTS = (6, 6, 6)


def random_map(
    config: Augmentation, spacing_mm: Sequence[float], rng: np.random.Generator
) -> Float64[np.ndarray, "3 3"]:
    """Draw a rotation and a scaling, as the map from window voxels to case voxels (both from the centre).

    Rotations are rotations in millimetres, not in voxels. The identity is drawn with ``config.keep_sharp``.
    """
    if rng.random() < config.keep_sharp:
        return np.eye(3)
    turn = np.eye(3)
    for axis, angle in enumerate(np.radians(rng.uniform(-config.degrees, config.degrees, 3))):
        turn = turn @ _rotation(axis, float(angle))
    zoom = np.exp(rng.uniform(*np.log(config.scale)) + rng.normal(0, config.stretch, 3))
    to_mm = np.diag(np.asarray(spacing_mm, dtype=np.float64))
    return np.asarray(np.linalg.inv(to_mm) @ turn @ np.diag(1 / zoom) @ to_mm)


def _rotation(axis: int, angle: float) -> np.ndarray:
    matrix = np.eye(3)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    return matrix


def window_points(
    centre_ijk: Float64[np.ndarray, " 3"], linear: Float64[np.ndarray, "3 3"], size: Sequence[int]
) -> Float[Tensor, "i j k 3"]:
    """Return the place of every voxel of a window, in voxels of its case.

    Along an axis about which nothing is turned or scaled, a window is moved by less than a voxel, onto the case's
    voxels: slices that are turned in their plane stay slices.

    Args:
        centre_ijk: The window's centre in the case.
        linear: From window voxels to case voxels, about the centre (``random_map``); with a negative
            column the window is mirrored along that axis.
        size: Voxels along i, j and k.
    """
    half = (np.asarray(size) - 1) / 2
    is_kept = (np.abs(linear) == np.eye(3)).all(axis=1)
    centre_ijk = np.where(is_kept, np.floor(centre_ijk) + half % 1, centre_ijk)
    i, j, k = (torch.arange(n, dtype=torch.float64) - float(h) for n, h in zip(size, half, strict=True))
    points = torch.empty(*size, 3)
    for axis, (row, centre) in enumerate(zip(linear.tolist(), centre_ijk.tolist(), strict=True)):
        plane = (centre + row[0] * i)[:, None] + row[1] * j  # a sixth of the time of a matrix product per point
        torch.add(plane.float()[..., None], (row[2] * k).float(), out=points[..., axis])
    return points


def random_bend(
    config: Augmentation, spacing_mm: Sequence[float], size: Sequence[int], rng: np.random.Generator
) -> Float[Tensor, "i j k 3"] | None:
    """Draw how far every voxel of a window is moved, in voxels, smoothly between random knots; None for not at all.

    Args:
        config: How often, and how far.
        spacing_mm: Of the voxels: the bending is one in millimetres.
        size: Voxels of the window.
        rng: Where it comes from.
    """
    if rng.random() >= config.bend:
        return None
    amount = rng.uniform(0.3, 1.0) * config.bend_mm / np.asarray(spacing_mm)
    knots = torch.from_numpy((rng.standard_normal((3, *_KNOTS)) * amount[:, None, None, None]).astype(np.float32))
    bend: Tensor = functional.interpolate(knots[None], size=tuple(size), mode="trilinear", align_corners=True)[0]
    return bend.permute(1, 2, 3, 0)  # [i j k 3]


def sample(
    data: Voxels, points: Float[Tensor, "i j k 3"], *, nearest: bool, outside: float
) -> Float[Tensor, "i j k"]:
    """Read a volume at points, interpolating linearly or taking the nearest voxel.

    Args:
        data: The volume; only the part about the points is read of it.
        points: In its voxels.
        nearest: Whether labels are read, which cannot be mixed.
        outside: Value half a voxel and more beyond the volume's last voxel centres; fades towards it, if not
            nearest, within one voxel.
    """
    rows = _rows(points)
    if rows is not None:
        return _voxels(data, rows, outside=outside)
    ends = [points[..., axis].aminmax() for axis in range(3)]
    low = torch.stack([low for low, _ in ends]).floor().long() - 1
    high = torch.stack([high for _, high in ends]).ceil().long() + 2
    shape = torch.tensor(data.shape)
    start = torch.minimum(low.clamp(min=0), shape - 1)
    stop = torch.maximum(torch.minimum(high, shape), start + 1)
    box = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    part = torch.from_numpy(data[box].astype(np.float32)) - outside
    scale = 2 / (stop - start).float()
    unit = torch.addcmul(scale * (0.5 - start) - 1, points, scale)  # -1 and 1 are the outer faces of the part
    mode = "nearest" if nearest else "bilinear"
    grid = unit.flip(-1)[None]  # grid_sample names the axes k, j, i
    sampled: Tensor = functional.grid_sample(part[None, None], grid, mode=mode, align_corners=False)
    return sampled[0, 0] + outside


def _rows(points: Float[Tensor, "i j k 3"]) -> list[Int[np.ndarray, " n"]] | None:
    """Return the indices along each axis of points that are whole voxels in straight rows; None of others."""
    rows = (points[:, :1, :1, 0], points[:1, :, :1, 1], points[:1, :1, :, 2])
    if any(bool((row != row.round()).any()) for row in rows):
        return None
    if not all(bool((points[..., axis] == row).all()) for axis, row in enumerate(rows)):
        return None
    return [row.flatten().long().numpy() for row in rows]


def _voxels(data: Voxels, rows: list[Int[np.ndarray, " _"]], *, outside: float) -> Float[Tensor, "i j k"]:
    """Read whole voxels: nothing is interpolated."""
    result = torch.full([len(row) for row in rows], outside)
    held = [np.flatnonzero((row >= 0) & (row < n)) for row, n in zip(rows, data.shape, strict=True)]
    if any(len(places) == 0 for places in held):
        return result
    within = [row[places] for row, places in zip(rows, held, strict=True)]
    box = tuple(slice(int(row.min()), int(row.max()) + 1) for row in within)
    part = data[box][np.ix_(*(row - row.min() for row in within))]
    i, j, k = (slice(int(places[0]), int(places[-1]) + 1) for places in held)
    result[i, j, k] = torch.from_numpy(part.astype(np.float32))
    return result


def rename(labels: UInt8[Tensor, "i j k"], table: Mapping[int, int]) -> UInt8[Tensor, "i j k"]:
    """Replace label ids by a table, all at once; ids it does not name stay."""
    lookup = torch.arange(256, dtype=torch.uint8)
    for source, target in table.items():
        lookup[source] = target
    return lookup[labels.int()]


def renamed(classes: Set[int], table: Mapping[int, int]) -> frozenset[int]:
    """Return class ids as they are called after ``rename``; one that becomes UNKNOWN is none of them."""
    return frozenset(table.get(label, label) for label in classes) - {UNKNOWN}


def end_early(
    image_hu: Float[Tensor, "i j k"],
    labels: Integer[Tensor, "i j k"],
    config: Augmentation,
    rng: np.random.Generator,
) -> tuple[Float[Tensor, "i j k"], Integer[Tensor, "i j k"]]:
    """End the scan within the window, along one axis and at one side: beyond is air, and nothing is labelled.

    At least a third of the window stays.
    """
    if rng.random() >= config.cut:
        return image_hu, labels
    axis = int(rng.integers(3))
    side = image_hu.shape[axis]
    keep = int(rng.integers(-(-side // 3), side))
    start = keep if rng.random() < 0.5 else 0
    image_hu, labels = image_hu.clone(), labels.clone()
    image_hu.narrow(axis, start, side - keep).fill_(LOWEST_HU)
    labels.narrow(axis, start, side - keep).fill_(0)
    return image_hu, labels
