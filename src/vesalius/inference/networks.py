"""A network, and the same in another precision where a plan needs it to fit the memory allowed."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from vesalius.inference.speed import DTYPES
from vesalius.models.meddinov3 import MedDino
from vesalius.models.promptable import Promptable
from vesalius.precision import Precision

Network = Promptable | MedDino
"""What segments: by prompts, or slice by slice."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Networks:
    """A network that is held, and where others like it come from.

    Args:
        held: On its device, in its precision; threads may share it, so it is never changed.
        reload: Gives the same network in another precision; None where there is but this one.
    """

    held: Network
    reload: Callable[[Precision], Network] | None = None

    @property
    def precision(self) -> Precision:
        """The precision the held network runs in."""
        maps = (m for m in self.held.encoder.modules() if isinstance(m, nn.Conv2d | nn.Conv3d))
        dtype = next(maps).weight.dtype
        return next(name for name, kind in DTYPES.items() if kind == dtype)

    @property
    def fallback(self) -> Precision | None:
        """The smaller precision that a plan may choose instead; None where there is none."""
        return "bf16" if self.reload and self.precision == "fp32" else None

    @property
    def half_bytes(self) -> int:
        """What the network takes in bf16, beside the one that is held."""
        return sum(2 * weight.numel() for weight in self.held.parameters())

    @property
    def device(self) -> torch.device:
        """That the network is on."""
        return next(self.held.parameters()).device

    def in_precision(self, precision: Precision) -> Network:
        """Return the network in a precision: the one held, or one loaded for this run alone."""
        if precision == self.precision or self.reload is None:
            return self.held
        return self.reload(precision).eval()
