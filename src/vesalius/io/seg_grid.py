"""Frames in any order, with slices left out: the grid they make up, and the slice each belongs to."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vesalius.errors import GeometryError
from vesalius.geometry.grid import Grid
from vesalius.io.limits import check_claim
from vesalius.io.seg_frames import FramePlace

_TOLERANCE = 0.1
"""Part of a slice step (or of a pixel) that a frame may lie off its place."""
_MIN_STEP_MM = 1e-3


@dataclass(frozen=True)
class FrameStack:
    """Frames as slices of one grid.

    Args:
        grid: The grid, from the first to the last slice that has a frame.
        slices: The slice ``k`` of every frame.
        segments: The segment of every frame; None in a LABELMAP.
    """

    grid: Grid
    slices: tuple[int, ...]
    segments: tuple[int | None, ...]

    def frames_by_segment(self) -> dict[int, list[int]]:
        """Return the frames of each segment, segments in ascending order."""
        frames: dict[int, list[int]] = {}
        for index, segment in enumerate(self.segments):
            frames.setdefault(segment or 0, []).append(index)
        return dict(sorted(frames.items()))


def stack_frames(places: Sequence[FramePlace], size: tuple[int, int], path: Path) -> FrameStack:
    """Find the grid of a file's frames.

    Args:
        places: Where the frames lie.
        size: Columns and rows of a frame.
        path: The file, for messages.

    Raises:
        GeometryError: If the frames are not parallel, not evenly spaced, or shifted against each other.
        MemoryBudgetError: If the volume is larger than the free memory.
    """
    first = places[0]
    _refuse_mixed(places, path)
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    positions = np.array([place.position for place in places])
    distances = (positions - first.position) @ normal
    unique = _distinct(distances)
    step = _step(unique, first, path)
    lowest = positions[int(np.argmin(distances))]
    slices = np.round((distances - unique[0]) / step).astype(int)
    direction = _direction(positions, lowest, slices, step * normal)
    off = np.abs(lowest + slices[:, None] * direction - positions).max()
    if off > _TOLERANCE * max(step, *first.spacing):
        raise _no_volume(path, f"frames {off:.2f} mm off an even stack")
    lps = np.eye(4)
    lps[:3, 0] = first.orientation[:3] * first.spacing[1]
    lps[:3, 1] = first.orientation[3:] * first.spacing[0]
    lps[:3, 2] = direction
    lps[:3, 3] = lowest
    shape = (size[0], size[1], int(slices.max()) + 1)
    check_claim(path, claimed=math.prod(shape), stored=math.prod(shape), compressed=False)
    grid = Grid(shape, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps)
    return FrameStack(grid, tuple(slices.tolist()), tuple(place.segment for place in places))


def _refuse_mixed(places: Sequence[FramePlace], path: Path) -> None:
    first = places[0]
    for place in places:
        if np.abs(place.orientation - first.orientation).max() > 1e-3 or not np.allclose(
            place.spacing, first.spacing, rtol=1e-3
        ):
            raise _no_volume(path, "frames of several orientations or pixel sizes")


def _distinct(distances: np.ndarray) -> np.ndarray:
    ordered = np.sort(distances)
    return np.asarray(ordered[np.concatenate([[True], np.diff(ordered) > _MIN_STEP_MM])])


def _step(unique: np.ndarray, first: FramePlace, path: Path) -> float:
    """Return the distance of slices: the stated one where every gap is a multiple of it, else the smallest gap.

    The thickness is the third side of a single slice's voxels and no distance: thin slices may lie far apart.
    """
    gaps = np.diff(unique)
    if gaps.size == 0:
        alone = first.step or first.thickness
        if alone is None:
            raise _no_volume(path, "a single slice without thickness")
        return alone
    for step in (first.step, float(gaps.min())):
        if step is not None and step > _MIN_STEP_MM:
            steps = (unique - unique[0]) / step
            if np.abs(steps - np.round(steps)).max() <= _TOLERANCE:
                return float((unique[-1] - unique[0]) / round(steps[-1]))
    raise _no_volume(path, f"slices {', '.join(f'{gap:.2f}' for gap in gaps[:8])} mm apart")


def _direction(positions: np.ndarray, lowest: np.ndarray, slices: np.ndarray, straight: np.ndarray) -> np.ndarray:
    """Return the step from slice to slice, along the line of the positions (which a tilted stack leaves)."""
    last = int(np.argmax(slices))
    return straight if slices[last] == 0 else np.asarray((positions[last] - lowest) / slices[last])


def _no_volume(path: Path, got: str) -> GeometryError:
    return GeometryError(
        expected="a DICOM SEG whose frames are parallel, evenly spaced slices",
        got=f"{path.name}: {got}",
        do="convert it to NIfTI with a program that resamples, such as 3D Slicer",
    )
