"""Groups by size and the schedule: the numbers, worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vesalius.engine.learner import Learner
from vesalius.engine.optim import (
    ema_decay,
    freeze,
    groups_by_size,
    learning_parameters,
    make_optimiser,
    rate_factor,
    set_rate,
    shorten,
)
from vesalius.engine.settings import Optimisation, Part
from vesalius.errors import UsageError

PLAN = Optimisation(warm_up=0.1, plateau=0.5, floor=0.05)


@pytest.mark.parametrize(
    ("progress", "factor"),
    [
        (0.0, 0.02),
        (0.001, 0.02),
        (0.05, 0.5),
        (0.1, 1.0),
        (0.3, 1.0),
        (0.5, 1.0),
        (0.75, 0.05 + 0.95 / 2),
        (2 / 3, 0.05 + 0.95 * 0.75),  # a third of the fall: cos 60° = 1/2
        (1.0, 0.05),
    ],
)
def test_the_rate_rises_stays_and_falls(progress: float, factor: float) -> None:
    assert rate_factor(progress, PLAN) == pytest.approx(factor)


@given(st.floats(0, 1), st.floats(0, 1))
def test_after_the_rise_the_rate_never_rises_again(first: float, second: float) -> None:
    low, high = sorted((max(first, 0.1), max(second, 0.1)))
    assert 1 >= rate_factor(low, PLAN) >= rate_factor(high, PLAN) >= 0.05


@pytest.mark.parametrize(("warm_up", "plateau"), [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.3, 0.3)])
def test_a_schedule_without_one_of_its_parts_is_still_one(warm_up: float, plateau: float) -> None:
    plan = Optimisation(warm_up=warm_up, plateau=plateau)
    values = [rate_factor(step / 50, plan) for step in range(51)]
    assert all(0 < value <= 1 for value in values)
    assert max(values) == pytest.approx(1.0)


def test_the_size_of_a_tensor_is_the_root_mean_square_of_its_weights() -> None:
    tensors = [torch.tensor([0.03, -0.04]), torch.tensor([3.0, 4.0]), torch.zeros(5), torch.full((2, 2), 1e-4)]
    groups = groups_by_size(nn.Parameter(tensor) for tensor in tensors)
    expected = [math.sqrt((0.0009 + 0.0016) / 2), 0.2, 0.1, 0.005]
    assert [group["size"] for group in groups] == pytest.approx(expected)


def test_one_step_moves_each_tensor_by_its_part() -> None:
    network = nn.ModuleList([nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)])
    with torch.no_grad():
        network[0].weight.mul_(0.02)
    settings = Optimisation(learning_rate=0.04, weight_decay=0.0)
    optimiser = make_optimiser(network, settings)
    set_rate(optimiser, 0.25, settings, progress=0.0)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    optimiser.step()
    for old, new, group in zip(before, network.parameters(), optimiser.param_groups, strict=True):
        assert torch.allclose(old - new, torch.full_like(old, 0.01 * group["size"]), rtol=1e-4)
    sizes = [group["size"] for group in optimiser.param_groups]
    assert sizes[1] > 10 * sizes[0]


def test_frozen_tensors_are_in_no_group() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].requires_grad_(False)
    assert len(learning_parameters(network)) == 2
    assert len(make_optimiser(network, Optimisation()).param_groups) == 2


def house() -> nn.ModuleDict:
    """A network of two floors whose tensors have names to choose by."""
    return nn.ModuleDict({"encoder": nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), "head": nn.Linear(3, 2)})


def test_parts_choose_by_name_and_their_factors_multiply() -> None:
    network = house()
    slow, bare = Part(names="encoder.*", rate=0.1), Part(names="*.bias", weight_decay=0.0)
    parts = (slow, bare, Part(names="*.1.*", rate=0.5))
    settings = Optimisation(learning_rate=4.0, weight_decay=0.3, parts=parts)
    optimiser = make_optimiser(network, settings)
    names = [name for name, _ in network.named_parameters()]
    found = {
        name: (group["factor"], group["weight_decay"])
        for name, group in zip(names, optimiser.param_groups, strict=True)
    }
    assert found == {
        "encoder.0.weight": (0.1, 0.3),
        "encoder.0.bias": (0.1, 0.0),
        "encoder.1.weight": (0.05, 0.3),
        "encoder.1.bias": (0.05, 0.0),
        "head.weight": (1.0, 0.3),
        "head.bias": (1.0, 0.0),
    }
    set_rate(optimiser, 0.5, settings, progress=0.0)
    for group in optimiser.param_groups:
        assert group["lr"] == pytest.approx(2.0 * group["size"] * group["factor"])


def test_a_rate_of_zero_freezes_and_the_frozen_have_no_group() -> None:
    network = house()
    parts = (Part(names="encoder.*", rate=0.0),)
    freeze(network, parts)
    learning = [name for name, tensor in network.named_parameters() if tensor.requires_grad]
    assert learning == ["head.weight", "head.bias"]
    assert len(make_optimiser(network, Optimisation(parts=parts)).param_groups) == 2


def test_a_part_that_names_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="tensors named decoder"):
        freeze(house(), [Part(names="decoder.*")])


def test_a_network_that_is_frozen_whole_is_refused() -> None:
    with pytest.raises(UsageError, match="frozen whole"):
        freeze(house(), [Part(names="*", rate=0.0)])


def test_with_a_size_for_all_rates_are_absolute() -> None:
    settings = Optimisation(learning_rate=1e-3, size=1.0)
    optimiser = make_optimiser(house(), settings)
    set_rate(optimiser, 0.5, settings, progress=0.0)
    assert {group["lr"] for group in optimiser.param_groups} == {5e-4}


def test_the_weight_decay_goes_half_a_cosine_and_parts_keep_their_factors() -> None:
    parts = (Part(names="*.bias", weight_decay=0.0), Part(names="head.weight", weight_decay=2.0))
    settings = Optimisation(weight_decay=0.04, weight_decay_end=0.4, parts=parts)
    optimiser = make_optimiser(house(), settings)
    decays = []
    for progress in (0.0, 1 / 3, 0.5, 1.0):
        set_rate(optimiser, 1.0, settings, progress=progress)
        decays.append([group["weight_decay"] for group in optimiser.param_groups])
    expected = [0.04, 0.4 - 0.36 * 0.75, 0.22, 0.4]  # cos(60 degrees) is a half
    assert [row[0] for row in decays] == pytest.approx(expected)
    assert [row[1] for row in decays] == [0.0] * 4
    assert [row[-2] for row in decays] == pytest.approx([2 * decay for decay in expected])


def test_what_waits_stands_still_until_its_part_of_the_training_is_behind() -> None:
    settings = Optimisation(waiting={"head.*": 0.25, "*.bias": 0.5})
    optimiser = make_optimiser(house(), settings)
    names = [name for name, _ in house().named_parameters()]
    for progress, waiting in ((0.0, {"head", "bias"}), (0.25, {"bias"}), (0.5, set())):
        set_rate(optimiser, 1.0, settings, progress=progress)
        still = {name for name, group in zip(names, optimiser.param_groups, strict=True) if group["lr"] == 0}
        assert still == {name for name in names if set(name.split(".")) & waiting}


@pytest.mark.parametrize("fields", [{"waiting": {"tail.*": 0.5}}, {"clip_apart": ("tail.*",)}])
def test_a_schedule_that_names_nothing_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="tensors named tail"):
        Learner(house(), Optimisation(**fields))  # type: ignore[arg-type]


def test_the_average_keeps_less_in_the_first_steps_unless_its_memory_is_scheduled() -> None:
    assert ema_decay(0, 0.0, Optimisation(ema_decay=0.99)) == 0.1
    assert ema_decay(10_000, 0.5, Optimisation(ema_decay=0.99)) == 0.99
    scheduled = Optimisation(ema_decay=0.992, ema_decay_end=1.0)
    assert [ema_decay(0, part, scheduled) for part in (0.0, 0.5, 1.0)] == pytest.approx([0.992, 0.996, 1.0])


def test_a_published_fall_is_a_power_of_what_is_left() -> None:
    plan = Optimisation(warm_up=0.1, plateau=0.2, floor=0.0, power=0.9)
    assert rate_factor(0.15, plan) == 1.0
    assert rate_factor(0.6, plan) == pytest.approx(0.5**0.9)
    assert rate_factor(1.0, plan) == 0.0
    with pytest.raises(UsageError, match="power"):
        Optimisation(power=0.0)


def test_gradients_are_shortened_as_torch_does_and_their_norm_is_the_same_however_they_lie() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((7,), (16, 8, 3, 3, 3), (5, 129), (1,))
    drawn = [torch.randn(shape, generator=generator) for shape in shapes]
    buffer = torch.cat([torch.zeros(3), *(one.flatten() for one in drawn)])
    views = [
        part.view(shape)
        for part, shape in zip(torch.split(buffer[3:], [g.numel() for g in drawn]), shapes, strict=True)
    ]
    lain = [one.contiguous(memory_format=torch.channels_last_3d) if one.ndim == 5 else one.clone() for one in drawn]
    results = []
    for gradients in (drawn, views, lain):
        parameters = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone(memory_format=torch.preserve_format)
        results.append((shorten(parameters, 1.5), [parameter.grad for parameter in parameters]))
    expected = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for parameter, gradient in zip(expected, drawn, strict=True):
        parameter.grad = gradient.clone()
    norm = nn.utils.clip_grad_norm_(expected, 1.5)
    assert len({norm for norm, _ in results}) == 1
    assert results[0][0] == pytest.approx(float(norm), rel=1e-6)
    for _, gradients in results:
        for found, other, parameter in zip(gradients, results[0][1], expected, strict=True):
            assert found is not None
            assert torch.equal(found, other)
            torch.testing.assert_close(found, parameter.grad)


def test_short_and_absent_gradients_stay_as_they_are() -> None:
    short, absent = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    short.grad = torch.tensor([0.3, 0.4])
    assert shorten([short, absent], 1.0) == pytest.approx(0.5)
    assert torch.equal(short.grad, torch.tensor([0.3, 0.4]))
    assert shorten([absent], 1.0) == 0
