"""Quality per click: a simulated user corrects each structure of each case in the very session that users work in.

An honest budget. Every click counts, the mask after exactly n clicks is measured (never the best so far), the whole
volume is compared, absent structures too, and a structure that needs no click keeps its score. VISTA3D's published
"auto + point" takes the better of both by the truth, window by window; its zero-shot curves take the best Dice so
far, and set slices without truth to zero before comparing: none of that is done here.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from vesalius.errors import UnknownClassError, UsageError
from vesalius.evaluation.balls import ball_radius_mm, balls, brushed
from vesalius.evaluation.benchmark import others
from vesalius.evaluation.references import ReferenceCase
from vesalius.evaluation.scores import Score, ScoringOptions, score_masks
from vesalius.evaluation.wanted import Structure, Wanted
from vesalius.geometry.boxes import Box, bounding_box
from vesalius.geometry.grid import Grid
from vesalius.geometry.packed_mask import PackedMask
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.click_plan import plan_clicks
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.interactive.features import CACHE_BYTES
from vesalius.interactive.session import Session
from vesalius.prompts.simulate import Click, ClickStyle, next_click
from vesalius.prompts.targets import NEW
from vesalius.prompts.types import PointPrompt
from vesalius.shapes import MaskArray

BRUSH_MM = 7.5
"""Radius of the brush: as far as a click on the built-in model's masks counts wholly."""
BALL_FACTOR = 0.8
"""Radius of the balls, as a share of the radius of a ball of the structure's usual volume: with it, of 0.5 to 1.0,
five clicks gave the best Dice on the parotids of eight development cases of OpenKBP (0.68 and 0.69)."""


@dataclass(frozen=True, kw_only=True)
class ClickProtocol:
    """What the simulated user does."""

    clicks: int = 10
    """How many clicks each structure may get."""
    start: Literal["automatic", "nothing"] = "automatic"
    """Begin with what the model segments by itself, or with nothing."""
    new: bool = False
    """Click on every structure as if the model had no name for it (zero-shot); begins with nothing."""
    style: ClickStyle = "centre"
    """Aim at the middle of the largest error, or near its border."""
    jitter_mm: float = 2.0
    """Standard deviation of the hand."""
    seed: int = 0
    """Of the hand; each structure of each case has a generator of its own, so that their order does not matter."""

    def __post_init__(self) -> None:
        if self.clicks < 1 or self.jitter_mm < 0:
            raise UsageError(
                expected="at least one click, and a jitter of 0 mm or more",
                got=f"{self.clicks} clicks, {self.jitter_mm:g} mm",
                do="correct the protocol",
            )
        if self.new and self.start == "automatic":
            raise UsageError(
                expected="to begin with nothing, where structures are taken for new",
                got="the automatic result, which knows their names",
                do="add --start nothing",
            )


@dataclass(frozen=True, kw_only=True)
class ClickCurve:
    """One structure of one case, click by click.

    Args:
        scores: After 0, 1, 2... clicks; ends early where the mask equals the truth.
        seconds: Of each click, from the click to the new mask.
    """

    scores: tuple[Score, ...]
    seconds: tuple[float, ...]

    def after(self, clicks: int) -> Score:
        """Return the score after so many clicks; of a mask that needed fewer, the last."""
        return self.scores[min(clicks, len(self.scores) - 1)]

    def clicks_to(self, dice: float) -> int | None:
        """Return how many clicks it took to reach a Dice for the first time; None where it never did."""
        return next((n for n, score in enumerate(self.scores) if score.dice >= dice), None)


@dataclass(frozen=True, kw_only=True)
class ClickEvaluation:
    """What was measured.

    Args:
        protocol: What the user did.
        curves: In the session.
        baseline: The same user with balls around the clicks that never read the image, beginning with nothing.
        skipped: Classes of references that cannot be clicked by name, with why.
        times_skipped: In how many cases.
        brush: The same user with a round brush on the same automatic result; none where the user begins with
            nothing. What clicks gain over it, they owe to the image.
        patients: Case -> whom it shows, where that is known.
    """

    protocol: ClickProtocol
    curves: tuple[ClickCurve, ...]
    baseline: tuple[ClickCurve, ...]
    skipped: Mapping[str, str]
    times_skipped: Mapping[str, int] = field(default_factory=dict)
    brush: tuple[ClickCurve, ...] = ()
    patients: Mapping[str, str] = field(default_factory=dict)


