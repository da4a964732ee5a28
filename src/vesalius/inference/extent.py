"""Extent: how far something without a name reaches, as its clicks and the intensities around them tell it.

What nobody taught a small network it draws badly, however often it is clicked on. Where its clicks lie says more:
what lies between two clicks on one thing belongs to it, who clicks far apart in one tissue means something large,
and between clicks of unlike sign lies a border. And what is as bright as the surroundings is hardly part of it.
Ours, not VISTA3D's; a model says in its spec how much its own logits count beside (``ModelSpec.unnamed_trust``),
and those of VISTA3D say nothing: there the network alone is asked.

A click is taken to lie in the middle of what is missing or too much, as users click, and as ours are simulated.
The numbers below were chosen by Dice after one to five such clicks on some sixty structures of scans to learn from:
eight larynges, eight esophagi and eight sarcomas, and others that stand for long, thin, bent and large ones.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from vesalius.geometry.boxes import Box, Triple, shared_box
from vesalius.inference.points import PointLogits, window_box
from vesalius.prompts.encode import ObjectClicks

STRENGTH = 6.0
"""Logit at a positive click; less the same at a negative one, or far away."""
ALONE_MM, OF_ALIKE = 12.0, 0.4
"""Radius of a positive click that is alone: so much at least, and this part of how far all around is alike."""
NEAR_MM = 8.0
"""Least radius of one that is not: long things are thin, and to draw them clicks lie along them."""
OF_NEAREST, BESIDE_ITS_OWN_MM = 0.8, 18.0
"""Radius of a click as a part of the way to the nearest other one: so far only if all that is alike, or if the way
is as short as this: such a click lies at the border of what is there, and widens it."""
NEIGHBOURS = 4
"""Nearest clicks to which each has a tube: of five clicks all, of many not the square of their number."""
CUT = 0.3
"""A negative click that is nearer to the line between two others than this part of its radius leaves no tube."""
WIDER = 0.2
"""Where three or more clicks lie as broad as long, their radii grow by this part, and less where they lie along a
line: something broad is rounder than the tubes between its clicks."""
LEAST_MM, MOST_MM = 3.0, 60.0
"""Smallest and largest radius; a negative click that is nearer makes it smaller."""
ALIKE, MOSTLY, LAYER_MM = 0.03, 0.6, 4.0
"""All around a click is alike as far as this part of every layer of such a thickness differs from it by less than
this: of the built-in model 48 HU."""
UNLIKE, STEPS = 0.05, 33
"""Two positive clicks are on two things, and have nothing between them, if most of the way from one to the other,
looked at in so many places, is unlike both by more than this: of the built-in model 80 HU."""
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
    content: Box,
    trust: float,
) -> PointLogits:
    """Return the logits of something without a name: its extent, and what the network says of it.

    What fills up a small scan is no tissue: its intensities say nothing, neither that all around is unlike nor what
    lies around. The extent there is that of the scan's nearest voxel, since the volume's outermost voxels are
    interpolated between both.

    Args:
        logits: Of the network; they are not changed.
        clicks: On it, at least one in every window, in voxels of the model's grid, on its content.
        image: What the network sees, in 0..1.
        spacing_mm: Of that grid.
        content: The part of it that is not padding.
        trust: Weight of the network's logits; 0 where it knows nothing of what has no name.
    """
    box = shared_box(logits.box, content)
    assert box is not None  # a click lies in both
    seen = image[box.slices].float().cpu().numpy()
    around = extent(clicks.points_ijk - box.start, clicks.positive, seen, spacing_mm)
    windows = []
    for start, window in zip(logits.starts, logits.windows, strict=True):
        own = torch.from_numpy(around[_nearest(window_box(start, window.shape), box)])
        windows.append(trust * window + own)
    return PointLogits(logits.shape, logits.starts, tuple(windows))


def _nearest(window: Box, box: Box) -> tuple[np.ndarray, ...]:
    """Return the index, into an array over a box, of the voxel of it that is nearest to each one of a window."""
    sides = zip(window.start, window.stop, box.start, box.stop, strict=True)
    return np.ix_(*(np.arange(start, stop).clip(first, end - 1) - first for start, stop, first, end in sides))


@dataclass(frozen=True)
class _Tube:
    """All that is near the line between two clicks; a ball, where both are one."""

    ends_ijk: tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]]
    radii_mm: tuple[float, float]

    def box(self, shape: Triple, spacing_mm: tuple[float, float, float]) -> Box:
        """Return the voxels that it, its core and its shell lie in."""
        reach = SHELL[1] * max(self.radii_mm) / np.asarray(spacing_mm)
        start, stop = np.minimum(*self.ends_ijk) - reach, np.maximum(*self.ends_ijk) + reach + 1
        first, last = (np.clip(end, 0, shape).astype(int).tolist() for end in (np.floor(start), np.ceil(stop)))
        return Box((first[0], first[1], first[2]), (last[0], last[1], last[2]))

    def measured(
        self, box: Box, spacing_mm: tuple[float, float, float]
    ) -> tuple[Float32[np.ndarray, "i j k"], Float32[np.ndarray, "i j k"]]:
        """Return how far the line is from each voxel of a box, and the tube's radius beside it, in mm."""
        start_ijk, end_ijk = self.ends_ijk
        way = ((end_ijk - start_ijk) * spacing_mm).tolist()
        i, j, k = (
            ((np.arange(*ends) - at) * mm).astype(np.float32)
            for ends, at, mm in zip(zip(box.start, box.stop, strict=True), start_ijk, spacing_mm, strict=True)
        )
        along = (i * way[0])[:, None, None] + (j * way[1])[:, None] + k * way[2]
        squared = sum(side**2 for side in way)
        part = np.clip(along / max(squared, 1e-6), 0, 1)
        own = (i**2)[:, None, None] + (j**2)[:, None] + k**2
        mm = np.sqrt(np.maximum(own + part * (part * squared - 2 * along), 0))
        first, last = self.radii_mm
        return mm, first + (last - first) * part

    def is_cut(self, point_ijk: Float[np.ndarray, " 3"], spacing_mm: tuple[float, float, float]) -> bool:
        """Whether a negative click lies so near to the line that nothing is to be left on either side of it."""
        start, end, point = (np.asarray(one) * spacing_mm for one in (*self.ends_ijk, point_ijk))
        way = end - start
        part = float(np.clip((point - start) @ way / max(float(way @ way), 1e-6), 0, 1))
        first, last = self.radii_mm
        return float(np.linalg.norm(start + part * way - point)) < CUT * (first + (last - first) * part)


