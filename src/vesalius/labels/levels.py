"""Structures that are numbered from head to foot, in that order."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

_LEVELS = [
    f"{part}{number}" for part, count in (("C", 7), ("T", 12), ("L", 5), ("S", 1)) for number in range(1, count + 1)
]

HEAD_TO_FOOT: tuple[tuple[str, ...], ...] = (
    tuple(f"vertebrae {level}" for level in _LEVELS),
    *(tuple(f"{side} rib {number}" for number in range(1, 13)) for side in ("left", "right")),
)
"""Chains of names: the vertebrae, the ribs of either side."""
