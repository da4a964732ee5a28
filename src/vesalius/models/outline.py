"""The outline of a network: names, shapes and types of its tensors, without their numbers."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from vesalius.models.build import AnyNetwork, build
from vesalius.spec import Architecture

_FILLS = frozenset({"normal_", "uniform_", "kaiming_uniform_"})
"""What draws numbers: of ``torch.nn.init``, and of a tensor itself."""


def outline(architecture: Architecture) -> AnyNetwork:
    """Return the network of an architecture on the meta device, to be compared with a file or filled from one.

    Nothing is drawn. Torch fills even a tensor without numbers by what it traces programs with, whose import takes
    a second, more than all else of loading a small model.
    """
    with torch.device("meta"), _Unfilled():
        return build(architecture)


class _Unfilled(TorchFunctionMode):
    """While this is entered, tensors stay as they were made."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return what was to be filled, or what any other function returns."""
        given = dict(kwargs or {})
        if getattr(func, "__name__", "") in _FILLS:
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)
