"""What the built-in model can name, and which of it a region of the body cannot contain.

A class id is a row of the model's embedding table. Ids from 101 on are tissues that synthetic scans are painted
from; the model is never asked for them.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

VOCABULARY: tuple[tuple[int, str], ...] = (
    (1, "liver"),
    (2, "spleen"),
    (3, "left kidney"),
    (4, "right kidney"),
    (5, "stomach"),
    (6, "pancreas"),
    (7, "gallbladder"),
    (8, "aorta"),
    (9, "inferior vena cava"),
    (10, "left lung"),
    (11, "right lung"),
    (12, "heart"),
    (13, "bladder"),
    (14, "spinal cord"),
    (15, "brainstem"),
    (16, "left parotid gland"),
    (17, "right parotid gland"),
    (18, "mandible"),
    (19, "larynx"),
    (20, "esophagus"),
)
ID = {name: label for label, name in VOCABULARY}
CLASS_IDS = frozenset(ID.values())

MIRRORED = {3: 4, 4: 3, 10: 11, 11: 10, 16: 17, 17: 16}
"""Class id -> the class it becomes when a scan is mirrored left to right."""

HEAD_AND_NECK = frozenset(range(15, 20))
"""Brainstem, parotids, mandible, larynx: none of them lies below the neck."""
ABDOMEN = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 13))
"""What no head-and-neck scan, masked to the region of its target, reaches."""

FAT, MUSCLE, BONE, DISC, BOWEL, VESSEL, DUCT = range(101, 108)
"""Tissues of the painted atlas that are no class."""
UNKNOWN = 255
"""A voxel that is a negative of nothing: it is left out of every class's loss."""
