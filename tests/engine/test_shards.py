"""Shards: every tensor has one keeper; steps and checkpoints are those of a learner that keeps everything."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.line_task import same
from vesalius.engine.learner import Learner
from vesalius.engine.settings import Optimisation, Part
from vesalius.engine.shards import keepers
from vesalius.engine.team import ALONE, Team

SETTINGS = Optimisation(
    learning_rate=0.3,
    weight_decay=0.2,
    weight_decay_end=0.4,
    parts=(Part(names="0.bias", rate=0.0), Part(names="2.*", rate=0.5, weight_decay=0.0)),
    waiting={"4.weight": 0.3},
    clip_apart=("2.*",),
)
STEPS = 8


@dataclass(frozen=True)
class Threads(Team):
    """A team of threads in place of processes; they pass what they say through one table."""

    table: dict[int, Any] = field(default_factory=dict)
    meet: Callable[[], object] = lambda: None

    def fill(self, tensors: Sequence[Tensor], *, source: int) -> None:
        if self.rank == source:
            self.table[source] = [tensor.detach().clone() for tensor in tensors]
        self.meet()
        for tensor, told in zip(tensors, self.table[source], strict=True):
            tensor.detach().copy_(told)
        self.meet()

    def at_first(self, state: Mapping[str, Any] | None, *, source: int) -> Mapping[str, Any] | None:
        if self.rank == source:
            self.table[source] = state
        self.meet()
        told = self.table[source] if self.is_first else state
        self.meet()
        return told  # type: ignore[no-any-return]


def network() -> nn.Sequential:
    generator = torch.Generator().manual_seed(5)  # torch's own would be shared by the threads
    layers = nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 4), nn.Tanh(), nn.Linear(4, 2))
    for parameter in layers.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return layers


def gradients(learner: Learner[nn.Sequential], step: int) -> list[Tensor | None]:
    """Of a step: one tensor has none before the third, one is undefined in the fifth."""
    generator = torch.Generator().manual_seed(step)
    parameters = [one for one in learner.network.parameters() if one.requires_grad]
    drawn: list[Tensor | None] = [3 * torch.randn(one.shape, generator=generator) for one in parameters]
    if step < 2:
        drawn[1] = None
    if step == 4:
        drawn[2] = torch.full_like(parameters[2], float("nan"))
    return drawn


def learnt(team: Team, state: Mapping[str, Any] | None = None, last: int = STEPS) -> Learner[nn.Sequential]:
    """A learner after so many steps, of which those that a state has behind it are not taken."""
    learner = Learner(network(), SETTINGS)
    learner.join(team)
    if state is not None:
        learner.load_state_dict(state)
    for step in range(learner.step, last):
        learner.learn(gradients(learner, step), rate=1.0, progress=step / STEPS)
    return learner


def in_threads(size: int, work: Callable[[Team], Any], kind: type[Threads] = Threads) -> list[Any]:
    barrier, table = threading.Barrier(size, timeout=30), dict[int, Any]()
    teams = [kind(rank, size, True, table, barrier.wait) for rank in range(size)]
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(work, teams))


def moments(learner: Learner[nn.Sequential]) -> dict[int, int]:
    """Bytes of what a learner's own optimiser keeps, by the number of the tensor."""
    state = learner.optimiser.state_dict()["state"]
    return {number: sum(one.nbytes for one in kept.values()) for number, kept in state.items()}


def test_the_largest_go_first_to_who_has_least() -> None:
    assert keepers([1, 9, 4, 4, 2], 2) == [0, 0, 1, 1, 1]
    assert keepers([5, 5, 5], 1) == [0, 0, 0]
    assert keepers([3], 4) == [0]


@pytest.mark.parametrize("size", [2, 3, 7])
def test_processes_with_shards_learn_bit_for_bit_what_one_does_with_all(size: int) -> None:
    one = learnt(ALONE)
    results = in_threads(size, lambda team: ((each := learnt(team)), each.state_dict()))
    for _, state in results:
        assert same(state["network"], one.network.state_dict())
        assert same(state["average"], one.average.state_dict())
        assert state["step"] == STEPS
    assert same(results[0][1], one.state_dict())
    assert list(results[0][1]["optimiser"]["state"]) == [0, 1, 2, 3, 4]
    kept = [moments(learner) for learner, _ in results]
    assert sorted(number for part in kept for number in part) == [0, 1, 2, 3, 4]
    assert {number: size for part in kept for number, size in part.items()} == moments(one)
    assert max(sum(part.values()) for part in kept) <= (0.6 if size == 2 else 0.5) * sum(moments(one).values())


def test_without_being_told_the_others_weights_they_do_not() -> None:
    class Silent(Threads):
        def fill(self, tensors: Sequence[Tensor], *, source: int) -> None:
            pass

    for learner in in_threads(2, learnt, Silent):
        assert not same(learner.network.state_dict(), learnt(ALONE).network.state_dict())


@pytest.mark.parametrize("saved_by", [1, 3])
@pytest.mark.parametrize("resumed_by", [1, 2])
def test_a_state_is_gone_on_with_by_any_number_with_or_without_shards(saved_by: int, resumed_by: int) -> None:
    state = (
        learnt(ALONE, last=5).state_dict()
        if saved_by == 1
        else in_threads(saved_by, lambda team: learnt(team, last=5).state_dict())[0]
    )
    ends = [learnt(ALONE, state)] if resumed_by == 1 else in_threads(resumed_by, lambda team: learnt(team, state))
    expected = learnt(ALONE)
    assert all(same(end.network.state_dict(), expected.network.state_dict()) for end in ends)
    assert same({k: v for end in ends for k, v in end.optimiser.state_dict()["state"].items()},
                expected.optimiser.state_dict()["state"])  # fmt: skip
    alone = learnt(ALONE, {**state, "optimiser": {**state["optimiser"], "state": {}}})
    assert not same(alone.network.state_dict(), expected.network.state_dict()), "moments matter"


def test_who_joins_a_sharded_team_forgets_what_others_keep() -> None:
    learner = learnt(ALONE)
    whole = moments(learner)
    learner.join(Threads(1, 2, True))
    kept = moments(learner)
    assert 0 < len(kept) < len(whole)
    assert kept.items() <= whole.items()