def evaluate_clicks(
    segmenter: Segmenter,
    cases: Iterable[ReferenceCase],
    protocol: ClickProtocol | None = None,
    *,
    options: ScoringOptions | None = None,
    everything: bool = False,
    how: SegmentOptions | None = None,
    on_structure: Callable[[str], None] = lambda _: None,
    on_mask: Callable[[Structure, MaskArray], None] = lambda *_: None,
) -> ClickEvaluation:
    """Let a simulated user correct every structure of every case.

    Each structure is corrected in a session of its own, so that neither labels nor what is cached depend on the
    structures before it. A structure that the model has no name for is clicked as a new one.

    Args:
        segmenter: The model.
        cases: Scans with their references.
        protocol: What the user does.
        options: How to measure, and which classes.
        everything: Whether the automatic result is asked for everything, not for these structures alone.
        how: How to segment automatically.
        on_structure: Hears ``case: structure`` before each.
        on_mask: Is shown each structure and its mask after the last click.

    Raises:
        NoHeadError: If the model has no click branch.
        GeometryError: If a reference does not lie on its scan's voxels.
        MemoryBudgetError: If clicks do not fit into the memory that ``how`` allows.
    """
    protocol, options = protocol or ClickProtocol(), options or ScoringOptions()
    curves: list[ClickCurve] = []
    drawn: list[_Drawn] = []
    brush: list[ClickCurve] = []
    skipped: dict[str, str] = {}
    times_skipped = Counter[str]()
    patients: dict[str, str] = {}
    for case in cases:
        patients |= case.patients
        wanted = Wanted.of(case, segmenter, classes=options.classes, is_new=protocol.new)
        skipped |= wanted.skipped
        times_skipped.update(wanted.skipped.keys())
        unjudged = PackedMask.of(np.broadcast_to(~wanted.judged, case.volume.grid.shape))
        start = None
        if protocol.start == "automatic":
            start = _automatic(case.volume, wanted.targets.values(), segmenter, everything=everything, how=how)
        for one in wanted.structures():
            on_structure(f"{one.case}: {one.name}")
            before = np.zeros(one.mask.shape, dtype=bool)
            with _session(segmenter, case.volume, one, start, how) as session:
                tool = _InSession(session, wanted.targets[one.name], wanted.judged)
                if start is not None:
                    before = tool.mask()
                curves.append(_corrected(tool, one, protocol, tolerance_mm=options.tolerance_mm))
                on_mask(one, tool.mask())
            del session, tool  # what they remember must not be held when the next one is planned
            if start is not None:
                stroke = _Brush(before, one.grid, wanted.judged)
                brush.append(_corrected(stroke, one, protocol, tolerance_mm=options.tolerance_mm))
            drawn.append(_Drawn.of(one, unjudged))
    baseline = [_with_balls(one, drawn, protocol, tolerance_mm=options.tolerance_mm) for one in drawn]
    return ClickEvaluation(
        protocol=protocol,
        curves=tuple(curves),
        baseline=tuple(baseline),
        skipped=skipped,
        times_skipped=times_skipped,
        brush=tuple(brush),
        patients=patients,
    )


def _session(
    segmenter: Segmenter, volume: Volume, wanted: Structure, start: LabelMap | None, how: SegmentOptions | None
) -> Session:
    """Open a session that remembers no more than the memory allowed leaves.

    Planned are clicks all over the structure and all over the labels it begins with: where a simulated user clicks
    is known only later, and errors of its own making may lie elsewhere.

    Raises:
        MemoryBudgetError: If not one pass of the network fits.
    """
    if how is None or how.max_memory is None:
        return Session(segmenter, volume, labels=start, options=how)
    there = wanted.mask if start is None else wanted.mask | (start.data > 0)
    box = bounding_box(there) or Box((0, 0, 0), (1, 1, 1))
    clicks = [PointPrompt(target=wanted.name, positive=True, voxel=tuple(corner)) for corner in box.corners()]
    plan = plan_clicks(
        segmenter,
        volume,
        clicks,
        labels=start,
        most_cache_bytes=CACHE_BYTES,
        max_bytes=how.max_memory,
        flops_per_second=lambda *_: 1.0,  # seconds are not asked for
    )
    return Session(segmenter, volume, labels=start, options=how, cache_bytes=plan.cache_bytes)


def _corrected(
    tool: _InSession | _Balls | _Brush, wanted: Structure, protocol: ClickProtocol, *, tolerance_mm: float
) -> ClickCurve:
    """Click until the budget is spent or nothing is wrong."""
    rng = np.random.default_rng([protocol.seed, zlib.crc32(f"{wanted.case}/{wanted.name}".encode())])
    scores: list[Score] = []
    seconds: list[float] = []
    while True:
        current = tool.mask()
        scores.append(
            score_masks(wanted.case, wanted.name, current, wanted.mask, wanted.grid, tolerance_mm=tolerance_mm)
        )
        click = next_click(
            wanted.mask,
            current,
            rng=rng,
            style=protocol.style,
            jitter_mm=protocol.jitter_mm,
            spacing_mm=wanted.grid.spacing_mm,
        )
        if click is None or len(seconds) == protocol.clicks:
            return ClickCurve(scores=tuple(scores), seconds=tuple(seconds))
        start = time.perf_counter()
        tool.click(click)
        seconds.append(time.perf_counter() - start)


