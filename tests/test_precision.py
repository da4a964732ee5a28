"""Precision: bf16 is chosen where a device multiplies it, and not where it only imitates it."""

from __future__ import annotations

import pytest
import torch

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
