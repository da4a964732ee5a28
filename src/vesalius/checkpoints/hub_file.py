"""A file on a hub: which it is, what it must be, and where to find it, by program or by hand."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from pathlib import Path

_SPEC = "spec.json"
"""What weights are described by, where their repository has it."""

DEFAULT_ENDPOINT = "https://huggingface.co"


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file of a repository, and what it must be."""

    repo: str
    file: str
    revision: str = "main"
    size_bytes: int | None = None
    sha256: str = ""

    def url(self, endpoint: str) -> str:
        """Where the file is, at an endpoint."""
        parts = (self.repo, "resolve", urllib.parse.quote(self.revision, safe=""), urllib.parse.quote(self.file))
        return "/".join((endpoint.rstrip("/"), *parts))


def by_hand(wanted: HubFile, target: Path) -> str:
    """Say how to get the file without this program, as hospitals without network need."""
    page = wanted.url(DEFAULT_ENDPOINT)
    beside = "" if target.name == _SPEC else f", and {_SPEC} from beside it, where there is one"
    return f"on a machine with network download {page} and put it at {target}{beside}"
