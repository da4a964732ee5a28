"""Networks at their start: they follow from their seed, and grow a click branch without losing what they know."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from engine.line_task import same
from training.small_case import CLICK_SPEC, SPEC
from vesalius.errors import CheckpointError
from vesalius.training.networks import grown_network, new_network

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


def test_a_network_of_clicks_alone_grows_a_branch_for_names_and_answers_clicks_as_before() -> None:
    spec = replace(CLICK_SPEC, architecture=replace(CLICK_SPEC.architecture, class_branch=False))
    small = new_network(spec, seed=5)
    grown = grown_network(CLICK_SPEC, small.state_dict(), seed=6)
    window = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(grown.point_features(window), small.point_features(window))
    assert same(dict(grown.point_head.state_dict()), dict(small.point_head.state_dict()))
    assert same(dict(grown.automatic_decoder.state_dict()), dict(small.point_decoder.state_dict()))
    first, second = grown.class_logits(window, torch.tensor([1, 2]))[0]
    assert not torch.equal(first, second)


def test_weights_of_another_network_do_not_grow() -> None:
    other = replace(AUTOMATIC, architecture=replace(AUTOMATIC.architecture, width=4))
    with pytest.raises(CheckpointError, match="width"):
        grown_network(CLICK_SPEC, new_network(other, seed=0).state_dict(), seed=0)
