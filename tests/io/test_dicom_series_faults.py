"""Damaged and malicious DICOM: a typed error each, bounded memory, and never a stack trace of pydicom's."""

from __future__ import annotations

import struct
import subprocess
import sys
import tracemalloc
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from vesalius.errors import FileFormatError, InputError, UnsafeFileError
from vesalius.io import dicom_headers
from vesalius.io.dicom_series import list_series, read_series


def element(group: int, number: int, representation: bytes, value: bytes, length: int | None = None) -> bytes:
    """One explicit little-endian element, with whatever length it is to claim."""
    length = len(value) if length is None else length
    head = struct.pack("<2H", group, number) + representation
    if representation in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return head + struct.pack("<HL", 0, length) + value
    return head + struct.pack("<H", length) + value


def preamble(syntax: bytes = ExplicitVRLittleEndian.encode() + b"\0") -> bytes:
    meta = element(2, 0x10, b"UI", syntax + b"\0" * (len(syntax) % 2))
    return bytes(128) + b"DICM" + element(2, 0, b"UL", struct.pack("<L", len(meta))) + meta


@pytest.fixture
def whole(by_hand, tmp_path):
    folder = by_hand.save(by_hand.slices(shape=(16, 18, 1)), tmp_path / "whole")
    return (folder / "IM0000").read_bytes()


def refused(path) -> InputError:
    rows = list_series(path)
    assert rows
    assert not any(row.usable for row in rows)
    assert all(row.reasons for row in rows)
    with pytest.raises(InputError) as caught:
        read_series(path)
    return caught.value


