"""Drawing: groups by their shares, classes as often as one another, windows that do not leave the scan."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from vesalius.data.case import Case
from vesalius.data.crops import cases_by_group, draw_case, draw_centre
from vesalius.errors import UsageError


def case_of(name: str, group: str, labels: np.ndarray | None = None, annotated: tuple[int, ...] = (1, 2)) -> Case:
    labels = np.zeros((60, 50, 40), np.uint8) if labels is None else labels
    return Case(name, group, np.zeros(labels.shape, np.int16), labels, frozenset(annotated))


def test_groups_are_drawn_by_their_share_and_cases_of_one_alike() -> None:
    shares = {"a": 3.0, "absent": 5.0, "b": 1.0, "never": 0.0}
    cases = [case_of("a1", "a"), case_of("b1", "b"), case_of("b2", "b"), case_of("n", "never")]
    groups = cases_by_group(cases, shares)
    rng = np.random.default_rng(0)
    drawn = Counter(draw_case(groups, shares, rng).name for _ in range(4000))
    expected = {"a1": 3000, "b1": 500, "b2": 500}
    assert drawn.keys() == expected.keys()
    for name, count in expected.items():
        assert abs(drawn[name] - count) < 4 * count**0.5


def test_a_list_in_another_order_draws_the_same() -> None:
    cases = [case_of(name, name[0]) for name in ("b2", "a1", "b1", "a2", "b3")]
    drawn = []
    for some in (cases, cases[::-1]):
        shares = {group: float(count) for group, count in Counter(case.group for case in some).items()}
        groups, rng = cases_by_group(some, shares), np.random.default_rng(0)
        drawn.append([draw_case(groups, shares, rng).name for _ in range(20)])
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("shares", [{"b": 1.0}, {"a": 0.0}, {}])
def test_a_group_without_a_share_is_refused(shares: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="share"):
        cases_by_group([case_of("x", "a")], shares)


def test_a_tiny_structure_is_shown_as_often_as_a_huge_one() -> None:
    labels = np.zeros((60, 50, 40), np.uint8)
    labels[5:30, 5:45, 5:35] = 1  # 30,000 voxels
    labels[50:52, 40:42, 20:22] = 2  # 8
    labels[40:44, 10:14, 10:14] = 3  # drawn, but nobody looked for all of it
    rng = np.random.default_rng(1)
    size = (12, 12, 12)
    hits: Counter[int] = Counter()
    for _ in range(600):
        centre = draw_centre(case_of("x", "a", labels), size, rng).astype(int)
        box = tuple(slice(max(c - 6, 0), c + 6) for c in centre)
        hits.update(set(np.unique(labels[box]).tolist()))
    assert 0.35 * 600 < hits[2] < 0.55 * 600  # 0.8 / 2 of the windows, and hardly ever by chance
    assert hits[3] < 0.1 * 600


def test_centres_stay_so_that_windows_hold_the_scan() -> None:
    labels = np.zeros((100, 20, 40), np.uint8)
    labels[0, 0, 0] = labels[99, 19, 39] = 1
    rng = np.random.default_rng(2)
    centres = np.array([draw_centre(case_of("x", "a", labels), (32, 48, 24), rng) for _ in range(500)])
    assert centres.min(0).tolist() == [12, 10, 9]  # half a window less an eighth; j, too thin for one: its middle
    assert centres.max(0).tolist() == [88, 10, 31]


def test_without_any_class_windows_lie_anywhere() -> None:
    rng = np.random.default_rng(3)
    centres = np.array([draw_centre(case_of("x", "a"), (8, 8, 8), rng) for _ in range(400)])
    assert np.all(np.ptp(centres, axis=0) > [50, 40, 30])


def test_the_same_generator_draws_the_same() -> None:
    labels = np.random.default_rng(4).integers(0, 3, (30, 30, 30)).astype(np.uint8)
    case = case_of("x", "a", labels)
    draws = [[draw_centre(case, (8, 8, 8), np.random.default_rng(5)) for _ in range(3)] for _ in range(2)]
    assert np.array_equal(draws[0], draws[1])
