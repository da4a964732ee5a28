"""Domain randomisation: a label map, deformed and repainted with random tissue contrasts, as a training volume.

After SynthSeg (Billot et al., Medical Image Analysis 2023, arXiv:2107.09559): labels are bent, every structure is
given an intensity of its own with texture, and the image is blurred and made noisy. Differences: beside contrasts
at random there is a CT mode, in which a structure's HU lie near those of its tissue; what has no label is given
fat and muscle, inside an oval about what is labelled; the labels keep their grid.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vesalius.data.anatomy.noise import NoisePlanes, SmoothNoise
from vesalius.data.anatomy.solids import oval
from vesalius.data.tissue_names import Tissue, tissue_of
from vesalius.errors import UsageError
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.hounsfield import AIR_HU, HIGHEST_HU, LOWEST_HU

Contrasts = Literal["ct", "random"]


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    """How far a synthetic volume may stray from the label map it is painted from."""

    contrasts: Contrasts = "ct"
    """``ct``: HU near each tissue's own; ``random``: anything from air to bone for any structure."""
    bend_mm: float = 4.0
    """Standard deviation of the smooth deformation."""
    bend_knot_mm: float = 45.0
    """Distance between the knots of the deformation."""
    rotation_degrees: float = 6.0
    """Standard deviation of the rotation about each axis."""
    scaling: float = 0.07
    """Standard deviation of the logarithm of the size."""
    shift_mm: float = 6.0
    """Standard deviation of the shift along each axis."""
    texture_hu: float = 12.0
    """Largest texture of soft tissue; lung, bone and fat have more."""
    noise_hu: tuple[float, float] = (4.0, 30.0)
    """Range of the scanner's noise."""
    blur_mm: tuple[float, float] = (0.4, 2.0)
    """Range of the standard deviation of the scanner's blur."""

    def __post_init__(self) -> None:
        if self.contrasts not in ("ct", "random"):
            raise _refused('contrasts of "ct" or "random"', repr(self.contrasts))
        sizes = (self.bend_mm, self.rotation_degrees, self.scaling, self.shift_mm, self.texture_hu)
        if min(*sizes, self.noise_hu[0], self.blur_mm[0]) < 0 or self.bend_knot_mm <= 0:
            raise _refused("deviations of zero or more, and knots apart from each other", self)
        if self.noise_hu[0] > self.noise_hu[1] or self.blur_mm[0] > self.blur_mm[1]:
            raise _refused("ranges from small to large", (self.noise_hu, self.blur_mm))


def synthesise(
    labels: LabelMap, *, rng: np.random.Generator, config: SynthesisConfig | None = None
) -> tuple[Volume, LabelMap]:
    """Deform a label map and paint a CT-like volume from it.

    Args:
        labels: Any label map; in CT mode, names that say a tissue (English, as in the table of 132 classes,
            TotalSegmentator or atlases) get its HU, others that of soft tissue.
        rng: Where all randomness comes from.
        config: How far to stray.

    Returns:
        The volume, int16, and the deformed label map with the same names and layers; both on the grid given.
    """
    config = config or SynthesisConfig()
    maps = [labels.data, *labels.overlaps.values()]
    moved = [np.zeros(layer.shape, dtype=layer.dtype) for layer in maps]
    for k, (i_at, j_at, k_at, inside) in enumerate(_sources(labels, rng, config)):
        for source, target in zip(maps, moved, strict=True):
            target[:, :, k] = np.where(inside, source[i_at, j_at, k_at], 0)
    bent = LabelMap(moved[0], labels.grid, labels.names, dict(zip(labels.overlaps, moved[1:], strict=True)))
    return Volume(_paint(bent, rng, config)[None], labels.grid, "CT"), bent


