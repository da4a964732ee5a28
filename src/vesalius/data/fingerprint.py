"""The fingerprint of a data set: spacings, shapes, intensities inside labels, volumes; what fine-tuning plans by.

After nnU-Net's (Isensee et al., Nat. Methods 2021): medians over cases, and percentiles of the voxels that belong
to some structure. Voxels are taken evenly, at most 5,000 a case and class and 262,144 a class, so that small
structures count too and the same data give the same numbers.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from vesalius.data.check import names_of
from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.data.reading import on_grid_of, read_drawn, read_image
from vesalius.errors import FileFormatError, UsageError
from vesalius.geometry.volume import Modality

_SAMPLES = 5000
_POOLED = 1 << 18
"""Values kept of all cases together, for a class; so that memory does not grow with them."""
_Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Range:
    """The least, the median and the largest of something."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray) -> Range:
        """Return the range of at least one value."""
        return cls(min=float(np.min(values)), median=float(np.median(values)), max=float(np.max(values)))


@dataclass(frozen=True, kw_only=True)
class Intensity:
    """How voxel values are spread; percentiles 0.5, 50 and 99.5, mean and standard deviation."""

    low: float
    median: float
    high: float
    mean: float
    sd: float

    @classmethod
    def of(cls, values: np.ndarray) -> Intensity:
        """Return the spread of at least one value."""
        low, median, high = np.percentile(values, (0.5, 50.0, 99.5)).tolist()
        return cls(low=low, median=median, high=high, mean=float(values.mean()), sd=float(values.std()))


@dataclass(frozen=True, kw_only=True)
class ClassFingerprint:
    """One label id of a data set.

    Args:
        name: What the list calls it; empty where it does not say.
        cases: In how many cases it was found.
        volume_ml: Over these cases.
        intensity: Of its voxels, over these cases.
    """

    name: str
    cases: int
    volume_ml: Range
    intensity: Intensity


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What a data set is like.

    Args:
        list: The list's name.
        modality: What made the images.
        cases: How many were read: all but those for testing.
        labelled: In how many of them something was drawn.
        spacing_mm: Of the voxels along right, anterior and superior.
        shape: Voxels along right, anterior and superior.
        extent_mm: How much of the body is shown, along the same axes.
        intensity: Of all voxels.
        foreground: Of the voxels that belong to some structure; None where nothing is labelled.
        classes: Label id -> what it is like; ids never found, and those that mean no class, are absent.
    """

    list: str
    modality: Modality
    cases: int
    labelled: int
    spacing_mm: tuple[Range, Range, Range]
    shape: tuple[Range, Range, Range]
    extent_mm: tuple[Range, Range, Range]
    intensity: Intensity
    foreground: Intensity | None
    classes: dict[int, ClassFingerprint]

    def to_json(self) -> str:
        """Return the fingerprint as JSON text; ``from_json`` reads it back equal."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Fingerprint:
        """Read a fingerprint.

        Raises:
            FileFormatError: If it is none.
        """
        try:
            fields = json.loads(text)
            for name in ("spacing_mm", "shape", "extent_mm"):
                i, j, k = (Range(**axis) for axis in fields[name])
                fields[name] = (i, j, k)
            fields["intensity"] = Intensity(**fields["intensity"])
            fields["foreground"] = Intensity(**fields["foreground"]) if fields["foreground"] else None
            fields["classes"] = {int(label): _class(entry) for label, entry in fields["classes"].items()}
            return cls(**fields)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise FileFormatError(
                expected="a fingerprint that `vesalius dataset fingerprint` wrote",
                got=str(error).splitlines()[0],
                do="make it again",
            ) from None


def _class(entry: dict[str, Any]) -> ClassFingerprint:
    volume, intensity = Range(**entry["volume_ml"]), Intensity(**entry["intensity"])
    return ClassFingerprint(name=entry["name"], cases=entry["cases"], volume_ml=volume, intensity=intensity)


@dataclass(frozen=True, eq=False)
class _CaseFacts:
    """What is kept of one case: geometry, a few thousand voxel values, and per label its volume and values."""

    spacing_mm: _Triple
    shape: tuple[int, int, int]
    values: np.ndarray
    volume_ml: dict[int, float]
    inside: dict[int, np.ndarray]


