"""Augmentation: how much a training window is changed, as plain data without torch.

``transforms.deformation`` moves voxels by it, ``transforms.degradation`` their Hounsfield units, and
``transforms.artefacts`` changes the picture that a network sees.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass

from vesalius.errors import UsageError

_PROBABILITIES = ("keep_sharp", "bend", "cut", "low_resolution", "noise", "drift", "blur", "contrast", "field")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How often (probabilities in [0, 1]) and how far a window is changed."""

    keep_sharp: float = 0.4
    """Windows that are not turned or scaled, so that the interpolation's blur is not everywhere."""
    degrees: float = 12.0
    """Largest rotation about each axis."""
    scale: tuple[float, float] = (0.85, 1.18)
    """Range of the size, the same for all axes."""
    stretch: float = 0.05
    """Standard deviation of the logarithm of each axis' own size."""
    bend: float = 0.0
    """Windows that are bent smoothly: where few people lend all organs, so that places and shapes vary."""
    bend_mm: float = 9.0
    """Largest standard deviation of the bending at its knots, of which a window has six a side."""
    cut: float = 0.1
    """Windows that end early along one axis, as a scan does."""
    low_resolution: float = 0.1
    """Windows made coarser along some axes."""
    coarseness: tuple[float, float] = (1.2, 2.5)
    """Range of the coarser voxels, in voxels."""
    noise: float = 0.3
    """Windows with more noise."""
    noise_hu: float = 30.0
    """Largest standard deviation of the noise."""
    drift: float = 0.5
    """Windows whose Hounsfield scale is off."""
    drift_factor: tuple[float, float] = (0.95, 1.05)
    """Range of the factor of HU + 1000."""
    drift_hu: float = 12.0
    """Standard deviation of the shift."""
    blur: float = 0.0
    """Windows that are blurred, each axis for itself."""
    blur_voxels: tuple[float, float] = (0.5, 1.0)
    """Range of the blur's standard deviation, in voxels."""
    contrast: float = 0.0
    """Windows whose contrast is changed: intensities, from 0 to 1 over the window, to the power of gamma."""
    gamma: tuple[float, float] = (0.7, 1.5)
    """Range of gamma; its logarithm is drawn evenly."""
    field: float = 0.0
    """Windows that are brighter at one side than at another, as in MR: a polynomial of degree 3."""
    field_strength: float = 0.3
    """Largest coefficient of that polynomial."""

    def __post_init__(self) -> None:
        wrong = [name for name in _PROBABILITIES if not 0 <= getattr(self, name) <= 1]
        if wrong:
            raise _refused(f"probabilities in [0, 1] for {', '.join(wrong)}", self)
        ranges = (self.scale, self.coarseness, self.drift_factor, self.blur_voxels, self.gamma)
        if any(not 0 < low <= high for low, high in ranges) or self.coarseness[0] < 1:
            raise _refused("positive ranges from small to large, and voxels that only grow", ranges)
        if min(self.degrees, self.stretch, self.bend_mm, self.noise_hu, self.drift_hu, self.field_strength) < 0:
            raise _refused("deviations of at least 0", self)


def _refused(expected: str, got: object) -> UsageError:
    return UsageError(expected=expected, got=str(got), do="change the augmentation")
