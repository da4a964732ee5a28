"""The names that fine-tuning offers: each leads to its home, and options to no torch."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from vesalius.training import finetune


def test_every_name_that_is_offered_is_there() -> None:
    assert finetune.__all__ == sorted(finetune.__all__, key=lambda name: (not name.isupper(), name.islower(), name))
    assert set(finetune.__all__) == set(finetune._HOMES)
    for name, home in finetune._HOMES.items():
        module = importlib.import_module(f"vesalius.training.finetune.{home}")
        assert getattr(finetune, name) is getattr(module, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        finetune.nothing  # noqa: B018 - to look it up is the test


@pytest.mark.parametrize(("name", "needs_torch"), [("FinetuneOptions", False), ("begin", True)])
def test_options_need_no_torch(name: str, needs_torch: bool) -> None:
    script = f"import sys; from vesalius.training.finetune import {name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == needs_torch
