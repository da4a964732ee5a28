"""Precision: bf16 is chosen where a device multiplies it, and not where it only imitates it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vesalius import precision
from vesalius.precision import best_precision


@pytest.mark.parametrize(("has_it", "best"), [(True, "bf16"), (False, "fp32")])
def test_a_card_that_only_imitates_bf16_computes_in_fp32(
    has_it: bool, best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every card of CUDA can hold bf16; those before Ampere multiply it by way of fp32, more slowly than that."""
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: has_it or including_emulation
    )
    assert best_precision("cuda:0") == best


@pytest.mark.parametrize(
    ("flags", "best"),
    [
        ("fpu avx2", "fp32"),
        ("avx512f avx512_bf16", "bf16"),
        ("amx_bf16 amx_tile", "bf16"),
        ("fp asimd bf16", "bf16"),
    ],
)
def test_what_a_processor_can_is_read_where_linux_tells_it(
    flags: str, best: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(f"processor : 0\nflags : {flags}\n")
    monkeypatch.setattr("vesalius.precision._TOLD", told)
    precision._has_fast_bf16.cache_clear()
    try:
        assert best_precision("cpu") == best
    finally:
        precision._has_fast_bf16.cache_clear()


def test_a_processor_of_which_nothing_is_told_computes_in_fp32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vesalius.precision._TOLD", tmp_path / "absent")
    precision._has_fast_bf16.cache_clear()
    try:
        assert best_precision("cpu") == best_precision("mps") == "fp32"
    finally:
        precision._has_fast_bf16.cache_clear()
