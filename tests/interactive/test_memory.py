"""Memory of a long session: bounded by the labels, the cache and one pass of the network, whatever was clicked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_two_hundred_clicks_on_a_large_scan_stay_within_four_gigabytes() -> None:
    script = Path(__file__).with_name("many_clicks.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, env=environment
    )
    before, peak, held = map(int, done.stdout.split())
    assert peak - before < 4e9
    assert 0.5e9 < held <= 1 << 30, "the cache was filled, and kept to its bound"
