"""What a model expects of an image, changed to what a data set has, where the two lie far apart; each change said.

Near is near enough: a network keeps what it was trained with as long as the data set can be seen that way, because
its weights know that spacing and that contrast. Far means another modality, structures of fewer voxels than a
network can draw, or intensities beyond the window. How far and how strongly clicks act was measured with the
network that is begun with: it stays where its point branch goes on with near images, and is as published where they
are far or the branch begins at random (``clicks_as_published``).
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from vesalius.data.fingerprint import Fingerprint, Range
from vesalius.errors import UsageError
from vesalius.geometry.boxes import Triple
from vesalius.spec import ModelSpec, PromptedVitArchitecture

_FAR_APART = 1.5
"""Spacings within this factor of one another are one spacing to a network that learnt with zoom."""
_FEW_VOXELS, _ENOUGH_VOXELS = 300.0, 1000.0
"""A structure of fewer voxels than the first is resolved too coarsely, and gets the second: a ball 12 voxels across
has 1000."""
_COVERED = 0.8
"""Part of the structures' range of Hounsfield units that must lie in the window."""
_AXIS = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}

_Spacing = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that a model now expects otherwise.

    Args:
        what: Field of the spec, in words.
        before: What it was.
        after: What it is.
        why: What of the data set asked for it.
    """

    what: str
    before: str
    after: str
    why: str

    @property
    def is_far(self) -> bool:
        """Whether the images now look otherwise than those that the network learnt from."""
        return self.what in ("modality", "intensities", "voxels")

    def __str__(self) -> str:
        return f"{self.what}: {self.before} -> {self.after} ({self.why})"


def adapted(spec: ModelSpec, found: Fingerprint) -> tuple[ModelSpec, tuple[Change, ...]]:
    """Return the spec with which a data set is to be learnt, and what it changes.

    Args:
        spec: Of the model to begin with.
        found: The data set's.

    Raises:
        UsageError: If the images cannot be told to be CT or MR.
        NoHeadError: If the model is a bare backbone.
        CheckpointError: If it labels slices.
    """
    changes: list[Change] = []
    for step in (_in_modality, _in_window, _in_spacing, _in_window_size, _in_range):
        spec, more = step(spec, found)
        changes += more
    if spec.click_reach_mm is not None and any(change.is_far for change in changes):
        why = "measured with voxels and intensities as before"
        changes.append(Change(what="clicks", before=_click_words(spec), after="as published", why=why))
        spec = clicks_as_published(spec)
    return spec, tuple(changes)


def clicks_as_published(spec: ModelSpec) -> ModelSpec:
    """Return the spec of a network of which neither reach nor pull of clicks nor trust in them was measured."""
    return replace(spec, click_reach_mm=None, click_pull=None, unnamed_trust=None)


def limited_to(spec: ModelSpec, window_size: Triple) -> tuple[ModelSpec, tuple[Change, ...]]:
    """Return the spec with the windows that it is trained with: a network is what it is in windows of one size."""
    if window_size == spec.window_size:
        return spec, ()
    smaller = replace(spec, window_size=window_size)
    why = "what this machine can be trained with; --preset says another"
    return smaller, (Change(what="windows", before=_voxels(spec), after=_voxels(smaller), why=why),)


def _in_modality(spec: ModelSpec, found: Fingerprint) -> tuple[ModelSpec, list[Change]]:
    modality = _modality(spec, found)
    changes = []
    if modality != spec.modality:
        changes.append(Change(what="modality", before=spec.modality, after=modality, why="the images are"))
        spec = replace(spec, modality=modality, regions=())
    if modality == "MR" and spec.normalisation != "percentiles":
        low, high = spec.window_percentiles
        after = f"percentiles {low:g} to {high:g} of each image"
        why = "numbers of MR have no unit"
        changes.append(Change(what="intensities", before=_window_words(spec), after=after, why=why))
        spec = replace(spec, normalisation="percentiles")
    elif modality == "CT" and spec.normalisation == "percentiles":
        after = _window_words(spec := replace(spec, normalisation="window"))
        why = "numbers of CT are Hounsfield units"
        changes.append(Change(what="intensities", before="percentiles of each image", after=after, why=why))
    return spec, changes


def _modality(spec: ModelSpec, found: Fingerprint) -> Literal["CT", "MR"]:
    """Return what made the images; where nobody says so, what the model is for, if the numbers can be that."""
    if found.modality in ("CT", "MR"):
        return found.modality
    may_be_ct = found.intensity.low < 0 and found.intensity.high - found.intensity.low > 20
    if spec.modality == "CT" and not may_be_ct:
        raise UsageError(
            expected="to know what made the images",
            got=f"values from {found.intensity.low:g} to {found.intensity.high:g}, which are no Hounsfield units",
            do="say --modality MR, or correct the images; see `vesalius dataset check`",
        )
    return spec.modality


def _in_window(spec: ModelSpec, found: Fingerprint) -> tuple[ModelSpec, list[Change]]:
    """Widen or move a Hounsfield window that leaves out much of what is to be told apart."""
    inside = found.foreground
    if spec.normalisation == "percentiles" or inside is None:
        return spec, []
    low, high = spec.window_hu
    covered = (min(high, inside.high) - max(low, inside.low)) / max(inside.high - inside.low, 1e-6)
    if covered >= _COVERED:
        return spec, []
    margin = 0.1 * (inside.high - inside.low)
    window = (math.floor(min(low, inside.low - margin)), math.ceil(max(high, inside.high + margin)))
    moved = _with_window(spec, window)
    if inside.low >= high or inside.high <= low:  # nothing of the old window is of use
        window = (math.floor(inside.low - margin), math.ceil(inside.high + margin))
        moved = replace(spec, window_hu=(float(window[0]), float(window[1])))
    why = f"structures lie from {inside.low:.0f} to {inside.high:.0f} HU"
    return moved, [Change(what="intensities", before=_window_words(spec), after=_window_words(moved), why=why)]


def _with_window(spec: ModelSpec, window: tuple[int, int]) -> ModelSpec:
    """Return a spec with another window, in which the encoder of a promptable ViT sees a HU value as it did."""
    (low, high), (first, last) = spec.window_hu, window
    moved = replace(spec, window_hu=(float(first), float(last)))
    if not isinstance(spec.architecture, PromptedVitArchitecture):
        return moved
    mean, deviation = (part * (high - low) for part in spec.architecture.mean_std)
    mean_std = ((low + mean - first) / (last - first), deviation / (last - first))
    return replace(moved, architecture=replace(spec.architecture, mean_std=mean_std))


def _in_spacing(spec: ModelSpec, found: Fingerprint) -> tuple[ModelSpec, list[Change]]:
    """Make voxels finer, down to the images' own, where structures or whole images are small."""
    own = _along(spec, found.spacing_mm, "median")
    extent = _along(spec, found.extent_mm, "median")
    voxel_ml = math.prod(spec.spacing_mm) / 1000
    sizes = {entry.name or f"label {label}": entry.volume_ml.median for label, entry in found.classes.items()}
    name, voxels = min(
        ((name, ml / voxel_ml) for name, ml in sizes.items()), key=lambda one: one[1], default=("", math.inf)
    )
    fits = all(mm <= side * size for mm, side, size in zip(extent, own, spec.window_size, strict=True))
    if fits and math.prod(spec.spacing_mm) > _FAR_APART * math.prod(own):
        spacing, why = own, "the images' own, with which one fits into a window"
    elif voxels < _FEW_VOXELS:
        factor = (voxels / _ENOUGH_VOXELS) ** (1 / 3)
        spacing = tuple(min(mm, max(mm * factor, side)) for mm, side in zip(spec.spacing_mm, own, strict=True))
        why = f"{name} has only {voxels:.0f} voxels of the model's"
    else:
        return spec, []
    i, j, k = (float(f"{mm:.3g}") for mm in spacing)
    if math.prod(spec.spacing_mm) <= _FAR_APART * i * j * k:
        return spec, []
    finer = replace(spec, spacing_mm=(i, j, k))
    return finer, [Change(what="voxels", before=_mm(spec.spacing_mm), after=_mm(finer.spacing_mm), why=why)]


