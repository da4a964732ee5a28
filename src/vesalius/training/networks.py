"""Networks at the start of a training: random, or grown from one that knows less."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vesalius.errors import CheckpointError
from vesalius.models.build import build
from vesalius.models.layers.two_way import TwoWayLayer
from vesalius.models.point_head import PointHead
from vesalius.models.vista3d import Vista3D
from vesalius.spec import ModelSpec

_SHARPNESS = 1.7
"""Scale of the projections that compare places: a click then stands out among a window's 32³ places."""
_AUTOMATIC, _CLICKED = "automatic_decoder.", "point_decoder."


def new_network(spec: ModelSpec, *, seed: int) -> Vista3D:
    """Return the spec's network with random weights, laid out for training; torch's own generator is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(spec.vista)
    for parameter in network.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return network


def grown_network(spec: ModelSpec, state: Mapping[str, Tensor], *, seed: int) -> Vista3D:
    """Return the spec's network with both branches, of one that was trained with the automatic branch alone.

    The click decoder begins as a copy of the automatic one, which has its shape and reads the same features; the
    point head begins at random, but looks first where the clicks are (``compare_places``).

    Args:
        spec: Of the network to grow; with both branches.
        state: Weights of the smaller one.
        seed: Of what begins at random.

    Raises:
        CheckpointError: If the weights are not those of this network without its click branch.
    """
    network = new_network(spec, seed=seed)
    compare_places(network.point_head)
    copied = {
        _CLICKED + name.removeprefix(_AUTOMATIC): tensor
        for name, tensor in state.items()
        if name.startswith(_AUTOMATIC)
    }
    whole = {**{name: tensor for name, tensor in network.state_dict().items() if "point_head." in name}, **copied}
    try:
        network.load_state_dict({**whole, **state})
    except RuntimeError as error:
        raise CheckpointError(
            expected="weights of this very network without its click branch",
            got=str(error).splitlines()[1 if "\n" in str(error) else 0].strip(),
            do="start from a model of the same width, levels and embeddings",
        ) from None
    return network


@torch.no_grad()
def compare_places(head: PointHead) -> None:
    """Have a new point head's attention between clicks and image compare places, before it has learnt anything.

    Query and key take sine and cosine of the same frequencies, so that their product is the sum of
    ``cos(2 pi f (x - c))``: high where the image token x lies near the click c. The lowest frequencies, which
    change least across a window, go to the first layer and the last look, the next to the second layer. What else
    the projections had is kept at a tenth.
    """
    frequencies = head.position.frequencies
    order = frequencies.norm(dim=0).argsort().tolist()
    layers = list(head.transformer.layers)
    looks = [(head.transformer.final_attention, order)]
    for depth, layer in enumerate(layers):
        assert isinstance(layer, TwoWayLayer)
        own = order[len(order) // len(layers) * depth :]
        looks += [(layer.prompt_to_image, own), (layer.image_to_prompt, own)]
    for attention, own in looks:
        for projection in (attention.query, attention.key):
            projection.weight.mul_(0.1)
            projection.bias.zero_()
            for row, frequency in zip(range(0, len(projection.weight), 2), own, strict=False):
                projection.weight[row, frequency] = _SHARPNESS  # the sine of a position
                projection.weight[row + 1, frequency + frequencies.shape[1]] = _SHARPNESS  # its cosine
