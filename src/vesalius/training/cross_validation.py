"""Cross-validation: which part of a list is held out of which training, and what the curves of the folds say.

Patients are held out, not scans: where the list tells whose a scan is, all of one patient's are in one fold.

How long to train is read from the mean curve of the folds. What that gives on cases that chose nothing: each fold's
scores at the step that the other folds choose. Only numbers are kept of the folds, no weights.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vesalius.data.datalists.record import DataList
from vesalius.data.seeds import seed_beside
from vesalius.errors import UsageError

Scores = Mapping[str, Mapping[str, float]]
"""Case -> class -> Dice, absent classes counted: 1 where nothing was found, 0 where anything was."""


def stated_folds(listed: DataList) -> tuple[int, ...]:
    """Return the folds that a list states of its labelled training cases, in order."""
    labelled = [case for case in listed.split("training") if case.is_labelled]
    return tuple(sorted({case.fold for case in labelled if case.fold is not None}))


def with_folds(listed: DataList, folds: int, *, seed: int) -> DataList:
    """Return a list whose labelled training cases are each of one fold, as evenly as their patients allow.

    A list that states folds of its own keeps them, if they are as many; a single one holds nothing apart.

    Raises:
        UsageError: If it states another number of them, or of some cases only.
    """
    labelled = [case for case in listed.split("training") if case.is_labelled]
    stated = {case.fold for case in labelled}
    if len(stated) > 1:
        if None in stated or len(stated) != folds:
            raise UsageError(
                expected=f"the folds that {listed.path.name} states, {sorted(map(str, stated))}",
                got="cases without one" if None in stated else f"{folds} of our own",
                do="state a fold of every labelled case and ask for as many, or ask for none (--folds 0)",
            )
        return listed
    scans = Counter(case.person for case in labelled)
    people = list(scans)
    drawn = [people[at] for at in np.random.default_rng(seed_beside(seed, "folds")).permutation(len(people))]
    sizes, fold_of = [0] * folds, {}
    for person in sorted(drawn, key=lambda one: -scans[one]):  # who has many scans is placed while folds are empty
        fold_of[person] = sizes.index(min(sizes))
        sizes[fold_of[person]] += scans[person]
    cases = (replace(c, fold=fold_of.get(c.person)) if c.split == "training" else c for c in listed.cases)
    return replace(listed, cases=tuple(cases))


@dataclass(frozen=True)
class Curve:
    """The validations of one training.

    Args:
        steps: After how many steps each was, in order.
        scores: What each gave, case by case.
    """

    steps: tuple[int, ...]
    scores: tuple[Scores, ...]

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]]) -> Curve:
        """Read it from the metrics of a run."""
        validated = [record for record in records if record.get("event") == "validated"]
        return cls(tuple(record["step"] for record in validated), tuple(record["by_case"] for record in validated))

    def at(self, step: int) -> Scores:
        """Return the scores of the last validation that was not after a step: what ended stays as it is."""
        return self.scores[max(place for place, own in enumerate(self.steps) if own <= step)]


def mean_dice(scores: Scores) -> float:
    """Return the mean over classes of the mean over cases."""
    by_class: dict[str, list[float]] = {}
    for of_case in scores.values():
        for name, dice in of_case.items():
            by_class.setdefault(name, []).append(dice)
    return float(np.mean([np.mean(dice) for dice in by_class.values()]))


def best_step(curves: Sequence[Curve]) -> int:
    """Return the step, after the first, at which the mean over trainings is highest; the earlier of equal ones."""
    steps = sorted({step for curve in curves for step in curve.steps if step > 0})
    means = [float(np.mean([mean_dice(curve.at(step)) for curve in curves])) for step in steps]
    return steps[int(np.argmax(means))]


def unchosen_scores(curves: Sequence[Curve]) -> Scores:
    """Return the scores of every held-out case at the step that the other folds choose; of at least two folds."""
    found: dict[str, Mapping[str, float]] = {}
    for number, curve in enumerate(curves):
        others = [other for place, other in enumerate(curves) if place != number]
        found |= curve.at(best_step(others))
    return found
