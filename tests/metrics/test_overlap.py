"""Dice and detection against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from vesalius.metrics.overlap import Detection, detect_lesions, dice

masks = arrays(bool, (3, 4, 5))


def test_dice_of_two_cubes_shifted_by_one() -> None:
    found, truth = np.zeros((2, 6, 6, 6), bool)
    found[1:4, 1:4, 1:4] = True
    truth[2:5, 1:4, 1:4] = True
    assert dice(found, truth) == pytest.approx(2 * 18 / 54)


@given(masks, masks)
def test_dice_is_symmetric_and_one_only_for_equal_masks(found: np.ndarray, truth: np.ndarray) -> None:
    assert dice(found, truth) == dice(truth, found)
    assert 0 <= dice(found, truth) <= 1
    assert (dice(found, truth) == 1) == bool((found == truth).all())


def test_an_absent_structure_counts() -> None:
    nothing, one = np.zeros((2, 3, 3, 3), bool)
    one[1, 1, 1] = True
    assert dice(nothing, nothing) == 1
    assert dice(one, nothing) == 0
    assert dice(nothing, one) == 0


def lesions(*starts: int) -> np.ndarray:
    mask = np.zeros((40, 6, 6), bool)
    for start in starts:
        mask[start : start + 5, 1:5, 1:5] = True
    return mask


def test_lesions_are_counted_one_by_one() -> None:
    truth = lesions(1, 11, 21)
    found = lesions(1, 31)
    found[11:12, 1:2, 1:2] = True  # one voxel of 80: not enough for the second lesion, but no false finding
    seen = detect_lesions(found, truth)
    assert seen == Detection(lesions=3, detected=1, findings=3, false_findings=1)
    assert seen.sensitivity == pytest.approx(1 / 3)
    assert seen.precision == pytest.approx(2 / 3)


def test_one_mask_over_everything_detects_all_as_a_false_finding() -> None:
    seen = detect_lesions(np.ones((40, 6, 6), bool), lesions(1))
    assert seen == Detection(lesions=1, detected=1, findings=1, false_findings=1)


def test_without_lesions_or_findings_there_is_no_rate() -> None:
    nothing = np.zeros((40, 6, 6), bool)
    assert detect_lesions(nothing, nothing) == Detection()
    assert Detection().sensitivity is None
    assert Detection().precision is None
    assert detect_lesions(nothing, lesions(1)) == Detection(lesions=1)


def test_detections_of_several_scans_add_up() -> None:
    one = Detection(lesions=1, detected=1, findings=2, false_findings=1)
    assert one + one == Detection(lesions=2, detected=2, findings=4, false_findings=2)
