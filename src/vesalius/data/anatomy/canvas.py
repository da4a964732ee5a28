"""One slice of a body while it is painted: where its pixels lie in the body, and what has been painted so far.

Structures are painted one over the other. A structure covers the part of a pixel that its distance says it
covers, which is the partial-volume effect; a pixel is labelled with the last structure that holds its centre.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np

from vesalius.data.anatomy.solids import Number, Vector
from vesalius.hounsfield import AIR_HU
from vesalius.labels.vista3d import STRUCTURES

Window = tuple[slice, slice]

LABEL_IDS = {"": 0} | {structure.name: structure.id for structure in STRUCTURES}
"""Name -> id in the table of 132 classes; the empty name is background."""

OVERLAP_LAYERS = {structure.name: structure.layer for structure in STRUCTURES if structure.layer}
"""Name -> the layer of structures that lie inside others."""

PROFILE_STEP_MM = 0.25
PROFILE_RANGE_MM = (-900.0, 900.0)
PROFILE_STEPS = 7200


class Profile:
    """A size that changes along the body: straight between the heights given, its corners rounded.

    Args:
        heights_mm: Heights in the body, ascending.
        values: The size at each height; constant beyond the ends.
        rounding_mm: Over what length corners are rounded.
    """

    def __init__(self, heights_mm: np.ndarray, values: np.ndarray, *, rounding_mm: Number = 30.0) -> None:
        z = PROFILE_RANGE_MM[0] + PROFILE_STEP_MM * np.arange(PROFILE_STEPS)
        width = max(1, round(rounding_mm / PROFILE_STEP_MM / 2))
        table = np.interp(z, heights_mm, values)
        for _ in range(2):
            padded = np.pad(table, (width, width), mode="edge")
            table = np.convolve(padded, np.full(2 * width + 1, 1 / (2 * width + 1)), mode="valid")
        self.table = table.astype(np.float32)

    def at(self, z_mm: Number) -> float:
        """Return the size at one height."""
        return float(self.table[int((z_mm - PROFILE_RANGE_MM[0]) / PROFILE_STEP_MM)])


class _Spans:
    """The span of a body coordinate in each row of pixels, for finding the rows that a range touches."""

    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        # Coordinates grow from row to row but for small bends; made monotonic, none that is touched is missed.
        self.highs = np.maximum.accumulate(high)
        self.lows = np.minimum.accumulate(low[::-1])[::-1]
        self._high, self._low = self.highs.tolist(), self.lows.tolist()

    def touching(self, low: Number, high: Number) -> slice | None:
        first, stop = bisect_left(self._high, low), bisect_right(self._low, high)
        return slice(first, stop) if first < stop else None


@dataclass
class Canvas:
    """One slice being painted; all arrays are ``(i, j)``.

    Args:
        x: Body coordinate to the right, mm, of every pixel centre; float32.
        y: The same, anterior.
        z: The same, superior.
        edge_mm: Over what distance a border goes from nothing to all: the pixel and the scanner's blur.
        bump: Noise with a wavelength of centimetres, which bends surfaces.
        grain: Noise of millimetres: texture.
        mottle: Noise of about a centimetre: patches.
        branches: Two more noises of about two centimetres; where both vanish, a branching line runs.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    edge_mm: Number
    bump: np.ndarray
    grain: np.ndarray
    mottle: np.ndarray
    branches: tuple[np.ndarray, np.ndarray]

    def __post_init__(self) -> None:
        self.hu = np.full(self.x.shape, AIR_HU, dtype=np.float32)
        self.labels = np.zeros(self.x.shape, dtype=np.uint8)
        self.layers: dict[str, np.ndarray] = {}
        height = ((self.z - PROFILE_RANGE_MM[0]) / PROFILE_STEP_MM).astype(np.int32)
        self.height = np.clip(height, 0, PROFILE_STEPS - 1)
        self._rows = _Spans(self.x.min(axis=1), self.x.max(axis=1))
        self._columns = _Spans(self.y.min(axis=0), self.y.max(axis=0))
        self.z_range = float(self.z.min()), float(self.z.max())

    def window(self, low: Vector, high: Vector) -> Window | None:
        """Return the pixels that a box of the body may touch, or None where it misses the slice."""
        if high[2] < self.z_range[0] or low[2] > self.z_range[1]:
            return None
        rows, columns = self._rows.touching(low[0], high[0]), self._columns.touching(low[1], high[1])
        return None if rows is None or columns is None else (rows, columns)

    def spans(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return the pixels that many boxes may touch, whatever their height.

        Args:
            low: Lower corners ``(n, 3)``, mm.
            high: Upper corners.

        Returns:
            First and stop along i, first and stop along j, ``(n, 4)``; a box beside the slice has no pixels.
        """
        i, j = self._rows, self._columns
        found = (
            np.searchsorted(i.highs, low[:, 0], "left"),
            np.searchsorted(i.lows, high[:, 0], "right"),
            np.searchsorted(j.highs, low[:, 1], "left"),
            np.searchsorted(j.lows, high[:, 1], "right"),
        )
        return np.stack(found, axis=1)

    def around(self, centre: Vector, reach_mm: Number) -> Window | None:
        """Return the pixels that a ball may touch."""
        x, y, z = centre
        r = reach_mm
        return self.window((x - r, y - r, z - r), (x + r, y + r, z + r))

    def points(self, window: Window) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the body coordinates of a window's pixels."""
        return self.x[window], self.y[window], self.z[window]

    def look_up(self, profile: Profile, window: Window) -> np.ndarray:
        """Return a profile's size at the height of every pixel of a window."""
        return np.asarray(profile.table[self.height[window]])

    def tissue(self, window: Window, hu: Number, *, grain: Number = 0.0, mottle: Number = 0.0) -> np.ndarray:
        """Return the HU of a tissue: a mean with fine and coarse texture (standard deviations)."""
        return np.asarray(
            np.float32(hu) + np.float32(grain) * self.grain[window] + np.float32(mottle) * self.mottle[window]
        )

    def paint(
        self, window: Window, distance: np.ndarray, hu: np.ndarray | Number, label: str | None = None
    ) -> None:
        """Paint a solid.

        Args:
            window: The pixels that ``distance`` covers.
            distance: Signed distance to the solid's surface, mm.
            hu: What it is made of.
            label: Its name; the empty name clears what lies there, None leaves the labels as they are.
        """
        share = np.clip(np.float32(0.5) - distance * np.float32(1 / self.edge_mm), 0, 1)
        below = self.hu[window]
        below += share * (hu - below)
        if label is not None:
            np.copyto(self.labels[window], np.uint8(LABEL_IDS[label]), where=distance < 0)

    def keep_marks(self, label: str, host: str) -> None:
        """Forget a structure's marks where its host has been painted over by something else."""
        layer = self.layers.get(OVERLAP_LAYERS[label])
        if layer is not None:
            layer[(layer == LABEL_IDS[label]) & (self.labels != LABEL_IDS[host])] = 0

    def mark(self, window: Window, distance: np.ndarray, label: str) -> None:
        """Label a structure that lies inside others, in its overlap layer, and leave the rest as it is."""
        layer = OVERLAP_LAYERS[label]
        if layer not in self.layers:
            self.layers[layer] = np.zeros(self.x.shape, dtype=np.uint8)
        np.copyto(self.layers[layer][window], np.uint8(LABEL_IDS[label]), where=distance < 0)
