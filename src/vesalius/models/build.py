"""From an architecture to a network with random weights, and from a trained network to a fast one."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch
from torch import nn

from vesalius.models.vista3d import Vista3D
from vesalius.spec import VistaArchitecture


def build(architecture: VistaArchitecture) -> Vista3D:
    """Return the network of an architecture, randomly initialised, in float32."""
    return Vista3D(architecture)


def optimise_for_inference(network: Vista3D, *, dtype: torch.dtype = torch.float32) -> Vista3D:
    """Prepare a trained network for use, in place: layout, precision, no gradients.

    Only convolutions change precision: they are nearly all of the time and memory. Norms, attention, embeddings and
    the frequencies of positions are small, and stay in float32.

    Args:
        network: Trained network.
        dtype: Precision of the convolutions; ``torch.bfloat16`` halves time and memory on processors that have it.

    Returns:
        The same network.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.to(dtype=dtype)
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)
    return network.eval().requires_grad_(False)
