"""Downloads one file of a hub repository: resumed where it stopped, checked before it gets its name.

Speaks the resolve layout of the Hugging Face hub, ``{endpoint}/{repo}/resolve/{revision}/{file}``, over urllib,
which honours the proxies and certificates of the environment. ``HF_ENDPOINT`` (a mirror) and ``HF_HUB_OFFLINE``
are read when a download starts. Nothing is sent but the request; no token is read.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import IO

from vesalius.checkpoints.content import file_sha256
from vesalius.checkpoints.http_only import http_opener
from vesalius.checkpoints.hub_file import DEFAULT_ENDPOINT, HubFile, by_hand
from vesalius.errors import DiskError, HubError
from vesalius.io.file_lock import take_lock

DO_NOT_USE = "do not use the file"
"""Begins the advice where a file came, and is not what was promised."""

_TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BUSY = (408, 425, 429, 500, 502, 503, 504)

Progress = Callable[[int, int | None], None]
"""Called with bytes so far and bytes in all, where known."""


@dataclass(frozen=True, kw_only=True)
class Download:
    """What came."""

    path: Path
    size_bytes: int
    sha256: str
    commit: str
    """The commit the hub resolved the revision to, where it says so."""


@dataclass
class _Transfer:
    """One file on its way: the partial file, and what the servers said about the whole."""

    wanted: HubFile
    part: Path
    commit: str = ""
    announced_sha256: str = ""
    total: int | None = field(default=None)

    @property
    def etag_file(self) -> Path:
        return self.part.with_name(self.part.name + ".etag")

    def discard(self) -> None:
        self.part.write_bytes(b"")
        self.etag_file.unlink(missing_ok=True)

    def note(self, headers: Message) -> None:
        """Remember what the hub says about the whole file; it says it beside the redirect to its storage."""
        self.commit = headers.get("X-Repo-Commit") or self.commit
        linked = (headers.get("X-Linked-ETag") or "").strip('"')
        if _SHA256.fullmatch(linked):
            self.announced_sha256 = linked


def endpoint() -> str:
    """The hub to ask: ``HF_ENDPOINT``, or the public one.

    Raises:
        HubError: If it is no http address.
    """
    address = os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT
    if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
        raise HubError(expected="HF_ENDPOINT to be an http or https address", got=address, do="correct or unset it")
    return address


def is_offline() -> bool:
    """Whether ``HF_HUB_OFFLINE`` forbids the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on")


def download(
    wanted: HubFile, target: Path, *, progress: Progress | None = None, attempts: int = 4, pause_s: float = 1.0
) -> Download:
    """Download a file, or go on with what an earlier call left, and give it its name once it is checked.

    Args:
        wanted: The file and what it must be.
        target: Where it goes; ``.part`` files stand beside it meanwhile.
        progress: Told how far it is.
        attempts: How often a connection that breaks is taken up again.
        pause_s: Seconds before the second attempt; doubles with each.

    Raises:
        HubError: Offline, not found, refused, broken off for good, or not the file that was promised.
        DiskError: If there is no room, or the folder cannot be written.
    """
    url = wanted.url(endpoint())
    if is_offline():
        raise HubError(
            expected=f"to download {url}",
            got="HF_HUB_OFFLINE is set, so the network is not used",
            do=by_hand(wanted, target),
        )
    transfer = _Transfer(wanted, target.with_name(target.name + ".part"))
    with _disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(transfer.part) as file:
            _transfer_all(transfer, file, url, progress=progress, attempts=attempts, pause_s=pause_s)
            size, sha256 = _check(transfer, target)
            _release_on_windows(file)
            transfer.part.replace(target)
        transfer.etag_file.unlink(missing_ok=True)
    return Download(path=target, size_bytes=size, sha256=sha256, commit=transfer.commit)


def _transfer_all(
    transfer: _Transfer, file: IO[bytes], url: str, *, progress: Progress | None, attempts: int, pause_s: float
) -> None:
    reason = ""
    for attempt in range(attempts):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        try:
            _transfer_once(transfer, file, url, progress)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # nothing after what we have: it is whole, or it is not that file any more
                if (error.headers.get("Content-Range") or "").endswith(f"*/{file.tell()}"):
                    return
                transfer.discard()
            elif error.code not in _BUSY:
                raise _refused(transfer.wanted, url, error) from None
            reason = f"HTTP {error.code} {error.reason}"
        except (
            urllib.error.URLError,
            http.client.HTTPException,
            TimeoutError,
            ConnectionError,
            ssl.SSLError,
        ) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        else:
            if transfer.total is None or file.tell() == transfer.total:
                return
            reason = f"the connection ended after {file.tell():,} of {transfer.total:,} bytes"
    have = file.tell()
    again = f"run the command again: it goes on after {have:,} bytes" if have else "check the network and the proxy"
    raise HubError(
        expected=f"the whole of {url}",
        got=f"{reason}, {attempts} times",
        do=f"{again}; or {by_hand(transfer.wanted, transfer.part.with_suffix(''))}",
    )


