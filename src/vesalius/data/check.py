"""Check a data set before anything is learnt from it: files, geometry, labels, copies, sides, intensities.

Each problem names the case and what to do. *Wrong* is what would teach a model something false or stop the run;
the rest is *worth a look*. One case is in memory at a time; of the others only hashes and thumbnails are kept.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np

from vesalius.data.copies import Traces, copies, repeated_slices, traces_of
from vesalius.data.datalists.paths import missing_files, used_twice
from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.data.reading import on_grid_of, read_drawn, read_image
from vesalius.errors import GeometryError, InputError
from vesalius.geometry.morphology import LabelRegion, label_regions
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.hounsfield import NEARLY_AIR_HU
from vesalius.labels.mapping import Meaning
from vesalius.labels.sides import SIDE_OF
from vesalius.labels.spelling import exact_key, mirrored_name
from vesalius.labels.vista3d import TABLE
from vesalius.labels.vocabulary import Vocabulary
from vesalius.transforms.intensity import not_hounsfield
from vesalius.transforms.preprocess import body_middle_mm

Kind = Literal["file", "geometry", "labels", "copy", "leak", "sides", "intensity"]

_AIRY = frozenset(("airway", "trachea", "air", "sinus", "bronchus", "bronchi"))
_NAMED = 4


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something about a data set that a person should know.

    Args:
        kind: Of what.
        case: Its name; empty where it is about the whole list.
        is_wrong: Whether it would teach something false or stop a run; else it is worth a look.
        found: What was found.
        do: What to do about it.
    """

    kind: Kind
    case: str
    is_wrong: bool
    found: str
    do: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a check found.

    Args:
        list: The list's name.
        format: Which kind of list it is.
        cases: How many it has.
        labelled: How many of them somebody drew something in.
        problems: In the list's order.
    """

    list: str
    format: str
    cases: int
    labelled: int
    problems: tuple[Problem, ...]

    @property
    def wrong(self) -> int:
        """How many problems are not only worth a look."""
        return sum(problem.is_wrong for problem in self.problems)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as the JSON object that ``--json`` prints."""
        return {**asdict(self), "wrong": self.wrong}


def check_list(listed: DataList, *, on_case: Callable[[int], None] | None = None) -> Report:
    """Check every case of a list, and the cases against each other.

    Args:
        listed: Read with ``strict=False``, so that what is missing is reported, not refused.
        on_case: Told after each case how many are done.
    """
    problems = [
        Problem(kind="file", case=names[0], is_wrong=True, found=f"{what} stands for {', '.join(names[:_NAMED])}",
                do="take all but one out of the list")
        for what, names in used_twice(listed.cases)
    ]  # fmt: skip
    found: set[int] = set()
    traces: list[Traces] = []
    for done, case in enumerate(listed.cases, start=1):
        problems += _check_case(case, listed, traces, found)
        if on_case:
            on_case(done)
    problems += [_copy(one, other, why) for one, other, why in copies(traces)]
    problems += [
        Problem(kind="leak", case="", is_wrong=True, found=f"one patient: {', '.join(names[:_NAMED])}",
                do="put all scans of a patient into one split")
        for names in listed.torn_patients()
    ]  # fmt: skip
    problems += _never_found(listed, found)
    labelled = sum(case.is_labelled for case in listed.cases)
    return Report(
        list=listed.name,
        format=listed.format,
        cases=len(listed.cases),
        labelled=labelled,
        problems=tuple(problems),
    )


