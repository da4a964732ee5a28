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
