"""Pseudo labels: a given model's answers on the scans of a list, as far as they are fit to learn from.

What a pseudo label says: the classes in its map lie where it says and nowhere else, but for voxels marked UNKNOWN,
where the model saw a structure that was not reliable (``reliability``). Of classes that are not in it, it says
nothing. What training makes of that stands in ``training.pseudo_targets``.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from vesalius.checkpoints.identity import expectations_sha256
from vesalius.curation.jobs import Outcome, alone, carry_out, folder_name, refuse_begun, training_cases
from vesalius.curation.new_list import refuse_foreign, write_beside
from vesalius.curation.reliability import Change, Decision, ReliabilitySettings, judge
from vesalius.data.cache import Cache
from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.data.layers import merged
from vesalius.data.reading import read_image
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.segmenter import Segmentation, SegmentOptions
from vesalius.io.atomic import replacing
from vesalius.io.formats import write
from vesalius.labels.mapping import UNKNOWN
from vesalius.labels.vocabulary import Vocabulary
from vesalius.spec import ModelSpec
from vesalius.transforms.intensity import hounsfield_unit

FILE = "pseudo_label.nii.gz"
DECISIONS = "decisions.json"
TABLE = "decisions.csv"
_FORMAT = 3
_CHANGES: tuple[Change, ...] = ("noise", "zoom", "mirror")


@runtime_checkable
class Teacher(Protocol):
    """A model that segments, such as a ``Segmenter``."""

    spec: ModelSpec
    """What it expects of an image."""

    @property
    def vocabulary(self) -> Vocabulary:
        """What it can name."""
        ...

    @property
    def precision(self) -> str:
        """The precision it computes in."""
        ...

    def segment(
        self, volume: Volume, classes: Sequence[str | int] = (), *, options: SegmentOptions | None = None
    ) -> Segmentation:
        """Segment a volume."""
        ...


@dataclass(frozen=True, kw_only=True)
class CuratedLabels:
    """What a run came to.

    Args:
        outcomes: What became of each scan.
        decisions: Case -> what was decided about each structure of it.
        listed: The new list.
        table: All decisions as CSV.
    """

    outcomes: tuple[Outcome, ...]
    decisions: dict[str, tuple[dict[str, Any], ...]]
    listed: Path
    table: Path


def curate_pseudo_labels(
    listed: DataList,
    store: Path,
    teacher: Teacher,
    *,
    model_sha256: str,
    classes: Sequence[str | int] = (),
    settings: ReliabilitySettings | None = None,
    options: SegmentOptions | None = None,
    resume: bool = False,
    on_case: Callable[[Outcome], None] = lambda _: None,
) -> CuratedLabels:
    """Label the training scans of a list by a model, and write a list that has what is reliable as pseudo labels.

    Args:
        listed: The list; cases that are not for training are handed on as they are. Of the others, pseudo labels
            that it has already, of another model, are not.
        store: A folder, for the maps and ``decisions.csv``; the new list is written beside it, as ``<store>.json``.
        teacher: The model.
        model_sha256: Of its weights: what is there from others, or from another spec, is made again.
        classes: What to ask for; nothing means everything the model names. Of what is made of several classes
            (``kidney``), the classes are asked for: nothing is learnt from a map of the whole, which does not say
            which of them a voxel is.
        settings: What is asked of an answer.
        options: How to segment.
        resume: Go on in a store that is there.
        on_case: Told of every scan.

    Raises:
        UsageError: If the store is there and is not to be resumed, the new list would replace one that no job in
            the store wrote, or nothing is for training.
        UnknownClassError: For a class that the model does not have.
        InterruptedRun: If somebody stopped it.
        DiskError: If it cannot be written.
    """
    settings, options = settings or ReliabilitySettings(), options or SegmentOptions()
    asked = sorted(label for target in teacher.vocabulary.resolve(classes) for label in target.members)
    cases = training_cases(listed)
    refuse_begun(store, resume=resume)
    refuse_foreign(store, listed)
    cache = Cache(store)

    def key(case: ListedCase) -> str:
        facts = {
            "format": _FORMAT,
            "image": cache.sha256(case.image),
            "modality": listed.modality,
            "model": model_sha256,
            "expects": expectations_sha256(teacher.spec),
            "precision": teacher.precision,
            "classes": asked,
            "options": {name: value for name, value in asdict(options).items() if name != "max_memory"},
            **asdict(settings),
        }
        return folder_name(case, facts)

    def segment(volume: Volume) -> Segmentation:
        return teacher.segment(volume, asked, options=options)

    def again(volume: Volume) -> Segmentation:
        """Segment a changed scan, whose spacing may be just beyond what the model was made for."""
        return teacher.segment(volume, asked, options=replace(options, unvalidated=True))

    def make(case: ListedCase, folder: Path) -> None:
        volume = read_image(case, listed.modality)
        rng = np.random.default_rng(int(cache.sha256(case.image)[:16], 16))
        unit = hounsfield_unit(volume.data[0], teacher.spec)
        answer, decisions = judge(volume, segment, teacher.vocabulary, settings, rng, again=again, unit=unit)
        if any(decision.is_kept for decision in decisions):
            write(reliable(answer, decisions, teacher.vocabulary), folder / FILE)
        text = json.dumps([decision.as_dict() for decision in decisions], indent=1)
        (folder / DECISIONS).write_text(text, encoding="utf-8")

    outcomes = carry_out(cases, cache, key=key, make=make, on_case=on_case)
    made = {one.case.name: one.folder for one in outcomes if one.folder is not None}
    found = {name: tuple(json.loads((folder / DECISIONS).read_text("utf-8"))) for name, folder in made.items()}
    files = {name: folder / FILE for name, folder in made.items() if (folder / FILE).is_file()}
    judged = {case.name for case in cases}
    kept = [
        replace(case, pseudo_label=files.get(case.name)) if case.name in judged else case for case in listed.cases
    ]
    table = store / TABLE
    with alone(store):
        path = write_beside(store, replace(listed, cases=tuple(kept)))
        with replacing(table) as part:
            part.write_text(decisions_csv(found.items()), encoding="utf-8")
    return CuratedLabels(outcomes=outcomes, decisions=found, listed=path, table=table)


def reliable(answer: LabelMap, decisions: Sequence[Decision], vocabulary: Vocabulary) -> LabelMap:
    """Return an answer as one map of class ids, in which structures that are not reliable are UNKNOWN."""
    includes = {one.id: frozenset(one.includes) for one in vocabulary.structures if one.includes}
    one = merged((answer.data, *answer.overlaps.values()), includes).copy()
    left_out = [decision.class_id for decision in decisions if not decision.is_kept]
    one[np.isin(one, left_out)] = UNKNOWN
    names = {decision.class_id: decision.name for decision in decisions if decision.is_kept}
    return LabelMap(one, answer.grid, {**names, UNKNOWN: "unknown"})


def decisions_csv(decisions: Iterable[tuple[str, Sequence[dict[str, Any]]]]) -> str:
    """Return all decisions as a table, a line for each structure of each scan."""
    text = io.StringIO()
    writer = csv.writer(text)
    agreements = [f"agreement_{change}" for change in _CHANGES]
    writer.writerow(["case", "id", "class", "kept", "volume_ml", "pieces", "largest_piece", *agreements, "why"])
    for case, some in decisions:
        for one in some:
            agreement = [one["agreement"].get(change, "") for change in _CHANGES]
            row = [case, one["class_id"], one["name"], one["kept"], one["volume_ml"], one["pieces"]]
            writer.writerow([*row, one["largest_piece"], *agreement, "; ".join(one["reasons"])])
    return text.getvalue()
