"""The files of one result: the table's exact form, safe names, and what is refused before anything is computed."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from vesalius.errors import DicomSeriesError, GeometryError, UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.result_files import (
    ResultOptions,
    RunFacts,
    check_formats,
    file_name,
    file_names,
    statistics_csv,
    write_result,
)
from vesalius.inference.segmenter import Segmentation
from vesalius.io.dicom_series import read_series, write_series
from vesalius.io.dicom_source import DicomSource
from vesalius.io.formats import read, write
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


def test_names_that_meet_as_files_are_told_apart_by_their_numbers() -> None:
    names = {1: "T1/lesion", 2: "T1 lesion", 3: "Liver", 4: "liver", 5: "left kidney", 6: "T1 lesion 1"}
    assert file_names(names) == {
        1: "T1_lesion+1", 2: "T1_lesion+2", 3: "Liver+3", 4: "liver+4", 5: "left_kidney", 6: "T1_lesion_1",
    }  # fmt: skip


def test_classes_and_layers_that_differ_in_punctuation_have_files_of_their_own(tmp_path: Path) -> None:
    image = volume(STRAIGHT, is_dicom=False)
    base, inside, within = (np.zeros(image.grid.shape, np.uint8) for _ in range(3))
    base[0], base[1], inside[0, 0], within[1, 1] = 1, 2, 3, 4
    names = {1: "T1/lesion", 2: "T1 lesion", 3: "core", 4: "rim"}
    labels = LabelMap(base, image.grid, names, {"in T1": inside, "in/T1": within})
    found = tuple(finding(class_id=number, name=name) for number, name in names.items())
    result = Segmentation(labels=labels, findings=Findings(found), plan=None, seconds={}, probability={})
    model = dict.fromkeys(("name", "version", "sha256", "licence", "dice_source"), "") | {"dice": {}}
    facts = RunFacts(
        **dict.fromkeys(("input_name", "input_path", "input_sha256", "created"), ""),
        decided_by={},
        command=(),
        model=model,
        started=0.0,
    )
    write_result(tmp_path, image, result, facts, options=ResultOptions(split=True))
    masks = [read(tmp_path / "classes" / f"T1_lesion+{number}.nii.gz").data[0] for number in (1, 2)]
    assert [int(mask.argmax()) for mask in masks] == [0, 30]
    files = json.loads((tmp_path / "labels.json").read_text())["overlaps"]
    assert {layer: read(tmp_path / name).data.max() for layer, name in files.items()} == {"in T1": 3, "in/T1": 4}


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
    assert value is None or value not in str(caught.value).split()  # a patient's data are not quoted
    found = LabelMap(np.ones(scan.grid.shape, np.uint8), scan.grid, {1: "liver"}, source=scan.source)
    with pytest.raises(DicomSeriesError):
        write(found, series / "labels.seg.dcm")
