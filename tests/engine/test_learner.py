"""Learner: the average follows by its formula, bad gradients are thrown away, states fit or are refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine.line_task import line_learner, same
from vesalius.engine.learner import Learner, follow
from vesalius.engine.settings import Optimisation, Part
from vesalius.errors import CheckpointError


def single(value: float, **settings: float) -> Learner[nn.Linear]:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, value)
    return Learner(network, Optimisation(**{"weight_decay": 0.0, "learning_rate": 0.5, **settings}))


def test_the_average_follows_by_its_formula() -> None:
    learner = single(0.1, ema_decay=0.15)
    average, decays = 0.1, []
    for step in range(4):
        learner.learn([torch.ones(1, 1)], rate=1.0)
        decays.append(min(0.15, (1 + step) / (10 + step)))
        average = decays[-1] * average + (1 - decays[-1]) * float(learner.network.weight.detach())
        assert float(learner.average.weight) == pytest.approx(average, rel=1e-5)
    assert decays == pytest.approx([0.1, 0.15, 0.15, 0.15])
    assert float(learner.average.weight) != pytest.approx(float(learner.network.weight.detach()), rel=1e-3)


def test_buffers_are_copied_and_parameters_mixed() -> None:
    slow, fast = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    fast.running_mean = torch.tensor([4.0, 8.0])
    nn.init.constant_(fast.weight, 3.0)
    follow(slow, fast, decay=0.75)
    assert slow.running_mean is not None
    assert slow.running_mean.tolist() == [4.0, 8.0]
    assert slow.weight.tolist() == [1.5, 1.5]


def test_the_average_takes_no_gradient_and_shares_no_memory() -> None:
    learner = single(0.1)
    assert not any(parameter.requires_grad for parameter in learner.average.parameters())
    learner.learn([torch.ones(1, 1)], rate=1.0)
    assert float(learner.network.weight.detach()) < float(learner.average.weight) < 0.1


def test_what_is_frozen_is_held_once_and_what_learns_twice() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    learner = Learner(network, Optimisation(parts=(Part(names="0.*", rate=0.0),)))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    shared = {
        name: slow.data_ptr() == fast.data_ptr()
        for (name, slow), fast in zip(learner.average.named_parameters(), network.parameters(), strict=True)
    }
    assert shared == {"0.weight": True, "0.bias": True, "1.weight": False, "1.bias": False}
    learner.learn([torch.ones(1, 2), torch.ones(1)], rate=1.0)
    assert same(learner.average.state_dict() | network[1].state_dict(prefix="1."), network.state_dict())
    assert torch.equal(network[0].weight, before["0.weight"])
    state = learner.state_dict()
    other = Learner(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), learner.settings)
    other.load_state_dict(state)
    assert same(other.average.state_dict(), learner.average.state_dict())
    assert same(other.network.state_dict(), network.state_dict())


def test_the_norm_reported_is_the_one_before_shortening() -> None:
    learner = line_learner(Optimisation(clip_norm=1.0, betas=(0.0, 0.0)))
    gradients = [torch.zeros_like(parameter) for parameter in learner.network.parameters()]
    gradients[0][0], gradients[1][0] = 30.0, 40.0
    assert learner.learn(gradients, rate=1.0) == pytest.approx(50.0)
    moments = [learner.optimiser.state[p]["exp_avg"] for p in learner.network.parameters()]
    assert float(torch.cat([moment.flatten() for moment in moments]).norm()) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_only_the_count(bad: float) -> None:
    learner = single(0.1)
    learner.learn([torch.ones(1, 1)], rate=1.0)
    before = {name: part for name, part in learner.state_dict().items() if name != "step"}
    before = torch.utils._pytree.tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, before)
    learner.learn([torch.full((1, 1), bad)], rate=1.0)
    after = learner.state_dict()
    assert after["step"] == 2
    assert all(same(after[name], before[name]) for name in before)
    learner.learn([torch.ones(1, 1)], rate=1.0)
    assert not same(learner.state_dict()["network"], before["network"])


def test_it_starts_from_the_weights_of_another_and_keeps_its_own_rates() -> None:
    learner, other = single(0.1), single(5.0)
    learner.start_from(other.average.state_dict())
    assert float(learner.network.weight.detach()) == float(learner.average.weight) == 5.0
    assert learner.optimiser.param_groups[0]["size"] == pytest.approx(0.1)


def test_a_state_of_another_network_is_refused() -> None:
    with pytest.raises(CheckpointError, match="this very network"):
        single(0.1).load_state_dict(line_learner().state_dict())
    with pytest.raises(CheckpointError):
        single(0.1).load_state_dict({"network": {}})


def test_frozen_parts_stay_and_the_others_learn_at_their_own_rates() -> None:
    settings = Optimisation(
        learning_rate=0.5,
        weight_decay=0.0,
        parts=(Part(names="0.*", rate=0.0), Part(names="2.weight", rate=0.01)),
    )
    learner = line_learner(settings)
    before = {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}
    learner.learn([torch.ones(1, 6), torch.ones(1)], rate=1.0)  # of the weights and the bias that are not frozen
    moved = {
        name: float((tensor - before[name]).abs().max()) for name, tensor in learner.network.state_dict().items()
    }
    sizes = [group["size"] for group in learner.optimiser.param_groups]
    assert moved["0.weight"] == moved["0.bias"] == 0.0
    assert moved["2.weight"] == pytest.approx(0.5 * 0.01 * sizes[0], rel=1e-3)
    assert moved["2.bias"] == pytest.approx(0.5 * sizes[1], rel=1e-3)


def test_a_tensor_without_a_gradient_stays_as_it_is_also_under_weight_decay() -> None:
    learner = line_learner(Optimisation(weight_decay=0.5))
    before = {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}
    gradients = [torch.ones_like(parameter) for parameter in learner.network.parameters()]
    learner.learn([None, *gradients[1:]], rate=1.0)
    after = learner.network.state_dict()
    assert torch.equal(after["0.weight"], before["0.weight"])
    assert not any(torch.equal(after[name], before[name]) for name in before if name != "0.weight")


def test_the_average_is_in_eval_mode() -> None:
    learner = Learner(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train(), Optimisation())
    assert not learner.average[1].training
    assert learner.network[1].training


def test_what_is_clipped_apart_is_shortened_by_itself() -> None:
    learner = line_learner(Optimisation(clip_norm=1.0, betas=(0.0, 0.0), clip_apart=("2.*",)))
    gradients = [torch.zeros_like(parameter) for parameter in learner.network.parameters()]
    gradients[0][0], gradients[1][0], gradients[3][0] = 30.0, 40.0, 0.5
    assert learner.learn(gradients, rate=1.0) == pytest.approx((50**2 + 0.5**2) ** 0.5)
    moments = [learner.optimiser.state[p]["exp_avg"] for p in learner.network.parameters()]
    assert float(torch.cat([moment.flatten() for moment in moments[:2]]).norm()) == pytest.approx(1.0, rel=1e-4)
    assert float(moments[3]) == pytest.approx(0.5)
