"""A tiny VISTA3D whose every tensor matters, and a hub folder of its own for every test."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch
from torch import Tensor

from vesalius.checkpoints.catalog import VISTA3D_SPEC
from vesalius.models.build import build
from vesalius.spec import ModelSpec, VistaArchitecture

TINY = VistaArchitecture(width=8, blocks_down=(1, 2, 1), num_embeddings=140)


@pytest.fixture(autouse=True)
def _own_hub_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)


def draw(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Draw every tensor from a generator seeded by its name, so that no two are alike and none is at its start."""
    drawn = {}
    for name, tensor in state.items():
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
        values = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed))
        if tensor.dim() > 2 or (tensor.dim() == 2 and len(tensor) > 3 and "embedding" not in name):
            values *= (2 / tensor[0].numel()) ** 0.5
        elif tensor.dim() == 1:
            values = 1 + 0.3 * values if name.endswith("weight") else 0.3 * values
        drawn[name] = values
    return drawn


@pytest.fixture(scope="session")
def tiny_state() -> dict[str, Tensor]:
    """Our state dict of the tiny network."""
    return draw(build(TINY).state_dict())


@pytest.fixture(scope="session")
def tiny_spec() -> ModelSpec:
    """The spec of the tiny network."""
    return replace(VISTA3D_SPEC, name="tiny", architecture=TINY, licence="Apache-2.0", dice={"liver": 0.9})


@dataclass
class Hub:
    """What is served, how it misbehaves, and what was asked."""

    files: dict[str, bytes]
    """``owner/name@revision/file`` -> content."""
    cut_after: int | None = None
    """Bytes after which one answer breaks off, counted from its start."""
    cuts: int = 0
    """How many answers still break off."""
    statuses: list[int] = field(default_factory=list)
    """Statuses the next answers have instead of a file."""
    redirect_to: str = ""
    """Where the resolve address sends on to: ``storage`` for this server, or an address as it is."""
    etag: str = '"one"'
    ranges: bool = True
    announce_sha256: str | None = None
    announce_length: bool = True
    endpoint: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """(path, Range header) of every request."""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_CONNECT(self) -> None:
        """Refuse a tunnel, as a proxy that is asked for one may."""
        self.hub.requests.append((f"CONNECT {self.path}", ""))
        self.send_error(403)

    def do_GET(self) -> None:
        hub, path = self.hub, unquote(self.path)
        hub.requests.append((path, self.headers.get("Range") or ""))
        if hub.statuses:
            self.send_error(hub.statuses.pop(0))
            return
        if path.startswith("/storage/"):
            self._send(hub.files.get(path.removeprefix("/storage/")))
            return
        repo, _, rest = path.removeprefix("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        key = f"{repo}@{revision}/{file}"
        if key in hub.files and hub.redirect_to:
            self.send_response(302)
            self._announce(hub.files[key])
            self.send_header(
                "Location", f"{hub.endpoint}/storage/{key}" if hub.redirect_to == "storage" else hub.redirect_to
            )
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(hub.files.get(key))

    def _announce(self, content: bytes) -> None:
        self.send_header("X-Repo-Commit", "c0ffee")
        sha256 = self.hub.announce_sha256
        self.send_header("X-Linked-ETag", f'"{sha256 or hashlib.sha256(content).hexdigest()}"')

    def _send(self, content: bytes | None) -> None:
        hub = self.hub
        if content is None:
            self.send_error(404)
            return
        start = 0
        asked = self.headers.get("Range")
        if asked and hub.ranges and self.headers.get("If-Range") == hub.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        if hub.announce_length:
            self.send_header("Content-Length", str(len(body)))
        if hub.etag:
            self.send_header("ETag", hub.etag)
        self.end_headers()
        if hub.cuts and hub.cut_after is not None:
            hub.cuts -= 1
            body = body[: hub.cut_after]
            self.close_connection = True
        self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that serves from a thread, and that ``HF_ENDPOINT`` points to."""
    served = Hub(files={})
    handler = type("Handler", (_Handler,), {"hub": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    served.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", served.endpoint)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()