def extent(
    points_ijk: Float[np.ndarray, "n 3"],
    positive: Bool[np.ndarray, " n"],
    image: Float32[np.ndarray, "i j k"],
    spacing_mm: tuple[float, float, float],
) -> Float32[np.ndarray, "i j k"]:
    """Return logits of what clicks mean, above 0 inside.

    A positive click reaches as far as its radius, along the way to others on the same thing, and to where a
    negative one is nearer; a negative one on that way cuts it. Intensities that are more frequent there than around
    it and near negative clicks raise the logits, others lower them. Where every click is negative nothing is
    inside, and intensities say nothing.

    Args:
        points_ijk: At least one click, in voxels of the image; it may lie outside.
        positive: Whether each belongs to the structure.
        image: Intensities in 0..1.
        spacing_mm: Of its voxels.
    """
    points_ijk, positive = points_ijk[order := np.lexsort(points_ijk.T)], positive[order]
    shape, own_ijk, other_ijk = image.shape, points_ijk[positive], points_ijk[~positive]
    beyond = np.full(shape, FAR_MM, dtype=np.float32)  # how far the nearest negative click is
    for point in other_ijk:
        np.minimum(beyond, _distance_mm(shape, point, spacing_mm), out=beyond)
    if not len(own_ijk):
        against: np.ndarray = -STRENGTH * np.clip(1 - beyond / np.float32(ALONE_MM), 0, 1)
        return against
    inside, core = np.full(shape, -1.0, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    nearest, away = np.full_like(beyond, FAR_MM), np.full_like(beyond, FAR_MM)  # middle line: in mm, in radii
    smooth = _smoothed(image)
    for tube in _tubes(own_ijk, other_ijk, smooth, spacing_mm):
        box = tube.box(shape, spacing_mm)
        here = box.slices
        mm, radius_mm = tube.measured(box, spacing_mm)
        radii, border = mm / radius_mm, (beyond[here] - mm) / (beyond[here] + mm + np.float32(1e-3))
        np.minimum(nearest[here], mm, out=nearest[here])
        np.minimum(away[here], radii, out=away[here])
        np.maximum(core[here], _bell(radii, CORE), out=core[here])
        np.maximum(inside[here], np.minimum(1 - radii, border), out=inside[here])
    core *= nearest < beyond
    shell = ((away > SHELL[0]) & (away < SHELL[1])) + BESIDE * _bell(beyond, BESIDE_MM)
    logits: np.ndarray = STRENGTH * inside + EVIDENCE * _evidence(smooth, core, shell)
    return logits.astype(np.float32)


def _tubes(
    own_ijk: Float[np.ndarray, "n 3"],
    other_ijk: Float[np.ndarray, "m 3"],
    smooth: Float32[np.ndarray, "i j k"],
    spacing_mm: tuple[float, float, float],
) -> Iterator[_Tube]:
    """Yield a ball around every positive click, and tubes to the nearest others on its thing, but what is cut."""
    apart_mm = _apart_mm(own_ijk, smooth, spacing_mm)
    radii = _radii_mm(own_ijk, other_ijk, apart_mm, smooth, spacing_mm)
    nearest = np.argsort(apart_mm, axis=1, kind="stable")[:, :NEIGHBOURS].tolist()
    pairs = {
        (min(one, other), max(one, other)) for one, some in enumerate(nearest) for other in some if one != other
    }
    for one, other in sorted({(one, one) for one in range(len(own_ijk))} | pairs):
        tube = _Tube((own_ijk[one], own_ijk[other]), (radii[one], radii[other]))
        is_tube = np.isfinite(apart_mm[one, other]) and not any(
            tube.is_cut(point, spacing_mm) for point in other_ijk
        )
        if one == other or is_tube:
            yield tube


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
    smooth: Float32[np.ndarray, "i j k"],
    spacing_mm: tuple[float, float, float],
) -> Sequence[float]:
    """Return the radius of every positive click."""
    between = (own_ijk[:, None] - other_ijk) * np.asarray(spacing_mm)
    to_other = np.linalg.norm(between, axis=2).min(axis=1, initial=FAR_MM)
    radii, broad = [], 1 + WIDER * _breadth(own_ijk * spacing_mm)
    for point, way_mm, most_mm in zip(own_ijk, apart_mm.min(axis=1), to_other, strict=True):
        alike_mm = _alike_mm(point, smooth, spacing_mm)
        if np.isinf(way_mm):
            radius_mm = max(ALONE_MM, OF_ALIKE * alike_mm)
        else:
            radius_mm = max(NEAR_MM, min(OF_NEAREST * way_mm, MOST_MM))
            if way_mm > BESIDE_ITS_OWN_MM:
                radius_mm = min(radius_mm, max(NEAR_MM, alike_mm))
        radii.append(float(max(min(broad * radius_mm, most_mm), LEAST_MM)))
    return radii


