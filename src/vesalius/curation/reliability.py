"""Whether a model's answer is fit to learn from, structure by structure: volume, pieces, agreement with itself.

VISTA3D (arXiv:2406.05285, section 3.2) keeps or drops the pseudo labels of whole scans by how much lies apart from
the largest piece; its script was never released. Deliberate differences: each structure is judged by itself; its
volume has to be an adult's; and the model has to answer alike when noise is added, when the body is a little
larger, and, where it is asked for, when left and right are swapped.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, assert_never, get_args

import numpy as np

from vesalius.errors import UsageError
from vesalius.geometry.affine import scaling
from vesalius.geometry.grid import Grid
from vesalius.geometry.morphology import components
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.segmenter import Segmentation
from vesalius.labels.findings import Finding
from vesalius.labels.plausibility import PLAUSIBLE_ML
from vesalius.labels.vocabulary import Vocabulary
from vesalius.shapes import LabelArray, MaskArray, VolumeArray

Change = Literal["noise", "zoom", "mirror"]
Segment = Callable[[Volume], Segmentation]


@dataclass(frozen=True, kw_only=True)
class ReliabilitySettings:
    """What is asked of an answer before anything learns from it."""

    changes: tuple[Change, ...] = ("noise", "zoom")
    """What is done to a scan before the model is asked again. Mirroring suits only models that have learnt from
    mirrored scans: others are right to fail on a liver on the left."""
    least_agreement: float = 0.85
    """Dice between the answer and that to each changed scan."""
    largest_piece: float = 0.9
    """Part of a one-piece structure that its largest piece makes up at least."""
    noise_hu: float = 15.0
    """Standard deviation of the noise; in images without a unit, as large a part of what the model sees."""
    zoom: float = 1.06
    """How much larger the body becomes: other voxels, other windows."""
    fewest_voxels: int = 8
    """With fewer nothing is learnt from a structure."""

    def __post_init__(self) -> None:
        parts = (self.least_agreement, self.largest_piece)
        strange = set(self.changes) - set(get_args(Change))
        if strange:
            raise UsageError(
                expected=f"changes among {', '.join(get_args(Change))}",
                got=", ".join(sorted(strange)),
                do="name one of these, or several",
            )
        if not all(0 <= part <= 1 for part in parts) or self.noise_hu < 0 or not 0.5 < self.zoom < 2:
            raise UsageError(
                expected="parts in [0, 1], noise of at least 0, a zoom near 1",
                got=str(self),
                do="change the settings",
            )


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided about one structure of one scan.

    Args:
        class_id: Of the model's vocabulary.
        name: Of the structure.
        volume_ml: Of the answer; 0 where nothing was found.
        pieces: In how many the model saw it, those included that were taken away from it afterwards.
        largest_piece: Part of all of them that the largest makes up.
        agreement: Change -> Dice with the answer to the changed scan.
        reasons: Why it is left out; empty where it is kept.
    """

    class_id: int
    name: str
    volume_ml: float
    pieces: int
    largest_piece: float
    agreement: Mapping[str, float] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    @property
    def is_kept(self) -> bool:
        """Whether the structure is fit to learn from."""
        return not self.reasons

    def as_dict(self) -> dict[str, Any]:
        """Return the decision as plain data."""
        return {**asdict(self), "reasons": list(self.reasons), "kept": self.is_kept}


def judge(
    volume: Volume,
    segment: Segment,
    vocabulary: Vocabulary,
    settings: ReliabilitySettings,
    rng: np.random.Generator,
    *,
    again: Segment | None = None,
    unit: float = 1.0,
) -> tuple[LabelMap, tuple[Decision, ...]]:
    """Segment a scan, and again after each change, and decide about every structure that was asked for.

    Args:
        volume: The scan.
        segment: Asks the model for the same structures whatever the volume.
        vocabulary: The model's; says what is left and what is right.
        settings: What is asked of an answer.
        rng: Where the noise comes from.
        again: Asks about changed scans; by default ``segment``. It should not refuse what only the change took out
            of what the model was made for.
        unit: What a Hounsfield unit is in the scan's own (``transforms.intensity.hounsfield_unit``).

    Returns:
        The answer to the scan as it is, and the decisions in its findings' order.
    """
    answer = segment(volume)
    agreement: dict[int, dict[str, float]] = {}
    for change in settings.changes:
        changed = _answer_to_changed(
            change,
            volume,
            again or segment,
            vocabulary,
            noise=settings.noise_hu * unit,
            zoom=settings.zoom,
            rng=rng,
        )
        for finding in answer.findings.found:
            label = finding.class_id
            dice = _dice(_mask(answer.labels, label), _mask(changed, label))
            agreement.setdefault(label, {})[change] = dice
    decided = (
        _decided(finding, answer.labels, agreement.get(finding.class_id, {}), settings)
        for finding in answer.findings.classes
    )
    return answer.labels, tuple(decided)


