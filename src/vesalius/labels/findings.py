"""Findings: what was found in one scan, as a plain record that JSON, tables and pages are made of."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vesalius.labels.structure import Colour


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One structure that was looked for.

    Args:
        class_id: Its id in the label map.
        name: Its name in the model's vocabulary.
        colour: Red, green and blue, 0 to 255.
        snomed: SNOMED CT code of its type, where one is known.
        volume_ml: Volume in millilitres.
        voxels: How many voxels it has; 0 where it was looked for and not found.
        mean_hu: Mean of the image over them (Hounsfield units for CT); None without voxels.
        confidence: Dice the model expects of its own result, in [0, 1]; None where it cannot tell.
        touches_border: Whether it reaches the edge of the scan and so may be cut.
        components: How many connected pieces it has.
        pieces_removed: How many smaller pieces were taken away, of a structure that is one piece.
        removed_ml: Their volume together, in millilitres.
    """

    class_id: int
    name: str
    colour: Colour
    snomed: str | None
    volume_ml: float
    voxels: int
    mean_hu: float | None
    confidence: float | None
    touches_border: bool
    components: int
    pieces_removed: int = 0
    removed_ml: float = 0.0

    @classmethod
    def of_dict(cls, record: Mapping[str, Any]) -> Finding:
        """Read a finding that ``as_dict`` wrote, of this or an earlier version of ours.

        Raises:
            KeyError, TypeError, ValueError: If the record is something else.
        """
        red, green, blue = map(int, record["colour"])
        return cls(
            class_id=int(record["id"]),
            name=str(record["name"]),
            colour=(red, green, blue),
            snomed=None if record["snomed"] is None else str(record["snomed"]),
            volume_ml=float(record["volume_ml"]),
            voxels=int(record["voxels"]),
            mean_hu=_optional(record["mean_hu"]),
            confidence=_optional(record["confidence"]),
            touches_border=bool(record["touches_border"]),
            components=int(record["components"]),
            pieces_removed=int(record.get("pieces_removed", 0)),
            removed_ml=float(record.get("removed_ml", 0.0)),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as a JSON object; numbers that are not finite become null."""
        return {
            "id": self.class_id,
            "name": self.name,
            "colour": list(self.colour),
            "snomed": self.snomed,
            "volume_ml": _finite(self.volume_ml, digits=3),
            "voxels": self.voxels,
            "mean_hu": _finite(self.mean_hu, digits=1),
            "confidence": _finite(self.confidence, digits=3),
            "touches_border": self.touches_border,
            "components": self.components,
            "pieces_removed": self.pieces_removed,
            "removed_ml": _finite(self.removed_ml, digits=3),
        }


@dataclass(frozen=True)
class Findings:
    """Everything found in one scan, in the order of the label ids, and what a person should look at."""

    classes: tuple[Finding, ...]
    warnings: tuple[str, ...] = ()

    @property
    def found(self) -> tuple[Finding, ...]:
        """The structures that have voxels."""
        return tuple(finding for finding in self.classes if finding.voxels)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as ``labels.json`` states it."""
        return {"classes": [finding.as_dict() for finding in self.classes], "warnings": list(self.warnings)}


def _finite(value: float | None, *, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)
