"""Zips from strangers: read without unpacking, refused before they can exhaust or escape."""

from __future__ import annotations

import errno
import os
import stat
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from vesalius.errors import FileFormatError, UnsafeFileError
from vesalius.io import archives
from vesalius.io.archives import list_files
from vesalius.io.dicom_series import list_series, read_series
from vesalius.io.digest import input_sha256

METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


def pack(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def member(name="x", mode=0):
    info = zipfile.ZipInfo("placeholder")
    info.filename = name  # past the cleaning of the constructor
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize("method", METHODS)
def test_members_are_read_as_they_were_packed(tmp_path, method):
    data = bytes(range(256)) * 300
    path = pack(tmp_path / "a.zip", {"folder/one": data, "empty": b"", "folder/": b""}, method)
    one, empty = sorted(list_files(path), key=lambda f: -f.num_bytes)
    assert one.path == path / "folder" / "one"
    assert one.open().read() == data
    assert one.open(prefix=700).read() == data[:700]
    assert empty.open().read() == b""


@pytest.mark.parametrize("method", METHODS)
def test_series_in_a_zip_is_read_as_from_a_folder_and_nothing_is_unpacked(by_hand, tmp_path, method):
    folder = by_hand.save(by_hand.slices(shape=(8, 9, 5)), tmp_path / "ct")
    members = {f"study/{path.name}": path.read_bytes() for path in folder.iterdir()}
    path = pack(tmp_path / "ct.zip", members | {"study/README": b"read me"}, method)
    before = sorted(tmp_path.rglob("*"))
    volume, whole = read_series(path), read_series(folder)
    assert np.array_equal(volume.data, whole.data)
    assert volume.grid.is_close(whole.grid)
    assert [h.SOPInstanceUID for h in volume.source.datasets()] == [
        h.SOPInstanceUID for h in whole.source.datasets()
    ]
    assert [row.num_files for row in list_series(path)] == [5, 1]
    assert sorted(tmp_path.rglob("*")) == before


def test_frames_of_one_member_are_inflated_once(shared_data, tmp_path, monkeypatch):
    multi = shared_data / "dicom-oddities" / "niivue" / "enh.dcm"
    path = pack(tmp_path / "multi.zip", {"multi.dcm": multi.read_bytes()})
    calls = []
    unpack = archives._unpack
    monkeypatch.setattr(archives, "_unpack", lambda *args: calls.append(1) or unpack(*args))
    assert np.array_equal(read_series(path).data, read_series(multi).data)
    assert len(calls) == 2  # its header, and its six frames


@pytest.mark.parametrize(
    "name", ["../evil.dcm", "a/../../evil.dcm", "/etc/evil", "C:\\evil.dcm", "c:evil", "..\\evil", "\\\\host\\evil"]
)
def test_names_that_lead_out_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(member(name), b"x")
    with pytest.raises(UnsafeFileError, match="leads out"):
        list_files(tmp_path / "a.zip")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_are_refused(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(member("link", kind | 0o777), b"/etc/passwd")
    with pytest.raises(UnsafeFileError, match="link or a device"):
        list_files(tmp_path / "a.zip")


def test_bomb_is_refused_before_anything_is_inflated(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "RATIO_FREE_BYTES", 16 << 20)
    path = pack(tmp_path / "a.zip", {f"{n}.dcm": bytes(4 << 20) for n in range(5)})
    assert path.stat().st_size < 1 << 16
    tracemalloc.start()
    with pytest.raises(UnsafeFileError, match="compressed at most"):
        list_files(path)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def central(path):
    data = bytearray(path.read_bytes())
    return data, data.index(b"PK\x01\x02")


def test_forged_sizes_never_make_more_than_they_claim(tmp_path):
    path = pack(tmp_path / "a.zip", {"a.dcm": bytes(1 << 20)})
    data, at = central(path)
    data[at + 24 : at + 28] = struct.pack("<L", 100)
    path.write_bytes(data)
    (file,) = list_files(path)
    tracemalloc.start()
    with pytest.raises(FileFormatError, match="checksum"):
        file.open()
    assert tracemalloc.get_traced_memory()[1] < 200_000
    tracemalloc.stop()
    data[at + 24 : at + 28] = struct.pack("<L", 2 << 20)
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match="1048576 bytes inflated"):
        list_files(path)[0].open()


def test_member_of_ten_gigabytes_is_refused(tmp_path):
    path = pack(tmp_path / "a.zip", {"a.dcm": b"x" * 100})
    data, at = central(path)
    data[at + 24 : at + 28] = struct.pack("<L", 0xFFFFFFFF)
    name_end = at + 46 + 5
    extra = struct.pack("<HHQ", 1, 8, 10 << 30)  # zip64 extra field
    data[at + 30 : at + 32] = struct.pack("<H", len(extra))
    data[name_end:name_end] = extra
    end = data.index(b"PK\x05\x06")
    data[end + 12 : end + 16] = struct.pack("<L", 46 + 5 + len(extra))
    path.write_bytes(data)
    with pytest.raises(UnsafeFileError, match="10737418240 bytes"):
        list_files(path)


def test_members_that_overlap_are_refused(tmp_path):
    path = pack(tmp_path / "a.zip", {"a": b"1" * 50, "b": b"2" * 50}, zipfile.ZIP_STORED)
    data, at = central(path)
    second = data.index(b"PK\x01\x02", at + 4)
    data[second + 42 : second + 46] = struct.pack("<L", 10)
    path.write_bytes(data)
    with pytest.raises((UnsafeFileError, FileFormatError)) as caught:
        list_files(path)
    assert "overlap" in str(caught.value).lower()


def test_too_many_members_are_counted_before_they_are_listed(tmp_path, monkeypatch):
    path = pack(tmp_path / "a.zip", {str(n): b"" for n in range(60)})
    monkeypatch.setattr(archives, "MAX_FILES", 50)
    monkeypatch.setattr(archives.zipfile, "ZipFile", lambda *_: pytest.fail("the directory was listed"))
    with pytest.raises(UnsafeFileError, match="a zip of 60"):
        list_files(path)


def test_directory_of_a_gigabyte_is_refused(tmp_path):
    path = pack(tmp_path / "a.zip", {"a": b"1"})
    data, _ = central(path)
    end = data.index(b"PK\x05\x06")
    data[end + 12 : end + 16] = struct.pack("<L", 1 << 30)
    path.write_bytes(data)
    with pytest.raises(UnsafeFileError, match="1073741824 bytes"):
        list_files(path)


def test_zip64_is_read(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive, archive.open("one", "w", force_zip64=True) as file:
        file.write(b"hello")
    data = bytearray(path.read_bytes())
    end = data.index(b"PK\x05\x06")
    size, offset = struct.unpack_from("<2L", data, end + 12)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    data[end + 8 : end + 20] = b"\xff" * 12
    data[end:end] = record + locator
    path.write_bytes(data)
    (file,) = list_files(path)
    assert file.open().read() == b"hello"


def test_truncated_zip_is_refused_or_read_in_part_with_an_error(by_hand, tmp_path):
    folder = by_hand.save(by_hand.slices(shape=(8, 9, 4)), tmp_path / "ct")
    whole = pack(tmp_path / "ct.zip", {path.name: path.read_bytes() for path in folder.iterdir()}).read_bytes()
    for tenth in range(10):
        path = tmp_path / f"{tenth}.zip"
        path.write_bytes(whole[: len(whole) * tenth // 10])
        with pytest.raises(FileFormatError):
            read_series(path)


def test_damaged_member_is_named(by_hand, tmp_path):
    folder = by_hand.save(by_hand.slices(shape=(8, 9, 4)), tmp_path / "ct")
    path = pack(tmp_path / "ct.zip", {p.name: p.read_bytes() for p in folder.iterdir()}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"IM0002") + 900] ^= 0xFF
    path.write_bytes(data)
    rows = list_series(path)
    assert any("IM0002" in reason and "checksum" in reason for row in rows for reason in row.reasons)


def test_encrypted_zip_is_refused(tmp_path):
    path = pack(tmp_path / "a.zip", {"a": b"secret"})
    data, at = central(path)
    data[at + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match="encrypted"):
        list_files(path)


def test_same_name_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    with pytest.raises(UnsafeFileError, match="same name twice"):
        list_files(tmp_path / "a.zip")


def test_lzma_window_of_gigabytes_is_refused(tmp_path):
    path = pack(tmp_path / "a.zip", {"a": bytes(1000)}, zipfile.ZIP_LZMA)
    data = bytearray(path.read_bytes())
    data[30 + 1 + 5 : 30 + 1 + 9] = struct.pack("<L", 0xFFFFFFF0)
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match="LZMA properties"):
        list_files(path)[0].open()


def test_what_macos_hides_in_a_zip_is_no_damage(by_hand, tmp_path):
    folder = by_hand.save(by_hand.slices(shape=(8, 9, 4)), tmp_path / "ct")
    members = {f"./ct/{path.name}.dcm": path.read_bytes() for path in folder.iterdir()}
    double = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        "  # AppleDouble, as the Finder adds it
    hidden = {f"__MACOSX/ct/._{path.name}.dcm": double for path in folder.iterdir()}
    hidden |= {"ct/.DS_Store": b"x", "ct/.out.partial/IM0000.dcm": double, "__MACOSX/note.dcm": double}
    path = pack(tmp_path / "ct.zip", members | hidden)
    volume = read_series(path)
    assert volume.grid.shape == (9, 8, 4)
    assert not volume.source.repairs
    assert [(row.num_files, row.usable) for row in list_series(path)] == [(4, True)]


def test_links_in_a_folder_are_followed_to_files_but_not_to_folders(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("a")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").symlink_to(tmp_path / "real" / "a")
    (tmp_path / "folder" / "loop").symlink_to(tmp_path / "folder")
    (tmp_path / "folder" / "elsewhere").symlink_to(tmp_path / "real")
    assert [file.path.name for file in list_files(tmp_path / "folder")] == ["file"]


def test_folder_of_too_many_files_is_refused(tmp_path, monkeypatch):
    for n in range(6):
        (tmp_path / str(n)).touch()
    monkeypatch.setattr(archives, "MAX_FILES", 5)
    with pytest.raises(UnsafeFileError, match="at most 5 files"):
        list_files(tmp_path)


@pytest.mark.parametrize("read", [list_files, input_sha256, read_series])
def test_folder_that_cannot_be_looked_into_is_refused(tmp_path, monkeypatch, read):
    (tmp_path / "ct" / "second_half").mkdir(parents=True)
    (tmp_path / "ct" / "IM0000").write_text("a")
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("second_half"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)  # chmod stops no root
    with pytest.raises(FileFormatError, match="second_half: Permission denied"):
        read(tmp_path / "ct")