def _transfer_once(transfer: _Transfer, file: IO[bytes], url: str, progress: Progress | None) -> None:
    """Fetch what is missing; the file's position says how much there is."""
    request = urllib.request.Request(url, headers={"User-Agent": "vesalius", "Accept-Encoding": "identity"})
    have = file.seek(0, os.SEEK_END)
    etag = transfer.etag_file.read_text() if have and transfer.etag_file.exists() else ""
    if etag:
        # Without a version to compare, the rest of another file could be glued on: then it starts again.
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", etag)
    with http_opener(on_redirect=transfer.note).open(request, timeout=_TIMEOUT_S) as response:
        transfer.note(response.headers)
        start, transfer.total = _extent(response, have)
        _check_announced(transfer, url)
        file.seek(start)
        file.truncate()
        _remember_version(transfer, response.headers.get("ETag") or "")
        _check_room(transfer, start)
        while chunk := response.read(_CHUNK_BYTES):
            if transfer.total is not None and file.tell() + len(chunk) > transfer.total:
                raise _not_as_promised(f"{transfer.total:,} bytes", "more", url)
            file.write(chunk)
            if progress:
                progress(file.tell(), transfer.total)
        file.flush()


def _extent(response: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """Return the byte the response starts at and the size of the whole file."""
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range") or "")
        if match is None or int(match[1]) != have:
            raise http.client.HTTPException("a partial answer that does not go on where we stopped")
        return have, int(match[2])
    length = response.headers.get("Content-Length")
    return 0, int(length) if length and length.isdigit() else None


def _check_announced(transfer: _Transfer, url: str) -> None:
    wanted = transfer.wanted
    if None not in (wanted.size_bytes, transfer.total) and wanted.size_bytes != transfer.total:
        raise _not_as_promised(f"{wanted.size_bytes:,} bytes", f"{transfer.total:,} bytes", url)
    if wanted.sha256 and transfer.announced_sha256 and wanted.sha256 != transfer.announced_sha256:
        raise _not_as_promised(f"SHA-256 {wanted.sha256}", f"{transfer.announced_sha256} announced", url)
    transfer.total = transfer.total if transfer.total is not None else wanted.size_bytes


def _remember_version(transfer: _Transfer, etag: str) -> None:
    if etag and not etag.startswith("W/"):
        transfer.etag_file.write_text(etag)
    else:
        transfer.etag_file.unlink(missing_ok=True)


def _check_room(transfer: _Transfer, have: int) -> None:
    free = shutil.disk_usage(transfer.part.parent).free
    if transfer.total is not None and transfer.total - have > free:
        raise DiskError(
            expected=f"{transfer.total - have:,} free bytes in {transfer.part.parent}",
            got=f"{free:,}",
            do="free space, or set HF_HOME to a larger disk",
        )


def _check(transfer: _Transfer, target: Path) -> tuple[int, str]:
    """Compare the whole file with what was wanted and announced; what does not match is thrown away."""
    size, sha256 = transfer.part.stat().st_size, file_sha256(transfer.part)
    promised = {transfer.wanted.sha256, transfer.announced_sha256} - {""}
    if transfer.wanted.size_bytes not in (None, size):
        transfer.discard()
        raise _not_as_promised(f"{transfer.wanted.size_bytes:,} bytes", f"{size:,} bytes", target.name)
    if promised - {sha256}:
        transfer.discard()
        raise _not_as_promised(f"SHA-256 {' and '.join(sorted(promised))}", sha256, target.name)
    return size, sha256


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[IO[bytes]]:
    """Open a part file that nobody else writes, until the block ends; one that fails leaves no empty file."""
    with _acquired(part) as file:
        try:
            yield file
        except BaseException:
            if not file.closed and file.seek(0, os.SEEK_END) == 0:
                _release_on_windows(file)
                part.unlink(missing_ok=True)  # while it is locked: nobody begins to fill it meanwhile
            raise


def _acquired(part: Path) -> IO[bytes]:
    """Open and lock a part file as it is, and make sure that it is still the one of that name."""
    while True:
        file = part.open("a+b")  # makes one where there is none, and shortens none that another has begun
        try:
            take_lock(file)  # where there are none, two pulls at once are caught by size and hash only
            if os.path.samestat(part.stat(), os.fstat(file.fileno())):
                return file
        except FileNotFoundError:  # whoever held it has just renamed or removed it
            pass
        except BlockingIOError:
            file.close()
            raise HubError(
                expected=f"to be the only download of {part.name}",
                got="another process is downloading it",
                do="wait for it to finish",
            ) from None
        except BaseException:
            file.close()
            raise
        file.close()


def _release_on_windows(file: IO[bytes]) -> None:
    """Close a file where no open one can be renamed or removed; elsewhere it stays locked until that is done."""
    if os.name == "nt":
        file.close()


@contextlib.contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(
            expected=f"to write {target}",
            got=str(error),
            do="free space, or set HF_HOME to a folder you may write to",
        ) from None


def _refused(wanted: HubFile, url: str, error: urllib.error.HTTPError) -> HubError:
    page = f"{DEFAULT_ENDPOINT}/{wanted.repo}"
    advice = {
        401: f"log in and accept the licence at {page} in a browser, then download by hand",
        403: f"accept the licence at {page} in a browser, then download by hand",
        404: f"check the repository, revision and file name at {page}",
    }
    return HubError(
        expected=f"to download {url}",
        got=f"HTTP {error.code} {error.reason}",
        do=advice.get(error.code, "check HF_ENDPOINT and your proxy settings (HTTPS_PROXY, SSL_CERT_FILE)"),
    )


def _not_as_promised(expected: str, got: str, where: str) -> HubError:
    return HubError(
        expected=f"{expected} from {where}",
        got=got,
        do=f"{DO_NOT_USE}: the publisher changed it, or something on the way did; compare by hand",
    )
