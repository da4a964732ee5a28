"""Slices -> the grid they lie on, or the reason why they lie on none.

The affine comes from positions and cosines alone: GantryDetectorTilt, SpacingBetweenSlices and SliceThickness are
not made for geometry (PS3.3 C.8.2.1.1.2, C.7.6.2.1.1). A tilted gantry gives a sheared affine, which maps every
voxel to where it was; nothing is resampled. Uneven steps are refused; filling the gaps by interpolation is offered,
because only the user can know whether that is right.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64

from vesalius.errors import DicomSeriesError, InputError
from vesalius.geometry.grid import Grid
from vesalius.io.dicom_frames import Frame, Kind, SeriesTags

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_EVEN_PART = 0.01
"""Steps may differ by this part, or by what rounding of the positions in the header explains."""
_DRIFT_PART = 0.1
"""No slice may lie further than this part of a step from its place on the grid."""
_STRAIGHT_PIXELS = 0.1
"""Nor further sideways than this part of a pixel."""
_UPRIGHT_PIXELS = 0.05
"""A stack that leans less than this over all its slices stands upright, and leans by rounding."""
_ROUNDED_COSINES = 1e-4
"""What four decimals leave of direction cosines; more is mended too, but said."""
_MAX_TILT_DEGREES = 60.0
_WIDEST_GAP_STEPS = 4.0
"""Gaps wider than this many steps are never filled: too much would be made up."""


@dataclass(frozen=True)
class Stack:
    """Parallel slices of one series.

    Args:
        series: What the files say of the series.
        frames: In slice order, each place once.
        kind: What the image type makes of it.
        num_files: Files it was made from, copies counted.
        grid: Where the voxels are; None where that cannot be said.
        error: Why it is no volume; None where it is one.
        notes: What was mended or is worth knowing.
        places: For each slice of ``grid``, where it lies between ``frames``: whole numbers, unless gaps are filled.
        filled: The same stack with its gaps filled, where that can be done and is needed.
        part: 1 for the first of its series, 2 for the next.
        num_parts: Into how many stacks the series was split.
    """

    series: SeriesTags
    frames: tuple[Frame, ...]
    kind: Kind
    num_files: int
    grid: Grid | None = None
    error: InputError | None = None
    notes: tuple[str, ...] = ()
    places: tuple[float, ...] = ()
    filled: Stack | None = None
    part: int = 1
    num_parts: int = 1

    @property
    def key(self) -> str:
        """What names it among the stacks of a folder: the series UID, with ``#2`` for a second part."""
        return self.series.series_uid if self.part == 1 else f"{self.series.series_uid}#{self.part}"

    @property
    def is_filled(self) -> bool:
        """Whether some of its slices are interpolated between others."""
        return any(not place.is_integer() for place in self.places)


def placed(stack: Stack) -> Stack:
    """Return the stack with its grid.

    Where the steps are uneven, the result carries an error, and a ``filled`` twin if the gaps are small.

    Raises:
        DicomSeriesError: If the slices lie on no grid, not even with gaps.
    """
    frames = stack.frames
    stack = replace(stack, notes=(*stack.notes, *_cosines_note(frames)))
    positions = np.array([frame.position_lps for frame in frames])  # [k 3]
    if len(frames) == 1:
        return _single(stack)
    heights = positions @ np.asarray(frames[0].normal_lps)  # [k]
    lean, notes = _lean(frames[0], positions, heights)
    steps = np.diff(heights)
    even = np.linspace(heights[0], heights[-1], len(heights))
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])  # the lower median: what is missing makes steps longer
    tolerance_mm = max(_EVEN_PART * usual, min(_rounding_mm(positions), _DRIFT_PART * usual)) * (1 + 1e-6)
    is_odd = np.abs(steps - usual) > tolerance_mm
    notes = (*stack.notes, *notes, *_thickness_note(frames[0], usual))
    if not is_odd.any() and np.abs(heights - even).max() <= _DRIFT_PART * usual:
        grid = _grid(frames[0], lean * (heights[-1] - heights[0]) / (len(heights) - 1), len(heights))
        return replace(stack, grid=grid, notes=notes, places=tuple(map(float, range(len(frames)))))
    filled = None
    if steps.max() <= _WIDEST_GAP_STEPS * usual:
        filled = _filled(replace(stack, notes=notes), heights, lean, usual)
    return replace(
        stack, error=_uneven(heights, is_odd, usual, can_fill=filled is not None), notes=notes, filled=filled
    )


def _single(stack: Stack) -> Stack:
    thickness = stack.frames[0].thickness_mm or stack.frames[0].step_mm
    if not thickness:
        raise DicomSeriesError(
            expected="two slices or more, or one that states its thickness",
            got="one slice without SliceThickness",
            do="give the whole series",
        )
    grid = _grid(stack.frames[0], np.asarray(stack.frames[0].normal_lps) * thickness, 1)
    notes = (*stack.notes, "one slice: the third axis is its thickness")
    return replace(stack, grid=grid, places=(0.0,), notes=notes)


