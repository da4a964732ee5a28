"""The files of a folder or of a zip, read one at a time, without ever unpacking a zip to disk.

A zip is input from a stranger: its member names never reach the file system, its sizes are believed only as upper
bounds, and nothing is inflated before the whole directory was checked (count, total, ratio, overlap, names).
Format facts: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.16 (end record).
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import bz2
import io
import lzma
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vesalius.errors import FileFormatError, InputError, UnsafeFileError
from vesalius.io.plain_text import plain_text

MAX_FILES = 100_000
MAX_MEMBER_BYTES = 2 << 30
MAX_TOTAL_BYTES = 32 << 30
MAX_RATIO = 250
"""Compression beyond this, in a zip of more than ``RATIO_FREE_BYTES``, is no scan
(a slice of pure air deflates a thousandfold, but no series is all air)."""
MAX_DIRECTORY_BYTES = 64 << 20
MAX_WINDOW_BYTES = 128 << 20
RATIO_FREE_BYTES = 512 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_ZIP64_END_BYTES = 56 + 20
_END_RECORD_REACH = 22 + 65_535 + _ZIP64_END_BYTES
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_DRIVE = re.compile(r"^[A-Za-z]:")


@dataclass(frozen=True)
class ZipPlace:
    """Where a member's bytes lie in its zip."""

    archive: Path
    header_offset: int
    compressed_bytes: int
    method: int
    crc: int


@dataclass(frozen=True)
class StoredFile:
    """A file of a folder, or a member of a zip.

    Args:
        path: Its path; for a member the zip's path followed by the member's name (to be shown, not opened).
        num_bytes: Its size, as claimed by the directory that lists it.
        place: Where it lies in a zip; None for a plain file.
    """

    path: Path
    num_bytes: int
    place: ZipPlace | None = None

    def open(self, *, prefix: int | None = None) -> io.BufferedIOBase:
        """Open it for reading.

        Args:
            prefix: How many bytes will be needed at most; a zip member is inflated only so far.

        Raises:
            FileFormatError: If it cannot be read or inflated.
        """
        try:
            return self.path.open("rb") if self.place is None else io.BytesIO(self._inflate(self.place, prefix))
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, struct.error) as error:
            raise FileFormatError(
                expected="a file that can be read",
                got=f"{self.path.name}: {'a link that leads nowhere' if self.is_dead_link else error}",
                do="check the rights of the file, or copy it again from its origin",
            ) from error

    @property
    def is_dead_link(self) -> bool:
        """Whether it is the name of a file that is elsewhere and not there: not fetched, or moved away."""
        return self.place is None and self.path.is_symlink() and not self.path.exists()

    def _inflate(self, place: ZipPlace, prefix: int | None) -> bytes:
        with place.archive.open("rb") as file:
            file.seek(place.header_offset)
            header = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
            if header[0] != b"PK\x03\x04":
                raise zlib.error("no member begins where the zip's directory says")
            file.seek(header[9] + header[10], os.SEEK_CUR)
            packed = file.read(place.compressed_bytes)
        wanted = self.num_bytes if prefix is None else min(prefix, self.num_bytes)
        data = _unpack(packed, place.method, wanted) if wanted else b""
        if len(data) != wanted:
            raise zlib.error(f"{len(data)} bytes inflated where the zip's directory says {wanted}")
        if wanted == self.num_bytes and zlib.crc32(data) != place.crc:
            raise zlib.error("its checksum does not match")
        return data


def _unpack(packed: bytes, method: int, wanted: int) -> bytes:
    """Return the first ``wanted`` bytes of a member; never makes more."""
    if method == zipfile.ZIP_STORED:
        return packed[:wanted]
    if method == zipfile.ZIP_DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, wanted)
    if method == zipfile.ZIP_BZIP2:
        return bz2.BZ2Decompressor().decompress(packed, wanted)
    size, first, window = struct.unpack_from("<xxHBL", packed)  # APPNOTE 5.8.8
    if size != 5 or window > MAX_WINDOW_BYTES:
        raise zlib.error("LZMA properties that no packer writes")
    filters = {"id": lzma.FILTER_LZMA1, "dict_size": window}
    filters |= {"lc": first % 9, "lp": first // 9 % 5, "pb": first // 45}
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[filters]).decompress(packed[9:], wanted)


def list_files(path: Path) -> list[StoredFile]:
    """List the files of a folder (with its subfolders), of a zip, or the one file itself.

    Links to folders are not followed; links to files are. One that leads nowhere is listed, and cannot be opened.
    Zips inside are not opened. What is hidden (a name that begins with a dot) is left out: of a folder locks and
    half-written results; of a zip what macOS packs beside each file (``__MACOSX/._IM1.dcm``).

    Raises:
        FileFormatError: If there is nothing there, a folder cannot be read, or the zip is damaged or encrypted.
        UnsafeFileError: If there are too many files, or the zip is built to exhaust or to escape.
    """
    if path.is_dir():
        return sorted(_walk(path), key=lambda file: file.path)
    if not path.is_file():
        raise FileFormatError(
            expected="a folder, a zip or a file", got=f"nothing at {path}", do="check the path for a typing error"
        )
    with path.open("rb") as file:
        is_zip = file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    return _list_zip(path) if is_zip else [StoredFile(path, path.stat().st_size)]


