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
    """Return the spec's network with both branches, of one that was trained with one of them alone.

    The new branch's decoder begins as a copy of the other, which has its shape and reads the same features. A new
    point head begins as ``click_start`` says, a new class head at random.

    Args:
        spec: Of the network to grow; with both branches.
        state: Weights of the smaller one.
        seed: Of what begins at random.

    Raises:
        CheckpointError: If the weights are not those of this network without one of its branches.
    """
    network = new_network(spec, seed=seed)
    begin_near_clicks(network.point_head, seed=seed)
    takes_names = any(name.startswith(_AUTOMATIC) for name in state)
    known, new = (_AUTOMATIC, _CLICKED) if takes_names else (_CLICKED, _AUTOMATIC)
    head = "point_head." if takes_names else "class_head."
    copied = {new + name.removeprefix(known): tensor for name, tensor in state.items() if name.startswith(known)}
    whole = {**{name: tensor for name, tensor in network.state_dict().items() if name.startswith(head)}, **copied}
    try:
        network.load_state_dict({**whole, **state})
    except RuntimeError as error:
        raise CheckpointError(
            expected=f"weights of this very network without its {'click' if takes_names else 'automatic'} branch",
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
