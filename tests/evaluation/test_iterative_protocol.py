"""The published iterative protocol, by hand: a stand-in is the network, whose clicks are cubes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.test_window_protocols import ANY, SMALL, case, falling
from interactive.small_session import segmenter
from vesalius.errors import UsageError
from vesalius.evaluation import iterative_protocol
from vesalius.evaluation.iterative_protocol import evaluate_iteratively
from vesalius.inference.points import PointLogits
from vesalius.prompts.encode import ObjectClicks

Heard = list[tuple[tuple[int, ...], bool, bool]]


def cubes(halves: Sequence[int], heard: Heard) -> Callable[..., tuple[PointLogits, ...]]:
    """Positive clicks are cubes, of another size each; negative ones take their voxel away."""

    def segment(*asked: object, **_: object) -> tuple[PointLogits, ...]:
        ((one,), starts) = asked[2:]
        assert isinstance(one, ObjectClicks)
        assert starts == [(0, 0, 0)]
        logits, points = torch.full(SMALL, -1.0), one.points_ijk.astype(int).tolist()
        heard.append((tuple(points[-1]), bool(one.positive[-1]), one.target.supported))
        for half, (i, j, k), positive in zip(halves, points, one.positive, strict=False):
            part = tuple(slice(max(at - half, 0), at + half + 1) for at in (i, j, k))
            logits[part if positive else (i, j, k)] = 1.0 if positive else -1.0
        return (PointLogits(SMALL, ((0, 0, 0),), (logits,)),)

    return segment


def test_clicks_go_to_the_larger_error_slices_without_truth_are_emptied_and_the_best_so_far_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: Heard = []
    monkeypatch.setattr(iterative_protocol, "segment_points", cubes((2, 4, 0), heard))
    one = case(SMALL, liver=np.s_[2:7, 2:7, 2:7])
    one.truth.data[10:13, 10:13, 10:13] = 1  # 125 and 27 voxels
    found = evaluate_iteratively(segmenter(), [one], clicks=3, how=ANY)
    # 1: the first part as it is. 2: of 9 x 9 x 9 voxels around the other the 81 in each of its three slices remain.
    # 3: more is in excess, 216 voxels; one of them is taken away.
    assert heard[:2] == [((4, 4, 4), True, False), ((11, 11, 11), True, False)]
    (i, j, k), positive, _ = heard[2]
    assert not positive
    assert (7 <= i <= 15, 7 <= j <= 15, k) == (True, True, 11)
    assert not one.truth.data[i, j, k]
    first = 2 * 125 / (152 + 125)
    assert 2 * 152 / (152 + 125 + 3 * 81) < 2 * 152 / (152 + 125 + 3 * 81 - 1) < first
    (curve,) = found.curves
    assert [score.dice for score in curve.scores] == pytest.approx([0.0, first, first, first])
    assert found.evaluation().scores[0].dice == pytest.approx(first)
    assert found.as_dict()["best_dice_so_far"] == pytest.approx([0.0, first, first, first], abs=1e-5)


def test_slices_without_truth_are_emptied_before_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: Heard = []
    monkeypatch.setattr(iterative_protocol, "segment_points", cubes((3,), heard))
    one = case(SMALL, liver=np.s_[5:10, 5:10, 6:9])  # 75 voxels in three slices
    (curve,) = evaluate_iteratively(segmenter(), [one], clicks=1, how=ANY).curves
    assert heard == [((7, 7, 7), True, False)]
    assert curve.scores[-1].dice == pytest.approx(2 * 75 / (75 + 3 * 49))  # of 7 x 7 x 7 voxels


def test_it_ends_where_no_error_survives_erosion_and_nobody_clicks_on_what_is_absent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: Heard = []
    monkeypatch.setattr(iterative_protocol, "segment_points", cubes((1,), heard))
    one = case(SMALL, liver=np.s_[5:10, 5:10, 5:10], spleen=np.s_[0:0, 0:0, 0:0])
    found = evaluate_iteratively(segmenter(), [one], how=ANY)
    assert len(heard) == 1  # what is missing is one voxel thick
    assert [len(curve.scores) for curve in found.curves] == [2, 1]
    assert [score.dice for score in found.evaluation().scores] == pytest.approx([2 * 27 / (125 + 27), 1.0])
    assert found.best_dice(1) == pytest.approx((2 * 27 / (125 + 27) + 1) / 2)
    assert "Best Dice so far" in found.section()


def test_a_real_network_is_asked_window_by_window_also_about_what_it_has_no_name_for() -> None:
    one = case((18, 16, 16), liver=np.s_[3:8, 4:9, 5:10], larynx=np.s_[10:15, 9:14, 1:6])
    found = evaluate_iteratively(segmenter(), [one], clicks=2, how=ANY)
    assert [curve.scores[0].name for curve in found.curves] == ["liver", "larynx"]
    for curve in found.curves:
        dice = [score.dice for score in curve.scores]
        assert dice == sorted(dice)
    with pytest.raises(UsageError, match="at least one click"):
        evaluate_iteratively(segmenter(), [one], clicks=0)


def test_a_plan_that_fell_to_bf16_is_clicked_in_by_a_network_in_bf16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = case(SMALL, liver=np.s_[3:8, 4:9, 5:10])
    model, tight, half = falling(tmp_path, one, (), monkeypatch)
    found = evaluate_iteratively(model, [one], clicks=2, how=tight)
    assert len(found.curves[0].scores) > 1
    assert found.curves == evaluate_iteratively(half, [one], clicks=2, how=ANY).curves
    assert model.precision == "fp32"
