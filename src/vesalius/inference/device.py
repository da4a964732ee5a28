"""Where networks run: the device that was asked for, and whether trainings come out right on it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
from functools import cache

import torch
from torch import Tensor

from vesalius.errors import UsageError, is_out_of_memory
from vesalius.models.build import build
from vesalius.models.class_head import compare
from vesalius.models.promptable import Promptable
from vesalius.spec import ClickLabel, VistaArchitecture

log = logging.getLogger(__name__)

_TINY = VistaArchitecture(width=8, blocks_down=(1, 1), num_embeddings=4, last_supported=3, special_classes=())
_SIDE = 8
_TOLERANCE = 0.05
"""Of a tensor's gradient: cards multiply fp32 with 10 bits (5e-4 a value), some twenty times one after another."""
_SMALL = 0.01
"""Of the largest gradient: what a smaller one is compared with, as a bias before a norm has none but rounding's."""


def choose_device(device: str) -> str:
    """Return a device that exists: CUDA, then MPS, then the processor, for ``auto``.

    Raises:
        UsageError: If the device asked for is not there.
    """
    there = _there()
    if device == "auto":
        return there[0]
    if device.partition(":")[0] not in there:
        raise UsageError(
            expected=f"a device of this machine: {', '.join(sorted(there))}", got=device, do="use --device auto"
        )
    return device


def device_to_train_on(device: str) -> str:
    """Return a device that exists and differentiates as the processor does; ``auto`` passes one that does not by.

    Raises:
        UsageError: If the device asked for is not there, or its gradients are wrong.
    """
    if device != "auto":
        place = choose_device(device)
        require_right_gradients(place)
        return place
    for place in _there():
        try:
            require_right_gradients(place)
        except UsageError as error:
            log.warning("%s is left out: %s", place, error.got)
        else:
            return place
    return "cpu"


def _there() -> tuple[str, ...]:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return tuple(name for name, exists in there.items() if exists)


@cache
def require_right_gradients(device: str) -> None:
    """Refuse a device on which a small network's gradients are not the processor's; found out once a process.

    On MPS, convolutions and the gradients of batch norm were silently wrong for tensors in some layouts (pytorch
    issues 174345, 175189, 197114), and transposed 3-D convolutions came with torch 2.8.

    Raises:
        UsageError: If they are not, or the device refuses to compute them.
    """
    if device == "cpu":
        return
    try:
        worst = gradients_off_by(device)
        got = f"gradients that are off by {worst:.1e}, with torch {torch.__version__}"
    except (TypeError, RuntimeError) as error:  # NotImplementedError is one of these
        if is_out_of_memory(error):
            raise
        worst, got = float("inf"), f"{str(error).strip().partition(chr(10))[0]} (torch {torch.__version__})"
    if not worst <= _TOLERANCE:
        raise UsageError(
            expected=f"gradients on {device} that are off by rounding alone ({_TOLERANCE:.0e})",
            got=got,
            do="use --device cpu, or install another version of torch",
        )


def gradients_off_by(device: str) -> float:
    """Return how far the gradients of a small VISTA3D network lie from the processor's, in fp32.

    Both branches are asked, laid out as in training. Of each tensor: the norm of the difference over its norm.

    Raises:
        RuntimeError: As the device refuses.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(_TINY).train()
        image, direction = torch.rand(1, 1, _SIDE, _SIDE, _SIDE), torch.randn(2, _SIDE, _SIDE, _SIDE)
    for parameter in network.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    right = _gradients(network, image, direction)
    there = [tensor.to(device) for tensor in (image, direction)]
    found = [gradient.cpu() for gradient in _gradients(network.to(device), *there)]
    least = _SMALL * max(float(gradient.norm()) for gradient in right)
    off = [
        float((one - other).norm()) / max(float(other.norm()), least)
        for one, other in zip(found, right, strict=True)
    ]
    return max(off)


def _gradients(network: Promptable, image: Tensor, direction: Tensor) -> list[Tensor]:
    """Differentiate a class's logits and an object's, each along a direction."""
    automatic, clicked = network.both_features(image)
    place = image.device
    by_name = compare(network.class_vectors(torch.tensor([1], device=place)), automatic)
    click, sign = torch.full((1, 1, 3), _SIDE / 2), torch.full((1, 1), int(ClickLabel.POSITIVE))
    prompts = [part.to(place) for part in (click, sign, torch.tensor([True]))]
    by_click = network.point_head.logits(network.point_head.image_map(clicked), *prompts)
    loss = (torch.cat([by_name[0], by_click[0]]) * direction).sum()
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(loss, learning, allow_unused=True)
    return [gradient for gradient in found if gradient is not None]
