"""Beside the processor the loop learns what it learns on it; where there is no float64, none is made."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import vesalius.engine.team as team_room
import vesalius.engine.wide as room
from engine.line_task import LineTask, line_learner, settings
from other_device import DEVICE, Elsewhere, OtherDevice
from vesalius.engine.learner import Learner
from vesalius.engine.loop import train
from vesalius.engine.run import RunFolder
from vesalius.engine.settings import Optimisation
from vesalius.engine.task import Outcome
from vesalius.engine.team import Team


class LineElsewhere(LineTask):
    """A line that is learnt on the other device; the loop asks about it in a thread of its own."""

    def __init__(self, *, has_float64: bool) -> None:
        super().__init__()
        self.has_float64 = has_float64

    def outcome(self, network: nn.Module, sample: Tensor) -> Outcome:
        with OtherDevice(has_float64=self.has_float64):
            return super().outcome(network, sample.to(DEVICE))


@pytest.fixture(params=[True, False], ids=["with float64", "without"])
def has_float64(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setattr(room, "WITHOUT_FLOAT64", frozenset({DEVICE.type}))
    return bool(request.param)


def test_it_is_mps_that_lacks_float64() -> None:
    kinds = ("cpu", "cuda:1", "mps")
    assert [room.widest(torch.device(kind)) for kind in kinds] == [torch.float64, torch.float64, torch.float32]


def test_a_training_ends_where_it_does_on_the_processor(has_float64: bool, tmp_path: Path) -> None:
    run, length = RunFolder(tmp_path, writes=False), settings(steps=5, windows=2)
    here, optimisation = line_learner(), Optimisation(learning_rate=0.3, clip_norm=0.05)
    here = Learner(here.network, optimisation)
    train(LineTask(), here, run, length)
    with OtherDevice(has_float64=has_float64):
        there = Learner(line_learner().network.to(DEVICE), optimisation)
        train(LineElsewhere(has_float64=has_float64), there, run, length)
    begun = line_learner().network.parameters()
    for one, other, slow, slow_there, before in zip(
        here.network.parameters(),
        there.network.parameters(),
        here.average.parameters(),
        there.average.parameters(),
        begun,
        strict=True,
    ):
        assert isinstance(other, Elsewhere)
        assert isinstance(slow_there, Elsewhere)
        assert torch.allclose(one, other.detach().cpu(), rtol=1e-4, atol=1e-5)
        assert torch.allclose(slow, slow_there.detach().cpu(), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(one, before)
        assert not torch.allclose(one, slow)


def test_gradients_of_a_team_are_added_there(has_float64: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team_room.dist, "all_reduce", lambda buffer: buffer.mul_(2))  # both processes have the same
    parts = [torch.tensor([[1.0, 2.0], [3.0, 4.0]]), None, torch.tensor([5.0])]
    with OtherDevice(has_float64=has_float64):
        like = [torch.zeros(2, 2).to(DEVICE), torch.zeros(3).to(DEVICE), torch.zeros(1).to(DEVICE)]
        given = [None if part is None else part.to(DEVICE) for part in parts]
        first, nothing, last = Team(0, 2).summed(given, like)
    assert isinstance(first, Elsewhere)
    assert isinstance(last, Elsewhere)
    assert nothing is None
    assert (first.cpu().tolist(), last.cpu().tolist()) == ([[2.0, 4.0], [6.0, 8.0]], [10.0])