def _lean(
    first: Frame, positions: Float64[np.ndarray, "k 3"], heights: Float64[np.ndarray, " k"]
) -> tuple[Float64[np.ndarray, " 3"], tuple[str, ...]]:
    """Return how far slices move in space for each millimetre along their normal, and what to say about it.

    Raises:
        DicomSeriesError: If they do not move along one straight line, or hardly along their normal at all.
    """
    normal = np.asarray(first.normal_lps)
    span = heights[-1] - heights[0]
    if span <= 0 or np.diff(heights).min() <= 0:
        raise DicomSeriesError(
            expected="slices behind each other",
            got="images beside each other in one plane",
            do="name another series; tiles make no volume",
        )
    lean = (positions[-1] - positions[0]) / span
    off = positions - positions[0] - np.outer(heights - heights[0], lean)
    sideways = float(np.linalg.norm(off, axis=1).max())
    if sideways > _STRAIGHT_PIXELS * min(first.pixel_mm):
        raise DicomSeriesError(
            expected="slices along one straight line",
            got=f"slices that shift sideways by {sideways:.2f} mm",
            do="register and resample the series first, or name another",
        )
    shear = float(np.linalg.norm(lean - normal))
    if shear * span <= _UPRIGHT_PIXELS * min(first.pixel_mm):
        return normal, ()
    degrees = float(np.degrees(np.arctan(shear)))
    if degrees > _MAX_TILT_DEGREES:
        raise DicomSeriesError(
            expected=f"slices that lean at most {_MAX_TILT_DEGREES:g} degrees",
            got=f"{degrees:.1f} degrees",
            do="name another series",
        )
    return lean, (f"slices lean by {degrees:.1f} degrees (gantry tilt): the voxel grid is sheared, as scanned",)


def _cosines_note(frames: Sequence[Frame]) -> tuple[str, ...]:
    off = max(frame.cosines_off for frame in frames)
    if off > _ROUNDED_COSINES:
        return (f"direction cosines were off by {off:.1e} from unit vectors at a right angle: mended",)
    return ()


def _thickness_note(first: Frame, step: float) -> tuple[str, ...]:
    if first.thickness_mm and step > 2 * first.thickness_mm:
        return (
            f"slices are {step:.3g} mm apart and {first.thickness_mm:.3g} mm thick: tissue between was not imaged",
        )
    return ()


def _grid(first: Frame, step_lps: np.ndarray, num_slices: int) -> Grid:
    affine = np.eye(4)
    affine[:3, 0] = np.asarray(first.row_lps) * first.pixel_mm[0]
    affine[:3, 1] = np.asarray(first.column_lps) * first.pixel_mm[1]
    affine[:3, 2] = step_lps
    affine[:3, 3] = first.position_lps
    return Grid((first.layout.columns, first.layout.rows, num_slices), _LPS_TO_RAS @ affine)


def _filled(stack: Stack, heights: Float64[np.ndarray, " k"], lean: np.ndarray, usual: float) -> Stack:
    """Lay even slices over uneven ones: first and last stay, the step is as near the usual one as fits."""
    span = heights[-1] - heights[0]
    num_slices = round(float(span) / usual) + 1
    places = np.interp(np.linspace(heights[0], heights[-1], num_slices), heights, np.arange(len(heights)))
    whole = np.round(places)
    places = np.where(np.abs(places - whole) < 1e-3, whole, places)
    made = int((places != whole).sum())
    return replace(
        stack,
        grid=_grid(stack.frames[0], lean * span / (num_slices - 1), num_slices),
        places=tuple(map(float, places)),
        notes=(*stack.notes, f"gaps filled: {made} of {num_slices} slices interpolated between their neighbours"),
    )


def _rounding_mm(positions: Float64[np.ndarray, "k 3"]) -> float:
    """Return the step of the decimals that positions are written in: 0.1 or 0.01 mm; finer counts as 0.01.

    A step of 0.625 mm written with two decimals alternates between 0.62 and 0.63 and is even all the same.
    """
    tenths = positions * 10
    return 0.1 if np.abs(tenths - np.round(tenths)).max() < 1e-6 else 0.01


def _uneven(
    heights: Float64[np.ndarray, " k"], is_odd: Bool[np.ndarray, " s"], usual: float, *, can_fill: bool
) -> InputError:
    steps = np.diff(heights)
    odd = np.flatnonzero(is_odd)
    if not len(odd):
        got = f"steps that change slowly from {steps.min():.3f} to {steps.max():.3f} mm"
    else:
        at = int(odd[0])
        got = (
            f"a step of {steps[at]:.3f} mm between slices {at + 1} and {at + 2} of {len(heights)}, at "
            f"{heights[at]:.2f} and {heights[at + 1]:.2f} mm along their normal"
        )
        if len(odd) > 1:
            got += f", and {len(odd) - 1} more uneven steps (from {steps.min():.3f} to {steps.max():.3f} mm)"
    missing = steps[odd] / usual
    if len(odd) and np.abs(missing - np.round(missing)).max() < 0.05 and missing.min() > 1:
        got += f": {int(np.round(missing - 1).sum())} missing"
    do = "send the missing slices, or export the series again with one even step"
    if can_fill:
        do += "; fill_gaps (--fill-gaps) interpolates them, if that is acceptable"
    return DicomSeriesError(expected=f"slices in even steps, as most are here: {usual:.3f} mm", got=got, do=do)
