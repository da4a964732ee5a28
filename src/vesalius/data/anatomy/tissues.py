"""What tissues measure in Hounsfield units, before contrast agent and in its arterial and portal phase.

Means are round textbook numbers for 100-120 kV; a person differs from them by a few units, a vessel by tens.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from vesalius.data.anatomy.solids import Number
from vesalius.data.anatomy.subject import Subject

_PHASES = {"none": 0, "arterial": 1, "portal": 2}

# name: (none, arterial, portal; standard deviation between people)
_MEANS: dict[str, tuple[Number, Number, Number, Number]] = {
    "fat": (-105, -105, -103, 4),
    "skin": (10, 15, 20, 5),
    "muscle": (52, 55, 62, 5),
    "disc": (75, 75, 80, 8),
    "cartilage": (95, 95, 100, 15),
    "cord": (32, 34, 36, 3),
    "marrow": (150, 152, 155, 35),
    "cortex": (650, 650, 660, 80),
    "lung": (-850, -850, -845, 18),
    "mediastinum": (-75, -70, -65, 12),
    "liver": (56, 68, 108, 9),
    "spleen": (48, 115, 120, 9),
    "pancreas": (40, 100, 88, 9),
    "renal cortex": (33, 185, 180, 15),
    "renal medulla": (30, 75, 150, 12),
    "adrenal": (25, 60, 65, 8),
    "bile": (8, 8, 10, 4),
    "urine": (4, 4, 8, 4),
    "bowel wall": (38, 75, 80, 9),
    "bowel fluid": (18, 18, 20, 8),
    "aorta": (42, 310, 155, 25),
    "vein": (40, 60, 140, 15),
    "cava": (40, 85, 130, 15),
    "portal vein": (41, 95, 170, 15),
    "pulmonary vessel": (40, 230, 150, 25),
    "left heart": (41, 300, 150, 20),
    "right heart": (41, 170, 145, 25),
    "myocardium": (46, 110, 110, 10),
    "thyroid": (95, 170, 150, 15),
    "prostate": (38, 60, 75, 8),
    "brain": (34, 36, 40, 2),
    "tumour": (36, 60, 62, 10),
    "cyst": (6, 6, 8, 4),
}


def tissue_hu(subject: Subject) -> dict[str, float]:
    """Return the mean HU of every tissue of one person."""
    phase = _PHASES[subject.contrast]
    rng = subject.rng("tissues")
    means = {name: row[phase] + row[3] * float(rng.normal()) for name, row in _MEANS.items()}
    if rng.random() < 0.15:  # a fatty liver
        means["liver"] -= float(rng.uniform(15, 40))
    return means