def _sources(
    labels: LabelMap, rng: np.random.Generator, config: SynthesisConfig
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield, for each slice k, the voxel of the given map that every voxel takes, and whether there is one."""
    spacing = np.asarray(labels.grid.spacing_mm)
    shape = np.asarray(labels.grid.shape)
    linear = _turn(rng, config) * np.exp(rng.normal(0, config.scaling, 3))
    shift = rng.normal(0, config.shift_mm, 3)
    i, j, k = ((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True))
    bends = [_field(rng, config.bend_knot_mm, i, j, knots=16) for _ in range(3)]
    for height in k:
        found = []
        inside = np.ones((len(i), len(j)), dtype=bool)
        for axis, bend in enumerate(bends):
            row = linear[axis]
            at_mm = row[0] * i[:, None] + row[1] * j[None, :] + row[2] * height + shift[axis]
            at_mm = at_mm + config.bend_mm * bend.at(float(height))
            index = np.rint(at_mm / spacing[axis] + (shape[axis] - 1) / 2).astype(np.int64)
            inside &= (index >= 0) & (index < shape[axis])
            found.append(np.clip(index, 0, shape[axis] - 1))
        yield found[0], found[1], found[2], inside


def _turn(rng: np.random.Generator, config: SynthesisConfig) -> np.ndarray:
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(rng.normal(0, config.rotation_degrees, 3))):
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix = turn @ matrix
    return matrix


def _field(rng: np.random.Generator, knot_mm: float, i: np.ndarray, j: np.ndarray, *, knots: int) -> NoisePlanes:
    return SmoothNoise(rng, knot_mm=knot_mm, knots=knots).over(i, j)


def _paint(labels: LabelMap, rng: np.random.Generator, config: SynthesisConfig) -> np.ndarray:
    """Return int16 HU for every voxel of a label map."""
    spacing = np.asarray(labels.grid.spacing_mm)
    means, textures = _palette(labels.names, rng, config)
    i, j, k = (np.arange(n) * s for n, s in zip(labels.grid.shape, spacing, strict=True))
    fine = _field(rng, float(rng.uniform(1.5, 4.0)), i, j, knots=48)
    coarse = _field(rng, float(rng.uniform(8.0, 25.0)), i, j, knots=32)
    hulls = _Background(labels, rng, config)
    blur_mm, noise_hu = float(rng.uniform(*config.blur_mm)), float(rng.uniform(*config.noise_hu))
    share = float(rng.uniform(0.2, 0.8))
    hu = np.empty(labels.grid.shape, dtype=np.float32)
    for index, height in enumerate(k):
        texture = share * fine.at(float(height)) + (1 - share) * coarse.at(float(height))
        plane = hulls.slice(index, texture, coarse.at(float(height) + 500.0))
        for layer in (labels.data, *labels.overlaps.values()):
            ids = layer[:, :, index]
            plane = np.where(ids > 0, means[ids] + textures[ids] * texture, plane)
        hu[:, :, index] = plane
    _blur(hu, blur_mm / spacing)
    result = np.empty(hu.shape, dtype=np.int16)
    for index in range(hu.shape[2]):
        noise = rng.standard_normal(hu.shape[:2], dtype=np.float32) * np.float32(noise_hu)
        result[:, :, index] = np.clip(np.rint(hu[:, :, index] + noise), LOWEST_HU, HIGHEST_HU)
    return result


def _palette(
    names: Mapping[int, str], rng: np.random.Generator, config: SynthesisConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean HU and the texture of every label id, as tables indexed by it."""
    means = np.zeros(max(names, default=0) + 1, dtype=np.float32)
    textures = np.zeros_like(means)
    enhancement = float(rng.uniform(0, 1))
    drawn: dict[Tissue, float] = {}
    for label, name in names.items():
        tissue = tissue_of(name)
        if config.contrasts == "random":
            means[label] = rng.uniform(-1000, 200) if rng.random() < 0.3 else rng.uniform(-150, 600)
            textures[label] = rng.uniform(0, 4 * config.texture_hu)
            continue
        # Ribs are as dense as vertebrae of the same person: a tissue is drawn once, its structures vary a little.
        if tissue not in drawn:
            drawn[tissue] = tissue.plain_hu + enhancement * tissue.enhancement_hu + rng.normal(0, tissue.spread_hu)
        means[label] = drawn[tissue] + rng.normal(0, 0.3 * tissue.spread_hu)
        textures[label] = tissue.texture * rng.uniform(0, config.texture_hu)
    return means, textures


class _Background:
    """What has no label: air outside the body; inside it fat under the skin, a muscle wall, and both at random."""

    def __init__(self, labels: LabelMap, rng: np.random.Generator, config: SynthesisConfig) -> None:
        is_random = config.contrasts == "random"
        self._fat = float(rng.uniform(-200, 400)) if is_random else float(rng.normal(-100, 8))
        self._muscle = float(rng.uniform(-200, 400)) if is_random else float(rng.normal(55, 8))
        self._air = float(rng.uniform(-1000, -300)) if is_random else AIR_HU
        self._share = float(rng.normal(0.5, 0.6))
        self._fat_mm, self._muscle_mm = float(rng.uniform(3, 35)), float(rng.uniform(4, 16))
        self._texture = config.texture_hu
        spacing = labels.grid.spacing_mm
        self._i, self._j = (np.arange(n) * s for n, s in zip(labels.grid.shape[:2], spacing[:2], strict=True))
        self._spans = _spans_mm(labels)

    def slice(self, index: int, texture: np.ndarray, patches: np.ndarray) -> np.ndarray:
        """Return the HU of one slice where nothing is labelled."""
        if self._spans is None:
            return np.full(texture.shape, self._air, dtype=np.float32)
        i0, i1, j0, j1 = self._spans[index]
        i = (self._i[:, None] - (i0 + i1) / 2).astype(np.float32)
        j = (self._j[None, :] - (j0 + j1) / 2).astype(np.float32)
        half_i, half_j = np.array([1.06 * (i1 - i0) / 2 + 4]), np.array([1.06 * (j1 - j0) / 2 + 4])
        x, y = np.broadcast_arrays(i, j)
        beyond = oval(x, y, half_i, half_j) + 2 * patches
        muscle = np.clip((patches - self._share) * 6, 0, 1)
        muscle = np.where(beyond > 0, beyond < self._muscle_mm, muscle)
        tissue = self._fat + muscle * (self._muscle - self._fat) + self._texture * texture
        return np.asarray(np.where(beyond < self._muscle_mm + self._fat_mm, tissue, self._air), dtype=np.float32)


def _spans_mm(labels: LabelMap) -> np.ndarray | None:
    """Return how far labels reach along i and j on each slice, ``(k, 4)``, smooth along k; None without labels."""
    spacing = labels.grid.spacing_mm
    found = {}
    for index in range(labels.grid.shape[2]):
        held = labels.data[:, :, index] > 0
        ends = [np.flatnonzero(held.any(axis=1 - axis)) for axis in (0, 1)]
        if len(ends[0]):
            found[index] = [end * spacing[axis] for axis in (0, 1) for end in (ends[axis][0], ends[axis][-1])]
    if not found:
        return None
    heights = np.arange(labels.grid.shape[2])
    spans = np.stack(
        [np.interp(heights, list(found), column) for column in np.array(list(found.values())).T], axis=1
    )
    reach = max(1, round(20 / spacing[2]))
    padded = np.pad(spans, ((reach, reach), (0, 0)), mode="edge")
    window = np.full(2 * reach + 1, 1 / (2 * reach + 1))
    return np.stack([np.convolve(column, window, mode="valid") for column in padded.T], axis=1)


def _blur(hu: np.ndarray, deviations: np.ndarray) -> None:
    """Blur in place with a Gaussian of the given standard deviations in voxels, slice by slice."""
    for axis, deviation in enumerate(deviations):
        reach = int(np.ceil(2.5 * deviation))
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(float(deviation), 1e-3)) ** 2)
        kernel = (kernel / kernel.sum()).astype(np.float32)
        other = 0 if axis == 2 else 2
        for index in range(hu.shape[other]):
            where = (index, slice(None), slice(None)) if other == 0 else (slice(None), slice(None), index)
            plane = hu[where]
            along = 1 if axis == 2 else axis
            pads = [(reach, reach) if a == along else (0, 0) for a in (0, 1)]
            padded = np.pad(plane, pads, mode="edge")
            size = plane.shape[along]
            total = np.zeros_like(plane)
            for offset, weight in enumerate(kernel):
                part = padded[offset : offset + size] if along == 0 else padded[:, offset : offset + size]
                total += weight * part
            hu[where] = total


def _refused(expected: str, got: object) -> UsageError:
    return UsageError(expected=expected, got=str(got), do="change the synthesis's configuration")
