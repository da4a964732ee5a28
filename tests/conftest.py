"""Fixtures and checks that every test shares: shapes are checked while tests run, shared data is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("vesalius", "beartype.beartype")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of small real scans beside the checkout; tests that want it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no shared data at {SHARED_DATA}")
    return SHARED_DATA