def _breadth(points_mm: Float[np.ndarray, "n 3"]) -> float:
    """Return how broad a cloud of points is for its length: 0 of a line, 1 of a disc."""
    if len(points_mm) < 3:
        return 0.0
    longest, second, _ = np.linalg.svd(points_mm - points_mm.mean(axis=0), compute_uv=False)
    return float(second / longest) if longest else 0.0


def _alike_mm(
    point_ijk: Float[np.ndarray, " 3"], smooth: Float32[np.ndarray, "i j k"], spacing_mm: tuple[float, float, float]
) -> float:
    """Return how far all around a click is alike."""
    i, j, k = np.clip(np.rint(point_ijk), 0, np.asarray(smooth.shape) - 1).astype(int)
    reach = MOST_MM / np.asarray(spacing_mm)
    start, stop = (np.clip(end, 0, smooth.shape).astype(int) for end in (point_ijk - reach, point_ijk + reach + 1))
    here = tuple(slice(*ends) for ends in zip(start, stop, strict=True))
    if not smooth[here].size:
        return 0.0
    count = round(MOST_MM / LAYER_MM)
    layer = (_distance_mm(smooth[here].shape, point_ijk - start, spacing_mm) / LAYER_MM).astype(np.int64).ravel()
    is_alike = abs(smooth[here] - smooth[i, j, k]) < ALIKE
    voxels, alike = (np.bincount(layer, weights=w, minlength=count)[:count] for w in (None, is_alike.ravel()))
    differs = alike < MOSTLY * voxels
    differs[0] = False  # the click's own place
    return LAYER_MM * float(np.argmax(differs) if differs.any() else count)


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
        wide, image = wide.swapaxes(0, axis), np.zeros_like(image)
        rows = image.swapaxes(0, axis)
        for start, weight in enumerate(kernel):
            rows += weight * wide[start : start + side]
    return image


def _kernel(deviation: float) -> Float[np.ndarray, " n"]:
    reach = math.ceil(3 * deviation)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    kernel: np.ndarray = weights / weights.sum()
    return kernel


def _bell(away: Float32[np.ndarray, "i j k"], deviation: float) -> Float32[np.ndarray, "i j k"]:
    bell: np.ndarray = np.exp(-0.5 * (away / np.float32(deviation)) ** 2)
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