def _check_case(case: ListedCase, listed: DataList, traces: list[Traces], found: set[int]) -> Iterator[Problem]:
    """Yield what is wrong with one case; note its traces and its labels."""
    missing = missing_files(case)
    if missing:
        names = ", ".join(str(path) for path in missing[:_NAMED])
        do = "copy them, say where they lie (--root DIR), or take the case out of the list"
        yield _wrong("file", case, f"{len(missing)} missing: {names}", do)
        return
    try:
        image = read_image(case, listed.modality)
        labels = read_drawn(case) if case.is_labelled else None
    except InputError as error:
        kind: Kind = "geometry" if isinstance(error, GeometryError) else "file"
        yield _wrong(kind, case, f"expected {error.expected}, got {error.got}", error.do)
        return
    traces.append(traces_of(case, image, labels))
    yield from _intensities(case, image)
    if labels is None:
        if case.split != "test" and case.pseudo_label is None:
            yield _look(
                "labels", case, "no label: it is left out of training", "give it one, if it should be learnt from"
            )
        return
    try:
        labels = on_grid_of(image, labels)
    except GeometryError as error:
        yield _wrong("geometry", case, f"expected {error.expected}, got {error.got}", error.do)
        return
    regions = _regions(labels)
    found |= set(regions)
    yield from _labels(case, listed, regions)
    yield from _shared(case, listed.meanings, labels)
    yield from _sides(case, listed.meanings, labels, regions, image)
    if image.modality == "CT":
        yield from _in_air(case, listed.meanings, image, labels, regions)


def _intensities(case: ListedCase, image: Volume) -> Iterator[Problem]:
    if image.data.shape[0] != 1:
        yield _wrong("file", case, f"{image.data.shape[0]} channels", "split them into files, and list one")
        return
    data = image.data[0]
    if image.modality == "CT" and (reason := not_hounsfield(data)):
        yield _wrong(
            "intensity", case, f"no Hounsfield units: {reason}",
            "export it again as HU (slope and intercept applied), or say --modality MR",
        )  # fmt: skip
    elif float(data.max()) == float(data.min()):
        yield _wrong("intensity", case, f"every voxel is {data.flat[0]:g}", "copy or export the image again")
    repeated = repeated_slices(data, image.grid.spacing_mm)
    if repeated:
        yield _look("intensity", case, f"{repeated:.0%} of the slices equal the one before", "get the original")


def _regions(labels: LabelMap) -> dict[int, LabelRegion]:
    """Return where each label lies, in whichever layer has most of it."""
    regions: dict[int, LabelRegion] = {}
    for layer in (labels.data, *labels.overlaps.values()):
        for label, region in label_regions(layer).items():
            if label not in regions or region.voxels > regions[label].voxels:
                regions[label] = region
    return regions


def _labels(case: ListedCase, listed: DataList, regions: Mapping[int, LabelRegion]) -> Iterator[Problem]:
    if not regions and case.classes is None and not case.masks:
        yield _wrong(
            "labels", case, "an empty label",
            "draw it, or leave the case out; if there is nothing to draw, name in `classes` what was looked for",
        )  # fmt: skip
    if listed.meanings:
        foreign = sorted(set(regions) - set(listed.meanings) - listed.unknown)
        if foreign:
            yield _wrong(
                "labels", case, f"label ids {foreign}, which the list does not declare",
                "add them to `labels` or `label_mapping` (null leaves one out), or correct the label",
            )  # fmt: skip


def _shared(case: ListedCase, meanings: Mapping[int, Meaning], labels: LabelMap) -> Iterator[Problem]:
    """Yield structures that share voxels, though the table says of neither that it includes the other."""
    names = names_of(meanings)
    layers = [np.where(np.isin(layer, list(names)), layer, 0) for layer in (labels.data, *labels.overlaps.values())]
    shared: Counter[tuple[int, int]] = Counter()
    for one, other in combinations(layers, 2):
        both = (one > 0) & (other > 0)
        pairs, counts = np.unique(np.sort([one[both], other[both]], axis=0), axis=1, return_counts=True)
        for (a, b), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
            shared[a, b] += count
    found = [
        f"{names[a]} and {names[b]} share {count} voxels"
        for (a, b), count in sorted(shared.items())
        if not _may_share(names[a], names[b])
    ]
    if found:
        yield _look(
            "labels", case, "; ".join(found[:_NAMED]),
            "correct what was drawn: where neither counts as part of the other, nothing is learnt from such voxels",
        )  # fmt: skip


def _may_share(one: str, other: str) -> bool:
    if exact_key(one) == exact_key(other):
        return True
    vocabulary = Vocabulary.of([(1, one), (2, other)])
    return 2 in vocabulary.by_id(1).includes or 1 in vocabulary.by_id(2).includes


