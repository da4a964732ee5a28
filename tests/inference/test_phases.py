"""Phases: the fullest moment counts, and is named by what it holds."""

from __future__ import annotations

import pytest

from vesalius.inference.phases import forecast_as_dict, gigabytes, largest_phase, peak_of, ways_out

PHASES = {"windows": {"network": 3 * 10**9, "slab": 10**9}, "labels": {"slab": 10**9, "labels": 2 * 10**9}}


def test_parts_of_a_moment_add_up_and_moments_do_not() -> None:
    assert peak_of(PHASES) == 4 * 10**9
    assert largest_phase(PHASES) == "network 3.0 GB, slab 1.0 GB"


def test_a_card_is_told_of_where_there_is_one() -> None:
    alone = forecast_as_dict(PHASES, 12.345)
    assert alone == {"peak_bytes": 4 * 10**9, "bytes": PHASES, "seconds": 12.3}
    card = {"windows": {"network": 10**9}}
    assert forecast_as_dict(PHASES, 1.0, card=card) == {**alone, "card_bytes": card, "seconds": 1.0}


@pytest.mark.parametrize(("precision", "is_offered"), [("fp32", True), ("bf16", False)])
def test_a_smaller_precision_is_offered_where_there_is_one(precision: str, is_offered: bool) -> None:
    words = ways_out(precision, "leave out --clicks")  # type: ignore[arg-type]
    assert ("--precision bf16" in words) == is_offered
    assert words.startswith("raise --max-memory")
    assert "leave out --clicks" in words


def test_sizes_are_written_for_people() -> None:
    assert gigabytes(1_250_000_000) == "1.2 GB"
