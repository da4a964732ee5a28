"""Validation: a network on whole scans that it does not learn from, as a user would meet it.

Scans are read and segmented by what ``vesalius segment`` runs, windows sliding, and measured by what ``vesalius
evaluate`` runs; clicks are those of its simulated user, in the session that users work in. Absent structures count:
1 where nothing was found of what was looked for and is not there, 0 where anything was.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
from torch import nn

from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.engine.task import Outcome, Task, Validation
from vesalius.errors import UnknownClassError, UsageError
from vesalius.evaluation.benchmark import askable
from vesalius.evaluation.clicks import ClickProtocol, evaluate_clicks
from vesalius.evaluation.matching import match_classes
from vesalius.evaluation.references import ReferenceCase, read_references
from vesalius.evaluation.scores import Score, ScoringOptions, placed_on, score_case
from vesalius.evaluation.wanted import Structure
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.inference.speed import DTYPES
from vesalius.labels.vocabulary import Vocabulary
from vesalius.models.build import optimise_for_inference
from vesalius.models.meddinov3 import MedDino
from vesalius.models.promptable import Promptable
from vesalius.precision import Precision
from vesalius.shapes import MaskArray
from vesalius.spec import ModelSpec
from vesalius.transforms.intensity import image_window
from vesalius.views.comparison import render_comparison

Trained = TypeVar("Trained", bound=nn.Module)
Sample = TypeVar("Sample")

_OPTIONS = SegmentOptions(unvalidated=True)
"""A model that is being made for something was not made for it yet."""


@dataclass(frozen=True)
class Judged(Generic[Trained, Sample]):
    """A task that learns as another, and validates.

    Args:
        task: What is learnt.
        judge: Says how good a network is, without changing it.
    """

    task: Task[Trained, Sample]
    judge: Callable[[Trained], Validation]

    def draw(self, rng: np.random.Generator) -> Sample:
        """Draw a sample of the task."""
        return self.task.draw(rng)

    def outcome(self, network: Trained, sample: Sample) -> Outcome:
        """Ask the network as the task does."""
        return self.task.outcome(network, sample)

    def weights(self, rate: float) -> Mapping[str, float]:
        """Return the task's weights."""
        return self.task.weights(rate)

    def validate(self, network: Trained) -> Validation:
        """Ask the judge.

        Raises:
            UsageError: If no case names anything to judge by: nothing would ever be best, and patience would end
                the training as one that gains no more.
        """
        found = self.judge(network)
        if math.isnan(found.score):
            raise UsageError(
                expected="validation cases in which a class of the model that is not kept aside was looked for",
                got="none to judge by",
                do="name it in their `classes`, put others under `validation`, or train without --validate-every",
            )
        return found


