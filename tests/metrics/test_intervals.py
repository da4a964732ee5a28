"""Intervals cover as often as they say, follow their seed, and draw whole cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vesalius.metrics.intervals import bootstrap_mean, bootstrap_median, paired_difference


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(100):
        interval = bootstrap_mean(np.random.default_rng(seed).normal(3.0, 1.0, 30), seed=seed)
        assert interval is not None
        covered += interval.low <= 3.0 <= interval.high
    assert 88 <= covered <= 99  # of 100; 95 expected, slightly fewer for 30 cases


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation_for_many_cases() -> None:
    values = np.random.default_rng(0).random(400)
    interval = bootstrap_mean(values)
    assert interval is not None
    half = 1.96 * values.std() / math.sqrt(400)
    assert interval.estimate == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=half / 10)
    assert interval.high == pytest.approx(values.mean() + half, abs=half / 10)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random(9)
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)


def test_a_table_gives_the_mean_over_classes_of_the_mean_over_cases() -> None:
    table = np.array([[1.0, np.nan], [0.0, 0.2], [np.nan, np.nan]])
    interval = bootstrap_mean(table)
    assert interval is not None
    assert interval.estimate == pytest.approx((0.5 + 0.2) / 2)
    assert interval.n == 2  # the third case has no value


def test_a_draw_without_a_class_leaves_the_class_out() -> None:
    table = np.array([[1.0, np.nan], [1.0, 0.0]])
    interval = bootstrap_mean(table)
    assert interval is not None
    assert (interval.low, interval.high) == (0.5, 1.0)  # both draws of the second case; both of the first


def test_cases_come_with_all_their_classes() -> None:
    good_and_bad = np.repeat([[0.0], [1.0]], 5, axis=0)
    one_class, ten_classes = bootstrap_mean(good_and_bad), bootstrap_mean(np.repeat(good_and_bad, 10, axis=1))
    assert one_class == ten_classes  # ten times the results are not ten times the cases


def test_one_case_has_no_interval_and_none_has_nothing() -> None:
    interval = bootstrap_mean(np.array([0.4]))
    assert interval is not None
    assert (interval.estimate, interval.low, interval.high, interval.n) == (0.4, None, None, 1)
    assert bootstrap_mean(np.array([np.nan])) is None
    assert bootstrap_median(np.zeros(0)) is None


def test_a_median_meets_infinite_distances() -> None:
    interval = bootstrap_median(np.array([1.0, 2.0, 3.0, np.inf, np.nan]))
    assert interval is not None
    assert (interval.estimate, interval.n) == (2.5, 4)
    assert interval.low == 1.0
    assert interval.high == math.inf


def test_pairing_sees_what_two_intervals_hide() -> None:
    rng = np.random.default_rng(0)
    first = rng.random(12)  # cases differ much more than models
    second = first + 0.02 + rng.normal(0, 0.005, 12)
    apart = [bootstrap_mean(values) for values in (first, second)]
    assert apart[0] is not None
    assert apart[1] is not None
    assert apart[0].high > apart[1].low
    difference = paired_difference(first, second)
    assert difference is not None
    assert difference.is_clear
    assert difference.interval.estimate == pytest.approx(0.02, abs=0.005)
    assert (difference.better, difference.worse) == (12, 0)


NOISE = {"normal": lambda rng, n: rng.normal(size=n), "seldom large": lambda rng, n: rng.standard_t(2, size=n)}


@pytest.mark.parametrize("kind", NOISE)
@pytest.mark.parametrize(("cases", "most"), [(6, 0.04), (8, 0.05), (12, 0.05), (16, 0.055)])
def test_noise_is_called_a_clear_difference_no_more_often_than_once_in_twenty(
    kind: str, cases: int, most: float
) -> None:
    rng, draws = np.random.default_rng(cases), 600 if cases < 12 else 200
    nothing = np.zeros(cases)
    found = [paired_difference(nothing, NOISE[kind](rng, cases)) for _ in range(draws)]
    alarms = sum(one is not None and one.is_clear for one in found) / draws
    assert alarms <= most + 2 * math.sqrt(most * (1 - most) / draws)


@pytest.mark.parametrize("kind", NOISE)
def test_percentiles_of_a_bootstrap_would_call_noise_clear_far_too_often(kind: str) -> None:
    rng, draws = np.random.default_rng(6), 120
    found = [bootstrap_mean(NOISE[kind](rng, 6)) for _ in range(draws)]
    assert sum(one is not None and not one.low <= 0 <= one.high for one in found) / draws > 0.1


def test_an_interval_by_signs_covers_the_truth_and_shrinks_with_cases() -> None:
    widths = []
    for cases in (6, 12, 48):
        rng = np.random.default_rng(cases)
        found = [paired_difference(np.zeros(cases), rng.normal(3.0, 1.0, cases)) for _ in range(200)]
        covered = [one is not None and one.interval.low <= 3.0 <= one.interval.high for one in found]
        assert 0.92 <= np.mean(covered) <= 1.0
        widths.append(np.mean([one.interval.high - one.interval.low for one in found if one is not None]))
    assert widths[0] > 1.5 * widths[1] > 2.5 * widths[2]


def test_six_cases_that_agree_are_clear_and_five_or_one_that_does_not_are_nothing() -> None:
    gain = np.array([0.01, 0.02, 0.03, 0.02, 0.04, 0.09])
    ends = [paired_difference(np.zeros(n), gain[:n]) for n in (5, 6)]
    assert ends[0] is not None
    assert ends[1] is not None
    assert (ends[0].interval.low, ends[0].interval.high, ends[0].is_clear) == (None, None, False)
    assert (ends[1].interval.low, ends[1].interval.high, ends[1].is_clear) == (0.01, 0.09, True)
    one_against = paired_difference(np.zeros(6), np.array([-0.001, *gain[1:]]))
    assert one_against is not None
    assert not one_against.is_clear


def test_the_ends_are_where_flipping_signs_begins_to_reject() -> None:
    rng = np.random.default_rng(3)
    table = rng.normal(0.3, 1.0, (9, 2))
    table[[0, 4], [1, 0]] = np.nan
    found = paired_difference(np.zeros((9, 2)), table)
    assert found is not None

    def part_at_least_as_large(shift: float) -> float:
        left = table - shift
        signs = 1 - 2 * (np.arange(2**9)[:, None] >> np.arange(9) & 1)
        sums = [np.mean(np.nansum(left * sign[:, None], axis=0) / (~np.isnan(left)).sum(axis=0)) for sign in signs]
        return float(np.mean(np.array(sums) >= sums[0] - 1e-12))

    assert found.interval.low is not None
    assert part_at_least_as_large(found.interval.low - 1e-6) <= 0.025
    assert part_at_least_as_large(found.interval.low + 1e-6) > 0.025


def test_equal_models_do_not_differ() -> None:
    values = np.random.default_rng(0).random((6, 3))
    difference = paired_difference(values, values)
    assert difference is not None
    assert not difference.is_clear
    assert (difference.better, difference.worse) == (0, 0)
    assert paired_difference(values, values * np.nan) is None


def test_only_what_both_have_is_compared() -> None:
    first, second = np.array([[0.1, 0.9], [0.2, np.nan]]), np.array([[0.2, np.nan], [0.3, 0.4]])
    difference = paired_difference(first, second)
    assert difference is not None
    assert difference.interval.estimate == pytest.approx(0.1)
    assert difference.better == 2


def test_scans_of_one_person_are_drawn_together() -> None:
    """Five people with four like scans each are five people, not twenty: their interval is that of the five."""
    five = np.array([0.875, 0.75, 0.5, 0.8125, 0.625])  # whose sums are exact
    scans, people = np.repeat(five, 4), np.repeat(list("abcde"), 4).tolist()
    of_people, of_strangers = bootstrap_mean(scans, people=people), bootstrap_mean(scans)
    assert of_people == bootstrap_mean(five)
    assert of_people is not None
    assert of_strangers is not None
    widths = [(one.high or 0) - (one.low or 0) for one in (of_strangers, of_people)]
    assert widths[0] < 0.6 * widths[1]
    assert bootstrap_median(scans, people=people) == bootstrap_median(five)
    assert paired_difference(np.zeros(20), scans, people=people) == paired_difference(np.zeros(5), five)


def test_means_stay_over_scans_and_intervals_miss_as_often_as_they_say() -> None:
    """Two of three scans are of one person: the mean weighs scans; with one person there is no interval."""
    interval = bootstrap_mean(np.array([0.9, 0.6, 0.6]), people=["a", "b", "b"])
    assert interval is not None
    assert (interval.estimate, interval.n) == (pytest.approx(0.7), 2)
    alone = bootstrap_mean(np.array([0.9, 0.6, np.nan]), people=["a", "a", "b"])
    assert alone is not None
    assert (alone.low, alone.n) == (None, 1)
    rng, missed = np.random.default_rng(0), {"people": 0, "strangers": 0}
    for _ in range(150):
        scans = np.repeat(rng.normal(0, 1, 30), 3) + rng.normal(0, 0.3, 90)
        for name, whose in (("people", np.repeat(np.arange(30), 3).tolist()), ("strangers", None)):
            found = bootstrap_mean(scans, people=whose)
            assert found is not None
            assert found.low is not None
            assert found.high is not None
            missed[name] += not found.low <= 0 <= found.high
    assert missed["people"] <= 18  # of 150; 5 % are 7.5, and percentiles of 30 miss a little more
    assert missed["strangers"] >= 30


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0, 8.0], [3.0, 1.0, 2.0], [1.0, np.inf, np.inf, 0.5]])
def test_whom_cases_show_changes_nothing_where_each_shows_somebody_else(values: list[float]) -> None:
    some = np.array(values)
    for summarise in (bootstrap_mean, bootstrap_median)[int(np.isinf(some).any()) :]:
        assert summarise(some, people=[*"wxyz"][: len(some)]) == summarise(some)
