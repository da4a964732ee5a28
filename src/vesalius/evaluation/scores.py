"""One case: every class that was looked for, measured."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vesalius.data.reading import TOLERANCE_VOXELS
from vesalius.errors import GeometryError, UsageError
from vesalius.evaluation.matching import ClassPair, MatchBy, canonical, match_classes
from vesalius.geometry.boxes import Box, bounding_box, enclosing_box
from vesalius.geometry.grid import Grid
from vesalius.geometry.morphology import LabelRegion, label_regions
from vesalius.geometry.resample import is_orthogonal, resample_points
from vesalius.geometry.volume import LabelMap
from vesalius.io.seg_slices import with_empty_slices
from vesalius.metrics.overlap import Detection, detect_lesions, dice_of_counts
from vesalius.metrics.surfaces import SurfaceDistances, surface_distances
from vesalius.shapes import LabelArray, MaskArray


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """How cases are measured."""

    tolerance_mm: float = 2.0
    """Distance within which a surface counts as right, for the normalised surface Dice."""
    match: MatchBy = "auto"
    """Match classes by the names that files state, or by ids."""
    classes: tuple[str, ...] = ()
    """Classes to compare; none at all means all that both sides state."""
    lesions: tuple[str, ...] = ()
    """Classes to be counted also lesion by lesion."""

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance_mm < math.inf:
            raise UsageError(
                expected="a tolerance of 0 mm or more", got=f"{self.tolerance_mm} mm", do="2 is usual for organs"
            )


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well one class was found in one case.

    Args:
        case: Name of the case.
        name: The class.
        truth_ml: Volume in the reference.
        found_ml: Volume found.
        dice: 0..1; 1 where the class is absent and nothing was found.
        nsd: Normalised surface Dice, likewise.
        hd95_mm: 95 % Hausdorff distance; infinite where one of both is empty.
        detection: Lesion by lesion, where that was asked for.
        confidence: The Dice the model expected, where it said so.
    """

    case: str
    name: str
    truth_ml: float
    found_ml: float
    dice: float
    nsd: float
    hd95_mm: float
    detection: Detection | None = None
    confidence: float | None = None

    @property
    def is_absent(self) -> bool:
        """Whether the reference has nothing of it."""
        return self.truth_ml == 0

    @property
    def is_false_positive(self) -> bool:
        """Whether something was found where the reference has nothing."""
        return self.is_absent and self.found_ml > 0

    @property
    def is_missed(self) -> bool:
        """Whether nothing was found of what the reference has."""
        return not self.is_absent and self.found_ml == 0

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON states it; an infinite distance is null."""
        detection = self.detection
        return {
            "case": self.case,
            "class": self.name,
            "truth_ml": round(self.truth_ml, 4),
            "found_ml": round(self.found_ml, 4),
            "dice": round(self.dice, 5),
            "nsd": round(self.nsd, 5),
            "hd95_mm": round(self.hd95_mm, 4) if math.isfinite(self.hd95_mm) else None,
            "lesions": detection.lesions if detection else None,
            "lesions_detected": detection.detected if detection else None,
            "findings": detection.findings if detection else None,
            "false_findings": detection.false_findings if detection else None,
            "confidence": None if self.confidence is None else round(self.confidence, 4),
        }


@dataclass(frozen=True, kw_only=True)
class CaseScores:
    """Every class of one case.

    Args:
        case: Its name.
        scores: One for each class that was compared.
        states_classes: Whether both sides state what they looked for. If not, a class counts as looked for when
            any reference of the same run holds it.
        only_truth: Classes of the reference that nothing was said about.
        only_found: Classes that the reference says nothing about.
        parts: Whole -> its parts, by whose names one side states it.
        unsaid: Scores of ``only_truth`` as if nothing but parts of them had been found: they count where another
            result of the same run names the class, so that this one, which names only what was found, found nothing
            else of it.
    """

    case: str
    scores: tuple[Score, ...]
    states_classes: bool
    only_truth: tuple[str, ...] = ()
    only_found: tuple[str, ...] = ()
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unsaid: tuple[Score, ...] = ()


def score_case(
    case: str,
    found: LabelMap,
    truth: LabelMap,
    *,
    options: ScoringOptions | None = None,
    unknown: Collection[int] = (),
    confidence: Mapping[str, float | None] | None = None,
) -> CaseScores:
    """Measure one case.

    Args:
        case: Its name.
        found: What was found; its axes may be permuted and flipped against the reference's. Slices that a DICOM
            SEG leaves out are empty, on both sides.
        truth: The reference. Classes that it names and does not hold were looked for and are absent.
        options: How to measure.
        unknown: Ids of the reference for voxels of which nothing is known: left out on both sides (``judged_in``).
        confidence: Class name -> the Dice the model expects.

    Raises:
        GeometryError: If the two do not lie on the same voxels.
        UsageError: If they have no class in common.
    """
    options = options or ScoringOptions()
    found = with_empty_slices(found, truth.grid)
    truth = with_empty_slices(truth, found.grid)
    names = {label: name for label, name in truth.names.items() if label not in unknown}
    matching = match_classes(found.names, names, by=options.match, classes=options.classes)
    sides = _Side(placed_on(truth.grid, found, case)), _Side(truth)
    judged = judged_in(truth, unknown)
    lesions = {canonical(name) for name in options.lesions}
    expected = {canonical(name): value for name, value in (confidence or {}).items()}
    scores = []
    unsaid = () if options.classes else matching.missed
    for pair in (*matching.pairs, *unsaid):
        counted = canonical(pair.name) in lesions
        score = _score(case, pair, sides, judged, tolerance_mm=options.tolerance_mm, is_lesion=counted)
        scores.append(replace(score, confidence=expected.get(canonical(pair.name))))
    return CaseScores(
        case=case,
        scores=tuple(scores[: len(matching.pairs)]),
        states_classes=matching.by_names,
        only_truth=matching.only_truth,
        only_found=matching.only_found,
        parts=matching.parts,
        unsaid=tuple(scores[len(matching.pairs) :]),
    )


def score_masks(
    case: str, name: str, found: MaskArray, truth: MaskArray, grid: Grid, *, tolerance_mm: float
) -> Score:
    """Measure one class in one case.

    Args:
        case: Name of the case.
        name: The class.
        found: What was found, ``(i, j, k)``; the part of the scan that holds all of both is enough.
        truth: What should have been found, in the same shape.
        grid: Whose voxels they are, for their size and, where a gantry was tilted, their angle.
        tolerance_mm: Within which a surface counts as right.
    """
    shared, in_found, in_truth = (int(np.count_nonzero(mask)) for mask in (found & truth, found, truth))
    distances = _distances(found, truth, grid)
    return Score(
        case=case,
        name=name,
        truth_ml=in_truth * grid.voxel_volume_ml,
        found_ml=in_found * grid.voxel_volume_ml,
        dice=dice_of_counts(shared, in_found, in_truth),
        nsd=distances.nsd(tolerance_mm),
        hd95_mm=distances.hd95_mm,
    )


def _distances(found: MaskArray, truth: MaskArray, grid: Grid) -> SurfaceDistances:
    """Measure between surfaces; where a gantry was tilted, on a grid at right angles.

    Its planes are the slices themselves, in which every pixel goes to the nearest. The coarsest axis is taken for
    the one along which slices follow one another, so that what is rounded are the finer ones.
    """
    box = bounding_box(found | truth)
    if is_orthogonal(grid) or box is None:
        return surface_distances(found, truth, grid.spacing_mm)
    order = [int(axis) for axis in np.argsort(grid.spacing_mm, kind="stable")]
    masks = [mask[box.slices].transpose(order).astype(np.uint8) for mask in (found, truth)]
    slices = Grid(masks[0].shape, grid.affine[:, [*order, 3]])
    upright = slices.upright()
    found, truth = (resample_points(mask, slices, upright, nearest=True) > 0 for mask in masks)
    return surface_distances(found, truth, upright.spacing_mm)


def complete(cases: Sequence[CaseScores]) -> tuple[Score, ...]:
    """Return the scores of all cases of a run, and those that only the run as a whole can tell.

    Where results state names, a class that any of them names was looked for in every case whose reference states
    it; a result without it found nothing. Where they do not, a class was looked for if any reference holds it:
    where neither side has it, it was rightly not found; a class that no reference holds is not compared. Each class
    has one spelling, the first that was met.
    """
    stated = [case for case in cases if case.states_classes]
    unstated = [case for case in cases if not case.states_classes]
    named = {canonical(score.name) for case in stated for score in case.scores}
    named |= {canonical(name) for case in stated for name in case.only_found}
    held = {canonical(score.name): score.name for case in unstated for score in case.scores if not score.is_absent}
    scores = [
        score
        for case in cases
        for score in (*case.scores, *(one for one in case.unsaid if canonical(one.name) in named))
        if case.states_classes or canonical(score.name) in held
    ]
    there = {(score.case, canonical(score.name)) for score in scores}
    nothing = {"truth_ml": 0.0, "found_ml": 0.0, "dice": 1.0, "nsd": 1.0, "hd95_mm": 0.0}
    scores += [
        Score(case=case.case, name=name, **nothing)  # type: ignore[arg-type]
        for case in unstated
        for key, name in held.items()
        if (case.case, key) not in there
    ]
    return spelled_alike(scores)


def spelled_alike(scores: Sequence[Score]) -> tuple[Score, ...]:
    """Return scores in which every class is spelled as where it was first met."""
    shown: dict[str, str] = {}
    return tuple(replace(score, name=shown.setdefault(canonical(score.name), score.name)) for score in scores)


class _Side:
    """One label map, and where its labels lie in each layer."""

    def __init__(self, labels: LabelMap) -> None:
        self.grid = labels.grid
        arrays = (labels.data, *labels.overlaps.values())
        self.layers: tuple[tuple[LabelArray, dict[int, LabelRegion]], ...] = tuple(
            (array, label_regions(array)) for array in arrays
        )

    def boxes(self, ids: Collection[int]) -> list[Box]:
        return [regions[label].box for _, regions in self.layers for label in ids if label in regions]

    def mask(self, ids: Collection[int], box: Box) -> MaskArray:
        mask = np.zeros(box.shape, dtype=bool)
        for array, regions in self.layers:
            for label in set(ids) & set(regions):
                mask |= array[box.slices] == label
        return mask


def _score(
    case: str,
    pair: ClassPair,
    sides: tuple[_Side, _Side],
    judged: MaskArray | None,
    *,
    tolerance_mm: float,
    is_lesion: bool,
) -> Score:
    found_side, truth_side = sides
    box = enclosing_box([*found_side.boxes(pair.found), *truth_side.boxes(pair.truth)]) or Box((0, 0, 0), (1, 1, 1))
    found, truth = found_side.mask(pair.found, box), truth_side.mask(pair.truth, box)
    if judged is not None:
        found, truth = found & judged[box.slices], truth & judged[box.slices]
    score = score_masks(case, pair.name, found, truth, truth_side.grid, tolerance_mm=tolerance_mm)
    return replace(score, detection=detect_lesions(found, truth)) if is_lesion else score


def judged_in(truth: LabelMap, unknown: Collection[int]) -> MaskArray | None:
    """Return the voxels of which a reference says something; None where that is all of them.

    What is drawn in one layer is known, whatever is unknown there in another: training reads them so, too
    (``data.layers``).

    Args:
        truth: The reference.
        unknown: Its ids for voxels of which nothing is known.
    """
    if not unknown:
        return None
    layers = (truth.data, *truth.overlaps.values())
    marked = [np.isin(layer, list(unknown)) for layer in layers]
    is_drawn = np.logical_or.reduce([(layer != 0) & ~mark for layer, mark in zip(layers, marked, strict=True)])
    return np.asarray(is_drawn | ~np.logical_or.reduce(marked))


def placed_on(grid: Grid, labels: LabelMap, case: str) -> LabelMap:
    """Return a label map with the axes of a grid whose voxels it lies on.

    Args:
        grid: To compare on.
        labels: Their axes may be permuted and flipped.
        case: For the message.

    Raises:
        GeometryError: If they lie on other voxels.
    """
    moved = labels.reoriented(grid.axis_codes)
    if not moved.grid.is_close(grid, tolerance_voxels=TOLERANCE_VOXELS):
        raise GeometryError(
            expected=f"{case}: labels on the voxels they are compared on, {_described(grid)}",
            got=_described(labels.grid),
            do="bring what was found onto the reference's grid first, by nearest neighbours; never the reference",
        )
    return moved


def _described(grid: Grid) -> str:
    size, spacing = " x ".join(map(str, grid.shape)), " x ".join(f"{side:.4g}" for side in grid.spacing_mm)
    origin = ", ".join(f"{at:.4g}" for at in grid.affine[:3, 3])
    return f"{size} of {spacing} mm ({grid.axis_codes}, first voxel at {origin})"
