"""Labels to go on from: on the image's own voxels, with their layers, from a file or from a result folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vesalius.errors import FileFormatError, GeometryError
from vesalius.evaluation.scores import score_case
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.result_labels import read_earlier_labels
from vesalius.io.dicom_series import write_series
from vesalius.io.formats import read, read_labels, write

GRID = Grid((6, 5, 4), np.diag([-2.0, 3.0, 4.0, 1.0]))
VOLUME = Volume(np.zeros((1, *GRID.shape), np.int16), GRID, "CT")


def base() -> LabelMap:
    data = np.zeros(GRID.shape, np.uint8)
    data[1:4, 1:3, 1:3] = 1
    data[0, 0, 0] = 3
    return LabelMap(data, GRID, {1: "liver", 3: "spleen"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The label files of a result, without what else it has."""
    write(base(), tmp_path / "labels.nii.gz")
    tumour = np.zeros(GRID.shape, np.uint8)
    tumour[2, 2, 2] = 26
    write(LabelMap(tumour, GRID, {26: "hepatic tumor"}), tmp_path / "overlap_tumours.nii.gz")
    names = [{"id": 1, "name": "liver"}, {"id": 3, "name": "spleen"}, {"id": 26, "name": "hepatic tumor"}]
    record = {"classes": names, "overlaps": {"tumours": "overlap_tumours.nii.gz"}}
    (tmp_path / "labels.json").write_text(json.dumps(record))
    return tmp_path


def test_a_file_in_another_axis_order_comes_back_on_the_image_s_voxels(tmp_path: Path) -> None:
    write(base().reoriented("SPR"), tmp_path / "labels.nrrd")
    labels = read_earlier_labels(tmp_path / "labels.nrrd", VOLUME)
    assert labels.grid is GRID
    assert np.array_equal(labels.data, base().data)


def test_a_folder_brings_its_layers(folder: Path) -> None:
    labels = read_earlier_labels(folder, VOLUME)
    assert np.array_equal(labels.data, base().data)
    assert np.argwhere(labels.mask("hepatic tumor")).tolist() == [[2, 2, 2]]
    assert list(labels.overlaps) == ["tumours"]
    assert not read_earlier_labels(folder / "labels.nii.gz", VOLUME).overlaps


def test_a_folder_whose_labels_are_slicer_s_is_read(folder: Path) -> None:
    (folder / "labels.nii.gz").unlink()
    write(base(), folder / "labels.seg.nrrd")
    assert np.array_equal(read_earlier_labels(folder, VOLUME).mask("liver"), base().mask("liver"))


def test_a_dicom_seg_of_the_slices_in_which_something_was_found_is_read(tmp_path: Path) -> None:
    write_series(VOLUME, tmp_path / "ct")
    scan = read(tmp_path / "ct")
    found = LabelMap(np.where(base().data == 1, 1, 0).astype(np.uint8), GRID, {1: "liver"})
    write(found, tmp_path / "labels.seg.dcm", like=scan)
    assert read_labels(tmp_path / "labels.seg.dcm").grid.shape == (6, 5, 2)
    labels = read_earlier_labels(tmp_path / "labels.seg.dcm", VOLUME)
    assert labels.grid is GRID
    assert np.array_equal(labels.data, found.data)
    write(read_labels(tmp_path / "labels.seg.dcm"), tmp_path / "again.nii", like=VOLUME)
    assert np.array_equal(read_labels(tmp_path / "again.nii").data, found.data)
    sides = read_labels(tmp_path / "labels.seg.dcm"), read_labels(tmp_path / "again.nii")
    assert [score_case("a", *pair).scores[0].dice for pair in (sides, sides[::-1])] == [1, 1]


@pytest.mark.parametrize("name", ["absent.nii.gz", "../overlap_tumours.nii.gz", "/etc/hostname"])
def test_a_layer_that_is_not_in_the_folder_is_refused(folder: Path, name: str) -> None:
    record = json.loads((folder / "labels.json").read_text())
    (folder / "labels.json").write_text(json.dumps({**record, "overlaps": {"tumours": name}}))
    with pytest.raises(FileFormatError, match=r"the layers that labels\.json names"):
        read_earlier_labels(folder, VOLUME)


@pytest.mark.parametrize("text", ["", "[]", '{"overlaps": 3}', '{"overlaps": ["a"]}'])
def test_a_damaged_record_is_refused(folder: Path, text: str) -> None:
    (folder / "labels.json").write_text(text)
    with pytest.raises(FileFormatError):
        read_earlier_labels(folder, VOLUME)


def test_labels_of_another_image_are_refused(folder: Path) -> None:
    moved = Grid(GRID.shape, GRID.affine + np.array([[0, 0, 0, 1.0], [0] * 4, [0] * 4, [0] * 4]))
    with pytest.raises(GeometryError, match="another place"):
        read_earlier_labels(folder, Volume(VOLUME.data, moved, "CT"))
    write(LabelMap(np.zeros(GRID.shape, np.uint8), moved, {}), folder / "overlap_tumours.nii.gz")
    with pytest.raises(GeometryError, match=r"overlap_tumours\.nii\.gz"):
        read_earlier_labels(folder, VOLUME)


def test_two_labels_of_one_name_are_refused(tmp_path: Path) -> None:
    write(LabelMap(base().data, GRID, {1: "liver", 3: "Liver"}), tmp_path / "labels.nii.gz")
    with pytest.raises(FileFormatError, match="several"):
        read_earlier_labels(tmp_path / "labels.nii.gz", VOLUME)


def test_no_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError):
        read_earlier_labels(tmp_path / "none.nii.gz", VOLUME)
