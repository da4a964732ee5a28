"""Forecast: what a training takes, from its settings and from what was measured."""

from __future__ import annotations

import pytest

from vesalius.engine.forecast import Costs, length_s, totals, unvalidated
from vesalius.engine.settings import LoopSettings


def test_a_training_is_as_long_as_its_minutes_or_as_its_steps_and_validations() -> None:
    costs = Costs(step_s=2.0, validation_s=5.0, peak_bytes=0)
    assert length_s(LoopSettings(minutes=3.0, validate_every=1), costs, validated=9) == 180
    assert length_s(LoopSettings(steps=10), costs, validated=9) == 20
    assert length_s(LoopSettings(steps=10, ends_at=4), costs) == 8
    for every, times in ((10, 2), (4, 4), (5, 3)):  # before the first step and at the end, too
        assert length_s(LoopSettings(steps=10, validate_every=every), costs, validated=3) == 20 + times * 3 * 5


@pytest.mark.parametrize(
    ("seconds", "words"), [(80.0, "80 s"), (600.0, "10 min"), (9000.0, "2.5 h"), (216000.0, "2.5 days")]
)
def test_totals_name_what_there_is(seconds: float, words: str) -> None:
    said = totals(seconds, 0.0, peak_bytes=3 * 10**9, card_bytes=0)
    assert said == f"about {words} in all; 3.0 GB at the peak"
    assert "80 s of them to measure" in totals(seconds, 80.0, peak_bytes=1, card_bytes=10**9)
    assert totals(seconds, 80.0, peak_bytes=1, card_bytes=10**9).endswith(", 1.0 GB of the card")


def test_of_several_processes_each_does_its_share_of_a_step() -> None:
    loop = LoopSettings(minutes=1.0, windows=5, validate_every=2)
    assert unvalidated(loop, processes=2) == LoopSettings(steps=1, windows=3)
