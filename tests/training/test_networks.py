"""Networks at their start: they follow from their seed, and grow a click branch without losing what they know."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from engine.line_task import same
from training.small_case import CLICK_SPEC, SPEC
from vesalius.errors import CheckpointError
from vesalius.models.vista3d import Vista3D
from vesalius.training.networks import compare_places, grown_network, new_network

AUTOMATIC = replace(CLICK_SPEC, architecture=replace(CLICK_SPEC.architecture, point_branch=False))


def test_a_new_network_follows_from_its_seed_and_leaves_torch_s_generator() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first, again, other = (new_network(SPEC, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert same(dict(first), dict(again))
    assert not same(dict(first), dict(other))
    kernels = [tensor for tensor in first.values() if tensor.ndim == 5]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last_3d) for kernel in kernels)


def test_a_grown_network_answers_class_prompts_as_before_and_decodes_clicks_alike() -> None:
    small = new_network(AUTOMATIC, seed=5)
    grown = grown_network(CLICK_SPEC, small.state_dict(), seed=6)
    window = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([1, 2])
    assert torch.equal(grown.class_logits(window, ids), small.class_logits(window, ids))
    decoded = small.automatic_decoder(small.encoder(window))
    assert torch.equal(grown.point_features(window), decoded)
    again = grown_network(CLICK_SPEC, small.state_dict(), seed=6)
    assert same(dict(grown.state_dict()), dict(again.state_dict()))


def share_near_the_click(network: Vista3D) -> float:
    """How much of what a click first sees of a window lies within a sixth of the window from it."""
    head, side = network.point_head, 24
    places = torch.stack(torch.meshgrid(*[torch.arange(side)] * 3, indexing="ij"), dim=-1).reshape(-1, 3).float()
    click = torch.tensor([[8.0, 15.0, 11.0]])
    look = head.transformer.layers[0].prompt_to_image
    shape = (side, side, side)
    with torch.no_grad():
        query, key = look.query(head.position(click, shape)), look.key(head.position(places, shape))
        weights = (query @ key.T / query.shape[1] ** 0.5).softmax(dim=-1)[0]
    return float(weights[(places - click).norm(dim=-1) <= side / 6].sum())


def test_a_new_point_head_looks_where_the_clicks_are() -> None:
    wide = replace(CLICK_SPEC, architecture=replace(CLICK_SPEC.architecture, width=16, point_heads=1))
    plain = new_network(wide, seed=0)
    before = share_near_the_click(plain)
    compare_places(plain.point_head)
    assert 2.5 * before < share_near_the_click(plain)


def test_weights_of_another_network_do_not_grow() -> None:
    other = replace(AUTOMATIC, architecture=replace(AUTOMATIC.architecture, width=4))
    with pytest.raises(CheckpointError, match="width"):
        grown_network(CLICK_SPEC, new_network(other, seed=0).state_dict(), seed=0)
