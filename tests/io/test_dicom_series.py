"""Which series a folder holds, which one is read, and what is said of the others."""

from __future__ import annotations

import argparse
import json
import logging
import shutil

import highdicom
import numpy as np
import pytest
from pydicom.sr.codedict import codes
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from vesalius.cli import series as series_command
from vesalius.errors import DicomSeriesError, FileFormatError
from vesalius.io.dicom_series import list_series, read_series

SMALL = {"shape": (8, 9, 5), "step": 2.0}


def test_table_says_what_a_series_is(by_hand, tmp_path):
    by_hand.save(by_hand.slices(**SMALL, SeriesDescription="abdomen\x1b[2J\n 2 mm"), tmp_path)
    (row,) = list_series(tmp_path)
    assert (row.series_uid, row.modality, row.num_files, row.kind) == ("1.2.3.4", "CT", 5, "volume")
    assert row.shape == (9, 8, 5)
    assert row.spacing_mm == pytest.approx((0.9, 1.3, 2.0))
    assert row.usable
    assert row.chosen
    assert row.description == "abdomen [2J 2 mm"


def test_localizer_in_the_folder_is_not_stacked(by_hand, tmp_path):
    slices = by_hand.slices(**SMALL)
    scout = by_hand.slices(shape=(8, 9, 1), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    by_hand.save(slices, tmp_path / "ct")
    by_hand.save(scout, tmp_path / "scout")
    assert read_series(tmp_path).grid.shape == (9, 8, 5)
    volume, localizer = list_series(tmp_path)
    assert volume.chosen
    assert localizer.kind == "localizer"
    assert not localizer.usable
    with pytest.raises(DicomSeriesError, match="a localizer"):
        read_series(tmp_path / "scout")


def test_series_of_mixed_orientations_is_parted(by_hand, tmp_path):
    by_hand.save(by_hand.slices(**SMALL), tmp_path / "axial")
    coronal = by_hand.slices(shape=(8, 9, 3), orientation=(1, 0, 0, 0, 0, -1), step=3.0)
    by_hand.save(coronal, tmp_path / "coronal")
    first, second = list_series(tmp_path)
    assert [first.series_uid, second.series_uid] == ["1.2.3.4", "1.2.3.4#2"]
    assert "part 1 of 2" in " ".join(first.reasons)
    assert read_series(tmp_path).grid.axis_codes == "LPS"
    assert read_series(tmp_path, series_uid="1.2.3.4#2").grid.axis_codes == "LIP"


@pytest.mark.parametrize("tag", ["AcquisitionNumber", "TemporalPositionIdentifier", "EchoTime", "AcquisitionTime"])
def test_two_acquisitions_of_one_place_are_parted_by_the_tag_that_tells_them_apart(by_hand, tmp_path, tag):
    values = {"AcquisitionTime": ("101500", "101530")}.get(tag, (1, 2))
    for name, value in zip("ab", values, strict=True):
        slices = by_hand.slices(**SMALL, **{tag: value})
        for dataset in slices:
            dataset.RescaleIntercept = 0 if name == "a" else 100
        by_hand.save(slices, tmp_path / name)
    rows = list_series(tmp_path)
    assert [row.usable for row in rows] == [True, True]
    one, other = (read_series(tmp_path, series_uid=row.series_uid) for row in rows)
    assert np.array_equal(one.data + 100, other.data)


def test_files_copied_twice_are_dropped_with_a_reason(by_hand, tmp_path):
    whole = read_series(by_hand.save(by_hand.slices(**SMALL), tmp_path / "ct"))
    for name in ("IM0001", "IM0003"):
        shutil.copy(tmp_path / "ct" / name, tmp_path / "ct" / f"copy_of_{name}")
    volume = read_series(tmp_path / "ct")
    assert np.array_equal(volume.data, whole.data)
    assert volume.grid.is_close(whole.grid)
    (row,) = list_series(tmp_path / "ct")
    assert row.num_files == 7
    assert "2 slices present more than once" in " ".join(row.reasons)


def test_different_images_of_one_place_are_refused(by_hand, tmp_path):
    slices = by_hand.slices(**SMALL)
    extra = by_hand.slices(**SMALL)[2]
    extra.PixelData = bytes(reversed(extra.PixelData))
    by_hand.save([*slices, extra], tmp_path)
    with pytest.raises(DicomSeriesError, match="different images at 1 of 5 places"):
        read_series(tmp_path)


def test_series_of_two_studies_must_be_named(by_hand, tmp_path):
    by_hand.save(by_hand.slices(**SMALL), tmp_path / "a")
    other = by_hand.slices(**SMALL, StudyInstanceUID="1.2.77", SeriesInstanceUID="1.2.77.1")
    by_hand.save(other, tmp_path / "b")
    with pytest.raises(DicomSeriesError) as caught:
        read_series(tmp_path)
    assert "2 studies" in caught.value.got
    assert "--series" in caught.value.do
    assert not any(row.chosen for row in list_series(tmp_path))
    assert read_series(tmp_path, series_uid="1.2.77.1").source.series_uid == "1.2.77.1"


def test_original_series_with_most_slices_is_chosen(by_hand, tmp_path):
    by_hand.save(by_hand.slices(shape=(8, 9, 4), SeriesInstanceUID="1.1"), tmp_path / "short")
    by_hand.save(by_hand.slices(shape=(8, 9, 6), SeriesInstanceUID="1.2"), tmp_path / "long")
    reformat = by_hand.slices(shape=(8, 9, 9), SeriesInstanceUID="1.3", ImageType=["DERIVED", "SECONDARY", "MPR"])
    by_hand.save(reformat, tmp_path / "reformat")
    projection = by_hand.slices(
        shape=(8, 9, 12), SeriesInstanceUID="1.4", ImageType=["DERIVED", "SECONDARY", "MIP"]
    )
    by_hand.save(projection, tmp_path / "projection")
    rows = {row.series_uid: row for row in list_series(tmp_path)}
    assert [uid for uid, row in rows.items() if row.chosen] == ["1.2"]
    assert "MR or Hounsfield units, most slices, thinnest, lowest" in rows["1.2"].reasons[0]
    assert rows["1.3"].kind == "derived"
    assert rows["1.3"].usable
    assert (rows["1.4"].kind, rows["1.4"].usable) == ("projection", False)


def test_series_without_gaps_is_read_before_a_longer_one_whose_gaps_were_filled(by_hand, tmp_path):
    by_hand.save(by_hand.slices(shape=(8, 9, 4), SeriesInstanceUID="1.1"), tmp_path / "whole")
    gappy = by_hand.slices(shape=(8, 9, 9), SeriesInstanceUID="1.2")
    by_hand.save(gappy[:4] + gappy[5:], tmp_path / "gappy")
    source = read_series(tmp_path, fill_gaps=True).source
    assert (source.series_uid, source.is_filled) == ("1.1", False)
    assert read_series(tmp_path, series_uid="1.2", fill_gaps=True).source.is_filled


def test_unknown_series_is_refused(by_hand, tmp_path):
    by_hand.save(by_hand.slices(**SMALL), tmp_path)
    with pytest.raises(DicomSeriesError, match=r"9\.9\.9"):
        read_series(tmp_path, series_uid="9.9.9")


def test_junk_beside_the_series_is_counted_and_left_out(by_hand, tmp_path):
    by_hand.save(by_hand.slices(**SMALL), tmp_path)
    (tmp_path / "notes.txt").write_text("hello, these are notes about a scan, long enough to be parsed " * 9)
    (tmp_path / "viewer.exe").write_bytes(bytes(5000) + b"MZ")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    volume = read_series(tmp_path)
    assert volume.grid.shape == (9, 8, 5)
    assert not volume.source.repairs
    junk = list_series(tmp_path)[1]
    assert (junk.kind, junk.num_files) == ("not DICOM", 2)


def test_folder_without_dicom_is_refused(tmp_path):
    with pytest.raises(DicomSeriesError, match="no file at all"):
        read_series(tmp_path)
    (tmp_path / "a.txt").write_text("x" * 200)
    (tmp_path / "b.txt").write_text("y" * 200)
    with pytest.raises((DicomSeriesError, FileFormatError), match="no DICOM"):
        read_series(tmp_path)
    with pytest.raises(FileFormatError, match="nothing at"):
        read_series(tmp_path / "absent")


def test_damaged_file_of_a_series_makes_the_series_unusable(by_hand, tmp_path):
    by_hand.save(by_hand.slices(**SMALL), tmp_path)
    whole = (tmp_path / "IM0004").read_bytes()
    (tmp_path / "IM0004").write_bytes(whole[:-40])  # the last one: without it, the series looks sound
    with pytest.raises(FileFormatError, match="IM0004: truncated"):
        read_series(tmp_path)


def test_damaged_file_is_named_among_many(by_hand, tmp_path):
    slices = by_hand.slices(**SMALL)
    del slices[3].ImagePositionPatient
    with pytest.raises(FileFormatError, match="1 damaged file in the series: IM0003: an image without position"):
        read_series(by_hand.save(slices, tmp_path))


def test_frames_of_a_multi_frame_file_are_the_slices_they_were_made_of(by_hand, tmp_path):
    slices = by_hand.slices(**SMALL, PatientBirthDate="", PatientSex="", StudyDate="20200101", StudyTime="101010")
    for number, dataset in enumerate(slices):
        dataset.update(by_hand.slice(np.zeros((8, 9), int), dataset.ImagePositionPatient).group_dataset(0x9999))
        dataset.AccessionNumber = dataset.StudyID = dataset.ReferringPhysicianName = ""
        dataset.AcquisitionDate = dataset.ContentDate = dataset.SeriesDate = "20200101"
        dataset.AcquisitionTime = dataset.ContentTime = dataset.SeriesTime = "101010"
        dataset.RescaleType, dataset.InstanceNumber = "HU", 9 - number
        dataset.PatientPosition = "HFS"
    single = read_series(by_hand.save(slices, tmp_path / "single"))
    enhanced = highdicom.legacy.LegacyConvertedEnhancedCTImage(
        slices[::2] + slices[1::2], generate_uid(), 8, generate_uid(), 1
    )
    (tmp_path / "multi").mkdir()
    enhanced.save_as(tmp_path / "multi" / "all.dcm")
    multi = read_series(tmp_path / "multi")
    assert np.array_equal(multi.data, single.data)
    assert multi.grid.is_close(single.grid)
    assert multi.modality == "CT"
    assert len(multi.source.files) == 1
    order = [frame for _, frame in multi.source.slices]
    assert sorted(order) == [0, 1, 2, 3, 4]
    positions = [
        group.PlanePositionSequence[0].ImagePositionPatient[2]
        for group in multi.source.datasets()[0].PerFrameFunctionalGroupsSequence
    ]
    assert [positions[frame] for frame in order] == sorted(positions)


def test_segmentations_and_captures_without_a_place_are_refused(by_hand, tmp_path):
    capture = by_hand.slices(shape=(8, 9, 1), SOPClassUID=SecondaryCaptureImageStorage, ImagePositionPatient=None)
    by_hand.save(capture, tmp_path / "capture")
    with pytest.raises(FileFormatError, match="without position"):
        read_series(tmp_path / "capture")
    slices = by_hand.slices(**SMALL, PatientBirthDate="", PatientSex="", StudyDate="", StudyTime="", StudyID="")
    for dataset in slices:
        dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    code = highdicom.seg.SegmentDescription(1, "liver", codes.SCT.AnatomicalStructure, codes.SCT.Liver, "MANUAL")
    mask = np.zeros((5, 8, 9), np.uint8)
    mask[2, 3, 4] = 1
    seg = highdicom.seg.Segmentation(
        slices, mask, "BINARY", [code], generate_uid(), 9, generate_uid(), 1, "us", "it", "1", "0"
    )
    by_hand.save(slices, tmp_path / "ct")
    seg.save_as(tmp_path / "ct" / "seg.dcm")
    ct, other = list_series(tmp_path / "ct")
    assert ct.chosen
    assert (other.modality, other.kind, other.usable) == ("SEG", "other", False)


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "in colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR pixels"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1", "Modality": "US"}, "Ultrasound"),
    ],
)
def test_pictures_that_are_no_slices_are_refused(by_hand, tmp_path, tags, says):
    folder = by_hand.save(by_hand.slices(**SMALL, **tags), tmp_path)
    with pytest.raises(DicomSeriesError, match=says):
        read_series(folder)
    assert list_series(folder)[0].kind == "other"


