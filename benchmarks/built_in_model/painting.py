"""Images for the built-in model: CT painted from an atlas of tissues, and scans moved to another phase."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from vocabulary import BONE, BOWEL, DISC, DUCT, FAT, ID, MUSCLE, VESSEL

AIR_HU = -1024.0
PART_RECONTRASTED = 0.6
"""Of the windows that may be moved to another phase."""


def recontrast(image: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
    """Move a contrast-enhanced scan towards another phase: enhancement is scaled, and each organ shifted.

    What lies above 45 HU is pulled towards it (or, seldom, pushed away); bone above 350 HU stays, and so do two in
    five windows.
    """
    if rng.random() >= PART_RECONTRASTED:
        return image
    strength = rng.uniform(0.05, 1.2)
    enhanced = (image > 45) & (image < 350)
    image = torch.where(enhanced, 45 + (image - 45) * strength, image)
    shifts = torch.zeros(256)
    for label in (1, 2, 3, 4, 5, 12):
        shifts[label] = float(rng.normal(0, 25))
    if rng.random() < 0.2:
        shifts[ID["stomach"]] = float(rng.uniform(60, 350))  # swallowed contrast
    shift = shifts[labels.long()]
    return image + functional.avg_pool3d(shift[None, None], 3, 1, 1)[0, 0]


_TISSUE_HU: dict[int, tuple[float, float, float]] = {
    # id: (HU without contrast, HU gained at full contrast, spread between people)
    ID["liver"]: (55, 60, 12),
    ID["spleen"]: (48, 75, 10),
    ID["left kidney"]: (32, 160, 8),
    ID["right kidney"]: (32, 160, 8),
    ID["stomach"]: (25, 20, 25),
    ID["pancreas"]: (35, 65, 10),
    ID["gallbladder"]: (8, 0, 8),
    ID["aorta"]: (42, 180, 8),
    ID["inferior vena cava"]: (42, 110, 8),
    FAT: (-100, 0, 10),
    MUSCLE: (55, 12, 8),
    BONE: (230, 20, 60),
    DISC: (85, 5, 12),
    BOWEL: (20, 40, 30),
    VESSEL: (42, 130, 15),
    DUCT: (8, 60, 20),
}


def paint(labels: Tensor, rng: np.random.Generator) -> Tensor:
    """Paint a map of tissues as a CT: a phase of contrast, a value and a texture for each tissue."""
    phase = rng.uniform(0, 1.1)
    wild = rng.random() < 0.2
    values = torch.full((256,), AIR_HU)
    grain = torch.zeros(256)
    for tissue, (plain, gain, spread) in _TISSUE_HU.items():
        values[tissue] = plain + gain * phase + float(rng.normal(0, 2.5 * spread if wild else spread))
        grain[tissue] = float(rng.uniform(3, 15))
    kidneys = values[ID["left kidney"]]
    values[ID["right kidney"]] = kidneys + float(rng.normal(0, 4))
    grain[BOWEL], grain[BONE] = float(rng.uniform(20, 150)), float(rng.uniform(60, 200))
    index = labels.long()
    size = index.shape[0]
    texture = _noise(size, int(rng.integers(2, 6)), rng) + 0.5 * _noise(size, 1, rng)
    image = values[index] + grain[index] * texture
    gas = (index == BOWEL) | (index == ID["stomach"])
    bubbles = _noise(size, int(rng.integers(3, 7)), rng) > rng.uniform(0.5, 1.8)
    image = torch.where(gas & bubbles, torch.full_like(image, -900.0), image)
    return functional.avg_pool3d(image[None, None], 3, 1, 1)[0, 0] * 0.7 + 0.3 * image


def _noise(size: int, coarseness: int, rng: np.random.Generator) -> Tensor:
    """Smooth noise of unit variance whose grain is about ``coarseness`` voxels."""
    side = max(2, -(-size // coarseness))
    coarse = torch.from_numpy(rng.standard_normal((1, 1, side, side, side), dtype=np.float32))
    if coarseness == 1:
        return coarse[0, 0]
    fine = functional.interpolate(coarse, size=(size, size, size), mode="trilinear", align_corners=False)[0, 0]
    return fine / fine.std()
