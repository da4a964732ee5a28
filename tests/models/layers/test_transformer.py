"""The block: an open place that is empty changes nothing, and each sample skips branches by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vesalius.models.layers.rotary import patch_places, rotation
from vesalius.models.layers.transformer import (
    AdaptableLinear,
    RotaryBlock,
    Step,
    TokenLayout,
    kept_samples,
)
from vesalius.spec import Site

LAYOUT = TokenLayout(prefix=1, grid=(2, 2), slices=1)


def block() -> RotaryBlock:
    torch.manual_seed(0)
    return RotaryBlock(16, heads=2, inner_width=32, qkv_bias=True, norm_eps=1e-6, layer_scale=0.5)


def step(generator: torch.Generator | None = None) -> Step:
    return Step(rotation(patch_places((2, 2)), 8, 100.0), LAYOUT, generator)


def tokens(batch: int = 3) -> Tensor:
    return torch.randn(batch, 5, 16, generator=torch.Generator().manual_seed(1))


class Add(nn.Module):
    """Adds a number to all tokens and remembers what it saw."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number
        self.seen: list[tuple[Tensor, TokenLayout]] = []

    def forward(self, tokens: Tensor, layout: TokenLayout) -> Tensor:
        self.seen.append((tokens.detach(), layout))
        return tokens + self.number


def test_a_linear_map_without_increments_is_torchs() -> None:
    linear = AdaptableLinear(16, 8)
    plain = nn.Linear(16, 8)
    plain.load_state_dict(linear.state_dict())
    assert torch.equal(linear(tokens()), plain(tokens()))


def test_increments_are_added_to_what_the_map_gives() -> None:
    linear, increment = AdaptableLinear(16, 8), nn.Linear(16, 8)
    before = linear(tokens())
    linear.increments["more"] = increment
    assert torch.equal(linear(tokens()), before + increment(tokens()))


@pytest.mark.parametrize("site", ["before_attention", "after_attention", "after_mlp"])
def test_a_module_at_a_site_sees_all_tokens_and_their_layout(site: Site) -> None:
    network, adder = block().eval(), Add(1.0)
    before = network(tokens(), step())
    network.sites[site] = adder
    after = network(tokens(), step())
    seen, layout = adder.seen[0]
    assert layout == LAYOUT
    assert not torch.allclose(before, after)
    if site == "before_attention":
        assert torch.equal(seen, tokens())
    if site == "after_mlp":
        assert torch.equal(seen, before)
        assert torch.equal(after, before + 1)
    assert len(adder.seen) == 1


def test_sites_come_in_the_order_of_their_names() -> None:
    network = block().eval()
    adders: dict[Site, Add] = {"before_attention": Add(0), "after_attention": Add(0), "after_mlp": Add(0)}
    for site, adder in adders.items():
        network.sites[site] = adder
    network(tokens(), step())
    seen = [adder.seen[0][0] for adder in adders.values()]
    attention = network.scale1(network.attention(network.norm1(seen[0]), step().rotation))
    torch.testing.assert_close(seen[1], seen[0] + attention)
    torch.testing.assert_close(seen[2], seen[1] + network.scale2(network.mlp(network.norm2(seen[1]))))


def test_an_empty_block_has_no_tensors_for_its_open_places() -> None:
    names = block().state_dict()
    assert not [name for name in names if "increments" in name or "sites" in name]
    assert "attention.qkv.weight" in names
    assert "attention.qkv.bias" not in names


def test_every_sample_skips_a_branch_by_itself() -> None:
    network = block().train()
    network.drop_path = 0.5
    same = tokens(1).expand(64, -1, -1).contiguous()
    out = network(same, step(torch.Generator().manual_seed(2)))
    kinds = {tuple(sample.flatten()[:4].tolist()) for sample in out}
    assert len(kinds) == 4  # neither branch, one, the other, both
    assert any(torch.equal(sample, same[0]) for sample in out)


def test_nothing_is_skipped_after_training_or_without_being_asked() -> None:
    network = block()
    whole = network.train()(tokens(), step())
    network.drop_path = 0.9
    assert torch.equal(network.eval()(tokens(), step()), whole)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_part_that_is_dropped_does_not_depend_on_the_batch(count: int) -> None:
    # The official code drops nothing in a batch of 1 and half of a batch of 2 at 0.2.
    generator = torch.Generator().manual_seed(0)
    kept = torch.stack([kept_samples(count, 0.2, generator) for _ in range(4000)])
    assert set(kept.unique().tolist()) == {0.0, 1.25}
    assert abs(kept.mean().item() - 1) < 0.03


def test_keys_have_no_bias_and_queries_and_values_do() -> None:
    network = block().eval()
    before = network(tokens(), step())
    for parameter in (network.attention.query_bias, network.attention.value_bias):
        assert parameter is not None
        parameter.data.normal_(generator=torch.Generator().manual_seed(3))
        after = network(tokens(), step())
        assert not torch.allclose(after, before)
        before = after
    bare = RotaryBlock(16, heads=2, inner_width=32, qkv_bias=False, norm_eps=1e-6, layer_scale=0.5)
    assert not [name for name in bare.state_dict() if name.endswith(("query_bias", "value_bias"))]