def _walk(folder: Path) -> Iterator[StoredFile]:
    count = 0
    for root, folders, names in os.walk(folder, followlinks=False, onerror=_refuse_folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if name.startswith("."):
                continue
            path, num_bytes = Path(root, name), 0
            try:
                status = path.stat()
            except OSError:  # a dead link: it may stand for a slice
                pass
            else:
                if not stat.S_ISREG(status.st_mode):
                    continue
                num_bytes = status.st_size
            count += 1
            if count > MAX_FILES:
                raise _unsafe(f"at most {MAX_FILES} files", "a folder with more", "name the folder of one study")
            yield StoredFile(path, num_bytes)


def _refuse_folder(error: OSError) -> None:
    raise FileFormatError(
        expected="a folder whose subfolders can all be read",
        got=f"{error.filename}: {error.strerror}",
        do="check the rights of that folder, or name the folder of the series itself",
    ) from error


def _list_zip(path: Path) -> list[StoredFile]:
    _check_directory_size(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            named = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise _damaged(str(error)) from error
    if len(named) != len(set(named)):
        raise _unsafe("members of different names", "the same name twice", "pack the folder again")
    _check_sizes(members, path.stat().st_size)
    for member in members:
        _check_member(member)
    return [
        StoredFile(
            path / plain_text(member.filename),
            member.file_size,
            ZipPlace(path, member.header_offset, member.compress_size, member.compress_type, member.CRC),
        )
        for member in sorted(members, key=lambda m: m.filename)
        if not member.is_dir() and not _is_hidden(member)
    ]


def _is_hidden(member: zipfile.ZipInfo) -> bool:
    parts = re.split(r"[/\\]", member.filename)
    return parts[0] == "__MACOSX" or any(part.startswith(".") and part != "." for part in parts)


def _check_directory_size(path: Path) -> None:
    """Bound the directory before ``zipfile`` makes an object of each entry (a million are 500 MB)."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END_RECORD_REACH))
        tail = file.read()
        end = tail.rfind(b"PK\x05\x06")
        if end < 0 or len(tail) - end < 22:
            raise _damaged("no end record: the zip is truncated")
        end_bytes, directory_bytes = 0, struct.unpack_from("<L", tail, end + 12)[0]
        if tail[max(0, end - 20) : end].startswith(b"PK\x06\x07"):  # zip64: its own end record, then a locator
            end_bytes = _ZIP64_END_BYTES
            if not tail[max(0, end - end_bytes) : end].startswith(b"PK\x06\x06"):
                raise _damaged("a zip64 without its end record")
            directory_bytes = struct.unpack_from("<Q", tail, end - end_bytes + 40)[0]
        if directory_bytes > min(MAX_DIRECTORY_BYTES, size):
            raise _unsafe(
                f"a zip directory of at most {MAX_DIRECTORY_BYTES >> 20} MB",
                f"{directory_bytes} bytes claimed",
                "pack the series alone",
            )
        file.seek(max(0, size - len(tail) + end - end_bytes - directory_bytes))
        count = file.read(directory_bytes).count(b"PK\x01\x02")
    if count > MAX_FILES:
        raise _unsafe(f"at most {MAX_FILES} members", f"a zip of {count}", "pack the series alone")


def _check_sizes(members: list[zipfile.ZipInfo], archive_bytes: int) -> None:
    total = sum(member.file_size for member in members)
    if total > MAX_TOTAL_BYTES or any(member.file_size > MAX_MEMBER_BYTES for member in members):
        raise _unsafe(
            f"at most {MAX_TOTAL_BYTES >> 30} GB in all and {MAX_MEMBER_BYTES >> 30} GB a member",
            f"{total} bytes claimed",
            "unpack it yourself, if you trust it, and name the folder",
        )
    if total > RATIO_FREE_BYTES and total > MAX_RATIO * archive_bytes:
        raise _unsafe(
            f"members compressed at most {MAX_RATIO}-fold",
            f"{total} bytes claimed in a zip of {archive_bytes}",
            "unpack it yourself, if you trust it, and name the folder",
        )
    end = 0
    for member in sorted(members, key=lambda m: m.header_offset):
        if member.header_offset < end:
            raise _unsafe("members that lie apart", "members that overlap", "pack the folder again")
        end = member.header_offset + _LOCAL_HEADER.size + member.compress_size


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.orig_filename
    parts = re.split(r"[/\\]", name)
    mode = member.external_attr >> 16
    problem = None
    if ".." in parts or name.startswith(("/", "\\")) or _DRIVE.match(name) or "\x00" in name:
        problem = "a member whose name leads out of the zip"
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        problem = "a member that is a link or a device"
    if problem:
        raise _unsafe("plain files in a zip", problem, "do not use this zip; ask its sender")
    if member.flag_bits & 0x1:
        raise FileFormatError(
            expected="a zip without a password",
            got="encrypted members",
            do="unpack it yourself and name the folder",
        )
    if member.compress_type not in _METHODS:
        raise FileFormatError(
            expected="members stored, deflated, or packed by bzip2 or LZMA",
            got=f"compression method {member.compress_type}",
            do="unpack it yourself and name the folder",
        )


def _unsafe(expected: str, got: str, do: str) -> InputError:
    return UnsafeFileError(expected=expected, got=got, do=do)


def _damaged(got: str) -> InputError:
    return FileFormatError(expected="a whole zip", got=got, do="copy or download it again")
