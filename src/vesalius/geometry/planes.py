"""The three planes that scans are cut along, and how their slices lie."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
ORIENTATION: Mapping[Plane, str] = {"axial": "PLS", "coronal": "ILP", "sagittal": "IPL"}
"""Where rows, columns and slices run to: as radiologists see them, and as the specs of slice models say."""
