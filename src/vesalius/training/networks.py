"""Networks at the start of a training: random, grown from one that knows less, or on a backbone."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vesalius.errors import CheckpointError
from vesalius.models.build import build
from vesalius.models.promptable import Promptable
from vesalius.spec import ModelSpec
from vesalius.training.click_start import begin_near_clicks

BACKBONE = "encoder.encoder."
"""What a backbone's tensors are called in the network of prompts that it is the encoder of."""
_AUTOMATIC, _CLICKED = "automatic_decoder.", "point_decoder."


def new_network(spec: ModelSpec, *, seed: int) -> Promptable:
    """Return the spec's network with random weights, laid out for training; torch's own generator is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(spec.vista)
    for parameter in network.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return network


def grown_network(spec: ModelSpec, state: Mapping[str, Tensor], *, seed: int) -> Promptable:
    """Return the spec's network with both branches, of one that was trained with the automatic branch alone.

    The click decoder begins as a copy of the automatic one, which has its shape and reads the same features; the
    point head begins as ``click_start`` says.

    Args:
        spec: Of the network to grow; with both branches.
        state: Weights of the smaller one.
        seed: Of what begins at random.

    Raises:
        CheckpointError: If the weights are not those of this network without its click branch.
    """
    network = new_network(spec, seed=seed)
    begin_near_clicks(network.point_head, seed=seed)
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


def network_on_backbone(spec: ModelSpec, state: Mapping[str, Tensor], *, seed: int) -> Promptable:
    """Return the spec's network with a backbone for its encoder; decoders and heads are random.

    Args:
        spec: Of a vision transformer with both heads, or one.
        state: The backbone's weights, named as in that network.
        seed: Of the rest.

    Raises:
        CheckpointError: If the weights are of another backbone.
    """
    network = new_network(spec, seed=seed)
    if spec.vista.point_branch:
        begin_near_clicks(network.point_head, seed=seed)
    own = network.state_dict()
    wanted = {name: tensor.shape for name, tensor in own.items() if name.startswith(BACKBONE)}
    given = {name: tensor.shape for name, tensor in state.items()}
    if wanted != given:
        wrong = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
        raise CheckpointError(
            expected="the weights of this very backbone",
            got=f"{len(wrong)} tensors that are absent, strange or of another shape: {wrong[:4]}",
            do="begin with a backbone without adapters",
        )
    network.load_state_dict({**own, **state})
    return network
