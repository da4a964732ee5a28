"""What of a series belongs to one volume: acquisitions whose slices overlap do not."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from vesalius.io.dicom_series import list_series, read_series


def series(by_hand, folder, tag, values, **tags):
    """A series of even slices, 2 mm apart and thick, each with a value of one tag."""
    slices = by_hand.slices(shape=(4, 5, len(values)), step=2.0, **tags)
    for dataset, value in zip(slices, values, strict=True):
        setattr(dataset, tag, value)
        dataset.RescaleIntercept = 100 * int(value)
    return by_hand.save(slices, folder)


@pytest.mark.parametrize("tag", ["AcquisitionNumber", "TemporalPositionIdentifier"])
@pytest.mark.parametrize("first", [0, 1])
def test_acquisitions_half_a_step_apart_are_two_volumes(by_hand, tmp_path, tag, first):
    folder = series(by_hand, tmp_path, tag, [first, first + 1] * 4, SliceThickness=4)
    rows = list_series(folder)
    assert [(row.shape, row.spacing_mm[2], row.usable) for row in rows] == [((5, 4, 4), pytest.approx(4), True)] * 2
    assert all("a series that mixes volumes" in " ".join(row.reasons) for row in rows)
    one, other = (read_series(folder, series_uid=row.series_uid) for row in rows)
    assert other.grid.affine[2, 3] - one.grid.affine[2, 3] == pytest.approx(2)
    assert np.median(other.data) - np.median(one.data) > 50


@pytest.mark.parametrize("tags", [{"SliceThickness": 2}, {"SliceThickness": None, "SpacingBetweenSlices": 4}])
def test_acquisitions_whose_slices_touch_but_do_not_overlap_are_one_volume(by_hand, tmp_path, tags):
    volume = read_series(series(by_hand, tmp_path, "AcquisitionNumber", [1, 2] * 4, **tags))
    assert volume.grid.shape == (5, 4, 8)
    (note,) = volume.source.repairs
    assert "slices of 2 acquisitions (AcquisitionNumber) lie between one another" in note


@pytest.mark.parametrize("values", [[1] * 8, [1] * 4 + [2] * 4, [3, 8, 1, 6, 4, 7, 2, 5]])
def test_acquisitions_that_follow_upon_one_another_are_one_volume(by_hand, tmp_path, values):
    volume = read_series(series(by_hand, tmp_path, "AcquisitionNumber", values))
    assert volume.grid.shape == (5, 4, 8)
    assert not volume.source.repairs


def test_slice_taken_again_stays_and_is_noted(by_hand, tmp_path):
    volume = read_series(series(by_hand, tmp_path, "AcquisitionNumber", [1, 1, 1, 2, 1, 1]))
    assert volume.grid.shape == (5, 4, 6)
    assert "slices of 2 acquisitions (AcquisitionNumber)" in volume.source.repairs[0]


def test_acquisitions_half_a_step_apart_are_two_volumes_with_a_slice_present_twice_too(by_hand, tmp_path):
    series(by_hand, tmp_path, "AcquisitionNumber", [1, 2] * 4, SliceThickness=4)
    shutil.copy(tmp_path / "IM0002", tmp_path / "copy")
    rows = list_series(tmp_path)
    assert [(row.shape, row.usable) for row in rows] == [((5, 4, 4), True)] * 2
    assert all("1 slices present more than once with equal pixels" in " ".join(row.reasons) for row in rows)
    one, other = (read_series(tmp_path, series_uid=row.series_uid) for row in rows)
    assert np.median(other.data) - np.median(one.data) > 50