class _Pool:
    """An even choice of values that come part by part: all while they are few, then every second, every fourth."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._step, self._seen, self._held = 1, 0, 0

    def add(self, values: np.ndarray) -> None:
        """Take values in, those of them that have their turn."""
        chosen = values[-self._seen % self._step :: self._step].copy()
        self._parts.append(chosen)
        self._seen, self._held = self._seen + len(values), self._held + len(chosen)
        while self._held > _POOLED:
            self._parts = [self.values()[::2].copy()]
            self._step, self._held = 2 * self._step, len(self._parts[0])

    def values(self) -> np.ndarray:
        """Return what was chosen, in order."""
        return np.concatenate(self._parts)


@dataclass(frozen=True, eq=False)
class _ClassFacts:
    """What is kept of one label over the cases in which it was found."""

    volume_ml: list[float] = field(default_factory=list)
    inside: _Pool = field(default_factory=_Pool)


def fingerprint(listed: DataList, *, on_case: Callable[[int], None] | None = None) -> Fingerprint:
    """Measure the cases of a list that are not for testing.

    Args:
        listed: The list.
        on_case: Told after each case how many are done.

    Raises:
        UsageError: If there is no such case.
        InputError: A subclass that says what is wrong with a file; ``check_list`` names all such cases.
    """
    cases = [case for case in listed.cases if case.split != "test"]
    if not cases:
        raise UsageError(expected="cases to learn from", got="only cases for testing", do="name another list")
    spacings: list[_Triple] = []
    shapes: list[tuple[int, int, int]] = []
    whole, foreground, labelled = _Pool(), _Pool(), 0
    classes: dict[int, _ClassFacts] = {}
    for done, case in enumerate(cases, start=1):
        facts = _facts(case, listed)
        spacings.append(facts.spacing_mm)
        shapes.append(facts.shape)
        whole.add(facts.values)
        labelled += bool(facts.inside)
        for label, values in facts.inside.items():
            foreground.add(values)
            one = classes.setdefault(label, _ClassFacts())
            one.volume_ml.append(facts.volume_ml[label])
            one.inside.add(values)
        if on_case:
            on_case(done)
    names = names_of(listed.meanings)
    return Fingerprint(
        list=listed.name,
        modality=listed.modality,
        cases=len(cases),
        labelled=labelled,
        spacing_mm=_ranges(np.array(spacings)),
        shape=_ranges(np.array(shapes)),
        extent_mm=_ranges(np.multiply(spacings, shapes)),
        intensity=Intensity.of(whole.values()),
        foreground=Intensity.of(foreground.values()) if classes else None,
        classes={label: _class_of(names.get(label, ""), one) for label, one in sorted(classes.items())},
    )


def _facts(case: ListedCase, listed: DataList) -> _CaseFacts:
    image = read_image(case, listed.modality).reoriented("RAS")
    volume_ml: dict[int, float] = {}
    inside: dict[int, np.ndarray] = {}
    if case.is_labelled:
        labels = on_grid_of(image, read_drawn(case))
        layers = (labels.data, *labels.overlaps.values())
        found = {label for layer in layers for label in np.flatnonzero(np.bincount(layer.ravel())).tolist()}
        for label in sorted(found - {0} - listed.unjudged):
            is_drawn = np.logical_or.reduce([layer == label for layer in layers])
            volume_ml[label] = float(np.count_nonzero(is_drawn)) * image.grid.voxel_volume_ml
            inside[label] = _evenly(image.data[0][is_drawn])
    return _CaseFacts(image.grid.spacing_mm, image.grid.shape, _evenly(image.data[0].ravel()), volume_ml, inside)


def _evenly(values: np.ndarray) -> np.ndarray:
    """Return at most so many of the values, evenly spaced, as float32."""
    return values[:: max(1, -(-values.size // _SAMPLES))].astype(np.float32)


def _ranges(rows: np.ndarray) -> tuple[Range, Range, Range]:
    i, j, k = (Range.of(column) for column in rows.astype(np.float64).T)
    return i, j, k


def _class_of(name: str, facts: _ClassFacts) -> ClassFingerprint:
    return ClassFingerprint(
        name=name,
        cases=len(facts.volume_ml),
        volume_ml=Range.of(facts.volume_ml),
        intensity=Intensity.of(facts.inside.values()),
    )
