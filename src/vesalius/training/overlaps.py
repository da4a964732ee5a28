"""Overlaps: which classes count as part of others, and which are known to lie apart, by the vocabulary's own ids.

VISTA3D's merge rule (liver includes its vessels and tumours, airway the trachea) is stated there by ids of its own
table and applied to whatever ids a user's data set has (``MERGE_LIST``, ``train_finetune.py``). Here a vocabulary
says by name what a class is, so 26 means hepatic tumour only in a vocabulary that calls it so.

Two classes lie apart only if the table knows both, neither lies in a layer, and no pair of ``_MAY_SHARE`` names
them: data sets draw borders differently, and what is wrongly known to be absent is learnt as absent.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from vesalius.data.case import UNKNOWN
from vesalius.labels.structure import Structure
from vesalius.labels.vista3d import TABLE
from vesalius.labels.vocabulary import Vocabulary

_LUNGS = tuple(s.name for s in TABLE if "lung" in s.name and s.layer is None)
_RIBS = tuple(s.name for s in TABLE if " rib " in s.name)
_MAY_SHARE: Mapping[str, tuple[str, ...]] = {
    "left kidney cyst": ("left kidney", "kidney"),
    "right kidney cyst": ("right kidney", "kidney"),
    "kidney mass": ("left kidney", "right kidney", "kidney", "left kidney cyst", "right kidney cyst"),
    "liver tumor": ("liver",),
    "vertebrae S1": ("sacrum", "bone"),
    "vertebrae L6": ("vertebrae L5", "vertebrae S1", "sacrum", "bone"),
    "mandible": ("skull", "bone"),
    "costal cartilages": (*_RIBS, "sternum"),
    "brainstem": ("brain", "spinal cord"),
    "spinal cord": ("brain",),
    "larynx": ("trachea", "thyroid gland", "esophagus"),
    "trachea": _LUNGS,
    "duodenum": ("small bowel", "stomach"),
    "small bowel": ("colon",),
    "rectum": ("colon",),
    "prostate or uterus": ("prostate",),
    "esophagus": ("stomach",),
    "gallbladder": ("liver",),
    "portal vein and splenic vein": ("liver", "pancreas", "spleen"),
    "inferior vena cava": ("liver", "heart", "left iliac vena", "right iliac vena"),
    "left atrial appendage": ("heart", "pulmonary vein"),
    "pulmonary vein": ("heart", *_LUNGS),
    "superior vena cava": ("heart", "left brachiocephalic vein", "right brachiocephalic vein"),
    "aorta": (
        "heart",
        "brachiocephalic trunk",
        "left common carotid artery",
        "left subclavian artery",
        "left iliac artery",
        "right iliac artery",
    ),
    "brachiocephalic trunk": ("right common carotid artery", "right subclavian artery"),
}
"""What lies in, runs through or goes over into what, by the table's names: one data set or another draws the first
as part of the second, or the border elsewhere."""


@dataclass(frozen=True)
class Overlaps:
    """How the classes of one vocabulary overlap.

    Args:
        trainable: Classes that can be asked for: no composites, nothing the table calls unsupported, nothing novel.
        includes: Class id -> ids of the classes whose voxels are its own, too.
        inside: Classes that lie inside others, or anywhere for all that is known of their names, so that a voxel of
            another class may be theirs as well.
        kept_out: Novel class -> what its voxels are in the training: of the class that includes it, or UNKNOWN.
        shared: Pairs of classes that may have voxels in common although neither includes the other.
    """

    trainable: frozenset[int]
    includes: Mapping[int, frozenset[int]] = field(default_factory=dict)
    inside: frozenset[int] = frozenset()
    kept_out: Mapping[int, int] = field(default_factory=dict)
    shared: frozenset[frozenset[int]] = frozenset()

    @classmethod
    def of(cls, vocabulary: Sequence[tuple[int, str]], *, novel: Collection[int] = ()) -> Overlaps:
        """Read them from the (id, name) pairs of a spec.

        Args:
            vocabulary: The pairs.
            novel: Classes kept out of the training.
        """
        stated = {label for label, _ in vocabulary}
        own = [s for s in Vocabulary.of(vocabulary).structures if s.id in stated]
        learnt = [s for s in own if s.status == "trained" and s.id not in novel]
        return cls(
            frozenset(s.id for s in learnt),
            {s.id: frozenset(s.includes) for s in learnt if s.includes},
            frozenset(s.id for s in own if s.layer is not None or _row(s) is None),
            {label: next((s.id for s in learnt if label in s.includes), UNKNOWN) for label in novel},
            _shared(own),
        )

    def voxels_of(self, label: int) -> frozenset[int]:
        """Return the ids that count as a class in a label map: its own, and those it includes."""
        return self.includes.get(label, frozenset()) | {label}

    def excludes(self, label: int, other: int) -> bool:
        """Whether a voxel labelled ``other`` is known not to be of class ``label``."""
        return not self._related(label, other) and not self._may_share(label, other)

    def hides(self, label: int, other: int) -> bool:
        """Whether a voxel labelled ``other`` may be of class ``label`` too, though neither includes the other."""
        return not self._related(label, other) and self._may_share(label, other)

    def _related(self, label: int, other: int) -> bool:
        return other in self.voxels_of(label) or label in self.voxels_of(other)

    def _may_share(self, label: int, other: int) -> bool:
        return bool({label, other} & self.inside) or frozenset((label, other)) in self.shared


def _shared(own: Sequence[Structure]) -> frozenset[frozenset[int]]:
    """Return the pairs of ``_MAY_SHARE``, and those of structures made of the same parts, in a vocabulary's ids."""
    rows = {s.id: row for s in own if (row := _row(s)) is not None}
    return frozenset(
        frozenset((a, b))
        for a, one in rows.items()
        for b, other in rows.items()
        if a != b
        and (other.name in _MAY_SHARE.get(one.name, ()) or {one.id, *one.parts} & {other.id, *other.parts})
    )


def _row(structure: Structure) -> Structure | None:
    """Return the table's row of a vocabulary's structure, which keeps the row's name as its own or as a synonym."""
    return next((row for row in TABLE if row.name in (structure.name, *structure.synonyms)), None)
