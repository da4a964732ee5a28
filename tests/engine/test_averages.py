"""Averages: each name has a count of its own; what is not finite spoils nothing; states go on."""

from __future__ import annotations

import pytest

from vesalius.engine.averages import Averages


def test_each_name_has_a_count_of_its_own() -> None:
    averages = Averages()
    averages.add({"loss": 1.0, "dice of chest": 0.5})
    averages.add({"loss": 2.0})
    averages.add({"loss": float("nan"), "norm": float("inf")})
    assert averages.take() == {"loss": 1.5, "dice of chest": 0.5}
    assert averages.take() == {}


def test_a_state_goes_on_and_shares_nothing() -> None:
    first, second = Averages(), Averages()
    first.add({"loss": 1.0})
    state = first.state_dict()
    second.load_state_dict(state)
    second.add({"loss": 4.0})
    first.add({"loss": 2.0})
    assert second.take()["loss"] == pytest.approx(2.5)
    assert first.take()["loss"] == pytest.approx(1.5)
    assert state == {"loss": [1.0, 1.0]}
