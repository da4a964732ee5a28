"""The fingerprint is what was measured, and comes back equal from JSON."""

from __future__ import annotations

import numpy as np
import pytest

from data.small_set import AFFINE, LABELS, SHAPE, Written, make_case
from vesalius.data import fingerprint as measuring
from vesalius.data.datalists.read import read_list
from vesalius.data.fingerprint import Fingerprint, fingerprint
from vesalius.errors import FileFormatError, GeometryError, UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap
from vesalius.io.formats import write


def test_spacings_volumes_and_intensities_are_the_data_s(write_set: Written) -> None:
    thin = np.diag([2.0, 4.0, 5.0, 1.0])
    found = fingerprint(read_list(write_set({"a": {}, "b": {}, "c": {"affine": thin}, "d": {"split": "test"}})))
    assert (found.cases, found.labelled, found.modality) == (3, 3, "CT")
    assert found.spacing_mm[0].min == 2.0
    assert [axis.median for axis in found.spacing_mm] == [4.0, 4.0, 5.0]
    assert [axis.median for axis in found.shape] == [24, 20, 18]
    assert found.extent_mm[2].max == 90
    assert {label: one.name for label, one in found.classes.items()} == LABELS
    liver = found.classes[1]
    assert liver.cases == 3
    assert liver.volume_ml.max == pytest.approx((5 * 6 * 6 - 1) * 80 / 1000)
    assert liver.volume_ml.min == pytest.approx((5 * 6 * 6 - 1) * 40 / 1000)
    values = np.concatenate([make_case(seed)[0][make_case(seed)[1] == 1] for seed in range(3)])
    assert liver.intensity.mean == pytest.approx(values.mean(), abs=1e-3)
    assert liver.intensity.sd == pytest.approx(values.std(), abs=1e-3)
    assert found.foreground is not None
    assert -100 < found.foreground.low < found.foreground.high < 400
    assert found.intensity.low == -1000


def test_what_a_list_maps_to_null_is_no_structure_of_it(write_set: Written) -> None:
    path = write_set({"a": {}}, label_mapping={"1": "liver", "2": None, "3": None})
    found = fingerprint(read_list(path))
    assert list(found.classes) == [1]
    assert found.foreground is not None
    assert found.foreground == found.classes[1].intensity


def test_values_of_many_cases_are_thinned_evenly_and_not_all_kept(
    write_set: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = read_list(write_set({name: {} for name in "abcde"}))
    full = fingerprint(listed)
    monkeypatch.setattr(measuring, "_POOLED", 150)
    held, add = [], measuring._Pool.add

    def noted(pool: measuring._Pool, values: np.ndarray) -> None:
        add(pool, values)
        held.append(len(pool.values()))

    monkeypatch.setattr(measuring._Pool, "add", noted)
    thinned = fingerprint(listed)
    assert 75 <= max(held) <= 150
    for label, one in full.classes.items():
        some = thinned.classes[label]
        assert some.volume_ml == one.volume_ml
        assert some.intensity.median == pytest.approx(one.intensity.median, abs=one.intensity.sd / 4)
    pool = measuring._Pool()
    for start in range(0, 1000, 7):
        pool.add(np.arange(start, min(start + 7, 1000)))
    assert pool.values().tolist() == list(range(0, 1000, 8))


def test_axes_are_those_of_the_body_not_of_the_file(write_set: Written) -> None:
    affine = np.array([[0, 0, 5.0, 0], [4.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 0, 1]])
    found = fingerprint(read_list(write_set({"a": {"affine": affine}})))
    assert [axis.median for axis in found.spacing_mm] == [5.0, 4.0, 2.0]


def test_structures_in_layers_are_measured_whole(write_set: Written) -> None:
    names = {**LABELS, 4: "hepatic tumor"}
    listed = {str(a): b for a, b in names.items()}
    path = write_set({"a": {"labels": None, "entry": {"label": "a.seg.nrrd"}}}, labels=listed)
    over = np.zeros(SHAPE, np.uint8)
    over[15:18, 7:10, 9:12] = 4
    write(LabelMap(make_case(0)[1], Grid(SHAPE, AFFINE), names, {"over": over}), path.parent / "a.seg.nrrd")
    classes = fingerprint(read_list(path)).classes
    assert classes[4].volume_ml.max == pytest.approx(27 * 80 / 1000)
    assert classes[1].volume_ml.max == pytest.approx((5 * 6 * 6 - 1) * 80 / 1000)


def test_it_comes_back_equal(write_set: Written) -> None:
    found = fingerprint(read_list(write_set({"a": {}, "b": {"labels": None}})))
    assert Fingerprint.from_json(found.to_json()) == found
    unlabelled = fingerprint(read_list(write_set({"a": {"labels": None}})))
    assert unlabelled.foreground is None
    assert Fingerprint.from_json(unlabelled.to_json()) == unlabelled
    for text in ("{", "{}", "[]", found.to_json().replace('"low"', '"lower"')):
        with pytest.raises(FileFormatError):
            Fingerprint.from_json(text)


def test_what_cannot_be_measured_is_refused(write_set: Written) -> None:
    with pytest.raises(GeometryError):
        fingerprint(read_list(write_set({"a": {"labels": make_case()[1][:-1]}})))
    with pytest.raises(UsageError):
        fingerprint(read_list(write_set({"a": {"split": "test"}})))
