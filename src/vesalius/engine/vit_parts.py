"""What of a vision transformer learns at rates of its own: layer by layer, and without weight decay."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from vesalius.engine.settings import Part, by_depth
from vesalius.spec import VitArchitecture

_TOKENS = ("class_token", "registers", "mask_token")


def stem_of(prefix: str) -> str:
    """Return the pattern of a transformer's patch embedding, all of whose names begin with ``prefix``."""
    return f"{prefix}patch_embedding.*"


def vit_layers(architecture: VitArchitecture, *, prefix: str, decay: float) -> tuple[Part, ...]:
    """Return rates that fall towards the input, ``decay ** (depth + 1 - layer)``: of DINOv3 and of its fine-tuning.

    Patch embedding and tokens are layer 0, the blocks the layers from 1 on; the last norm keeps the whole rate.

    Args:
        architecture: Says how many blocks there are, and which tokens.
        prefix: What the names of its tensors begin with in the network, such as ``encoder.``
        decay: In (0, 1].

    Raises:
        UsageError: If the decay is not.
    """
    blocks = tuple(f"{prefix}blocks.{number}.*" for number in range(architecture.depth))
    first = decay ** (architecture.depth + 1)
    tokens = tuple(Part(names=name, rate=first) for name in _tokens(architecture, prefix))
    return (*by_depth((stem_of(prefix), *blocks), decay=decay), *tokens)


def without_decay(architecture: VitArchitecture, *, prefix: str) -> tuple[Part, ...]:
    """Return what has no weight decay: biases and norms of the whole network, and the transformer's bare tensors.

    Args:
        architecture: Says which tensors there are.
        prefix: What the names of the transformer's begin with.
    """
    own = (f"{prefix}*.gamma", *_tokens(architecture, prefix), *((f"{prefix}*_bias",) * architecture.qkv_bias))
    return tuple(Part(names=name, weight_decay=0.0) for name in ("*.bias", "*norm*.weight", *own))


def _tokens(architecture: VitArchitecture, prefix: str) -> tuple[str, ...]:
    return tuple(prefix + name for name in _TOKENS if architecture.registers or name != "registers")
