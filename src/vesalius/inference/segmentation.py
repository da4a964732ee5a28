"""What a segmentation is told, what it gives, and who hears of it on the way."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from vesalius.errors import UsageError
from vesalius.geometry.planes import Plane
from vesalius.geometry.volume import LabelMap
from vesalius.inference.pipelines import Compat
from vesalius.inference.plan import Plan
from vesalius.inference.slice_plan import SlicePlan
from vesalius.labels.findings import Findings


@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    """How to segment, beside what."""

    overlap: float | None = None
    """Part of a window shared with its neighbour; None leaves it to the model."""
    max_memory: int | None = None
    """Resident bytes not to exceed; None is what the machine has free."""
    compat: Compat | None = None
    """Run a published pipeline exactly instead of ours."""
    unvalidated: bool = False
    """Go on outside the modality and spacing the model was made for; the result says so."""
    mirror: bool = False
    """Of a model of slices: average what it says of each slice and of the reflections that it learnt from."""
    planes: tuple[Plane, ...] = ()
    """Of a model of slices: in which planes to cut the volume; several are averaged, none is the model's own."""

    def __post_init__(self) -> None:
        if self.overlap is not None and not 0 <= self.overlap < 1:
            raise UsageError(expected="an overlap in [0, 1)", got=str(self.overlap), do="0.25 is usual")
        if self.overlap is not None and self.compat is not None:
            raise UsageError(
                expected="either an overlap or a published pipeline",
                got=f"overlap {self.overlap} with compat {self.compat!r}, which fixes its own",
                do="leave one of the two out",
            )


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """A result and how it came about.

    Args:
        labels: On the volume's own grid.
        findings: What was found, and what to look at.
        plan: What was forecast; None where no whole scan was segmented, as after clicks.
        seconds: Phase -> seconds it took.
        probability: Label id -> mean probability over its voxels in the model's grid, from which confidence is
            predicted; those of pieces that were taken away afterwards count too.
        unvalidated: Why the result lies outside what the model was made for; empty where it does not.
    """

    labels: LabelMap
    findings: Findings
    plan: Plan | SlicePlan | None
    seconds: Mapping[str, float]
    probability: Mapping[int, float]
    unvalidated: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Hears how a run goes; every part may be left out."""

    on_phase: Callable[[str], None] = lambda _: None
    """A phase begins: preparing, windows, measuring."""
    on_plan: Callable[[Plan | SlicePlan], None] = lambda _: None
    """The plan is made."""
    on_window: Callable[[bool], None] = lambda _: None
    """A window is done; whether it ran or was spared."""


@dataclass(kw_only=True)
class Clock:
    """Times the phases of a run, and says when each begins."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)
    """Phase -> seconds it took."""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what is done within; a phase that fails is not counted."""
        self.progress.on_phase(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
