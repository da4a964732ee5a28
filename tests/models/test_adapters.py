"""Laws of every adapter: at first it changes nothing, bit for bit; then it does; and only adapters learn."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from vesalius.errors import UsageError
from vesalius.models import SliceWise, Vit, adapt, build, optimise_for_inference
from vesalius.models.adapters import has_adapters
from vesalius.spec import AdapterPlan, Depth, Fact, Lora, VitArchitecture

TINY = VitArchitecture(patch_size=4, width=24, depth=2, heads=2, layer_scale=0.5)
PLANS: dict[str, tuple[AdapterPlan, ...]] = {
    "lora": (Lora(rank=2),),
    "lora everywhere": (Lora(rank=2, maps=("qkv", "out", "expand", "contract")),),
    "fact": (Fact(rank=3),),
    "depth": (Depth(width=4),),
    "depth after attention": (Depth(width=4, neighbours=3, site="after_attention"),),
    "depth after mlp": (Depth(width=4, site="after_mlp"),),
    "two at once": (Lora(rank=2), Depth(width=4)),
}
pytestmark = pytest.mark.parametrize("name", PLANS)


def encoder() -> Vit:
    torch.manual_seed(0)
    return build(TINY)


def volume() -> Tensor:
    return torch.randn(2, 1, 8, 8, 4, generator=torch.Generator().manual_seed(1))


def adapted(name: str) -> Vit:
    return adapt(encoder(), *PLANS[name], generator=torch.Generator().manual_seed(2))


def test_at_first_nothing_changes_bit_for_bit(name: str) -> None:
    before = SliceWise(encoder().eval())(volume())[0]
    network = adapted(name).eval()
    assert has_adapters(network)
    assert torch.equal(SliceWise(network)(volume())[0], before)


def test_one_step_changes_the_answer_and_only_the_adapters(name: str) -> None:
    network = adapted(name)
    original = encoder().state_dict()
    before = SliceWise(network)(volume())[0].detach()
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(learning, lr=0.1)
    target = torch.randn(before.shape, generator=torch.Generator().manual_seed(3))
    ((SliceWise(network)(volume())[0] - target) ** 2).mean().backward()
    frozen = [parameter for parameter in network.parameters() if not parameter.requires_grad]
    assert all(parameter.grad is None for parameter in frozen)
    optimiser.step()
    assert not torch.equal(SliceWise(network)(volume())[0], before)
    state = network.state_dict()
    assert all(torch.equal(state[key], original[key]) for key in original)


def test_only_the_adapters_learn_and_all_of_them(name: str) -> None:
    network = adapted(name)
    own = set(encoder().state_dict())
    learning = {key for key, parameter in network.named_parameters() if parameter.requires_grad}
    assert learning == set(network.state_dict()) - own
    with torch.no_grad():  # past the start, where one factor is zero
        for key in learning:
            network.get_parameter(key).normal_(generator=torch.Generator().manual_seed(len(key)))
    (SliceWise(network)(volume())[0] ** 3).sum().backward()
    for key in learning:
        gradient = network.get_parameter(key).grad
        assert gradient is not None, key
        assert gradient.abs().max() > 0, key


def test_saved_and_copied_adapters_answer_alike(name: str) -> None:
    network = adapted(name)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(9)))
    wanted = SliceWise(network)(volume())[0]
    again = adapt(encoder(), *PLANS[name])
    again.load_state_dict(network.state_dict(), assign=True)
    assert torch.equal(SliceWise(again)(volume())[0], wanted)
    assert torch.equal(SliceWise(copy.deepcopy(network))(volume())[0], wanted)


def test_depth_sees_neighbours_and_nothing_else_does(name: str) -> None:
    network = adapted(name).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.normal_(generator=torch.Generator().manual_seed(4))
    changed = volume()
    changed[0, :, :, :, 0] += 1.0
    before, after = SliceWise(network)(volume())[0], SliceWise(network)(changed)[0]
    difference = (after - before).abs().amax(dim=(1, 2, 3))  # [b k]
    assert difference[0, 0] > 0
    assert torch.equal(difference[1], torch.zeros(4))  # another volume
    sees_neighbours = any(isinstance(plan, Depth) for plan in PLANS[name])
    assert bool(difference[0, 1] > 0) == sees_neighbours


def test_adapters_stay_in_float32_beside_maps_in_bf16(name: str) -> None:
    network = adapted(name)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(9)))
    exact = SliceWise(network)(volume())[0]
    optimise_for_inference(network, dtype=torch.bfloat16)
    kinds = {tensor.dtype for key, tensor in network.state_dict().items() if key not in encoder().state_dict()}
    assert kinds == {torch.float32}
    rounded = SliceWise(network)(volume())[0]
    assert 0 < (rounded - exact).std() < 0.05 * exact.std()


def test_a_second_time_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="without adapters"):
        adapt(adapted(name), *PLANS[name])
    with pytest.raises(UsageError, match="at least one plan"):
        adapt(encoder())
    with pytest.raises(UsageError, match="different kinds"):
        adapt(encoder(), *PLANS[name], *PLANS[name])
