"""How a backbone learns without labels, concept by concept, as plain data without torch; ``recipes`` joins them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass

from vesalius.errors import UsageError

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Dino:
    """How views are compared by their class tokens (``objectives.dino``)."""

    weight: float = 1.0
    """Of this objective among the others."""
    temperature: float = 0.1
    """The student's: its logits are divided by it."""
    local_weight: float = 1.0
    """Factor of the local views; DINOv3 halves it at high resolution."""

    def __post_init__(self) -> None:
        if self.weight < 0 or self.temperature <= 0 or self.local_weight < 0:
            raise _refused("weights of at least 0 and a positive temperature", self)


@dataclass(frozen=True, kw_only=True)
class Ibot:
    """How hidden patches are compared (``objectives.ibot``)."""

    weight: float = 1.0
    """Of this objective among the others."""
    temperature: float = 0.1
    """The student's: its logits are divided by it."""

    def __post_init__(self) -> None:
        if self.weight < 0 or self.temperature <= 0:
            raise _refused("a weight of at least 0 and a positive temperature", self)


@dataclass(frozen=True, kw_only=True)
class Koleo:
    """How much class tokens are spread (``objectives.koleo``)."""

    weight: float = 0.2
    """Of this objective among the others. The official 0.1 is of a sum over two views, this of their mean."""
    group: int | None = None
    """Slices that are told apart at once; what a batch has beyond whole groups is left out. None: all together."""

    def __post_init__(self) -> None:
        if self.weight < 0 or (self.group is not None and self.group < 2):
            raise _refused("a weight of at least 0, and groups of at least two", self)


@dataclass(frozen=True, kw_only=True)
class Gram:
    """How patches are held to an earlier teacher (``objectives.gram``)."""

    weight: float = 2.0
    """Of this objective among the others; DINOv3 uses 2, at high resolution 1.5."""

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise _refused("a weight of at least 0", self)


@dataclass(frozen=True, kw_only=True)
class TeacherSettings:
    """How sharp a teacher is; how slowly it follows stands in ``Optimisation.ema_decay``."""

    temperature: Range = (0.04, 0.07)
    """At the start, and from the end of the warm-up on."""
    warm_up: float = 0.3
    """Part of the training in which the temperature rises evenly."""

    def __post_init__(self) -> None:
        if min(self.temperature) <= 0 or not 0 <= self.warm_up <= 1:
            raise _refused("positive temperatures and a warm-up in [0, 1]", self)

    def temperature_at(self, progress: float) -> float:
        """Return the temperature when so much of the training is behind."""
        first, last = self.temperature
        return last if progress >= self.warm_up else first + (last - first) * progress / self.warm_up


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """The sizes of a head, which tells from a token how much it resembles each prototype."""

    prototypes: int = 65_536
    hidden: int = 2048
    """Width of the two hidden layers."""
    bottleneck: int = 256
    """Width of what is compared with prototypes."""
    spread: float = 0.02
    """Standard deviation of the prototypes' entries at the start. How sharp a teacher is at first follows from
    their length, ``spread sqrt(bottleneck)``, over its temperature."""

    def __post_init__(self) -> None:
        if min(self.prototypes, self.hidden, self.bottleneck) < 1 or self.spread <= 0:
            raise _refused("positive sizes", self)


@dataclass(frozen=True, kw_only=True)
class Masking:
    """What of a global view is hidden from the student (BEiT's blocks, arXiv:2106.08254, as DINOv2 draws them)."""

    images: float = 0.5
    """Part of the global views that are masked at all."""
    ratio: Range = (0.1, 0.5)
    """Least and greatest part of a masked view that is hidden; over a batch they are spread evenly."""
    smallest_block: int = 4
    """Patches of the smallest block."""
    narrowest: float = 0.3
    """Least height by width of a block, and least width by height."""

    def __post_init__(self) -> None:
        low, high = self.ratio
        if not 0 <= self.images <= 1 or not 0 < low <= high <= 1:
            raise _refused("parts in [0, 1], the ratio from small to large", self)
        if self.smallest_block < 1 or not 0 < self.narrowest <= 1:
            raise _refused("blocks of at least one patch, and a positive shape", self)


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """Sizes of the views of one batch, in pixels."""

    global_size: int = 256
    local_size: int = 112
    gram_size: int | None = None
    """Side of the undistorted crops that the Gram teacher sees; None: that of the global views."""
    share: float = 1.0
    """How often a batch has these sizes, among all resolutions of a recipe, in any unit."""

    def __post_init__(self) -> None:
        if min(self.global_size, self.local_size, self.gram_size or 1) < 1 or self.share <= 0:
            raise _refused("positive sizes and a positive share", self)


