"""Tiny data sets in every layout; most files need only be there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest


class Folder:
    """Makes files in a temporary folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def touch(self, *names: str) -> None:
        for name in names:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_bytes(b"x")

    def json(self, name: str, content: Mapping[str, Any] | list[Any]) -> Path:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(json.dumps(content))
        return self.path / name


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "set")
