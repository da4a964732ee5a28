"""How sure a mean over cases is: bootstrap intervals, and the paired comparison of two models.

Cases are drawn, not results: all classes of one scan come or stay away together. Intervals are percentiles of the
bootstrap (Efron 1979), which are somewhat too narrow below about ten cases.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

_DRAWS = 4000
_LOW, _HIGH = 2.5, 97.5


@dataclass(frozen=True)
class Interval:
    """A number, and where it would likely lie for other cases of the same kind.

    Args:
        estimate: Over the cases at hand.
        low: Lower end of the 95 % interval; None for fewer than two cases.
        high: Upper end.
        n: How many cases stand behind it.
    """

    estimate: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """What the second model gives more than the first, on the same cases.

    Args:
        interval: Of the mean difference, second minus first.
        better: Cases in which the second is better.
        worse: Cases in which it is worse.
    """

    interval: Interval
    better: int
    worse: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes no difference at all."""
        low, high = self.interval.low, self.interval.high
        return low is not None and high is not None and (low > 0 or high < 0)


def bootstrap_mean(values: Float[np.ndarray, "*n_c"], *, seed: int = 0) -> Interval | None:
    """Return the mean over cases with its 95 % interval; None without any value.

    Args:
        values: One per case ``(n,)``, or per case and class ``(n, c)``, NaN where a case has none. Of a table: the
            mean over classes of the mean over cases, classes without a case left out.
        seed: Of the draws; the same seed gives the same interval.
    """
    table = values[:, None] if values.ndim == 1 else values
    table = table[~np.isnan(table).all(axis=1)]
    return _interval(table, _means, seed) if len(table) else None


def bootstrap_median(values: Float[np.ndarray, " n"], *, seed: int = 0) -> Interval | None:
    """Return the median over cases with its 95 % interval; None without any value.

    Args:
        values: One per case, NaN where a case has none; may be infinite (a missed structure has no distance).
        seed: Of the draws.
    """
    column = values[~np.isnan(values)]
    return _interval(column, _medians, seed) if len(column) else None


def paired_difference(
    first: Float[np.ndarray, "*n_c"], second: Float[np.ndarray, "*n_c"], *, seed: int = 0
) -> Difference | None:
    """Compare two models on the same cases, drawn together; None where they share no value.

    Args:
        first: One value per case, or per case and class; larger is better. NaN where a case has none.
        second: The same of the other model.
        seed: Of the draws.
    """
    gain = np.asarray(second - first, np.float64)
    interval = bootstrap_mean(gain, seed=seed)
    if interval is None:
        return None
    table = gain[:, None] if gain.ndim == 1 else gain
    per_case = np.nansum(table, axis=1)
    return Difference(interval, better=int((per_case > 0).sum()), worse=int((per_case < 0).sum()))


def _interval(
    values: Float[np.ndarray, "*n_c"],
    summarise: Callable[[Float[np.ndarray, "*n_c"], Integer[np.ndarray, "s n"]], Float[np.ndarray, " s"]],
    seed: int,
) -> Interval:
    n = len(values)
    estimate = float(summarise(values, np.arange(n)[None])[0])
    if n < 2:
        return Interval(estimate, None, None, n)
    drawn = summarise(values, np.random.default_rng(seed).integers(n, size=(_DRAWS, n)))
    low, high = np.percentile(drawn, [_LOW, _HIGH], method="inverted_cdf")  # never between finite and infinite
    return Interval(estimate, float(low), float(high), n)


def _means(table: Float[np.ndarray, "n c"], drawn: Integer[np.ndarray, "s n"]) -> Float[np.ndarray, " s"]:
    """Return the mean over classes of the mean over drawn cases, for each draw; as products, without copies."""
    places = drawn + np.arange(len(drawn))[:, None] * len(table)
    times = np.bincount(places.ravel(), minlength=len(drawn) * len(table)).reshape(len(drawn), -1)  # [s n]
    is_there = ~np.isnan(table)
    counts = times @ is_there  # [s c]
    sums = times @ np.where(is_there, table, 0.0)
    means = sums / np.maximum(counts, 1)  # 0 where no drawn case has the class
    return np.asarray(means.sum(axis=1) / (counts > 0).sum(axis=1))


def _medians(column: Float[np.ndarray, " n"], drawn: Integer[np.ndarray, "s n"]) -> Float[np.ndarray, " s"]:
    return np.asarray(np.median(column[drawn], axis=1))