@dataclass(frozen=True, kw_only=True)
class Cropping:
    """Where views are cut from a slice."""

    global_views: int = 2
    local_views: int = 8
    global_area: Range = (0.32, 1.0)
    """Least and greatest part of the slice that a global view shows."""
    local_area: Range = (0.05, 0.32)
    """The same of a local one."""
    narrowest: float = 0.75
    """Least height by width of a crop, and least width by height, before it is resized."""
    flip: float = 0.5
    """Part of the views that are mirrored from left to right."""
    within_body: bool = False
    """Whether crops are cut from the box around the body, and not also from the air beside it."""

    def __post_init__(self) -> None:
        for low, high in (self.global_area, self.local_area):
            if not 0 < low <= high <= 1:
                raise _refused("areas in (0, 1], from small to large", self)
        if self.global_views < 2 or self.local_views < 0 or not 0 < self.narrowest <= 1 or not 0 <= self.flip <= 1:
            raise _refused("at least two global views, a shape in (0, 1], a flip in [0, 1]", self)


@dataclass(frozen=True, kw_only=True)
class Distortion:
    """How often (probabilities in [0, 1]) and how far intensities of a view are changed.

    ``drift`` is in Hounsfield units, before they are cut off and normalised; the others come after that, and are in
    units of what the network sees. There is no colour, no greyscale and no solarising in CT.
    """

    shared: bool = False
    """Whether all views of a slice are changed in one way, before they are cut, as FlexiCT does."""
    drift: float = 0.0
    """Views whose Hounsfield scale is off: the contrast between tissues and their brightness change."""
    drift_factor: Range = (0.9, 1.1)
    """Range of the factor of HU + 1000."""
    drift_hu: float = 20.0
    """Standard deviation of the shift."""
    noise: float = 0.1
    """Views with more noise."""
    noise_strength: float = 0.1
    """Largest standard deviation of the noise."""
    blur: float = 0.2
    """Views that are blurred."""
    blur_pixels: Range = (0.5, 1.0)
    """Range of the blur's standard deviation."""
    brightness: float = 0.15
    """Views whose intensities are multiplied."""
    brightness_change: float = 0.25
    """Largest change of the factor from 1."""
    low_resolution: float = 0.25
    """Views that are sampled down and up again."""
    coarseness: Range = (0.5, 1.0)
    """Range of their size in between, in parts of their own."""
    contrast: float = 0.1
    """Views whose intensities, from 0 to 1 over their own range, are taken to the power of gamma."""
    gamma: Range = (0.7, 1.5)
    """Range of gamma."""

    def __post_init__(self) -> None:
        parts = (self.drift, self.noise, self.blur, self.brightness, self.low_resolution, self.contrast)
        if not all(0 <= part <= 1 for part in parts):
            raise _refused("probabilities in [0, 1]", self)
        ranges = (self.drift_factor, self.blur_pixels, self.coarseness, self.gamma)
        if not all(0 < low <= high for low, high in ranges) or self.coarseness[1] > 1:
            raise _refused("positive ranges from small to large, and sizes that do not grow", ranges)
        if min(self.drift_hu, self.noise_strength) < 0 or not 0 <= self.brightness_change < 1:
            raise _refused("strengths of at least 0, and a brightness that stays positive", self)


def _refused(expected: str, got: object) -> UsageError:
    return UsageError(expected=expected, got=str(got), do="change the recipe of the pretraining")
