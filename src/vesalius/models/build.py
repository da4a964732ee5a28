"""From an architecture to a network with random weights, and from a trained network to a fast one."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import TypeVar, assert_never, overload

import torch
from torch import nn

from vesalius.models.layers.transformer import AdaptableLinear
from vesalius.models.meddinov3 import MedDino
from vesalius.models.prompted_vit import PromptedVit
from vesalius.models.sam import Sam
from vesalius.models.vista3d import Vista3D
from vesalius.models.vit import Vit
from vesalius.spec import (
    Architecture,
    MedDinoArchitecture,
    PromptArchitecture,
    PromptedVitArchitecture,
    SamArchitecture,
    VistaArchitecture,
    VitArchitecture,
)

Network = TypeVar("Network", bound=nn.Module)
AnyNetwork = Vista3D | PromptedVit | Vit | MedDino | Sam


@overload
def build(architecture: VistaArchitecture) -> Vista3D: ...
@overload
def build(architecture: VitArchitecture) -> Vit: ...
@overload
def build(architecture: MedDinoArchitecture) -> MedDino: ...
@overload
def build(architecture: SamArchitecture) -> Sam: ...
@overload
def build(architecture: PromptArchitecture) -> Vista3D | PromptedVit: ...
def build(architecture: Architecture) -> AnyNetwork:
    """Return the network of an architecture, randomly initialised, in float32."""
    match architecture:
        case VistaArchitecture():
            return Vista3D(architecture)
        case VitArchitecture():
            return Vit(architecture)
        case MedDinoArchitecture():
            return MedDino(architecture)
        case PromptedVitArchitecture():
            return PromptedVit(architecture)
        case SamArchitecture():
            return Sam(architecture)
        case _:
            assert_never(architecture)


def optimise_for_inference(network: Network, *, dtype: torch.dtype = torch.float32) -> Network:
    """Prepare a trained network for use, in place: layout, precision, no gradients.

    Only the maps change precision that are nearly all of the time and memory: convolutions, and the linear maps of
    a transformer's blocks. Norms, prompts, embeddings, positions and the sums of branches stay in float32.

    Args:
        network: Trained network.
        dtype: Precision of those maps; ``torch.bfloat16`` halves time and memory on processors that have it.

    Returns:
        The same network.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.to(dtype=dtype)
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(dtype=dtype)
        elif isinstance(module, AdaptableLinear):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
    return network.eval().requires_grad_(False)
