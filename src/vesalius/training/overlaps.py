"""Overlaps: which classes count as part of others, and which are known to lie apart, by the vocabulary's own ids.

VISTA3D's merge rule (liver includes its vessels and tumours, airway the trachea) is stated there by ids of its own
table and applied to whatever ids a user's data set has (``MERGE_LIST``, ``train_finetune.py``). Here a vocabulary
says by name what a class is, so 26 means hepatic tumour only in a vocabulary that calls it so.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from vesalius.data.case import UNKNOWN
from vesalius.labels.vocabulary import Vocabulary


@dataclass(frozen=True)
class Overlaps:
    """How the classes of one vocabulary overlap.

    Args:
        trainable: Classes that can be asked for: no composites, nothing the table calls unsupported, nothing novel.
        includes: Class id -> ids of the classes whose voxels are its own, too.
        inside: Classes that lie inside others, so that a voxel of another class may be theirs as well.
        kept_out: Novel class -> what its voxels are in the training: of the class that includes it, or UNKNOWN.
    """

    trainable: frozenset[int]
    includes: Mapping[int, frozenset[int]] = field(default_factory=dict)
    inside: frozenset[int] = frozenset()
    kept_out: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, vocabulary: Sequence[tuple[int, str]], *, novel: Collection[int] = ()) -> Overlaps:
        """Read them from the (id, name) pairs of a spec.

        Args:
            vocabulary: The pairs.
            novel: Classes kept out of the training.
        """
        stated = {label for label, _ in vocabulary}
        own = [s for s in Vocabulary.of(vocabulary).structures if s.id in stated and s.status == "trained"]
        learnt = [s for s in own if s.id not in novel]
        return cls(
            frozenset(s.id for s in learnt),
            {s.id: frozenset(s.includes) for s in learnt if s.includes},
            frozenset(s.id for s in own if s.layer is not None),
            {label: next((s.id for s in learnt if label in s.includes), UNKNOWN) for label in novel},
        )

    def voxels_of(self, label: int) -> frozenset[int]:
        """Return the ids that count as a class in a label map: its own, and those it includes."""
        return self.includes.get(label, frozenset()) | {label}

    def excludes(self, label: int, other: int) -> bool:
        """Whether a voxel labelled ``other`` is known not to be of class ``label``."""
        related = other in self.voxels_of(label) or label in self.voxels_of(other)
        return not related and label not in self.inside and other not in self.inside
