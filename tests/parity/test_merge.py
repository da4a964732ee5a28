"""Algorithm 1 against MONAI's ``connected_components_combine`` where that is right: one object, no NaN.

Masks are equal voxel for voxel; mutations of ours are told apart on most of the same cases.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import ndimage

from parity.monai_merge import monai_combine
from vesalius.inference import merge

SHAPE = (14, 11, 17)
CASES = range(40)


class Case(NamedTuple):
    """Two sets of blobs that overlap, and clicks on their voxels."""

    earlier: np.ndarray
    proposal: np.ndarray
    points: np.ndarray
    positive: np.ndarray


def case(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    smooth = [ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.2) for _ in range(2)]
    earlier, proposal = smooth[0] > 0.08, smooth[0] + 0.7 * smooth[1] > 0.08
    added, removed = np.argwhere(proposal & ~earlier), np.argwhere(earlier & ~proposal)
    both = np.argwhere(proposal & earlier)
    source = both if seed % 3 == 0 else added  # every third case clicks inside the earlier mask
    points = [
        source[rng.integers(len(source))],
        added[rng.integers(len(added))],
        removed[rng.integers(len(removed))],
    ]
    positive = np.array([True, True, False])
    if seed % 3:  # MONAI lets whole components in for a negative click inside, too: none here
        points, positive = points[:2], positive[:2]
    return Case(earlier, proposal, np.array(points, dtype=np.float64), positive)


def by_monai(patch: pytest.MonkeyPatch, given: Case) -> np.ndarray:
    logits = [torch.from_numpy(np.where(mask, 3.0, -3.0))[None, None] for mask in (given.earlier, given.proposal)]
    points, labels = torch.from_numpy(given.points)[None], torch.from_numpy(given.positive.astype(int))[None]
    return (monai_combine(patch, *logits, points, labels)[0, 0] > 0).numpy()


def ours(given: Case) -> np.ndarray:
    added, removed = merge.merge_clicks(*given)
    return (given.earlier | added) & ~removed


def differing(patch: pytest.MonkeyPatch) -> list[int]:
    return [seed for seed in CASES if not np.array_equal(ours(case(seed)), by_monai(patch, case(seed)))]


def test_merged_masks_equal_monais(monkeypatch: pytest.MonkeyPatch) -> None:
    assert differing(monkeypatch) == []
    changed = [seed for seed in CASES if not np.array_equal(ours(case(seed)), case(seed).earlier)]
    assert len(changed) == len(CASES)


def neighbours_by_face(mask: np.ndarray) -> tuple[np.ndarray, int]:
    return ndimage.label(mask)


def all_in_one(mask: np.ndarray) -> tuple[np.ndarray, int]:
    return mask.astype(int), 1


@pytest.mark.parametrize("components", [neighbours_by_face, all_in_one])
def test_other_components_are_seen(components: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "components", components)
    assert len(differing(monkeypatch)) >= len(CASES) / 4


def test_signs_swapped_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    original = merge.merge_clicks
    monkeypatch.setattr(merge, "merge_clicks", lambda a, b, points, positive: original(a, b, points, ~positive))
    assert len(differing(monkeypatch)) >= len(CASES) / 2
