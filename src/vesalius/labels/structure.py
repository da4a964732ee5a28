"""Structure: one thing that can be found in a scan, and the codes and colour it is written with."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["trained", "composite", "unsupported"]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Concept:
    """A coded concept as DICOM writes it.

    Args:
        value: The code, such as ``"10200004"``.
        meaning: What it stands for, such as ``"Liver"``.
        scheme: The coding scheme's designator; ``SCT`` is SNOMED CT.
    """

    value: str
    meaning: str
    scheme: str = "SCT"


ANATOMICAL_STRUCTURE = Concept("123037004", "Anatomical Structure")
MORPHOLOGICALLY_ABNORMAL_STRUCTURE = Concept("49755003", "Morphologically Abnormal Structure")
LEFT = Concept("7771000", "Left")
RIGHT = Concept("24028007", "Right")


@dataclass(frozen=True, kw_only=True)
class Code:
    """What a DICOM segment says it shows (segmented property category, type, modifier; anatomic region)."""

    category: Concept
    type: Concept
    modifier: Concept | None = None
    """The side, where ``type`` does not hold it."""
    region: Concept | None = None
    """Where it lies, where ``type`` does not say so (a neoplasm of the lung)."""
    region_modifier: Concept | None = None
    """The side of ``region``."""


@dataclass(frozen=True, kw_only=True)
class Structure:
    """One structure of the table, or of a model's vocabulary."""

    id: int
    """Class id: in the table, the row of VISTA3D; in a model's vocabulary, that model's own."""
    name: str
    colour: Colour
    """Red, green and blue, 0 to 255."""
    synonyms: tuple[str, ...] = ()
    """Other names it answers to, TotalSegmentator's first."""
    groups: tuple[str, ...] = ()
    """Names that stand for several structures apart, this one among them (``kidneys``)."""
    parts: tuple[int, ...] = ()
    """Ids of the structures it is made of (kidney: left and right kidney)."""
    includes: tuple[int, ...] = ()
    """Ids of structures that lie inside it and count as part of it (liver: its vessels and tumours)."""
    layer: str | None = None
    """The overlap layer of a structure that lies inside others; None for the base layer."""
    code: Code | None = None
    is_special: bool = False
    """Whether VISTA3D's clicks on it carry the special-class embedding."""
    status: Status = "trained"
    """Whether a model predicts it, makes it of ``parts``, or names it and cannot predict it."""
    reason: str = ""
    """Why it is unsupported."""

    @property
    def snomed(self) -> str | None:
        """SNOMED CT code of its type, without its side; None where none is known."""
        return self.code.type.value if self.code else None