@dataclass(frozen=True, kw_only=True)
class WholeScans:
    """Judges by the mean Dice, over classes, of their means over scans; by class prompts, by clicks, or by both.

    Args:
        listed: The list, which says what label ids mean.
        cases: Its labelled cases to judge by; read anew each time, one after the other.
        spec: Of the network.
        precision: In which the network runs.
        automatic: Whether to segment by class prompts.
        clicks: So many simulated clicks on each structure, beginning with nothing; 0 is none.
        novel: Classes that are not asked for and do not count: what is reported as unseen chooses no weights.
        others: Further lists, and their cases to judge by.
    """

    listed: DataList
    cases: tuple[ListedCase, ...]
    spec: ModelSpec
    precision: Precision
    automatic: bool = True
    clicks: int = 0
    novel: tuple[int, ...] = ()
    others: tuple[tuple[DataList, tuple[ListedCase, ...]], ...] = ()

    def __call__(self, network: Promptable | MedDino) -> Validation:
        """Judge a network; the score is the mean of what is asked for, the picture is of the first scan."""
        vocabulary = Vocabulary.of(self.spec.vocabulary)
        segmenter = Segmenter(
            optimise_for_inference(copy.deepcopy(network), dtype=DTYPES[self.precision]), self.spec
        )
        dice: dict[str, dict[str, list[float]]] = {"": {}, "clicks, ": {}}
        by_case: dict[str, dict[str, float]] = {}
        pictures: dict[str, np.ndarray] = {}
        for case in self._references(vocabulary):
            stated = (name for label, name in case.truth.names.items() if label not in case.unknown)
            names = [name for name in stated if not self._is_novel(name, vocabulary)]
            if not names:
                continue
            if self.automatic:
                asked = askable(names, segmenter.vocabulary)
                found = segmenter.segment(case.volume, asked, options=_OPTIONS).labels
                for score in score_case(case.name, found, case.truth, unknown=case.unknown).scores:
                    dice[""].setdefault(score.name, []).append(score.dice)
                    by_case.setdefault(case.name, {})[score.name] = score.dice
                if not pictures:
                    pictures[case.name] = self._picture(case, found)
            if self.clicks:
                drawn = None if pictures else _OneMap(case.volume.grid)
                for score in self._clicked(segmenter, case, names, drawn):
                    dice["clicks, "].setdefault(score.name, []).append(score.dice)
                if drawn is not None and drawn.names:
                    pictures[case.name] = self._picture(case, drawn.labels())
        numbers = {
            f"{kind}dice of {name}": _mean(values) for kind, of in dice.items() for name, values in of.items()
        }
        kinds = [_mean(map(_mean, of.values())) for of in dice.values() if of]
        return Validation(_mean(kinds), numbers, pictures, by_case)

    def _clicked(
        self, segmenter: Segmenter, case: ReferenceCase, names: list[str], drawn: _OneMap | None
    ) -> tuple[Score, ...]:
        """Return the scores after the last click; masks are kept in what is to be drawn, if anything is."""
        result = evaluate_clicks(
            segmenter,
            [case],
            ClickProtocol(clicks=self.clicks, start="nothing"),
            options=ScoringOptions(classes=tuple(names)),
            how=_OPTIONS,
            on_mask=_forget if drawn is None else drawn.add,
        )
        return tuple(curve.after(self.clicks) for curve in result.curves)

    def _references(self, vocabulary: Vocabulary) -> Iterator[ReferenceCase]:
        """Read the cases of every list; of several, names say which list a case is of."""
        for listed, cases in ((self.listed, self.cases), *self.others):
            for case in read_references(listed, cases, vocabulary):
                yield replace(case, name=f"{listed.name} {case.name}") if self.others else case

    def _is_novel(self, name: str, vocabulary: Vocabulary) -> bool:
        """Whether a structure of a reference is a novel class, or made of one."""
        try:
            structure = vocabulary.by_name(name)
        except UnknownClassError:
            return False
        return not {structure.id, *structure.parts}.isdisjoint(self.novel)

    def _picture(self, case: ReferenceCase, found: LabelMap) -> np.ndarray:
        """Draw the result below the reference, both in the result's ids."""
        truth = placed_on(case.volume.grid, case.truth, case.name)
        table = np.zeros(max(truth.names) + 1, found.data.dtype)
        for pair in match_classes(found.names, truth.names).pairs:
            table[list(pair.truth)] = pair.found[0]
        table = np.append(table, found.data.dtype.type(0))  # of ids without a name
        renamed = LabelMap(np.take(table, truth.data, mode="clip"), truth.grid, found.names)
        shown_names = Vocabulary.of(tuple(found.names.items()))  # clicks need no name that the model has
        colours = {label: shown_names.by_id(label).colour for label in found.names}
        window = image_window(case.volume.data[0], self.spec)
        shown = render_comparison(case.volume, renamed, found, colours=colours, window=window)
        return np.asarray(shown)


class _OneMap:
    """Masks as one label map, later ones over earlier ones: a mask each would be gigabytes of a large scan."""

    def __init__(self, grid: Grid) -> None:
        self.names: dict[int, str] = {}
        self._data, self._grid = np.zeros(grid.shape, np.uint16), grid

    def add(self, one: Structure, mask: MaskArray) -> None:
        label = len(self.names) + 1
        self.names[label] = one.name
        self._data[mask] = label

    def labels(self) -> LabelMap:
        return LabelMap(self._data, self._grid, self.names)


def _forget(one: Structure, mask: MaskArray) -> None:
    """Keep nothing of a mask."""


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else float("nan")
