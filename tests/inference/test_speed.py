"""Speed: operations are those that torch counts, and are timed without waiting for what is slow."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vesalius.inference import speed
from vesalius.inference.speed import window_flops
from vesalius.models.build import build
from vesalius.spec import VistaArchitecture


@pytest.mark.parametrize("blocks", [(1, 1), (1, 2, 2)])
def test_flops_are_those_that_torch_counts(blocks: tuple[int, ...]) -> None:
    architecture = VistaArchitecture(
        width=4, blocks_down=blocks, num_embeddings=4, in_channels=2, point_branch=False
    )
    with torch.device("meta"):
        network, window = build(architecture), torch.empty(1, 2, 8, 12, 16)
    with FlopCounterMode(display=False) as counter:  # the layers of training, which sum directly
        network.mapped_features(window)
    assert window_flops(architecture, (8, 12, 16)) == counter.get_total_flops()


def test_flops_of_the_published_network_are_those_of_its_specification() -> None:
    flops = window_flops(VistaArchitecture(point_branch=False), (128, 128, 128))
    assert flops == pytest.approx((1823.7 + 1110.4 + 1043.7) * 1e9, rel=0.02)


@pytest.mark.parametrize(("seconds_a_voxel", "sides"), [(1e-6, [16, 48]), (1e-3, [16])])
def test_a_precision_that_is_only_imitated_is_timed_by_a_small_convolution(
    seconds_a_voxel: float, sides: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 48 voxels a side the slow one would take two minutes; both give the same speed, which is per operation."""
    timed: list[int] = []

    def fastest(run: partial[torch.Tensor]) -> float:
        timed.append(run.args[0].shape[-1])
        return seconds_a_voxel * timed[-1] ** 3

    monkeypatch.setattr(speed, "fastest", fastest)
    architecture = VistaArchitecture(width=8)
    speed.measure_flops_per_second.cache_clear()
    measured = speed.measure_flops_per_second(architecture, "fp32")
    speed.measure_flops_per_second.cache_clear()
    assert timed == sides
    assert measured == pytest.approx(2 * 27 * 8 * 8 / seconds_a_voxel)


def test_what_takes_long_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[float] = []
    clock = iter([0.0, 3.0])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    assert speed.fastest(lambda: runs.append(0.0)) == 3.0
    assert len(runs) == 1
