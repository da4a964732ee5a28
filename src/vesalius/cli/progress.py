"""How a run goes, on stderr: a bar per phase on a terminal, plain lines otherwise."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vesalius.inference.plan import Plan
    from vesalius.inference.segmenter import Progress
    from vesalius.inference.slice_plan import SlicePlan

_LINES = 10


class Console:
    """Says how a run goes; to be closed, so that no bar is left hanging.

    Args:
        label: What stands before every line, such as the name of a case.
    """

    def __init__(self, label: str = "") -> None:
        self.label = f"{label}: " if label else ""
        self._is_terminal = sys.stderr.isatty()
        self._bar: Any = None
        self._total = self._done = self._said = 0

    def listener(self) -> Progress:
        """Return what the library tells its progress to."""
        from vesalius.inference.segmenter import Progress

        return Progress(on_phase=self.phase, on_plan=self._plan, on_window=self._window)

    def phase(self, name: str) -> None:
        """Say that a phase begins."""
        self._close()
        if not self._is_terminal:
            print(f"{self.label}{name}", file=sys.stderr, flush=True)
            return
        from tqdm import tqdm

        total = self._total if name == "windows" else None
        form = (
            "{desc}: {percentage:3.0f} %|{bar}| {n_fmt}/{total_fmt} [{elapsed} < {remaining}]"
            if total
            else "{desc}"
        )
        self._bar = tqdm(total=total, desc=f"{self.label}{name}", bar_format=form, file=sys.stderr, leave=False)

    def _plan(self, plan: Plan | SlicePlan) -> None:
        self._total, self._done, self._said = plan.num_windows, 0, 0
        if not self._is_terminal:
            print(f"{self.label}{describe(plan)}", file=sys.stderr, flush=True)

    def _window(self, _ran: bool) -> None:
        self._done += 1
        if self._bar is not None:
            self._bar.update()
            return
        part = self._done * _LINES // max(self._total, 1)
        if not self._is_terminal and part > self._said:
            self._said = part
            print(f"{self.label}windows {self._done}/{self._total}", file=sys.stderr, flush=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    @contextmanager
    def closing(self) -> Iterator[Console]:
        """Take the last bar away when the block ends, however it ends."""
        try:
            yield self
        finally:
            self._close()


def number_of(count: int, one: str, many: str = "") -> str:
    """Write a number of things: ``1 window``, ``2 windows``; of another plural than by s, ``2 classes``."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def describe(plan: Plan | SlicePlan) -> str:
    """Say a plan in one line."""
    empty = f" ({plan.num_empty} of air, skipped)" if plan.num_empty else ""
    card = max((sum(parts.values()) for parts in plan.card.values()), default=0)
    tight = " to keep to the memory allowed" if plan.gave_way else ""
    windows, classes = number_of(plan.num_windows, "window"), number_of(plan.num_classes, "class", "classes")
    return (
        f"{windows}{empty}, {classes}, {plan.precision}{tight}, "
        f"at most {plan.peak_bytes / 1e9:.1f} GB{f' and {card / 1e9:.1f} GB on the card' if card else ''}, "
        f"about {plan.seconds:.0f} s"
    )


def describe_bytes(phases: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Say what each phase of a plan needs, a line each.

    Args:
        phases: Phase -> part -> bytes.
    """
    for phase, parts in phases.items():
        listed = ", ".join(f"{part} {size / 1e9:.2f}" for part, size in parts.items())
        yield f"  {phase}: {sum(parts.values()) / 1e9:.2f} GB ({listed})"
