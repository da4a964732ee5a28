"""The files of one result: the table's exact form, safe names, and what is refused before anything is computed."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest

from vesalius.errors import DicomSeriesError, GeometryError, UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.result_files import ResultOptions, check_formats, file_name, statistics_csv
from vesalius.io.dicom_series import read_series, write_series
from vesalius.io.dicom_source import DicomSource
from vesalius.io.formats import write
from vesalius.labels.findings import Finding, Findings


def finding(**changes: object) -> Finding:
    facts: dict[str, object] = {
        "class_id": 1, "name": "liver", "colour": (205, 112, 72), "snomed": "10200004", "volume_ml": 1500.25,
        "voxels": 10, "mean_hu": 60.04, "confidence": None, "touches_border": True, "components": 2,
        "pieces_removed": 3, "removed_ml": 1.5,
    }  # fmt: skip
    return Finding(**(facts | changes))  # type: ignore[arg-type]


def test_the_table_has_one_row_a_structure_and_no_word_for_unknown() -> None:
    rows = [finding(), finding(class_id=3, name='odd, "name"', voxels=0, mean_hu=None, snomed=None, volume_ml=0.0)]
    text = statistics_csv(Findings(tuple(rows)))
    assert text.splitlines()[:2] == [
        "id,name,volume_ml,voxels,mean_hu,confidence,touches_border,components,snomed,colour,pieces_removed,removed_ml",
        "1,liver,1500.25,10,60.0,,yes,2,10200004,#cd7048,3,1.5",
    ]
    assert "\r" not in text
    second = list(csv.DictReader(io.StringIO(text)))[1]
    assert second["name"] == 'odd, "name"'
    assert (second["mean_hu"], second["snomed"], second["volume_ml"]) == ("", "", "0.0")


def test_an_unvalidated_table_says_so_in_every_row() -> None:
    text = statistics_csv(Findings((finding(), finding(class_id=2))), unvalidated=True)
    assert [row["unvalidated"] for row in csv.DictReader(io.StringIO(text))] == ["yes", "yes"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("left kidney", "left_kidney"), ("../x", "_x"), ("a/b\\c", "a_b_c"), ("...", "_"), ("T1-2", "T1-2")],
)
def test_a_class_name_never_leaves_its_folder(name: str, expected: str) -> None:
    assert file_name(name) == expected


def volume(affine: np.ndarray, *, is_dicom: bool) -> Volume:
    grid = Grid((4, 5, 6), affine)
    source = DicomSource(series_uid="1.2", grid=grid, stored=(), slices=()) if is_dicom else None
    return Volume(np.zeros((1, 4, 5, 6), np.int16), grid, "CT", source)


SEG = ResultOptions(formats=("nifti", "dicom-seg"))
STRAIGHT = np.diag([1.0, 1.0, 2.0, 1.0])
TILTED = STRAIGHT + np.array([[0, 0, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
FLIPPED = np.array([[-1.0, 0, 0, 3], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])


def test_a_dicom_seg_is_refused_where_it_could_not_be_written() -> None:
    with pytest.raises(UsageError, match="--source"):
        check_formats(volume(STRAIGHT, is_dicom=False), options=SEG)
    with pytest.raises(GeometryError, match="tilted gantry"):
        check_formats(volume(TILTED, is_dicom=True), options=SEG)
    leaning = STRAIGHT + (TILTED - STRAIGHT) / 500  # 5e-4: what the writer refuses is refused before computing
    with pytest.raises(GeometryError, match="tilted gantry"):
        check_formats(volume(leaning, is_dicom=True), options=SEG)
    moved = STRAIGHT + np.array([[0, 0, 0, 9], [0] * 4, [0] * 4, [0] * 4])
    with pytest.raises(GeometryError, match="at another place"):
        check_formats(volume(moved, is_dicom=False), options=SEG, like=volume(STRAIGHT, is_dicom=True))


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """The files of a DICOM series."""
    write_series(volume(STRAIGHT, is_dicom=False), tmp_path / "ct")
    return tmp_path / "ct"


def test_a_dicom_seg_is_accepted_where_it_can_be_written(series: Path) -> None:
    like = read_series(series)
    check_formats(like, options=SEG)
    check_formats(volume(FLIPPED, is_dicom=False), options=SEG, like=like)
    check_formats(volume(TILTED, is_dicom=False), options=ResultOptions(formats=("nifti", "seg.nrrd")))


@pytest.mark.parametrize(
    ("tag", "value", "says"),
    [
        ("FrameOfReferenceUID", None, "6 of 6 files without FrameOfReferenceUID"),
        ("SOPInstanceUID", None, "6 of 6 files without SOPInstanceUID"),
        ("StudyDate", "20.01.2020", "ValueError"),
        ("PatientSex", "W", "ValueError"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*Invalid value for VR")
def test_headers_without_what_a_dicom_seg_needs_are_refused_before_computing(
    series: Path, tag: str, value: str | None, says: str
) -> None:
    for path in series.iterdir():
        dataset = pydicom.dcmread(path)
        if value is None:
            delattr(dataset, tag)
        else:
            setattr(dataset, tag, value)
        dataset.save_as(path)
    scan = read_series(series)
    with pytest.raises(DicomSeriesError, match=says) as caught:
        check_formats(scan, options=SEG)
    assert "leave out --format dicom-seg" in caught.value.do
    found = LabelMap(np.ones(scan.grid.shape, np.uint8), scan.grid, {1: "liver"}, source=scan.source)
    with pytest.raises(DicomSeriesError):
        write(found, series / "labels.seg.dcm")
