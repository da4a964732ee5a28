"""Damaged files that may have been slices: never left out in silence, not even at the ends of a stack."""

from __future__ import annotations

import logging

import pytest

from vesalius.errors import DicomSeriesError, FileFormatError
from vesalius.io.dicom_series import list_series, read_series

SMALL = {"shape": (8, 9, 5), "step": 2.0}


def cut_to(path, num_bytes):
    path.write_bytes(path.read_bytes()[:num_bytes])


@pytest.fixture
def folder(by_hand, tmp_path):
    return by_hand.save(by_hand.slices(**SMALL), tmp_path / "ct")


@pytest.mark.parametrize("num_bytes", [0, 100, 300])  # nothing, the preamble, a header of no series
def test_slices_broken_at_the_end_of_a_stack_make_it_unusable(folder, num_bytes):
    for name in ("IM0003", "IM0004"):
        cut_to(folder / name, num_bytes)
    with pytest.raises(FileFormatError, match="2 damaged files named like slices of the series: IM0003") as caught:
        read_series(folder)
    assert "take it out of the folder" in caught.value.do
    assert [(row.kind, row.usable, row.num_files) for row in list_series(folder)] == [
        ("volume", False, 3),
        ("unreadable", False, 2),
    ]


def test_file_named_like_dicom_that_is_none_is_damaged(folder):
    for path in folder.iterdir():
        path.rename(path.with_suffix(".dcm"))
    (folder / "IM0005.dcm").write_bytes(b"\x8f\x11" * 300)
    with pytest.raises(FileFormatError, match=r"IM0005\.dcm: no DICOM, though named so"):
        read_series(folder)


def test_damaged_file_that_may_be_of_another_series_is_noted(by_hand, folder):
    scout = by_hand.slices(shape=(8, 9, 1), SeriesInstanceUID="1.9", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    by_hand.save(scout, folder / "scout")
    (folder / "scout" / "IM0000").rename(folder / "IM0005")
    (folder / "IM0006").touch()
    (note,) = read_series(folder).source.repairs
    assert note == "1 damaged file beside the series left out (IM0006: an empty file): slices may be missing"
    assert note in list_series(folder)[0].reasons


def test_damaged_file_that_is_named_otherwise_is_noted(folder):
    (folder / "zeros").write_bytes(bytes(5000))
    assert "zeros: nothing but zeros" in read_series(folder).source.repairs[0]


def test_note_stays_where_gaps_are_filled(by_hand, tmp_path):
    slices = by_hand.slices(**SMALL)
    folder = by_hand.save(slices[:2] + slices[3:], tmp_path)
    (folder / "lost").touch()
    notes = read_series(folder, fill_gaps=True).source.repairs
    assert any("lost: an empty file" in note for note in notes)


def test_damaged_file_in_another_folder_is_no_matter(folder, caplog):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "IM0009").touch()
    assert not read_series(folder).source.repairs
    assert not caplog.text


def test_damaged_file_is_told_once_and_that_of_another_series_is_counted(by_hand, folder, caplog):
    (folder / "zeros").write_bytes(bytes(5000))
    with caplog.at_level(logging.INFO):
        read_series(folder)
    assert [record.getMessage().count("damaged") for record in caplog.records] == [1]
    by_hand.save(by_hand.slices(shape=(8, 9, 1), SeriesInstanceUID="1.9"), folder / "other")
    (folder / "other" / "IM0000").rename(folder / "other.dcm")
    cut_to(folder / "other.dcm", (folder / "other.dcm").stat().st_size - 20)
    caplog.clear()
    assert len(read_series(folder).source.repairs) == 1
    assert "damaged files of other series beside it were left out: 1" in caplog.text


def break_links(folder, *names):
    for name in names:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(folder.parent / "not fetched" / name)


def test_slices_that_are_dead_links_make_the_series_unusable(folder):
    break_links(folder, "IM0003", "IM0004")  # the last ones: without them, the series looks sound
    with pytest.raises(
        FileFormatError, match=r"2 damaged files named like slices .*IM0003: a link that leads nowhere"
    ):
        read_series(folder)
    assert [(row.kind, row.usable, row.num_files) for row in list_series(folder)] == [
        ("volume", False, 3),
        ("unreadable", False, 2),
    ]


def test_folder_of_nothing_but_dead_links_says_so(folder):
    break_links(folder, *(path.name for path in folder.iterdir()))
    with pytest.raises(DicomSeriesError, match="none in 5: IM0000: a link that leads nowhere"):
        read_series(folder)


@pytest.mark.parametrize(("name", "is_noted"), [("notes", False), ("notes.txt", False), ("scout.dcm", True)])
def test_dead_link_called_unlike_the_slices_is_noted_only_if_called_like_dicom(folder, name, is_noted):
    break_links(folder, name)
    assert [name in note for note in read_series(folder).source.repairs] == [True] * is_noted


def test_dead_link_beside_slices_of_all_kinds_of_names_is_noted(folder):
    for number, letter in enumerate("abcde"):
        (folder / f"IM000{number}").rename(folder / letter)
    break_links(folder, "f")
    assert "f: a link that leads nowhere" in read_series(folder).source.repairs[0]
