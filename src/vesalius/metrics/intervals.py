"""How sure a mean over cases is: bootstrap intervals, and the paired comparison of two models.

Cases are drawn, not results: all classes of one scan come or stay away together. So do all scans of one person,
where it is known whom they show: they are alike, and counted as strangers they would make an interval narrow that
says nothing of other people. Intervals of means are percentiles of the bootstrap (Efron 1979), which are too narrow
below some twenty cases. That does for saying about where a mean lies, not for a verdict: at six cases such an
interval calls one difference in six clear where there is none. Differences are therefore judged by flipping signs
(Fisher 1935): if two models are equally good, each case's difference might as well have had the other sign. The
interval of a difference holds what that test does not reject: it lies between order statistics of the means of all
subsets of the cases (Hartigan 1969, "typical values"), and holds its 95 % at any number of cases, if differences
are spread alike to both sides of theirs. With fewer than six there is none: five that agree are chance once in 16.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

People = Sequence[Hashable] | None
"""Whom each case shows, by any key."""
_DRAWS = 4000
_LOW, _HIGH = 2.5, 97.5
_ALL_SUBSETS = 12
"""Up to so many cases each subset of them is looked at, 4095 at most; of more, ``_DRAWS`` are drawn."""


@dataclass(frozen=True)
class Interval:
    """A number, and where it would likely lie for other cases of the same kind.

    Args:
        estimate: Over the cases at hand.
        low: Lower end of the 95 % interval; None where so few cases give none: of a mean fewer than two, of a
            difference fewer than six.
        high: Upper end.
        n: How many cases, or people where it is said whom these show, stand behind it.
    """

    estimate: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """What the second model gives more than the first, on the same cases.

    Args:
        interval: Of the mean difference, second minus first; by flipping signs, so without ends below six cases.
        better: Cases, or people, in which the second is better.
        worse: In which it is worse.
    """

    interval: Interval
    better: int
    worse: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes no difference at all."""
        low, high = self.interval.low, self.interval.high
        return low is not None and high is not None and (low > 0 or high < 0)


def bootstrap_mean(values: Float[np.ndarray, "*n_c"], *, people: People = None, seed: int = 0) -> Interval | None:
    """Return the mean over cases with its 95 % interval; None without any value.

    Args:
        values: One per case ``(n,)``, or per case and class ``(n, c)``, NaN where a case has none. Of a table: the
            mean over classes of the mean over cases, classes without a case left out.
        people: Whom each case shows; None: each somebody else.
        seed: Of the draws; the same seed gives the same interval.
    """
    table = values[:, None] if values.ndim == 1 else values
    is_there = ~np.isnan(table).all(axis=1)
    return _interval(table[is_there], _means, _numbered(people, is_there), seed)


def bootstrap_median(values: Float[np.ndarray, " n"], *, people: People = None, seed: int = 0) -> Interval | None:
    """Return the median over cases with its 95 % interval; None without any value.

    Args:
        values: One per case, NaN where a case has none; may be infinite (a missed structure has no distance).
        people: Whom each case shows; None: each somebody else.
        seed: Of the draws.
    """
    is_there = ~np.isnan(values)
    return _interval(values[is_there], _medians, _numbered(people, is_there), seed)


def paired_difference(
    first: Float[np.ndarray, "*n_c"], second: Float[np.ndarray, "*n_c"], *, people: People = None, seed: int = 0
) -> Difference | None:
    """Compare two models on the same cases, case by case; None where they share no value.

    Args:
        first: One value per case, or per case and class; larger is better. NaN where a case has none.
        second: The same of the other model.
        people: Whom each case shows; None: each somebody else. The signs of all cases of a person flip together.
        seed: Of the subsets that are drawn, of more than twelve.
    """
    gain = np.asarray(second - first, np.float64)
    table = gain[:, None] if gain.ndim == 1 else gain
    is_there = np.asarray(~np.isnan(table).all(axis=1))
    table, person = table[is_there], _numbered(people, is_there)
    if not len(table):
        return None
    per_person = np.bincount(person, weights=np.nansum(table, axis=1))
    low, high = _typical_ends(table, person, np.random.default_rng(seed))
    interval = Interval(float(_means(table, np.ones((1, len(table)), np.int64))[0]), low, high, len(per_person))
    return Difference(interval, better=int((per_person > 0).sum()), worse=int((per_person < 0).sum()))


