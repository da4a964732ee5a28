"""Groups by size and the schedule: how far each tensor moves in a step.

AdamW moves every weight by about its rate, whatever the gradient. So a tensor's rate is stated as a part of the
tensor's own size (as in LARS, You et al. 2017, arXiv:1708.03888, but fixed at the start, so that a tensor cannot
run away with its rate).
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from vesalius.engine.settings import Optimisation, Part
from vesalius.engine.wide import widest
from vesalius.errors import UsageError

SMALLEST, LARGEST = 0.005, 0.2
"""Sizes are kept within these: a tensor near 0 could never grow, and norms, which begin at 1, need no large
steps."""
SIZE_OF_ZEROS = 0.1
"""Size of a tensor that begins at 0, such as a bias."""
_FIRST_FACTOR = 0.02


def learning_parameters(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are not frozen."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def groups_by_size(parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
    """Return one parameter group per tensor, with its ``size``: the root mean square of its weights."""
    groups = []
    for parameter in parameters:
        size = float(parameter.detach().square().mean().sqrt()) or SIZE_OF_ZEROS
        groups.append({"params": [parameter], "size": min(max(size, SMALLEST), LARGEST)})
    return groups


def freeze(network: nn.Module, parts: Sequence[Part]) -> None:
    """Freeze what parts with a rate of 0 name.

    Raises:
        UsageError: If a part names nothing, or nothing is left to learn.
    """
    named = dict(network.named_parameters())
    for part in parts:
        chosen = chosen_by(part.names, named)
        if part.rate == 0:
            for parameter in chosen:
                parameter.requires_grad_(False)
    if not learning_parameters(network):
        raise UsageError(
            expected="something to learn", got="a network that is frozen whole", do="freeze less of it"
        )


def chosen_by(pattern: str, named: Mapping[str, nn.Parameter]) -> list[nn.Parameter]:
    """Return the parameters whose names fit a pattern.

    Raises:
        UsageError: If none do.
    """
    chosen = [parameter for name, parameter in named.items() if fnmatchcase(name, pattern)]
    if not chosen:
        raise UsageError(
            expected=f"tensors named {pattern}",
            got=f"a network with {', '.join(list(named)[:4])}, ...",
            do="correct the pattern in the training's settings",
        )
    return chosen


def clipped_together(network: nn.Module, settings: Optimisation) -> list[list[nn.Parameter]]:
    """Return the groups of parameters whose gradients are shortened together.

    Raises:
        UsageError: If a pattern of ``clip_apart`` names nothing.
    """
    named = dict(network.named_parameters())
    groups, taken = [], set[int]()
    for pattern in settings.clip_apart or ():
        groups.append([one for one in chosen_by(pattern, named) if id(one) not in taken])
        taken |= {id(one) for one in groups[-1]}
    groups.append([one for one in named.values() if id(one) not in taken])
    return [group for group in groups if group]


@torch.no_grad()
def shorten(parameters: Iterable[nn.Parameter], longest: float) -> float:
    """Shorten gradients, all together and in place, to a norm, and return what it was.

    It is taken in float64: in float32 its last bit depends on how gradients lie in memory, so that two processes,
    whose gradients come out of one buffer, would part from one that has the same.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return 0.0
    wide = widest(gradients[0].device)
    norms = torch.stack([torch.linalg.vector_norm(gradient, dtype=wide) for gradient in gradients])
    norm = float(torch.linalg.vector_norm(norms))
    factor = longest / (norm + 1e-6)
    if factor < 1:
        for gradient in gradients:
            gradient.mul_(factor)
    return norm


def make_optimiser(network: nn.Module, settings: Optimisation) -> torch.optim.AdamW:
    """Return AdamW over every tensor of a network that is not frozen, each in a group of its own.

    A group has a ``size``, the ``factor`` that the settings' parts give its rate, and where the settings schedule
    them, the ``decay_factor`` of its weight decay and the part of the training that it ``waits`` for.

    Raises:
        UsageError: If what shall wait names nothing.
    """
    groups = groups_by_size(learning_parameters(network))
    for pattern in settings.waiting or {}:
        chosen_by(pattern, dict(network.named_parameters()))
    names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    for name, group in zip(names, groups, strict=True):
        parts = [part for part in settings.parts if fnmatchcase(name, part.names)]
        group["size"] = group["size"] if settings.size is None else settings.size
        group["factor"] = math.prod(part.rate for part in parts)
        decay_factor = math.prod(part.weight_decay for part in parts)
        group["weight_decay"] = settings.weight_decay * decay_factor
        if settings.weight_decay_end is not None:
            group["decay_factor"] = decay_factor
        if settings.waiting is not None:
            group["waits"] = max(
                [0.0, *(w for pattern, w in settings.waiting.items() if fnmatchcase(name, pattern))]
            )
    return torch.optim.AdamW(
        groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=settings.betas
    )


def rate_factor(progress: float, settings: Optimisation) -> float:
    """Return the factor of the learning rate, in [0, 1]: a linear rise, a plateau, then a fall.

    Args:
        progress: Part of the training that is behind, in [0, 1].
        settings: Where the rise ends, where the fall begins, and how low it goes.
    """
    if progress < settings.warm_up:
        return max(progress / settings.warm_up, _FIRST_FACTOR)
    if progress <= settings.plateau:
        return 1.0
    fallen = (progress - settings.plateau) / (1 - settings.plateau)
    left = 0.5 * (1 + math.cos(math.pi * fallen)) if settings.power is None else (1 - fallen) ** settings.power
    return settings.floor + (1 - settings.floor) * left


def between(start: float, end: float | None, progress: float) -> float:
    """Return where a schedule from ``start`` to ``end`` is: half a cosine; without an end it stays at its start."""
    return start if end is None else end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


def ema_decay(step: int, progress: float, settings: Optimisation) -> float:
    """Return how much of the running average a step keeps."""
    if settings.ema_decay_end is None:
        return min(settings.ema_decay, (1 + step) / (10 + step))
    return between(settings.ema_decay, settings.ema_decay_end, progress)


def set_rate(optimiser: torch.optim.Optimizer, rate: float, settings: Optimisation, *, progress: float) -> None:
    """Give every group its rate, the part of its size by which it moves, and its weight decay.

    Args:
        optimiser: One that ``make_optimiser`` made.
        rate: The factor of the learning rate.
        settings: What the optimiser was made by.
        progress: Part of the training that is behind, in [0, 1].
    """
    decay = between(settings.weight_decay, settings.weight_decay_end, progress)
    for group in optimiser.param_groups:
        group["lr"] = rate * settings.learning_rate * group["size"] * group["factor"]
        if settings.waiting is not None and progress < group["waits"]:
            group["lr"] = 0.0
        if settings.weight_decay_end is not None:
            group["weight_decay"] = decay * group["decay_factor"]
