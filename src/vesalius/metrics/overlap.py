"""How much two masks share: Dice, and lesion by lesion.

Absent structures are counted: finding nothing where there is nothing is right (1), finding anything is wrong (0).
VISTA3D's evaluation leaves such cases out, so that a false positive in a scan without the organ costs nothing.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Integer

from vesalius.geometry.morphology import components
from vesalius.shapes import MaskArray

_Mask = Bool[np.ndarray, "..."]
_MIN_SHARE = 0.1


def dice(found: _Mask, truth: _Mask) -> float:
    """Return Dice = 2 |found and truth| / (|found| + |truth|), in 0..1.

    Both empty: 1. One of them empty: 0.

    Args:
        found: What was found; any number of axes.
        truth: What should have been found, in the same shape.
    """
    return dice_of_counts(
        int(np.count_nonzero(found & truth)), int(np.count_nonzero(found)), int(np.count_nonzero(truth))
    )


def dice_of_counts(shared: int, found: int, truth: int) -> float:
    """Return Dice from numbers of voxels: in both, in what was found, in the truth."""
    return 2.0 * shared / (found + truth) if found + truth else 1.0


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What was detected, lesion by lesion; of several scans the sum.

    Args:
        lesions: Lesions there are.
        detected: How many of them were detected.
        findings: Pieces that were found.
        false_findings: How many of those are no lesion.
    """

    lesions: int = 0
    detected: int = 0
    findings: int = 0
    false_findings: int = 0

    def __add__(self, other: Detection) -> Detection:
        return Detection(
            lesions=self.lesions + other.lesions,
            detected=self.detected + other.detected,
            findings=self.findings + other.findings,
            false_findings=self.false_findings + other.false_findings,
        )

    @property
    def sensitivity(self) -> float | None:
        """Detected lesions / lesions, in 0..1; None without lesions."""
        return self.detected / self.lesions if self.lesions else None

    @property
    def precision(self) -> float | None:
        """Findings that are lesions / findings, in 0..1; None without findings."""
        return 1 - self.false_findings / self.findings if self.findings else None


def detect_lesions(found: MaskArray, truth: MaskArray) -> Detection:
    """Count lesions that were detected, and findings that are none.

    A lesion is a component of the truth (26-connected), a finding one of what was found. A lesion is detected if at
    least a tenth of its voxels were found; a finding is false if less than a tenth of its voxels lie in the truth.
    So one mask over everything detects all, as a false finding.

    Args:
        found: What was found, ``(i, j, k)``.
        truth: What should have been found, in the same shape.
    """
    lesions, count = components(truth)
    findings, found_count = components(found)
    return Detection(
        lesions=count,
        detected=int((_shares(lesions, count, found) >= _MIN_SHARE).sum()),
        findings=found_count,
        false_findings=int((_shares(findings, found_count, truth) < _MIN_SHARE).sum()),
    )


def _shares(numbered: Integer[np.ndarray, "i j k"], count: int, mask: MaskArray) -> np.ndarray:
    """Return which share of each component lies in a mask."""
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    inside = np.bincount(numbered[mask], minlength=count + 1)[1:]
    return np.asarray(inside / np.maximum(sizes, 1))