def _numbered(people: People, is_there: Bool[np.ndarray, " n"]) -> Integer[np.ndarray, " m"]:
    """Return the number of whom each case shows that has a value, in the order in which they are met."""
    if people is None:
        return np.arange(int(is_there.sum()))
    numbers: dict[Hashable, int] = {}
    kept = (one for one, there in zip(people, is_there.tolist(), strict=True) if there)
    return np.array([numbers.setdefault(one, len(numbers)) for one in kept], dtype=np.int64)


def _typical_ends(
    table: Float[np.ndarray, "n c"], person: Integer[np.ndarray, " n"], rng: np.random.Generator
) -> tuple[float | None, float | None]:
    """Return the differences, least and most, that no flipping of signs rejects at 5 %, both sides together.

    A difference of ``x`` is rejected if hardly any choice of signs gives a larger sum of ``sign * (pull - x
    share)`` than the cases' own, where a case pulls the mean over classes by its share of it. Own and flipped sums
    differ by the cases whose sign is flipped: the own one is the larger if ``x`` lies below the mean of that
    subset. So the ends are the k-th of the sorted means of subsets from either side, with k of 2 ** n being 2.5 %.
    Exact for symmetric noise.
    """
    is_there = ~np.isnan(table)
    shares = is_there / np.maximum(is_there.sum(axis=0), 1)  # of a class's mean
    shares = shares / is_there.any(axis=0).sum()
    pulls = np.bincount(person, weights=(np.where(is_there, table, 0.0) * shares).sum(axis=1))
    weights = np.bincount(person, weights=shares.sum(axis=1))
    n = len(pulls)
    if n <= _ALL_SUBSETS:
        subsets = np.arange(1, 2**n)[:, None] >> np.arange(n) & 1  # [s n]
    else:
        subsets = rng.integers(2, size=(_DRAWS, n))
        subsets = subsets[subsets.any(axis=1)]
    means = np.sort(subsets @ pulls / (subsets @ weights))
    place = int((len(means) + 1) * _LOW / 100)
    return (float(means[place - 1]), float(means[-place])) if place else (None, None)


def _interval(
    values: Float[np.ndarray, "*n_c"],
    summarise: Callable[[Float[np.ndarray, "*n_c"], Integer[np.ndarray, "s n"]], Float[np.ndarray, " s"]],
    person: Integer[np.ndarray, " n"],
    seed: int,
) -> Interval | None:
    if not len(values):
        return None
    n = int(person.max()) + 1
    estimate = float(summarise(values, np.ones((1, len(values)), np.int64))[0])
    if n < 2:
        return Interval(estimate, None, None, n)
    drawn = summarise(values, _times_drawn(n, np.random.default_rng(seed))[:, person])
    low, high = np.percentile(drawn, [_LOW, _HIGH], method="inverted_cdf")  # never between finite and infinite
    return Interval(estimate, float(low), float(high), n)


def _times_drawn(n: int, rng: np.random.Generator) -> Integer[np.ndarray, "s n"]:
    """Draw n of n with replacement, and count how often each came, for each draw."""
    places = rng.integers(n, size=(_DRAWS, n)) + np.arange(_DRAWS)[:, None] * n
    return np.bincount(places.ravel(), minlength=_DRAWS * n).reshape(_DRAWS, n)


def _means(table: Float[np.ndarray, "n c"], times: Integer[np.ndarray, "s n"]) -> Float[np.ndarray, " s"]:
    """Return the mean over classes of the mean over drawn cases, for each draw; as products, without copies."""
    is_there = ~np.isnan(table)
    counts = times @ is_there  # [s c]
    sums = times @ np.where(is_there, table, 0.0)
    means = sums / np.maximum(counts, 1)  # 0 where no drawn case has the class
    return np.asarray(means.sum(axis=1) / (counts > 0).sum(axis=1))


def _medians(column: Float[np.ndarray, " n"], times: Integer[np.ndarray, "s n"]) -> Float[np.ndarray, " s"]:
    """Return the median of drawn cases, for each draw: the mean of the two in the middle."""
    order = np.argsort(column)
    reached = np.cumsum(times[:, order], axis=1)  # [s n]
    total = reached[:, -1:]
    low, high = (np.argmax(reached > middle, axis=1) for middle in ((total - 1) // 2, total // 2))
    return np.asarray((column[order][low] + column[order][high]) / 2)