@pytest.mark.parametrize("tenth", range(10))
def test_file_truncated_at_each_tenth_is_refused(whole, tmp_path, tenth):
    path = tmp_path / "cut.dcm"
    path.write_bytes(whole[: len(whole) * tenth // 10])
    error = refused(path)
    assert isinstance(error, FileFormatError)
    assert error.got


@pytest.mark.parametrize("code", ["J2KR", "JLSL", "JPLL", "RLE", "JPLY"])
@pytest.mark.parametrize("tenth", range(1, 10))
def test_compressed_file_truncated_at_each_tenth_is_refused(shared_data, tmp_path, code, tenth):
    whole = (shared_data / "dicom-oddities" / "wg04" / f"MR1_{code}.dcm").read_bytes()
    path = tmp_path / "cut.dcm"
    path.write_bytes(whole[: len(whole) * tenth // 10])
    with pytest.raises(FileFormatError):
        read_series(path)


def test_last_bytes_missing_are_noticed(whole, tmp_path):
    path = tmp_path / "cut.dcm"
    path.write_bytes(whole[:-1])
    assert "575 bytes of pixels where 576" in refused(path).got


@pytest.mark.parametrize("size", [0, 1, 131, 132, 140, 5000])
def test_preamble_and_nothing_or_junk(tmp_path, size):
    path = tmp_path / "junk.dcm"
    path.write_bytes(
        (preamble()[:132] + np.random.default_rng(size).bytes(size))[: 132 + size] if size > 131 else bytes(size)
    )
    assert isinstance(refused(path), FileFormatError)


@pytest.mark.parametrize(
    ("rows", "columns"), [(65_535, 65_535), (0, 16), (16, 0), (1 << 20, 1 << 20), ((1 << 32) - 1, (1 << 32) - 1)]
)
def test_huge_rows_and_columns_as_long_integers(whole, tmp_path, rows, columns):
    at_rows, at_columns = whole.index(b"\x28\x00\x10\x00US"), whole.index(b"\x28\x00\x11\x00US")
    data = whole[:at_rows] + element(0x28, 0x10, b"UL", struct.pack("<L", rows))
    data += element(0x28, 0x11, b"UL", struct.pack("<L", columns)) + whole[at_columns + 10 :]
    path = tmp_path / "huge.dcm"
    path.write_bytes(data)
    tracemalloc.start()
    assert isinstance(refused(path), UnsafeFileError)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_many_claimed_frames_in_a_small_compressed_file(shared_data, tmp_path):
    data = (shared_data / "dicom-oddities" / "wg04" / "CT1_J2KR.dcm").read_bytes()
    at = data.index(b"\x28\x00\x10\x00US")
    path = tmp_path / "frames.dcm"
    path.write_bytes(data[:at] + element(0x28, 8, b"IS", b"60000 ") + data[at:])
    assert isinstance(refused(path), UnsafeFileError)


@pytest.mark.parametrize("group", [0x5200, 0x0009])
def test_sequences_nested_beyond_reading(whole, tmp_path, group):
    number = 0x9230 if group == 0x5200 else 0x0010
    opened = element(group, number, b"SQ", b"", 0xFFFFFFFF) + struct.pack("<2HL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    at = whole.index(b"\xe0\x7f\x10\x00") if group == 0x5200 else whole.index(b"\x10\x00\x10\x00PN")
    path = tmp_path / "nested.dcm"
    path.write_bytes(whole[:at] + opened * 20_000 + whole[at:])
    error = refused(path)
    assert isinstance(error, UnsafeFileError | FileFormatError)


def test_element_that_claims_four_gigabytes(whole, tmp_path):
    at = whole.index(b"\x28\x00\x10\x00US")
    path = tmp_path / "long.dcm"
    path.write_bytes(whole[:at] + element(0x21, 0x10, b"OB", b"short", 0xFFFFFFF0) + whole[at:])
    assert isinstance(refused(path), FileFormatError)


def test_deflated_bomb_is_counted_before_it_is_inflated(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_headers, "MAX_INFLATED_BYTES", 64 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(element(0x21, 0x10, b"OB", b"", 200 << 20) + bytes(200 << 20)) + packer.flush()
    path = tmp_path / "bomb.dcm"
    path.write_bytes(preamble(DeflatedExplicitVRLittleEndian.encode()) + bomb)
    tracemalloc.start()
    error = refused(path)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
    assert isinstance(error, UnsafeFileError)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ImagePositionPatient", "1\\2"),
        ("ImagePositionPatient", "a\\b\\c"),
        ("ImagePositionPatient", "nan\\0\\0"),
        ("ImageOrientationPatient", "1\\0\\0\\1\\0\\0"),
        ("ImageOrientationPatient", "0\\0\\0\\0\\0\\0"),
        ("PixelSpacing", "1e999\\1"),
        ("RescaleSlope", "inf"),
        ("RescaleSlope", "hello"),
        ("NumberOfFrames", "1A"),
        ("NumberOfFrames", "-3"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*Invalid value for VR")
def test_numbers_that_are_none(by_hand, tmp_path, keyword, value):
    dataset = by_hand.slices(shape=(4, 5, 1))[0]
    tag = Tag(tag_for_keyword(keyword))
    raw = value.encode() + b" " * (len(value) % 2)
    dataset._dict[tag] = RawDataElement(tag, dictionary_VR(tag), len(raw), raw, 0, False, True)
    path = tmp_path / "bad.dcm"
    dataset.save_as(path)
    refused(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=12))
def test_any_damaged_bytes_give_a_volume_or_a_typed_error(whole, tmp_path, edits):
    data = bytearray(whole)
    for at, value in edits:
        data[at % len(data)] = value
    path = tmp_path / "damaged.dcm"
    path.write_bytes(data)
    list_series(path)
    with suppress(InputError):
        assert read_series(path).data.size > 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6))
@pytest.mark.parametrize("code", ["RLE", "JPEG-LS"])
def test_any_damaged_codestream_gives_a_volume_or_a_typed_error(shared_data, tmp_path, code, edits):
    name = {"RLE": "MR_small_RLE.dcm", "JPEG-LS": "MR_small_jpeg_ls_lossless.dcm"}[code]
    data = bytearray((shared_data / "dicom-oddities" / "pydicom" / name).read_bytes())
    start = data.index(b"\xe0\x7f\x10\x00")
    for at, value in edits:
        data[start + at % (len(data) - start)] = value
    path = tmp_path / "damaged.dcm"
    path.write_bytes(data)
    with suppress(InputError):
        assert read_series(path).data.size > 0


def test_importing_the_reader_changes_nothing():
    script = (
        "import logging, warnings, pydicom\n"
        "before = (list(warnings.filters), pydicom.config.settings.reading_validation_mode)\n"
        "import vesalius.io.dicom_series\n"
        "assert before[1] == pydicom.config.settings.reading_validation_mode\n"
        "assert not logging.getLogger('vesalius').handlers\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
