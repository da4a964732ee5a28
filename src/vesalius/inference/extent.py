"""Extent: how far something without a name reaches, as its clicks and the intensities around them tell it.

What nobody taught a small network it draws badly, however often it is clicked on. Where its clicks lie says more:
who clicks far apart in one tissue means something large, and between clicks of unlike sign lies a border. And what
is as bright as the surroundings is hardly part of it. Ours, not VISTA3D's; a model says in its spec how much its
own logits count beside (``ModelSpec.unnamed_trust``), and those of VISTA3D say nothing: there the network alone is
asked.

A click is taken to lie in the middle of what is missing or too much, as users click, and as ours are simulated.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from vesalius.geometry.boxes import Triple
from vesalius.inference.points import PointLogits, window_box
from vesalius.prompts.encode import ObjectClicks

STRENGTH = 6.0
"""Logit at a positive click; less the same at a negative one, or far away."""
OFFSET = 1.0
"""Logit at the end of a click's radius: users correct what is too large as easily as what is too small, but what is
too small looks like nothing was understood."""
OF_NEAREST = 0.7
"""Radius of a positive click, as a part of the way to the nearest other one."""
LEAST_MM, MOST_MM = 3.0, 60.0
"""Smallest and largest radius."""
UNLIKE, STEPS = 0.05, 33
"""Two positive clicks are on two things, and make neither larger, if most of the way between them, looked at in so
many places, is unlike both by more than this: of the built-in model 80 HU."""
FAR_MM = 1e6
"""Distance to a click that does not exist."""

EVIDENCE = 1.5
"""Weight of the logarithm of how much more frequent an intensity is inside than around."""
CLEAREST = 2.0
"""Largest such logarithm, on either side."""
CORE = 0.7
"""Standard deviation of what counts as inside for that, in radii."""
SHELL = (1.3, 2.2)
"""What counts as around, in radii."""
BESIDE_MM, BESIDE = 8.0, 3.0
"""Standard deviation and weight of what counts as around because a negative click lies there."""
BINS = 160
"""Intensities that are told apart: of the built-in model 10 HU each."""
BLUR = 1.5
"""Standard deviation over bins."""
DOUBT = 0.3
"""Part of all that is spread evenly over the bins before they are compared."""
SMOOTH = 0.7
"""Standard deviation, in voxels, of the smoothing before intensities are read."""


def silent(shape: Triple, starts: Iterable[Triple], window_size: Triple) -> PointLogits:
    """Return what a network says that is not asked: 0 in every window.

    Args:
        shape: Of the model's grid.
        starts: Of the windows.
        window_size: Of each.
    """
    starts = tuple(starts)
    return PointLogits(shape, starts, tuple(torch.zeros(window_size) for _ in starts))


def reached(
    logits: PointLogits,
    clicks: ObjectClicks,
    image: Float[Tensor, "i j k"],
    spacing_mm: tuple[float, float, float],
    *,
    trust: float,
    first_mm: float,
) -> PointLogits:
    """Return the logits of something without a name: its extent, and what the network says of it.

    Args:
        logits: Of the network; they are not changed.
        clicks: On it, at least one, in voxels of the model's grid.
        image: What the network sees, in 0..1.
        spacing_mm: Of that grid.
        trust: Weight of the network's logits; 0 where it knows nothing of what has no name.
        first_mm: Radius of a click that is alone.
    """
    box = logits.box
    seen = image[box.slices].float().cpu().numpy()
    around = extent(clicks.points_ijk - box.start, clicks.positive, seen, spacing_mm, first_mm=first_mm)
    windows = []
    for start, window in zip(logits.starts, logits.windows, strict=True):
        own = torch.from_numpy(around[window_box(start, window.shape).relative_to(box.start).slices])
        windows.append(trust * window + own)
    return PointLogits(logits.shape, logits.starts, tuple(windows))


def extent(
    points_ijk: Float[np.ndarray, "n 3"],
    positive: Bool[np.ndarray, " n"],
    image: Float32[np.ndarray, "i j k"],
    spacing_mm: tuple[float, float, float],
    *,
    first_mm: float,
) -> Float32[np.ndarray, "i j k"]:
    """Return logits of what clicks mean, above 0 inside.

    A positive click reaches as far as its radius, and to where a negative one is nearer. Intensities that are more
    frequent near positive clicks than around them and near negative ones raise the logits, others lower them. Where
    every click is negative nothing is inside, and intensities say nothing.

    Args:
        points_ijk: At least one click, in voxels of the image; it may lie outside.
        positive: Whether each belongs to the structure.
        image: Intensities in 0..1.
        spacing_mm: Of its voxels.
        first_mm: Radius of a positive click that is alone, and the least of one that is near another; a negative
            click that is nearer makes it smaller.
    """
    shape, own_ijk, other_ijk = image.shape, points_ijk[positive], points_ijk[~positive]
    beyond = np.full(shape, FAR_MM, dtype=np.float32)  # how far the nearest negative click is
    for point in other_ijk:
        np.minimum(beyond, _distance_mm(shape, point, spacing_mm), out=beyond)
    if not len(own_ijk):
        against: np.ndarray = -STRENGTH * np.clip(1 - beyond / np.float32(first_mm), 0, 1)
        return against
    inside, core = np.full(shape, -np.inf, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    nearest, away = np.full_like(beyond, FAR_MM), np.full_like(beyond, FAR_MM)  # positive click: in mm, in radii
    smooth = _smoothed(image)
    apart_mm = _apart_mm(own_ijk, smooth, spacing_mm)
    for point, radius_mm in zip(
        own_ijk, _radii_mm(own_ijk, other_ijk, apart_mm, spacing_mm, first_mm), strict=True
    ):
        mm = _distance_mm(shape, point, spacing_mm)
        np.minimum(nearest, mm, out=nearest)
        np.minimum(away, mm / radius_mm, out=away)
        np.maximum(core, _bell(mm, CORE * radius_mm), out=core)
        np.maximum(inside, np.minimum(1 - mm / radius_mm, (beyond - mm) / (beyond + mm + 1e-3)), out=inside)
    core *= nearest < beyond
    shell = ((away > SHELL[0]) & (away < SHELL[1])) + BESIDE * _bell(beyond, BESIDE_MM)
    logits: np.ndarray = STRENGTH * np.clip(inside, -1, 1) + OFFSET + EVIDENCE * _evidence(smooth, core, shell)
    return logits.astype(np.float32)


def _apart_mm(
    own_ijk: Float[np.ndarray, "n 3"], smooth: Float32[np.ndarray, "i j k"], spacing_mm: tuple[float, float, float]
) -> Float[np.ndarray, "n n"]:
    """Return how far positive clicks lie apart; infinitely, where most of the way is unlike both: two things."""
    count, last = len(own_ijk), np.asarray(smooth.shape) - 1
    apart = np.full((count, count), np.inf)
    for one, other in itertools.combinations(range(count), 2):
        way = np.linspace(own_ijk[one], own_ijk[other], STEPS)
        i, j, k = np.clip(np.rint(way), 0, last).astype(int).T
        seen = smooth[i, j, k]
        unlike = np.minimum(abs(seen - seen[0]), abs(seen - seen[-1])) > UNLIKE
        mm = float(np.linalg.norm((own_ijk[one] - own_ijk[other]) * spacing_mm))
        if mm > 0 and unlike.mean() <= 0.5:
            apart[one, other] = apart[other, one] = mm
    return apart


def _radii_mm(
    own_ijk: Float[np.ndarray, "n 3"],
    other_ijk: Float[np.ndarray, "m 3"],
    apart_mm: Float[np.ndarray, "n n"],
    spacing_mm: tuple[float, float, float],
    first_mm: float,
) -> list[float]:
    """Return the radius of every positive click."""
    between = (own_ijk[:, None] - other_ijk) * np.asarray(spacing_mm)
    to_other = np.linalg.norm(between, axis=2).min(axis=1, initial=FAR_MM)
    to_own = apart_mm.min(axis=1)
    grown = np.where(np.isinf(to_own), first_mm, np.clip(OF_NEAREST * to_own, first_mm, MOST_MM))
    radii: list[float] = np.maximum(np.minimum(grown, to_other), LEAST_MM).tolist()
    return radii


def _evidence(
    smooth: Float32[np.ndarray, "i j k"], core: Float32[np.ndarray, "i j k"], shell: Float32[np.ndarray, "i j k"]
) -> Float32[np.ndarray, "i j k"]:
    """Return the logarithm of how much more frequent each voxel's intensity is in the core than in the shell."""
    bins = np.clip(smooth * BINS, 0, BINS - 1).astype(np.int64)
    of_core, of_shell = (_frequencies(bins, weights) for weights in (core, shell))
    ratio = np.log((of_core + DOUBT / BINS) / (of_shell + DOUBT / BINS))
    found: np.ndarray = np.clip(ratio, -CLEAREST, CLEAREST).astype(np.float32)[bins]
    return found


