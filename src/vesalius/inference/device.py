"""Where networks run: the device that was asked for, and whether trainings come out right on it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
import os
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
_TOLERANCE = 0.02
"""Of a tensor's gradient. TF32, by which it may be 0.3 off (simulated), is turned off meanwhile."""
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
    kind, _, number = device.partition(":")
    if kind not in there or (kind == "cuda" and number and not _has_card(number)):
        cards = f" ({torch.cuda.device_count()} cards)" if "cuda" in there else ""
        raise UsageError(
            expected=f"a device of this machine: {', '.join(sorted(there))}{cards}",
            got=device,
            do="use --device auto",
        )
    return device


@cache
def device_to_train_on(device: str) -> str:
    """Return a device that exists and differentiates as the processor does; ``auto`` passes one that does not by.

    Of several processes (``torchrun``) each looks at the card that it will take, and leaves the others alone.

    Raises:
        UsageError: If the device asked for is not there, its gradients are wrong, or it is one card for several
            processes.
    """
    if device != "auto":
        place = choose_device(device)
        if place.startswith("cuda:") and processes() > 1:
            raise UsageError(
                expected="--device cuda for several processes, of which each takes the card of its place",
                got=device,
                do="leave the number out; CUDA_VISIBLE_DEVICES says which cards there are",
            )
        require_right_gradients(_own(place))
        return place
    for place in _there():
        try:
            require_right_gradients(_own(place))
        except UsageError as error:
            log.warning("%s is left out: %s", place, error.got)
        else:
            return place
    return "cpu"


def _there() -> tuple[str, ...]:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return tuple(name for name, exists in there.items() if exists)


def _has_card(number: str) -> bool:
    return number.isdecimal() and int(number) < torch.cuda.device_count()


def processes() -> int:
    """Return how many processes ``torchrun`` started, of which this is one; elsewhere it is alone."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _own(place: str) -> str:
    """Return the card of this process; where there is none for it, joining the others says so."""
    if place != "cuda" or processes() == 1:
        return place
    number = os.environ["LOCAL_RANK"]
    return f"cuda:{number}" if _has_card(number) else "cpu"


def require_right_gradients(device: str) -> None:
    """Refuse a device on which a small network's gradients are not the processor's; found out once a process.

    On MPS, convolutions and the gradients of batch norm were silently wrong for tensors in some layouts (pytorch
    issues 174345, 175189, 197114), and transposed 3-D convolutions came with torch 2.8.

    Raises:
        UsageError: If they are not, or the device refuses to compute them.
        RuntimeError: If memory runs out, as torch says it.
    """
    fault = None if device == "cpu" else _fault(device)
    if fault is not None:
        raise UsageError(
            expected=f"gradients on {device} that are off by rounding alone ({_TOLERANCE:.0e})",
            got=f"{fault} (torch {torch.__version__})",
            do="use --device cpu, or install another version of torch",
        )


@cache
def _fault(device: str) -> str | None:
    """Return what is wrong with a device's gradients, if anything is."""
    try:
        worst = gradients_off_by(device)
    except (TypeError, RuntimeError) as error:  # NotImplementedError is one of these
        if is_out_of_memory(error):
            raise
        return str(error).strip().partition("\n")[0] or type(error).__name__
    return None if worst <= _TOLERANCE else f"gradients that are off by {worst:.1e}"


def gradients_off_by(device: str) -> float:
    """Return how far the gradients of a small VISTA3D network lie from the processor's, in fp32.

    Both branches are asked, laid out as in training. Of each tensor: the norm of the difference over its norm.
    TF32 is off meanwhile: rounding to 10 bits flips signs in front of ReLUs.

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
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        found = [gradient.cpu() for gradient in _gradients(network.to(device), *there)]
    least = _SMALL * max(float(gradient.norm()) for gradient in right)
    off = [
        float((one - other).norm()) / max(float(other.norm()), least)
        for one, other in zip(found, right, strict=True)
    ]
    return float(torch.tensor(off).max())  # which is NaN if any is


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
