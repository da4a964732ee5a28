"""Clicks nobody made: a user who looks for the largest error, and the quick samplers that training needs.

Evaluation and training share this file, so a change of how clicks are simulated reaches both. Nothing here sees an
image or a model: masks go in, voxels of the same array come out. VISTA3D (He et al. 2024) evaluates with the centre
of the largest eroded error and trains with random voxels of the eroded error; what differs here is said at each
function.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Integer

from vesalius.geometry.boxes import Box, Triple, bounding_box
from vesalius.geometry.morphology import components, depth_mm, eroded
from vesalius.shapes import MaskArray

ClickStyle = Literal["centre", "border"]

_NEAR_BORDER = 1 / 3
"""Share of the greatest depth up to which a voxel of an error lies near its border."""
_JITTER_REACH = 3.0
"""Standard deviations within which jitter stays."""
_FACE_PART = 13
"""A training window has no clicks within this part of a side from its faces, if it can be helped."""


class Click(NamedTuple):
    """Where a simulated user clicks, in voxels, and whether the place belongs to the structure."""

    point_ijk: tuple[float, float, float]
    positive: bool


@dataclass(frozen=True, eq=False)
class Clicks:
    """Some clicks on one structure, in no order.

    Args:
        points_ijk: Voxels.
        positive: Whether each belongs to the structure.
    """

    points_ijk: Integer[np.ndarray, "n 3"]
    positive: Bool[np.ndarray, " n"]


def next_click(
    truth: MaskArray,
    current: MaskArray,
    *,
    rng: np.random.Generator,
    style: ClickStyle = "centre",
    jitter_mm: float = 0.0,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Click | None:
    """Click where a user would who wants ``truth`` and sees ``current``; None where they are equal.

    The click lies in the largest component (26-connected) of what is missing or too much, counted in voxels: it is
    positive in what is missing, negative in what is too much. Of two equally large the missing one is chosen.

    Args:
        truth: What the user wants, ``(i, j, k)``.
        current: What the user sees, in the same shape.
        rng: Where chance comes from; the same generator state gives the same click.
        style: ``centre`` aims at the voxel deepest inside the error (of several the one nearest to its centroid),
            ``border`` at any voxel less than a third as deep.
        jitter_mm: Standard deviation of the hand, a normal distribution around the aim; only voxels of the same
            error can be hit.
        spacing_mm: Of the voxels, along i, j and k.
    """
    missing, excess = _largest_component(truth & ~current), _largest_component(current & ~truth)
    if missing is None and excess is None:
        return None
    is_positive = excess is None or (missing is not None and missing.voxels >= excess.voxels)
    error = missing if is_positive else excess
    assert error is not None
    depth = depth_mm(error.mask, spacing_mm)
    aim = _deepest(error.mask, depth, spacing_mm) if style == "centre" else _near_border(depth, rng)
    hit = _jittered(error.mask, aim, jitter_mm, spacing_mm, rng) if jitter_mm else aim
    i, j, k = (float(start + at) for start, at in zip(error.box.start, hit, strict=True))
    return Click((i, j, k), is_positive)


def centre_click(mask: MaskArray) -> Triple:
    """Return the voxel in the middle of a structure, as VISTA3D's evaluation takes it.

    The voxel nearest to the centroid of the largest component, eroded by a 3 x 3 x 3 cube where that leaves any.

    Args:
        mask: At least one voxel, in a window ``(i, j, k)``.
    """
    core = eroded(mask, outside=True)
    largest = _largest_component(core if core.any() else mask)
    assert largest is not None
    voxels = np.argwhere(largest.mask)
    nearest = voxels[int(np.linalg.norm(voxels - voxels.mean(axis=0), axis=1).argmin())]
    return _triple(nearest + np.asarray(largest.box.start))


def first_clicks(inside: MaskArray, outside: MaskArray, *, max_clicks: int, rng: np.random.Generator) -> Clicks:
    """Draw the clicks that a training window begins with: at least one on the structure, mostly few.

    Positive ones ``min(max_clicks, floor(|x|) + 1)``, negative ones ``min(max_clicks, floor(|y|))``, x and y normal
    with standard deviation ``max_clicks // 2``, as VISTA3D's ``generate_prompt_pairs`` draws them. Places are drawn
    with replacement: positive ones as ``draw_voxels`` does, negative ones from all of ``outside``.

    Args:
        inside: The structure in the window ``(i, j, k)``.
        outside: Where it is known not to be.
        max_clicks: Of each kind, at least 1.
        rng: Where chance comes from.
    """
    more, beside = (int(abs(rng.normal(0, max_clicks // 2))) for _ in range(2))
    positive = draw_voxels(inside, min(max_clicks, more + 1), rng=rng)
    negative = draw_voxels(outside, min(max_clicks, beside), rng=rng, keep_away=False)
    return _joined(positive, negative)


def correcting_clicks(missing: MaskArray, excess: MaskArray, *, rng: np.random.Generator) -> Clicks:
    """Draw what a user would add in a training window: a click on what is missing, one on what is too much, if any.

    VISTA3D's ``get_next_points`` clicks only where an error survives erosion, ten voxels from the window's faces
    along two axes; here all three axes are alike, and an error too thin for both is clicked nevertheless
    (``draw_voxels``): on coarse voxels most errors are thin.

    Args:
        missing: Voxels of the structure that were not found, ``(i, j, k)``.
        excess: Voxels that were found and are not the structure's.
        rng: Where chance comes from.
    """
    return _joined(draw_voxels(missing, 1, rng=rng), draw_voxels(excess, 1, rng=rng))


def draw_voxels(
    mask: MaskArray, count: int, *, rng: np.random.Generator, keep_away: bool = True
) -> Integer[np.ndarray, "n 3"]:
    """Draw voxels of a mask, each as likely as any other, with replacement; none of an empty one.

    Args:
        mask: In a window ``(i, j, k)``; it may go on beyond the window's faces.
        count: How many.
        rng: Where chance comes from.
        keep_away: Leave out the voxels that a 3 x 3 x 3 cube erodes, and those within a thirteenth of a side from
            one of the window's faces (10 voxels of 128, as in VISTA3D); of these two rules the second is given up
            first where no voxel is left, then both.
    """
    places = [mask]
    if keep_away:
        core = eroded(mask, outside=True)
        places = [core & _away_from_faces(mask.shape), core, mask]
    flat = next((found for place in places if (found := np.flatnonzero(place)).size), None)
    drawn = np.zeros(0, np.int64) if flat is None else rng.choice(flat, count)
    return np.stack(np.unravel_index(drawn, mask.shape), axis=1)


@dataclass(frozen=True, eq=False)
class _Component:
    mask: MaskArray
    box: Box
    voxels: int


def _largest_component(error: MaskArray) -> _Component | None:
    """Return the component of most voxels, in its bounding box."""
    around = bounding_box(error)
    if around is None:
        return None
    numbered, _ = components(error[around.slices])
    sizes = np.bincount(numbered.ravel())
    sizes[0] = 0
    largest = numbered == int(sizes.argmax())
    own = bounding_box(largest)
    assert own is not None
    first, last = (tuple(a + b for a, b in zip(around.start, end, strict=True)) for end in (own.start, own.stop))
    return _Component(largest[own.slices], Box(_triple(first), _triple(last)), int(sizes.max()))


def _deepest(mask: MaskArray, depth: Float32[np.ndarray, "i j k"], spacing_mm: Sequence[float]) -> Triple:
    """Return the deepest voxel; of several, such as along the axis of a tube, the one nearest to the centroid."""
    centroid = np.argwhere(mask).mean(axis=0)
    candidates = np.argwhere(depth >= depth.max() * (1 - 1e-6))
    away = np.linalg.norm((candidates - centroid) * np.asarray(spacing_mm), axis=1)
    return _triple(candidates[int(away.argmin())])


def _near_border(depth: Float32[np.ndarray, "i j k"], rng: np.random.Generator) -> Triple:
    shallowest = float(depth[depth > 0].min())
    candidates = np.argwhere((depth > 0) & (depth <= max(shallowest, float(depth.max()) * _NEAR_BORDER)))
    return _triple(candidates[int(rng.integers(len(candidates)))])


def _jittered(
    mask: MaskArray, aim: Triple, jitter_mm: float, spacing_mm: Sequence[float], rng: np.random.Generator
) -> Triple:
    """Draw a voxel of the mask around ``aim``, by the density of a normal distribution there."""
    reach = _triple([int(np.ceil(_JITTER_REACH * jitter_mm / side)) for side in spacing_mm])
    box = Box(aim, _triple([at + 1 for at in aim])).grown(reach).clipped(_triple(mask.shape))
    candidates = np.argwhere(mask[box.slices]) + box.start
    squared = (((candidates - aim) * np.asarray(spacing_mm)) ** 2).sum(axis=1)
    density = np.exp(-squared / (2 * jitter_mm**2))
    return _triple(candidates[int(rng.choice(len(candidates), p=density / density.sum()))])


def _away_from_faces(shape: tuple[int, ...]) -> MaskArray:
    inner = np.zeros(shape, dtype=bool)
    inner[tuple(slice(side // _FACE_PART, side - side // _FACE_PART) for side in shape)] = True
    return inner


def _joined(positive: Integer[np.ndarray, "p 3"], negative: Integer[np.ndarray, "q 3"]) -> Clicks:
    points = np.concatenate([positive, negative])
    return Clicks(points, np.arange(len(points)) < len(positive))


def _triple(values: Sequence[int] | np.ndarray) -> Triple:
    i, j, k = (int(value) for value in values)
    return i, j, k