def _frequencies(bins: np.ndarray, weights: Float32[np.ndarray, "i j k"]) -> Float[np.ndarray, " bins"]:
    counted = np.bincount(bins.ravel(), weights=weights.ravel(), minlength=BINS)
    blurred = np.convolve(counted, _kernel(BLUR), mode="same")
    frequencies: np.ndarray = blurred / max(blurred.sum(), np.finfo(np.float64).tiny)
    return frequencies


def _smoothed(image: Float32[np.ndarray, "i j k"]) -> Float32[np.ndarray, "i j k"]:
    """Smooth along one axis after the other; beyond a face lies what lies on it."""
    kernel = _kernel(SMOOTH).astype(np.float32)
    reach = len(kernel) // 2
    for axis, side in enumerate(image.shape):
        wide = np.pad(image, [(reach, reach) if own == axis else (0, 0) for own in range(3)], mode="edge")
        image = np.zeros_like(image)
        for start, weight in enumerate(kernel):
            image += weight * wide.take(range(start, start + side), axis=axis)
    return image


def _kernel(deviation: float) -> Float[np.ndarray, " n"]:
    reach = math.ceil(3 * deviation)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    kernel: np.ndarray = weights / weights.sum()
    return kernel


def _bell(mm: Float32[np.ndarray, "i j k"], deviation_mm: float) -> Float32[np.ndarray, "i j k"]:
    bell: np.ndarray = np.exp(-0.5 * (mm / np.float32(deviation_mm)) ** 2)
    return bell


def _distance_mm(
    shape: Triple, point_ijk: Float[np.ndarray, " 3"], spacing_mm: tuple[float, float, float]
) -> Float32[np.ndarray, "i j k"]:
    i, j, k = (
        (((np.arange(side) - at) * mm) ** 2).astype(np.float32)
        for side, at, mm in zip(shape, point_ijk, spacing_mm, strict=True)
    )
    distance: np.ndarray = np.sqrt(i[:, None, None] + j[:, None] + k)
    return distance
