"""Training windows: a case, turned, scaled, mirrored, painted or re-contrasted, cut and blurred.

Everything random comes from one generator. Left and right swap names when a scan is mirrored.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from prepare import SPACING_MM, Case
from specification import SPEC
from torch import Tensor
from torch.nn import functional
from vocabulary import BONE, BOWEL, DISC, DUCT, FAT, ID, MIRRORED, MUSCLE, UNKNOWN, VESSEL

AIR_HU = -1024.0
TORSO = ("abdomen", "chest", "atlas", "phantom")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How much a window is changed; probabilities in [0, 1]."""

    size: int = SPEC.window_size[0]
    """Voxels along each side of a window."""
    scale: tuple[float, float] = (0.85, 1.18)
    degrees: float = 12.0
    mirror: float = 0.5
    mirror_torso: float = 0.1
    """Seldomer than a head: a mirrored torso has its liver on the left."""
    keep_sharp: float = 0.4
    """Windows that are not turned or scaled, so that the interpolation's blur is not everywhere."""
    low_resolution: float = 0.1
    cut: float = 0.1
    """Windows that end early along one axis, as a scan does."""
    bend: float = 0.5
    """Torso windows that are bent smoothly, because only two people lend the torso its organs."""
    bend_mm: float = 9.0
    """Standard deviation of the bending where it is largest."""
    recontrast: float = 0.6
    """Torso windows whose organs are moved to another phase of contrast."""
    noise: float = 0.3
    window_hu: tuple[float, float] = SPEC.window_hu


@dataclass(frozen=True)
class Window:
    """One training window: image (1, i, j, k) in [0, 1], class ids (i, j, k) with UNKNOWN, ids looked for."""

    image: Tensor
    labels: Tensor
    annotated: frozenset[int]


def draw_window(case: Case, config: Augmentation, rng: np.random.Generator) -> Window:
    """Cut one augmented window from a case."""
    centre = _centre(case, config.size, rng)
    symmetric = case.group in ("head-neck", "limb")
    mirrored = rng.random() < (config.mirror if symmetric else config.mirror_torso)
    grid = _sampling_grid(case.labels.shape, centre, config, rng, mirrored=mirrored)  # [1 i j k 3]
    if case.group in TORSO and rng.random() < config.bend:
        grid = grid + _bending(case.labels.shape, config, rng)
    labels = _sample(case.labels, grid, nearest=True)
    if case.image.size:
        image = _sample(case.image.astype(np.float32) - AIR_HU, grid, nearest=False) + AIR_HU
        if case.group in TORSO and rng.random() < config.recontrast:
            image = recontrast(image, labels, rng)
    else:
        image = paint(labels, rng)
        labels = torch.where((labels > 100) & (labels != UNKNOWN), torch.zeros_like(labels), labels)
    annotated = case.annotated
    if mirrored:
        labels = rename(labels, MIRRORED)
        annotated = frozenset(MIRRORED.get(label, label) for label in annotated)
    image, labels = _cut(image, labels, config, rng)
    image = degrade(image, config, rng)
    low, high = config.window_hu
    return Window(((image - low) / (high - low)).clamp(0, 1)[None], labels.long(), annotated)


def rename(labels: Tensor, table: Mapping[int, int]) -> Tensor:
    """Replace label ids by a table; ids it does not name stay."""
    lookup = torch.arange(256, dtype=labels.dtype)
    for source, target in table.items():
        lookup[source] = target
    return lookup[labels.long()]


