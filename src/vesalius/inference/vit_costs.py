"""What a vision transformer and its decoder cost: operations and bytes of images, by their sizes alone."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Sequence

from vesalius.models.decoders import ROWS_AT_ONCE
from vesalius.spec import MedDinoArchitecture, PromptedVitArchitecture

_TOKEN_MAPS = 14
"""Peak memory of a block, in maps of all its tokens: what comes in, queries, keys, values, the MLP's inner map."""

_LAST_DOUBLING = 3.5
"""Peak memory of the last doubling of whole maps, which is the largest, in maps of what comes out of it: half a map
that goes in, one before its norm and one after it (2.5 were counted on torch's ``meta`` device), and the copy with
channels last that the norm makes for itself, which is not seen there."""


def as_slices(architecture: PromptedVitArchitecture) -> MedDinoArchitecture:
    """Return one branch of a network of prompts, up to its features, as the slice network that costs as much."""
    return MedDinoArchitecture(
        encoder=architecture.encoder, taps=architecture.taps, decoder="fused", num_classes=architecture.width
    )


def image_bytes(
    architecture: MedDinoArchitecture,
    window: tuple[int, int] | Sequence[int],
    at_once: int,
    itemsize: int,
    *,
    depth_first: bool = True,
) -> int:
    """Return the peak memory of images that pass the network together, its weights aside.

    Args:
        architecture: Of the network.
        window: Pixels of an image along its rows' and its columns' sides.
        at_once: Images that pass together.
        itemsize: Bytes of a number.
        depth_first: Whether they are decoded so, as on a processor (``decoders.streams``); elsewhere every doubling
            is made of whole maps.
    """
    encoder = architecture.encoder
    height, width = window
    tokens = at_once * height * width // encoder.patch_size**2
    inside = 4 * tokens * encoder.width * _TOKEN_MAPS
    taps = 4 * tokens * encoder.width * len(architecture.taps) * 2
    widest = encoder.width * (len(architecture.taps) if architecture.decoder == "primus" else 1)
    if depth_first:  # a part of every stage at once, four times as many pixels of half the channels out of each
        doubling = itemsize * ROWS_AT_ONCE * widest * 2 * 6 + 2 * itemsize * widest**2 * 3
    else:
        channels = 0 if architecture.decoder == "linear" else widest // encoder.patch_size
        doubling = int(_LAST_DOUBLING * itemsize * at_once * channels * height * width)
    logits = 2 * itemsize * at_once * architecture.num_classes * height * width
    return taps + max(inside, doubling + logits)


def slice_flops(architecture: MedDinoArchitecture, window: tuple[int, int]) -> tuple[int, int]:
    """Count the floating-point operations (2 per multiply-add) of one image: of maps, and of attention.

    Written out, because torch's counter takes a second to load; a test holds the two equal.
    """
    encoder, width = architecture.encoder, architecture.encoder.width
    patches = math.prod(window) // encoder.patch_size**2
    tokens = patches + 1 + encoder.registers
    used = max(architecture.taps) + 1  # blocks after the last tap do not run
    maps = used * tokens * width**2 * (4 + 2 * encoder.mlp_ratio)
    maps += patches * encoder.patch_size**2 * width  # one channel
    widest = width * len(architecture.taps)
    if architecture.decoder == "fused":
        maps += patches * widest * width
        widest = width
    if architecture.decoder == "linear":
        maps += patches * widest * architecture.num_classes
    else:
        doublings = round(math.log2(encoder.patch_size))
        maps += doublings * patches * widest * 2 * widest
        maps += math.prod(window) * (widest >> doublings) * architecture.num_classes
    return 2 * maps, 4 * used * tokens**2 * width
