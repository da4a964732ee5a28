"""Synthetic: how much of what is learnt comes from scans that nobody took, as plain data."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass

from vesalius.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """How much is learnt from scans that nobody took: a group of cases of its own."""

    share: float = 0.0
    """Part of the windows that come from it; without any it is not made."""
    phantoms: int = 12
    """Procedural torsos, for models of CT that name some of their structures."""
    paintings: int = 36
    """Label maps of training cases, deformed and painted with contrasts of their own; the cases in turn."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or min(self.phantoms, self.paintings) < 0:
            raise UsageError(
                expected="a share in [0, 1] of synthetic windows, and no fewer phantoms and paintings than none",
                got=f"{self.share:g}, {self.phantoms}, {self.paintings}",
                do="0.1 to 0.3 leaves most of the windows to real scans",
            )
