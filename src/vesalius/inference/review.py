"""What was found, and what looks wrong in it: volumes, confidence, borders, components, sides."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Num

from vesalius.geometry.boxes import Box
from vesalius.geometry.morphology import LabelRegion, component_counts, label_regions
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.situs import misplaced
from vesalius.inference.tidy import Removed
from vesalius.labels.findings import Finding, Findings
from vesalius.labels.plausibility import PLAUSIBLE_ML
from vesalius.labels.spelling import exact_key
from vesalius.labels.vocabulary import Target, Vocabulary
from vesalius.shapes import LabelArray

_SLAB_VOXELS = 1 << 23
_LOW_CONFIDENCE = 0.7
_POOR_DICE = 0.5
_NOTHING = Removed(0, 0.0)
_NO_CRUMB = 0.1
"""Pieces that together are more than this part of what was kept may have been the organ."""


def measure(
    volume: Volume,
    labels: LabelMap,
    targets: Sequence[Target],
    vocabulary: Vocabulary,
    *,
    confidence: Callable[[Finding], float | None] = lambda _: None,
    removed: Mapping[int, Removed] | None = None,
    earlier: Sequence[Finding] = (),
    dice: Mapping[str, float] | None = None,
) -> Findings:
    """Measure every structure that was looked for, and say what a person should look at.

    Args:
        volume: The image, on the grid of the labels.
        labels: The result.
        targets: What was looked for.
        vocabulary: Gives colours, codes and left-right partners.
        confidence: A finding without confidence -> predicted Dice, where it can be predicted.
        removed: Label id -> pieces that were taken away already.
        earlier: What was found before a correction. A structure of the same voxels, as far as their number, pieces
            and mean tell, keeps its confidence and its count of pieces taken away, which voxels do not tell.
        dice: Name -> Dice that was measured of the model, where it was.
    """
    removed = removed or {}
    regions: dict[int, LabelRegion] = {}
    values: dict[int, float] = {}
    pieces: dict[int, int] = {}
    for layer in (labels.data, *labels.overlaps.values()):
        in_layer = label_regions(layer)
        regions |= in_layer
        pieces |= component_counts(layer)
        values |= mean_values(volume.data[0], layer)
    measured = [
        Finding(
            class_id=target.id,
            name=target.name,
            colour=vocabulary.by_id(target.id).colour,
            snomed=_snomed(vocabulary, target),
            volume_ml=_voxels(regions, target) * labels.grid.voxel_volume_ml,
            voxels=_voxels(regions, target),
            mean_hu=values.get(target.id),
            confidence=None,
            touches_border=target.id in regions and _touches(regions[target.id].box, labels.grid.shape),
            components=pieces.get(target.id, 0),
            pieces_removed=removed.get(target.id, _NOTHING).pieces,
            removed_ml=removed.get(target.id, _NOTHING).volume_ml,
        )
        for target in sorted(targets, key=lambda target: target.id)
    ]
    known = {_seen(finding): finding for finding in earlier}
    findings = tuple(
        _with_what_was_known(replace(finding, confidence=confidence(finding)), known.get(_seen(finding)))
        for finding in measured
    )
    poor = tuple(_poorly_measured(findings, dice or {}))
    return Findings(findings, (*poor, *_warnings(findings, regions, vocabulary, volume)))


def measure_labels(volume: Volume, labels: LabelMap, *, earlier: Sequence[Finding] = ()) -> Findings:
    """Measure every structure a label map names, whatever model or person made it.

    Args:
        volume: The image, on the grid of the labels.
        labels: With names as people give them: two may be one but for their spelling.
        earlier: As ``measure``.
    """
    vocabulary = Vocabulary.of(tuple(_told_apart(labels.names).items()))
    targets = [Target(label, name, (label,)) for label, name in labels.names.items()]
    return measure(volume, labels, targets, vocabulary, earlier=earlier)


def _seen(finding: Finding) -> tuple[str, int, int, float | None]:
    """Return what tells whether a structure is as it was; the mean as exactly as ``labels.json`` states it."""
    mean = finding.mean_hu
    return finding.name, finding.voxels, finding.components, None if mean is None else round(mean, 1)


def _with_what_was_known(finding: Finding, earlier: Finding | None) -> Finding:
    """Return a finding with what voxels do not tell, where the structure was found before."""
    if earlier is None:
        return finding
    return replace(
        finding,
        confidence=earlier.confidence,
        pieces_removed=earlier.pieces_removed,
        removed_ml=earlier.removed_ml,
    )


def _told_apart(names: Mapping[int, str]) -> dict[int, str]:
    """Return names of which none is another's spelling: the first one keeps it, later ones get their label's id."""
    apart: dict[int, str] = {}
    taken: set[str] = set()
    for label, name in names.items():
        apart[label] = name
        while exact_key(apart[label]) in taken:
            apart[label] += f" {label}"
        taken.add(exact_key(apart[label]))
    return apart


def _snomed(vocabulary: Vocabulary, target: Target) -> str | None:
    code = vocabulary.by_id(target.id).code
    return code.type.value if code else None


def _voxels(regions: Mapping[int, LabelRegion], target: Target) -> int:
    return regions[target.id].voxels if target.id in regions else 0


def _touches(box: Box, shape: tuple[int, int, int]) -> bool:
    """Say whether a box reaches a face of the volume; an axis of one voxel has no faces."""
    sides = zip(box.start, box.stop, shape, strict=True)
    return any(size > 1 and (start == 0 or stop == size) for start, stop, size in sides)


def mean_values(image: Num[np.ndarray, "i j k"], labels: LabelArray) -> dict[int, float]:
    """Return the mean image value of each label above 0, through slabs so that nothing is converted whole."""
    memory = np.argsort([-abs(stride) for stride in labels.strides], kind="stable")  # walk in the order of memory
    labels, image = labels.transpose(memory), image.transpose(memory)
    size = int(labels.max()) + 1
    voxels, total = np.zeros(size, dtype=np.int64), np.zeros(size)
    step = max(1, _SLAB_VOXELS // (labels.shape[1] * labels.shape[2]))
    for start in range(0, labels.shape[0], step):
        slab = labels[start : start + step]
        inside = slab != 0
        found = slab[inside]
        voxels += np.bincount(found, minlength=size)
        total += np.bincount(found, weights=image[start : start + step][inside], minlength=size)
    return {int(label): float(total[label] / voxels[label]) for label in np.flatnonzero(voxels)}


def _poorly_measured(findings: Sequence[Finding], dice: Mapping[str, float]) -> Iterator[str]:
    for finding in findings:
        measured = dice.get(finding.name, 1.0)
        if finding.voxels and measured < _POOR_DICE:
            yield f"{finding.name}: a Dice of {measured:.2f} was measured of this model: do not rely on it"


def _warnings(
    findings: Sequence[Finding], regions: Mapping[int, LabelRegion], vocabulary: Vocabulary, volume: Volume
) -> Iterator[str]:
    found = [finding for finding in findings if finding.voxels]
    if not found:
        yield "nothing was found: check that the scan shows what was asked for, and its orientation"
    for finding in found:
        if finding.confidence is not None and finding.confidence < _LOW_CONFIDENCE:
            yield f"{finding.name}: low confidence, a Dice of {finding.confidence:.2f} is expected"
        if finding.components > 1 and finding.name in PLAUSIBLE_ML:
            yield f"{finding.name}: in {finding.components} pieces, one is expected"
        if finding.removed_ml > _NO_CRUMB * finding.volume_ml:
            yield (
                f"{finding.name}: the largest piece has {finding.volume_ml:.1f} ml; {finding.pieces_removed} more "
                f"with {finding.removed_ml:.1f} ml were taken away"
            )
        low, high = PLAUSIBLE_ML.get(finding.name, (0.0, np.inf))
        if not low <= finding.volume_ml <= high and not (finding.touches_border and finding.volume_ml < low):
            yield f"{finding.name}: {finding.volume_ml:.1f} ml, adults have {low:g} to {high:g}"
    cut = [finding.name for finding in found if finding.touches_border]
    if cut:
        yield f"reaches the edge of the scan, so volumes are of the visible part: {', '.join(cut)}"
    yield from misplaced(found, regions, vocabulary, volume)
