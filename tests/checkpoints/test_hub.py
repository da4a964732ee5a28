"""The hub client against a hub on this machine that breaks off, lies, moves, and says no."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

import pytest

from vesalius.checkpoints.hub import Download, download, is_offline
from vesalius.checkpoints.hub_file import HubFile
from vesalius.errors import DiskError, HubError
from vesalius.io.file_lock import take_lock

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KEY = "owner/model@main/folder/weights file.bin"
WANTED = HubFile(repo="owner/model", file="folder/weights file.bin", size_bytes=len(CONTENT), sha256=SHA256)
UNKNOWN = HubFile(repo="owner/model", file="folder/weights file.bin")


@pytest.fixture
def target(tmp_path: Path, hub: Any) -> Path:
    hub.files[KEY] = CONTENT
    return tmp_path / "models" / "weights.bin"


def fetch(wanted: HubFile, target: Path, **options: Any) -> Download:
    return download(wanted, target, pause_s=0.001, **options)


def only(target: Path) -> bool:
    """Whether the target is whole and nothing else stands beside it."""
    return target.read_bytes() == CONTENT and list(target.parent.iterdir()) == [target]


def test_a_file_is_downloaded_through_the_hubs_redirect_to_its_storage(hub: Any, target: Path) -> None:
    hub.redirect_to = "storage"
    seen: list[tuple[int, int | None]] = []
    came = fetch(WANTED, target, progress=lambda done, total: seen.append((done, total)))
    assert came == Download(path=target, size_bytes=len(CONTENT), sha256=SHA256, commit="c0ffee")
    assert only(target)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [path for path, _ in hub.requests] == [
        "/owner/model/resolve/main/folder/weights file.bin",
        f"/storage/{KEY}",
    ]


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(hub: Any, target: Path) -> None:
    hub.cut_after, hub.cuts = 1_000_000, 2
    assert fetch(WANTED, target).sha256 == SHA256
    assert only(target)
    assert [asked for _, asked in hub.requests] == ["", "bytes=1000000-", "bytes=2000000-"]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(hub: Any, target: Path) -> None:
    hub.cut_after, hub.cuts = 600_000, 2
    with pytest.raises(HubError, match=r"after 1,200,000 bytes") as caught:
        fetch(WANTED, target, attempts=2)
    assert "run the command again" in caught.value.do
    assert not target.exists()
    hub.requests.clear()
    fetch(WANTED, target)
    assert [asked for _, asked in hub.requests] == ["bytes=1200000-"]
    assert only(target)


@pytest.mark.parametrize("what", ["another version", "no ranges", "no version"])
def test_what_cannot_be_continued_starts_again(hub: Any, target: Path, what: str) -> None:
    if what == "no version":
        hub.etag = ""
    hub.cut_after, hub.cuts = 600_000, 1
    with pytest.raises(HubError):
        fetch(WANTED, target, attempts=1)
    if what == "another version":
        hub.etag = '"two"'
    if what == "no ranges":
        hub.ranges = False
    fetch(WANTED, target)
    assert only(target)


def test_a_file_that_was_whole_but_not_yet_named_is_not_sent_again(hub: Any, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("weights.bin.part").write_bytes(CONTENT)
    target.with_name("weights.bin.part.etag").write_text('"one"')
    fetch(WANTED, target)
    assert only(target)
    assert [asked for _, asked in hub.requests] == ["bytes=3000000-"]


def test_a_longer_part_of_another_file_is_thrown_away(hub: Any, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("weights.bin.part").write_bytes(CONTENT + b"more")
    target.with_name("weights.bin.part.etag").write_text('"one"')
    fetch(WANTED, target)
    assert only(target)


@pytest.mark.parametrize(
    "wanted",
    [
        HubFile(repo="owner/model", file="folder/weights file.bin", sha256="0" * 64),
        HubFile(repo="owner/model", file="folder/weights file.bin", size_bytes=5),
    ],
    ids=["hash", "size"],
)
def test_a_file_that_was_not_promised_is_refused_and_removed(hub: Any, target: Path, wanted: HubFile) -> None:
    with pytest.raises(HubError, match="do not use the file"):
        fetch(wanted, target)
    assert list(target.parent.iterdir()) == []


def test_the_hash_the_hub_announces_is_held_against_what_its_storage_sends(hub: Any, target: Path) -> None:
    hub.redirect_to, hub.announce_sha256 = "storage", "1" * 64
    with pytest.raises(HubError, match="1" * 64):
        fetch(UNKNOWN, target)
    assert list(target.parent.iterdir()) == []
    hub.announce_sha256 = None
    assert fetch(UNKNOWN, target).sha256 == SHA256


def test_an_answer_without_a_length_is_held_to_the_size_wanted(hub: Any, target: Path) -> None:
    hub.announce_length = False
    fetch(WANTED, target)
    assert only(target)
    hub.files[KEY] = CONTENT + b"more"
    target.unlink()
    with pytest.raises(HubError, match="more"):
        fetch(WANTED, target)
    assert not target.exists()


@pytest.mark.parametrize(("status", "said"), [(404, "check the repository"), (401, "log in"), (403, "accept")])
def test_a_refusal_is_said_at_once_with_what_to_do(hub: Any, target: Path, status: int, said: str) -> None:
    hub.statuses = [status] * 9
    with pytest.raises(HubError, match=f"HTTP {status}") as caught:
        fetch(WANTED, target)
    assert said in caught.value.do
    assert len(hub.requests) == 1
    assert list(target.parent.iterdir()) == []


def test_a_busy_hub_is_asked_again(hub: Any, target: Path) -> None:
    hub.statuses = [503, 429]
    fetch(WANTED, target)
    assert only(target)
    hub.statuses, hub.requests = [503] * 9, []
    target.unlink()
    with pytest.raises(HubError, match="HTTP 503"):
        fetch(WANTED, target)
    assert len(hub.requests) == 4


@pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://127.0.0.1/weights", "data:text/plain,hello"])
def test_a_redirect_out_of_http_is_not_followed(hub: Any, target: Path, address: str) -> None:
    hub.redirect_to = address
    with pytest.raises(HubError):
        fetch(UNKNOWN, target)
    assert list(target.parent.iterdir()) == []
    assert len(hub.requests) == 1


def test_a_redirect_in_a_circle_ends(hub: Any, target: Path) -> None:
    hub.redirect_to = f"{hub.endpoint}/owner/model/resolve/main/folder/weights%20file.bin"
    with pytest.raises(HubError):
        fetch(UNKNOWN, target)
    assert len(hub.requests) < 50


def test_offline_no_connection_is_tried(hub: Any, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("a socket was opened"))
    with pytest.raises(HubError, match="HF_HUB_OFFLINE") as caught:
        fetch(WANTED, target)
    assert str(target) in caught.value.do
    assert "huggingface.co/owner/model/resolve/main/folder/weights%20file.bin" in caught.value.do
    assert hub.requests == []
    assert not target.parent.exists()


@pytest.mark.parametrize(
    ("value", "offline"), [("1", True), ("TRUE", True), ("on", True), ("0", False), ("", False)]
)
def test_offline_is_read_at_call_time(monkeypatch: pytest.MonkeyPatch, value: str, offline: bool) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert is_offline() is offline


def test_nobody_answering_is_an_error_that_says_how_to_do_it_by_hand(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    with pytest.raises(HubError, match="refused") as caught:
        fetch(WANTED, target, attempts=2)
    assert "by hand" in caught.value.do or "download https://" in caught.value.do


@pytest.mark.parametrize("address", ["file:///tmp", "hub.example.org", "ftp://hub.example.org"])
def test_an_endpoint_that_is_no_http_address_is_refused(
    target: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(HubError, match="HF_ENDPOINT"):
        fetch(WANTED, target)


def test_a_proxy_of_the_environment_is_asked_instead_of_the_hub(
    hub: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, hub.endpoint)  # a proxy is asked for whole addresses; the hub answers to any key
    hub.files[f"http://hub.invalid/{KEY}"] = CONTENT
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    assert fetch(WANTED, target).sha256 == SHA256
    assert only(target)
    target.unlink()
    hub.requests.clear()
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    with pytest.raises(HubError, match="Tunnel connection failed") as caught:
        fetch(WANTED, target, attempts=1)
    assert "proxy" in caught.value.do
    assert hub.requests == [("CONNECT hub.invalid:443", "")]


def test_two_downloads_of_one_file_do_not_mix(hub: Any, target: Path) -> None:
    fcntl = pytest.importorskip("fcntl", reason="file locks of POSIX")
    target.parent.mkdir()
    with target.with_name("weights.bin.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(HubError, match="another process"):
            fetch(WANTED, target)
        assert target.with_name("weights.bin.part").exists()  # that has no byte yet, and is the other's
    assert hub.requests == []
    fetch(WANTED, target)
    assert only(target)


def test_a_file_system_without_locks_is_no_reason_to_fetch_nothing(
    hub: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fcntl", reason="file locks of POSIX")

    def refuse(_: object, __: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    fetch(WANTED, target)
    assert only(target)


@pytest.mark.parametrize("way", ["replace", "unlink"], ids=["renamed when whole", "removed when empty"])
def test_a_part_file_keeps_its_lock_until_it_is_gone(
    hub: Any, target: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    fcntl = pytest.importorskip("fcntl", reason="file locks of POSIX")
    part, tried = target.with_name("weights.bin.part"), []

    real = getattr(Path, way)

    def after_another_tried(path: Path, *given: Any, **options: Any) -> Any:
        if path == part:
            with path.open("rb") as other, pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            tried.append(path)
        return real(path, *given, **options)

    monkeypatch.setattr(Path, way, after_another_tried)
    hub.statuses = [] if way == "replace" else [404]
    with nullcontext() if way == "replace" else pytest.raises(HubError, match="404"):
        fetch(WANTED, target)
    assert tried == [part]
    assert not part.exists()


def test_a_part_file_that_lost_its_name_before_it_was_locked_is_not_written(
    hub: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, opened = target.with_name("weights.bin.part"), []

    def locked_too_late(file: IO[bytes]) -> None:
        opened.append(file)
        if len(opened) == 1:
            part.unlink()  # so does who held it until now
        take_lock(file)

    monkeypatch.setattr("vesalius.checkpoints.hub.take_lock", locked_too_late)
    fetch(WANTED, target)
    assert only(target)
    assert len(opened) == 2
    assert opened[0].closed


def test_what_another_download_has_begun_meanwhile_is_not_shortened(
    hub: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl", reason="file locks of POSIX")
    target.parent.mkdir()
    part = target.with_name("weights.bin.part")
    part.write_bytes(CONTENT[:1000])
    monkeypatch.setattr(Path, "exists", lambda path: path != part)  # as it was when it was asked
    with part.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(HubError, match="another process"):
            fetch(WANTED, target)
    assert part.read_bytes() == CONTENT[:1000]


def test_no_room_is_said_before_the_transfer(hub: Any, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("vesalius.checkpoints.hub.shutil.disk_usage", lambda _: usage)
    with pytest.raises(DiskError, match="1,000"):
        fetch(WANTED, target)
    assert not target.exists()


def test_a_folder_that_cannot_be_made_is_a_disk_error(hub: Any, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DiskError):
        fetch(WANTED, tmp_path / "taken" / "weights.bin")
