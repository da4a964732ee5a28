"""How a new point head begins: a click first sees what lies near it; features keep their channels and places."""

from __future__ import annotations

from dataclasses import replace

import torch

from training.small_case import CLICK_SPEC
from vesalius.models.vista3d import Vista3D
from vesalius.training.click_start import begin_near_clicks, low_frequencies
from vesalius.training.networks import new_network

WIDE = replace(CLICK_SPEC, architecture=replace(CLICK_SPEC.architecture, width=16, point_heads=1))


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


def test_a_click_first_looks_at_what_lies_around_it() -> None:
    network = new_network(WIDE, seed=0)
    before = share_near_the_click(network)
    begin_near_clicks(network.point_head, seed=0)
    assert before < 0.1
    assert share_near_the_click(network) > 0.5


def test_low_frequencies_make_one_hill() -> None:
    frequencies = low_frequencies(8, torch.Generator().manual_seed(0))
    assert frequencies.shape == (3, 8)
    distance = torch.linspace(0, 1, 50)[:, None]
    along = torch.cos(2 * torch.pi * distance * frequencies[0, :4]).sum(dim=1)
    assert (along.diff() < 0).all()


def test_the_image_map_keeps_channels_and_places_and_the_way_back_interpolates() -> None:
    head = new_network(WIDE, seed=0).point_head
    begin_near_clicks(head, seed=0)
    features = torch.zeros(1, 16, 16, 16, 16)
    features[:, 3, 4:8, 6:10, 8:12] = 1
    with torch.no_grad():
        halved = head.downsample(features) - head.downsample(torch.zeros_like(features))
        back = head.upsample(halved) - head.upsample(torch.zeros_like(halved))
    assert halved[0].amax(dim=(1, 2, 3)).argmax() == 3
    assert back[0, 3, 5:7, 7:9, 9:11].mean() > 0.8
    assert back[0, 3, 12:].abs().max() < 0.1


def test_the_same_seed_gives_the_same_start() -> None:
    heads = [new_network(WIDE, seed=0).point_head for _ in range(3)]
    for head, seed in zip(heads, (1, 1, 2), strict=True):
        begin_near_clicks(head, seed=seed)
    first, again, other = ([*head.parameters()] for head in heads)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
