"""Pull: how far clicks move logits, on both sides of a window's face alike."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.clicked_ball import WINDOW, ball_logits, clicks
from vesalius.errors import CheckpointError
from vesalius.inference.points import PointLogits
from vesalius.inference.pull import pulled
from vesalius.prompts import ObjectClicks
from vesalius.spec import ModelSpec, VistaArchitecture

SPACING_MM = (2.0, 2.0, 3.0)


def silent(*starts: tuple[int, int, int]) -> PointLogits:
    return PointLogits((40, 32, 32), starts, tuple(torch.zeros(WINDOW) for _ in starts))


def both(positive: tuple[float, float, float], negative: tuple[float, float, float]) -> ObjectClicks:
    return replace(clicks(positive, negative), positive=np.array([True, False]))


def test_a_click_moves_logits_by_the_pull_and_less_with_distance_in_mm() -> None:
    moved = pulled(silent((4, 0, 0)), clicks((8, 8, 8)), SPACING_MM, pull=6.0, mm=5.0).windows[0]
    assert moved[4, 8, 8] == pytest.approx(6.0)
    assert moved[4, 8, 10] == pytest.approx(6.0 * math.exp(-0.5 * (6 / 5) ** 2))
    assert moved[7, 8, 8] == pytest.approx(moved[4, 8, 10].item())
    assert float(moved[15, 0, 15]) < 1e-2


def test_a_negative_click_moves_them_the_other_way_and_between_the_two_they_stand() -> None:
    moved = pulled(silent((0, 0, 0)), both((5, 8, 8), (9, 8, 8)), SPACING_MM, pull=6.0, mm=5.0).windows[0]
    assert moved[9, 8, 8] == pytest.approx(-moved[5, 8, 8].item())
    assert float(moved[5, 8, 8]) > 3
    assert moved[7].abs().max() < 1e-5


def test_clicks_of_one_sign_do_not_add_up() -> None:
    once = pulled(silent((0, 0, 0)), clicks((8, 8, 8)), SPACING_MM, pull=6.0, mm=5.0).windows[0]
    twice = pulled(silent((0, 0, 0)), clicks((8, 8, 8), (8, 8, 8)), SPACING_MM, pull=6.0, mm=5.0).windows[0]
    assert torch.equal(once, twice)


def test_windows_agree_where_they_overlap_and_what_was_given_is_kept() -> None:
    given = ball_logits([(0, 0, 0), (6, 4, 2)], (9, 9, 9), 4.0)
    before = [window.clone() for window in given.windows]
    found = pulled(given, clicks((9, 9, 9), (30, 9, 9)), SPACING_MM, pull=6.0, mm=5.0)
    assert all(map(torch.equal, given.windows, before))
    assert torch.allclose(found.windows[0][6:, 4:, 2:], found.windows[1][:10, :12, :14])
    assert (found.starts, found.shape) == (given.starts, given.shape)


@pytest.mark.parametrize("changes", [{"click_pull": 8.0}, {"click_pull": 0.0, "click_reach_mm": 15.0}])
def test_a_pull_wants_a_reach(changes: dict[str, float]) -> None:
    with pytest.raises(CheckpointError, match="pull of clicks"):
        ModelSpec(name="any", architecture=VistaArchitecture(), **changes)  # type: ignore[arg-type]
