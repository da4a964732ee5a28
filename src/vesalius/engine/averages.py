"""Means of what steps reported, between two lines of the metrics."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Mapping


class Averages:
    """Adds numbers up by name, each with a count of its own."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}

    def add(self, numbers: Mapping[str, float]) -> None:
        """Count numbers in; an infinite or undefined one would spoil the mean, and is left out."""
        for name, number in numbers.items():
            if not math.isfinite(number):
                continue
            total = self._sums.setdefault(name, [0.0, 0.0])
            total[0] += number
            total[1] += 1

    def take(self) -> dict[str, float]:
        """Return the means, and begin anew."""
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return means

    def state_dict(self) -> dict[str, list[float]]:
        """Return the sums, so that a resumed run logs what it would have."""
        return {name: list(total) for name, total in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, list[float]]) -> None:
        """Go on from sums."""
        self._sums = {name: list(total) for name, total in state.items()}