def test_choosing_among_several_is_said_aloud(by_hand, tmp_path, caplog):
    by_hand.save(by_hand.slices(**SMALL, SeriesInstanceUID="1.1"), tmp_path / "a")
    by_hand.save(by_hand.slices(**SMALL, SeriesInstanceUID="1.2", SeriesDescription="thin"), tmp_path / "b")
    source = read_series(tmp_path).source
    assert "one of 2 usable series was read" in caplog.text
    assert "one of 2 usable series was read" in source.repairs[0]  # which the report shows
    caplog.clear()
    source = read_series(tmp_path, series_uid="1.2").source
    assert not caplog.text
    assert not source.repairs
    assert (source.key, source.description) == ("1.2", "thin")


def test_nothing_that_identifies_a_patient_is_logged_or_shown(by_hand, tmp_path, caplog):
    slices = by_hand.slices(**SMALL)
    slices[0].file_meta.PrivateInformationCreatorUID = "1.2"
    by_hand.save(slices, tmp_path)
    whole = (tmp_path / "IM0000").read_bytes()
    (tmp_path / "other").write_bytes(whole[: whole.index(b"\x20\x00\x0d\x00UI")])  # before it names its series
    with caplog.at_level(logging.DEBUG):
        text = repr(list_series(tmp_path)) + repr(read_series(tmp_path))
    assert "secret" not in (text + caplog.text).lower()
    assert "damaged" in caplog.text
    assert "1.2.3.4" not in caplog.text


# -- the command


def command(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    series_command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_command_prints_the_table(by_hand, tmp_path, capsys):
    by_hand.save(by_hand.slices(**SMALL, SeriesDescription="thin"), tmp_path / "ct")
    (tmp_path / "notes.txt").write_text("notes")
    assert series_command.run(command(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["*", "CT", "volume", "5", "9x8x5", "0.9", "x", "1.3", "x", "2", "thin"]
    assert any("not DICOM" in line for line in lines)
    assert series_command.run(command(tmp_path, "--json")) == 0
    (row, _) = json.loads(capsys.readouterr().out)["series"]
    assert row["chosen"]
    assert row["shape"] == [9, 8, 5]


def test_command_says_by_its_code_that_nothing_would_be_read(by_hand, tmp_path, capsys):
    slices = by_hand.slices(**SMALL)
    by_hand.save(slices[:2] + slices[4:], tmp_path)
    assert series_command.run(command(tmp_path)) == 3
    assert "6.000 mm between slices 2 and 3" in capsys.readouterr().out
