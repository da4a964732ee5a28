"""A procedural torso: organs with HU texture and their labels, at any size, for any seed.

Everything is a function of the place in millimetres, evaluated slice by slice into arrays made beforehand, so a
phantom of 512×512×1000 voxels needs little more memory than its own, and the same person comes out at any voxel
size, in any field of view. The anatomy is drawn with solids of average size, bent by smooth noise: proportions and
HU are those of adults, but it is nobody's, and no measure of how well a model segments people.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vesalius.data.anatomy.body import Body
from vesalius.data.anatomy.canvas import LABEL_IDS, Canvas
from vesalius.data.anatomy.subject import Contrast, Subject
from vesalius.errors import UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.hounsfield import AIR_HU, HIGHEST_HU, LOWEST_HU

Region = Literal["torso", "chest", "abdomen", "pelvis"]

# Where a region lies: the height of its middle and its length, mm, in the frame where L1 is 0.
_REGIONS: dict[str, tuple[float, float]] = {
    "torso": (15.0, 730.0), "chest": (180.0, 340.0), "abdomen": (-40.0, 340.0), "pelvis": (-205.0, 270.0),
}  # fmt: skip
_WIDTH_MM, _DEPTH_MM, _MIDDLE_Y_MM = 440.0, 340.0, 8.0
_TABLE_HU = -350.0
_PHASES: tuple[Contrast, ...] = ("none", "arterial", "portal")
_BASE_LAYERS = ("vessels", "airways")


@dataclass(frozen=True, kw_only=True)
class PhantomConfig:
    """Which person, seen how."""

    shape: tuple[int, int, int] = (160, 128, 184)
    """Voxels along right, anterior and superior."""
    spacing_mm: tuple[float, float, float] | None = None
    """Size of a voxel; by default whatever makes the region fill the shape."""
    seed: int = 0
    """Which person: pose, size, organs, texture and noise follow from it."""
    region: Region = "torso"
    """What the field of view is centred on; voxels times spacing say how much around it is seen."""
    contrast: Contrast | Literal["random"] = "portal"
    """Phase of the contrast agent, which decides the HU of vessels, kidneys, liver and spleen."""
    tumours: bool = False
    """Whether lesions grow in some organs; they are labelled in a layer of their own."""
    table: bool = True
    """Whether the scanner's table is seen below the back."""
    overlaps: bool = True
    """Whether the layers of liver vessels and airways, which lie inside other structures, are kept."""
    noise_hu: float = 12.0
    """Standard deviation of the scanner's noise in one slice."""
    blur_mm: float = 1.2
    """Width of the scanner's blur within a slice."""

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise _refused("three sides of at least one voxel", self.shape)
        sides_mm = self.spacing_mm or (1.0, 1.0, 1.0)
        if len(sides_mm) != 3 or not all(0 < side < math.inf for side in sides_mm):
            raise _refused("three positive voxel sizes in mm", sides_mm)
        if self.region not in _REGIONS:
            raise _refused(f"a region of {', '.join(_REGIONS)}", repr(self.region))
        if self.contrast not in ("none", "arterial", "portal", "random"):
            raise _refused("a contrast of none, arterial, portal, random", repr(self.contrast))
        if not (0 <= self.noise_hu < math.inf and 0 <= self.blur_mm < math.inf):
            raise _refused("noise and blur of zero or more", (self.noise_hu, self.blur_mm))
        if self.seed < 0:
            raise _refused("a seed of zero or more", self.seed)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The overlap layers of the label map."""
        return (*(_BASE_LAYERS if self.overlaps else ()), *(("tumours",) if self.tumours else ()))

    @property
    def grid(self) -> Grid:
        """The voxels: axis-aligned RAS; the origin of millimetres is the middle of the first lumbar vertebra."""
        spacing = np.asarray(self.spacing_mm or self._fitting_spacing())
        middle = np.array([0.0, _MIDDLE_Y_MM, _REGIONS[self.region][0]])
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = middle - (np.asarray(self.shape) - 1) / 2 * spacing
        return Grid(self.shape, affine)

    def _fitting_spacing(self) -> tuple[float, float, float]:
        i, j, k = self.shape
        in_plane = max(_WIDTH_MM / i, _DEPTH_MM / j)
        return in_plane, in_plane, _REGIONS[self.region][1] / k


def make_phantom(config: PhantomConfig) -> tuple[Volume, LabelMap]:
    """Build a phantom.

    Args:
        config: Which person, seen how.

    Returns:
        The CT, int16 HU of one channel, and its labels: uint8 ids of the table of 132 classes, with the layers
        ``vessels`` and ``airways`` and, where asked for, ``tumours``.

    Example:
        >>> volume, labels = make_phantom(PhantomConfig(shape=(32, 24, 40), seed=7))
        >>> volume.data.shape
        (1, 32, 24, 40)
    """
    grid = config.grid
    data = np.empty((1, *grid.shape), dtype=np.int16)
    labels = np.empty(grid.shape, dtype=np.uint8)
    layers = {name: np.zeros(grid.shape, dtype=np.uint8) for name in config.layer_names}
    for slab in phantom_slabs(config):
        at = (slice(None), slice(None), slice(slab.start, slab.start + slab.hu.shape[2]))
        data[0][at], labels[at] = slab.hu, slab.labels
        for name, layer in layers.items():
            layer[at] = slab.layers[name]
    names = {label: name for name, label in LABEL_IDS.items() if label}
    return Volume(data, grid, "CT"), LabelMap(labels, grid, names, layers)


@dataclass(frozen=True, eq=False)
class PhantomSlab:
    """A few slices of a phantom, for who cannot hold all of them: arrays ``(i, j, k)``."""

    start: int
    """Index k of the first slice."""
    hu: np.ndarray
    labels: np.ndarray
    layers: dict[str, np.ndarray]


def phantom_slabs(config: PhantomConfig, *, thickness: int = 8) -> Iterator[PhantomSlab]:
    """Build a phantom a few slices at a time.

    Args:
        config: Which person, seen how.
        thickness: Slices in a slab; changes nothing about their content.

    Yields:
        The slabs, from the feet upwards.
    """
    scanner = _Scanner(config)
    for start in range(0, config.shape[2], thickness):
        stop = min(start + thickness, config.shape[2])
        shape = (config.shape[0], config.shape[1], stop - start)
        hu, labels = np.empty(shape, dtype=np.int16), np.empty(shape, dtype=np.uint8)
        layers = {name: np.zeros(shape, dtype=np.uint8) for name in config.layer_names}
        for k in range(start, stop):
            image, middle = scanner.slice(k)
            hu[:, :, k - start], labels[:, :, k - start] = image, middle.labels
            for name, layer in layers.items():
                if name in middle.layers:
                    layer[:, :, k - start] = middle.layers[name]
        yield PhantomSlab(start, hu, labels, layers)


class _Scanner:
    """Takes one slice after the other of one person: slice thickness, table and noise."""

    def __init__(self, config: PhantomConfig) -> None:
        self._config, self._grid = config, config.grid
        contrast = config.contrast
        if contrast == "random":
            contrast = _PHASES[int(np.random.default_rng([config.seed, 3]).integers(3))]
        subject = Subject(config.seed, contrast=contrast)
        self._x, self._y, self._z = (
            self._grid.affine[a, 3] + self._grid.affine[a, a] * np.arange(config.shape[a]) for a in range(3)
        )
        spacing = self._grid.spacing_mm
        edge_mm = float(np.hypot(max(spacing[:2]), config.blur_mm))
        self._painter = Body(subject, tumours=config.tumours).painter(self._x, self._y, edge_mm=edge_mm)
        # A thick slice is the mean of an odd number of thin ones, so that one of them is its middle.
        parts = 1 if spacing[2] <= 3.5 else 3
        self._offsets = (np.arange(parts) - parts // 2) * spacing[2] / parts
        self._table = self._table_hu(subject) if config.table else None
        self._side_shares = 0.5 * np.exp(-np.asarray(spacing) / 1.0)

    def slice(self, k: int) -> tuple[np.ndarray, Canvas]:
        """Return the HU of a slice, int16, and the canvas of its middle."""
        canvases = [self._painter.paint(float(self._z[k] + offset)) for offset in self._offsets]
        hu = sum((canvas.hu for canvas in canvases[1:]), start=canvases[0].hu) / np.float32(len(canvases))
        if self._table is not None:
            hu = np.maximum(hu, self._table)
        if self._config.noise_hu:
            hu = hu + np.float32(self._config.noise_hu) * self._noise(k)
        image = np.clip(np.rint(hu), LOWEST_HU, HIGHEST_HU).astype(np.int16)
        return image, canvases[len(canvases) // 2]

    def _noise(self, k: int) -> np.ndarray:
        """Return noise of standard deviation 1, correlated between neighbouring voxels where these are small."""
        side = self._side_shares
        noise = sum(
            np.float32(share / np.sqrt(1 + 2 * side[2] ** 2)) * self._white(k + step)
            for step, share in ((0, 1.0), (-1, side[2]), (1, side[2]))
        )
        for axis in (0, 1):
            share = np.float32(side[axis])
            noise = noise + share * (np.roll(noise, 1, axis) + np.roll(noise, -1, axis))
            noise /= np.sqrt(1 + 2 * share**2)
        return np.asarray(noise, dtype=np.float32)

    def _white(self, k: int) -> np.ndarray:
        rng = np.random.default_rng([self._config.seed, 5, k + 1])
        return rng.standard_normal(self._config.shape[:2], dtype=np.float32)

    def _table_hu(self, subject: Subject) -> np.ndarray:
        """Return the table in cross-section: two thin curved shells below the back."""
        top = -(100 + 1.3 * subject.fat_mm) * subject.scale[1] + subject.shift_mm[1] - 8
        x, y = self._x[:, None], self._y[None, :]
        bed = top + 32 * (x / 230) ** 2
        width = max(self._grid.spacing_mm[1], 1.5)
        hu = np.full((len(self._x), len(self._y)), AIR_HU)
        for depth, strength in ((0, 1.0), (28, 0.8)):
            share = np.clip(0.5 + (1.2 - np.abs(y - bed + depth)) / width, 0, 1) * (np.abs(x) < 215)
            hu = np.maximum(hu, AIR_HU + strength * share * (_TABLE_HU - AIR_HU))
        return hu.astype(np.float32)


def _refused(expected: str, got: object) -> UsageError:
    return UsageError(expected=expected, got=str(got), do="change the phantom's configuration")