class _InSession:
    """The session that users work in, for one structure."""

    def __init__(self, session: Session, target: str, judged: MaskArray | np.bool_) -> None:
        self._session, self._target, self._judged = session, target, judged
        self._shape = session.labels.grid.shape

    def mask(self) -> MaskArray:
        try:
            return np.asarray(self._session.mask(self._target.removeprefix(NEW)) & self._judged)
        except UnknownClassError:  # neither the labels nor a click have named it yet
            return np.zeros(self._shape, dtype=bool)

    def click(self, click: Click) -> None:
        self._session.add(PointPrompt(target=self._target, positive=click.positive, voxel=click.point_ijk))
        self._session.predict()


def _automatic(
    volume: Volume,
    targets: Iterable[str],
    segmenter: Segmenter,
    *,
    everything: bool,
    how: SegmentOptions | None,
) -> LabelMap | None:
    """Return what the model finds by itself of structures it has names for; None where it has none."""
    named = [target for target in targets if not target.startswith(NEW)]
    named += others(named, segmenter.vocabulary) if everything and named else []
    return segmenter(volume, named, options=how) if named else None


# The baseline


class _Balls:
    """Balls around the clicks."""

    def __init__(self, grid: Grid, radius_mm: float, judged: MaskArray | np.bool_) -> None:
        self._grid, self._radius_mm, self._judged = grid, radius_mm, judged
        self._clicks: list[Click] = []

    def mask(self) -> MaskArray:
        return np.asarray(balls(self._clicks, self._grid, self._radius_mm) & self._judged)

    def click(self, click: Click) -> None:
        self._clicks.append(click)


class _Brush:
    """A round brush on a mask."""

    def __init__(self, mask: MaskArray, grid: Grid, judged: MaskArray | np.bool_) -> None:
        self._mask, self._grid, self._judged = mask, grid, judged

    def mask(self) -> MaskArray:
        return np.asarray(self._mask & self._judged)

    def click(self, click: Click) -> None:
        self._mask = brushed(self._mask, click, self._grid, BRUSH_MM)


@dataclass(frozen=True)
class _Drawn:
    """A structure, cut out, to be kept until all cases are known."""

    wanted: Structure
    box: Box | None
    unjudged: PackedMask

    @classmethod
    def of(cls, one: Structure, unjudged: PackedMask) -> _Drawn:
        box = bounding_box(one.mask)
        mask = one.mask[box.slices].copy() if box else one.mask[:1, :1, :1].copy()
        return cls(Structure(one.case, one.name, mask, one.grid), box, unjudged)

    @property
    def volume_ml(self) -> float:
        return int(np.count_nonzero(self.wanted.mask)) * self.wanted.grid.voxel_volume_ml

    def with_margin(self, margin_mm: float) -> tuple[Structure, MaskArray]:
        """Return the structure with so much of its scan around it, and which of these voxels were judged."""
        one = self.wanted
        if self.box is None:
            corner = Box((0, 0, 0), (1, 1, 1))
            return Structure(one.case, one.name, one.mask, one.grid.cropped(corner)), ~self.unjudged.within(corner)
        i, j, k = (int(np.ceil(margin_mm / side)) + 1 for side in one.grid.spacing_mm)
        around = self.box.grown((i, j, k)).clipped(one.grid.shape)
        mask = np.zeros(around.shape, dtype=bool)
        mask[self.box.relative_to(around.start).slices] = one.mask
        return Structure(one.case, one.name, mask, one.grid.cropped(around)), ~self.unjudged.within(around)


def _with_balls(
    one: _Drawn, all_drawn: Sequence[_Drawn], protocol: ClickProtocol, *, tolerance_mm: float
) -> ClickCurve:
    """Correct a structure with balls of the size it has in other cases; in its own, where no other has it."""
    same = [other for other in all_drawn if other.wanted.name == one.wanted.name and other.volume_ml]
    others = [other.volume_ml for other in same if other is not one] or [one.volume_ml]
    radius_mm = BALL_FACTOR * ball_radius_mm(float(np.median(others)))
    wanted, judged = one.with_margin(radius_mm)
    return _corrected(_Balls(wanted.grid, radius_mm, judged), wanted, protocol, tolerance_mm=tolerance_mm)