def _in_window_size(spec: ModelSpec, found: Fingerprint) -> tuple[ModelSpec, list[Change]]:
    """Shrink windows to the largest image: what is empty in every window is computed in vain."""
    multiple = spec.vista.size_multiple
    largest = _along(spec, found.extent_mm, "max")
    sides = [
        min(side, multiple * math.ceil(mm / step / multiple - 1e-6))
        for side, mm, step in zip(spec.window_size, largest, spec.spacing_mm, strict=True)
    ]
    size: Triple = (sides[0], sides[1], sides[2])
    if size == spec.window_size:
        return spec, []
    smaller = replace(spec, window_size=size)
    return smaller, [Change(what="windows", before=_voxels(spec), after=_voxels(smaller), why="no image is larger")]


def _in_range(spec: ModelSpec, found: Fingerprint) -> tuple[ModelSpec, list[Change]]:
    """Have the spec accept voxels of the images' sizes."""
    low, high = spec.spacing_range_mm
    least, most = (
        pick(getattr(axis, end) for axis in found.spacing_mm) for pick, end in ((min, "min"), (max, "max"))
    )
    wider = (min(low, float(f"{least * 0.99:.3g}")), max(high, float(f"{most * 1.01:.3g}")))
    if low <= least and most <= high:
        return spec, []
    words = [f"{a:g} to {b:g} mm" for a, b in ((low, high), wider)]
    change = Change(what="voxels of an image", before=words[0], after=words[1], why="the images have such")
    return replace(spec, spacing_range_mm=wider), [change]


def _along(spec: ModelSpec, ranges: tuple[Range, Range, Range], which: Literal["median", "max"]) -> _Spacing:
    """Return medians or maxima along right, anterior and superior in the order of the spec's own axes."""
    i, j, k = (float(getattr(ranges[_AXIS[code]], which)) for code in spec.orientation)
    return i, j, k


def _window_words(spec: ModelSpec) -> str:
    low, high = spec.window_hu
    return f"HU {low:.0f} to {high:.0f}"


def _click_words(spec: ModelSpec) -> str:
    pull = "" if spec.click_pull is None else f", pull {spec.click_pull:g}"
    return f"reach {spec.click_reach_mm:g} mm{pull}"


def _mm(spacing_mm: _Spacing) -> str:
    return " x ".join(f"{mm:g}" for mm in spacing_mm) + " mm"


def _voxels(spec: ModelSpec) -> str:
    return " x ".join(map(str, spec.window_size)) + " voxels"
