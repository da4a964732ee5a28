"""Wide: the precision in which sums over samples and voxels are taken, on a device that may not have float64."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch

WITHOUT_FLOAT64 = frozenset({"mps"})
"""Kinds of devices on which no tensor of float64 can be made."""


def widest(device: torch.device) -> torch.dtype:
    """Return float64, or float32 where the device has nothing wider."""
    return torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64
