"""A folder with a tiny model, ``tiny``, and its list, ``data/list.json``."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.small_list import write_list, write_tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finetune")
    write_tiny(folder / "tiny")
    write_list(folder / "data", training=5, validation=1)
    return folder
