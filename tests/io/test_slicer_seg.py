"""Slicer's segmentations: read by slicerio and pynrrd, with layers, names, colours and codes."""

from __future__ import annotations

from pathlib import Path

import nrrd as pynrrd
import numpy as np
import pytest
import slicerio

from vesalius.errors import DiskError, FileFormatError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap
from vesalius.io import formats, slicer_seg

GRID = Grid((6, 7, 8), np.array([[0, 0.8, 0, 5], [-0.7, 0, 0, 6], [0, 0, 2.5, 7], [0, 0, 0, 1.0]]))


def labels_with_overlap() -> LabelMap:
    base, tumour = np.zeros(GRID.shape, np.uint8), np.zeros(GRID.shape, np.uint8)
    base[1:4, 2:6, 3:7] = 1
    base[5, 6, 7] = 14
    tumour[2, 3:5, 4] = 26
    return LabelMap(
        base, GRID, {1: "liver", 14: "left kidney", 26: "hepatic tumor", 3: "spleen"}, {"tumours": tumour}
    )


def test_slicerio_finds_segments_values_layers_and_codes(tmp_path: Path) -> None:
    labels = labels_with_overlap()
    slicer_seg.write(labels, tmp_path / "a.seg.nrrd")
    read = slicerio.read_segmentation(str(tmp_path / "a.seg.nrrd"))
    assert read["voxels"].shape == (2, *GRID.shape)
    assert (read["voxels"][0] == labels.data).all()
    assert (read["voxels"][1] == labels.overlaps["tumours"]).all()
    segments = {segment["name"]: segment for segment in read["segments"]}
    assert set(segments) == {"liver", "left kidney", "hepatic tumor"}
    liver, kidney = segments["liver"], segments["left kidney"]
    assert (liver["labelValue"], liver["layer"]) == (1, 0)
    assert segments["hepatic tumor"]["layer"] == 1
    assert liver["extent"] == [1, 3, 2, 5, 3, 6]
    assert liver["terminology"]["type"] == ["SCT", "10200004", "Liver"]
    assert kidney["terminology"]["typeModifier"] == ["SCT", "7771000", "Left"]
    assert all(0 <= channel <= 1 for channel in liver["color"])


def test_pynrrd_reads_the_list_axis(tmp_path: Path) -> None:
    labels = labels_with_overlap()
    slicer_seg.write(labels, tmp_path / "a.seg.nrrd")
    data, header = pynrrd.read(str(tmp_path / "a.seg.nrrd"))
    assert header["kinds"] == ["list", "domain", "domain", "domain"]
    assert np.isnan(header["space directions"][0]).all()
    assert (data[1] == labels.overlaps["tumours"]).all()
    assert header["Segmentation_MasterRepresentation"] == "Binary labelmap"


def test_what_was_written_comes_back_with_its_overlaps(tmp_path: Path) -> None:
    labels = labels_with_overlap()
    formats.write(labels, tmp_path / "a.seg.nrrd")
    read = formats.read_labels(tmp_path / "a.seg.nrrd")
    assert (read.data == labels.data).all()
    assert (read.overlaps["layer 1"] == labels.overlaps["tumours"]).all()
    assert dict(read.names) == {1: "liver", 14: "left kidney", 26: "hepatic tumor"}
    assert read.grid.is_close(labels.grid, tolerance_voxels=1e-6)


def test_values_slicer_uses_twice_get_ids_of_their_own(tmp_path: Path) -> None:
    voxels = np.zeros((2, *GRID.shape), np.uint8)
    voxels[0, 1], voxels[1, 1:3] = 1, 1
    segments = [
        {"id": "A", "name": "liver", "labelValue": 1, "layer": 0},
        {"id": "B", "name": "tumour", "labelValue": 1, "layer": 1},
    ]
    content = {"voxels": voxels, "ijkToLPS": np.eye(4), "segments": segments, "encoding": "gzip"}
    slicerio.write_segmentation(str(tmp_path / "a.seg.nrrd"), content)
    read = slicer_seg.read_labels(tmp_path / "a.seg.nrrd")
    assert (read.mask("liver") == (voxels[0] == 1)).all()
    assert (read.mask("tumour") == (voxels[1] == 1)).all()
    assert len(read.names) == 2


def test_a_plain_label_map_under_that_name_is_refused(tmp_path: Path) -> None:
    formats.write(labels_with_overlap(), tmp_path / "a.nrrd")
    (tmp_path / "a.nrrd").rename(tmp_path / "a.seg.nrrd")
    with pytest.raises(FileFormatError, match="Segment0_Name"):
        formats.read_labels(tmp_path / "a.seg.nrrd")


def test_a_segmentation_is_no_image(tmp_path: Path) -> None:
    formats.write(labels_with_overlap(), tmp_path / "a.seg.nrrd")
    with pytest.raises(FileFormatError, match="read_labels"):
        formats.read(tmp_path / "a.seg.nrrd")


def test_names_with_line_breaks_cannot_break_the_header(tmp_path: Path) -> None:
    labels = LabelMap(np.ones(GRID.shape, np.uint8), GRID, {1: "liver\nSegment1_Name:=evil"})
    slicer_seg.write(labels, tmp_path / "a.seg.nrrd")
    assert dict(slicer_seg.read_labels(tmp_path / "a.seg.nrrd").names) == {1: "liver Segment1_Name:=evil"}


def test_nothing_found_is_an_empty_layer(tmp_path: Path) -> None:
    empty = LabelMap(np.zeros(GRID.shape, np.uint8), GRID, {1: "liver"})
    slicer_seg.write(empty, tmp_path / "a.seg.nrrd")
    data, _ = pynrrd.read(str(tmp_path / "a.seg.nrrd"))
    assert not data.any()
    assert dict(slicer_seg.read_labels(tmp_path / "a.seg.nrrd").names) == {}


def test_a_folder_that_does_not_exist_is_a_disk_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError):
        slicer_seg.write(labels_with_overlap(), tmp_path / "missing" / "a.seg.nrrd")