def _answer_to_changed(
    change: Change,
    volume: Volume,
    segment: Segment,
    vocabulary: Vocabulary,
    *,
    noise: float,
    zoom: float,
    rng: np.random.Generator,
) -> LabelMap:
    """Return the answer to a changed scan, with voxels and names as those of the scan."""
    match change:
        case "noise":
            return segment(_with(volume, _noisy(volume.data, noise, rng), volume.grid)).labels
        case "zoom":
            larger = Grid(volume.grid.shape, volume.grid.affine @ scaling((zoom,) * 3))
            return segment(_with(volume, volume.data, larger)).labels
        case "mirror":
            axis = next(a for a, code in enumerate(volume.grid.axis_codes) if code in "LR")
            found = segment(_with(volume, np.flip(volume.data, axis + 1), volume.grid)).labels
            layers = {name: _renamed(np.flip(layer, axis), vocabulary) for name, layer in found.overlaps.items()}
            return LabelMap(_renamed(np.flip(found.data, axis), vocabulary), found.grid, found.names, layers)
        case _:
            assert_never(change)


def _noisy(data: VolumeArray, deviation: float, rng: np.random.Generator) -> VolumeArray:
    """Return voxel values with noise, between the ends that they had, whole numbers where they were."""
    noise = rng.normal(0, deviation, data.shape)
    noisy = data + (np.round(noise) if np.issubdtype(data.dtype, np.integer) else noise)
    return np.clip(noisy, data.min(), data.max()).astype(data.dtype)


def _with(volume: Volume, data: np.ndarray, grid: Grid) -> Volume:
    return Volume(data, grid, volume.modality)


def _renamed(labels: LabelArray, vocabulary: Vocabulary) -> LabelArray:
    """Return labels with left and right swapped."""
    table = np.arange(int(labels.max()) + 1, dtype=labels.dtype)
    for label in np.unique(labels).tolist():
        partner = vocabulary.left_right_partner(label) if label else None
        table[label] = partner if partner is not None else label
    renamed: LabelArray = table[labels]
    return renamed


def _decided(
    finding: Finding, labels: LabelMap, agreement: Mapping[str, float], settings: ReliabilitySettings
) -> Decision:
    pieces, largest = _pieces(_mask(labels, finding.class_id)) if finding.voxels else (0, 0.0)
    if finding.pieces_removed:  # the model's own answer is judged, not what tidying made of it
        pieces += finding.pieces_removed
        largest *= finding.volume_ml / (finding.volume_ml + finding.removed_ml)
    return Decision(
        class_id=finding.class_id,
        name=finding.name,
        volume_ml=round(finding.volume_ml, 3),
        pieces=pieces,
        largest_piece=round(largest, 4),
        agreement={change: round(dice, 4) for change, dice in agreement.items()},
        reasons=tuple(_reasons(finding, largest, agreement, settings)),
    )


def _reasons(
    finding: Finding, largest: float, agreement: Mapping[str, float], settings: ReliabilitySettings
) -> Iterator[str]:
    """Yield why a structure is not fit to learn from."""
    if finding.voxels < settings.fewest_voxels:
        yield "nothing was found" if not finding.voxels else f"only {finding.voxels} voxels"
        return
    if finding.name in PLAUSIBLE_ML:
        low, high = PLAUSIBLE_ML[finding.name]
        is_cut = finding.touches_border
        if finding.volume_ml > high or (finding.volume_ml < low and not is_cut):
            yield f"{finding.volume_ml:.1f} ml, adults have {low:g} to {high:g}"
        if largest < settings.largest_piece:
            yield f"the largest piece is {largest:.2f} of it, one piece is expected"
    for change, dice in agreement.items():
        if dice < settings.least_agreement:
            yield f"Dice {dice:.2f} with the answer to the scan after {change}"


def _mask(labels: LabelMap, label: int) -> MaskArray:
    layers = (labels.data, *labels.overlaps.values())
    return np.asarray(np.logical_or.reduce([layer == label for layer in layers]))


def _pieces(mask: MaskArray) -> tuple[int, float]:
    numbered, count = components(mask)
    sizes = np.bincount(numbered.ravel())[1:]
    return count, float(sizes.max() / sizes.sum())


def _dice(one: MaskArray, other: MaskArray) -> float:
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0