def _sides(
    case: ListedCase,
    meanings: Mapping[int, Meaning],
    labels: LabelMap,
    regions: Mapping[int, LabelRegion],
    image: Volume,
) -> Iterator[Problem]:
    """Yield what lies on the wrong side: pairs by their centroids, single organs by the middle of the body."""
    right_mm = {
        exact_key(name): (name, float(labels.grid.to_world(np.array(regions[label].centroid_ijk))[0]))
        for label, name in names_of(meanings).items()
        if label in regions
    }
    swapped = []
    for name, at in right_mm.values():
        other = right_mm.get(exact_key(mirrored_name(name) or ""))
        if other and "left" in exact_key(name).split() and at > other[1]:
            swapped.append(f"{name} lies to the right of {other[0]}")
    if swapped:
        yield _wrong(
            "sides", case, "; ".join(swapped),
            "the image is mirrored or the two names are exchanged: look at it beside another case, and correct it",
        )  # fmt: skip
    single = {organ: right_mm[organ][1] for organ in SIDE_OF if organ in right_mm}
    if not swapped and single and image.modality == "CT":
        middle = body_middle_mm(image)
        off = [organ for organ, at in single.items() if (at > middle) != (SIDE_OF[organ] == "right")]
        if len(off) == len(single):
            yield _look(
                "sides", case, f"{' and '.join(off)} on the other side of the body's middle",
                "look whether the image is mirrored",
            )  # fmt: skip


def _in_air(
    case: ListedCase,
    meanings: Mapping[int, Meaning],
    image: Volume,
    labels: LabelMap,
    regions: Mapping[int, LabelRegion],
) -> Iterator[Problem]:
    """Yield structures that lie mostly in air: a label that belongs to another scan."""
    names = names_of(meanings)
    airy = []
    for label, region in regions.items():
        words = set(exact_key(names.get(label, "")).split())
        layers = [layer[region.box.slices] for layer in (labels.data, *labels.overlaps.values())]
        is_drawn = np.logical_or.reduce([layer == label for layer in layers])
        inside = image.data[0][region.box.slices][is_drawn]
        if not words & _AIRY and float(np.mean(inside < NEARLY_AIR_HU)) > 0.5:
            airy.append(names.get(label, f"label {label}"))
    if airy:
        yield _look(
            "labels", case, f"mostly in air: {', '.join(airy)}", "look whether label and image belong together"
        )


def names_of(meanings: Mapping[int, Meaning]) -> dict[int, str]:
    """Return the names of label ids: their own, or for class ids those of the table."""
    table = {structure.id: structure.name for structure in TABLE}
    named = {a: table.get(b, "") if isinstance(b, int) else b for a, b in meanings.items() if b is not None}
    return {label: name for label, name in named.items() if name}


def _copy(one: Traces, other: Traces, why: str) -> Problem:
    is_same = why == "image"
    leaks = is_same and one.split != other.split
    found = {
        "image": f"the same voxels as {other.name}",
        "look": f"nearly the same picture as {other.name}",
        "label": f"exactly the labels of {other.name}, on another image",
    }[why]
    where = f" ({one.split} and {other.split})" if one.split != other.split else ""
    return Problem(
        kind="leak" if leaks else "copy",
        case=one.name,
        is_wrong=is_same,
        found=found + where,
        do="keep one of them" if is_same else "look at both",
    )


def _never_found(listed: DataList, found: set[int]) -> Iterator[Problem]:
    names = names_of(listed.meanings)
    absent = [f"{names[label]} ({label})" for label in names if label not in found]
    if absent and any(case.is_labelled for case in listed.cases):
        yield Problem(
            kind="labels", case="", is_wrong=False, found=f"in no case: {', '.join(absent)}",
            do="correct the ids, or leave them out",
        )  # fmt: skip


def _wrong(kind: Kind, case: ListedCase, found: str, do: str) -> Problem:
    return Problem(kind=kind, case=case.name, is_wrong=True, found=found, do=do)


def _look(kind: Kind, case: ListedCase, found: str, do: str) -> Problem:
    return Problem(kind=kind, case=case.name, is_wrong=False, found=found, do=do)