def _centre(case: Case, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the window's centre: near a voxel of a random class of the case, or anywhere."""
    shape = np.array(case.labels.shape)
    present = [c for c in np.unique(case.labels[::2, ::2, ::2]) if 0 < c <= 100 and c in case.annotated]
    if present and rng.random() < 0.8:
        label = present[rng.integers(len(present))]
        voxels = np.flatnonzero(case.labels.ravel() == label)
        voxel = np.array(np.unravel_index(voxels[rng.integers(len(voxels))], case.labels.shape))
        centre = voxel + rng.integers(-size // 3, size // 3 + 1, 3)
    else:
        centre = rng.integers(0, shape)
    low, high = np.minimum(size // 2 - 8, shape // 2), np.maximum(shape - size // 2 + 8, shape // 2)
    return np.asarray(np.clip(centre, np.minimum(low, high), np.maximum(low, high)), dtype=np.float64)


def _sampling_grid(
    shape: tuple[int, ...], centre: np.ndarray, config: Augmentation, rng: np.random.Generator, *, mirrored: bool
) -> Tensor:
    """Return where each voxel of the window lies in the case, in grid_sample's coordinates (k, j, i in -1..1)."""
    matrix = np.eye(3)
    if rng.random() >= config.keep_sharp:
        a, b, c = np.deg2rad(rng.uniform(-config.degrees, config.degrees, 3))
        turn_k = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        turn_j = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
        turn_i = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
        zoom = np.exp(rng.uniform(*np.log(config.scale))) * np.exp(rng.normal(0, 0.05, 3))
        to_mm = np.diag(SPACING_MM)
        matrix = np.linalg.inv(to_mm) @ turn_k @ turn_j @ turn_i @ np.diag(1 / zoom) @ to_mm
    else:
        centre = np.floor(centre) + 0.5 * (config.size - 1) % 1
    if mirrored:
        matrix = matrix @ np.diag([-1.0, 1.0, 1.0])
    offsets = torch.arange(config.size, dtype=torch.float32) - (config.size - 1) / 2
    i, j, k = torch.meshgrid(offsets, offsets, offsets, indexing="ij")
    points = torch.stack([i, j, k], dim=-1) @ torch.from_numpy(matrix.T.astype(np.float32))
    points = points + torch.from_numpy(centre.astype(np.float32))
    unit = points * 2 / (torch.tensor(shape) - 1).clamp(min=1) - 1
    return unit.flip(-1)[None]


def _bending(shape: tuple[int, ...], config: Augmentation, rng: np.random.Generator) -> Tensor:
    """Return smooth displacements (1, i, j, k, 3) in grid_sample's coordinates, from 6 knots a side."""
    amount = rng.uniform(0.3, 1.0) * config.bend_mm / np.array(SPACING_MM)
    knots = rng.standard_normal((1, 3, 6, 6, 6)) * amount[:, None, None, None]
    size = (config.size,) * 3
    voxels = functional.interpolate(
        torch.from_numpy(knots.astype(np.float32)), size=size, mode="trilinear", align_corners=True
    )
    unit = voxels * 2 / (torch.tensor(shape)[:, None, None, None] - 1).clamp(min=1)
    return unit.permute(0, 2, 3, 4, 1).flip(-1)


def _sample(data: np.ndarray, grid: Tensor, *, nearest: bool) -> Tensor:
    tensor = torch.from_numpy(data.astype(np.float32))[None, None]
    mode = "nearest" if nearest else "bilinear"
    sampled = functional.grid_sample(tensor, grid, mode=mode, align_corners=True)[0, 0]
    return sampled.round().to(torch.uint8) if nearest else sampled


def recontrast(image: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
    """Move a contrast-enhanced scan towards another phase: enhancement is scaled, and each organ shifted.

    What lies above 45 HU is pulled towards it (or, seldom, pushed away); bone above 350 HU stays.
    """
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


def _cut(image: Tensor, labels: Tensor, config: Augmentation, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """End the scan early along one axis: beyond it is air, and nothing is labelled."""
    if rng.random() >= config.cut:
        return image, labels
    axis, keep = int(rng.integers(3)), int(rng.integers(config.size // 3, config.size))
    start = keep if rng.random() < 0.5 else 0
    length = config.size - keep
    image.narrow(axis, start, length).fill_(AIR_HU)
    labels.narrow(axis, start, length).fill_(0)
    return image, labels


def degrade(image: Tensor, config: Augmentation, rng: np.random.Generator) -> Tensor:
    """Change resolution, noise and Hounsfield scale, as scanners and protocols do."""
    if rng.random() < config.low_resolution:
        factors = np.where(rng.random(3) < 0.5, rng.uniform(1.2, 2.5, 3), 1.0)
        small = [max(8, int(config.size / f)) for f in factors]
        coarse = functional.interpolate(image[None, None], size=small, mode="trilinear", align_corners=False)
        image = functional.interpolate(coarse, size=tuple(image.shape), mode="trilinear", align_corners=False)[0, 0]
    if rng.random() < config.noise:
        amount = rng.uniform(0, 30)
        noise = torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32))
        if rng.random() < 0.5:
            noise = functional.avg_pool3d(noise[None, None], 3, 1, 1)[0, 0] * 3.0
        image = image + amount * noise
    if rng.random() < 0.5:
        image = (image + 1000) * float(rng.uniform(0.95, 1.05)) - 1000 + float(rng.normal(0, 12))
    return image
