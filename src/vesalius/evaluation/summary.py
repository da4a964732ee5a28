"""From scores of cases to a table: per class and over all, with n and 95 % intervals; and two results compared."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from vesalius.errors import UsageError
from vesalius.evaluation.scores import Score, spelled_alike
from vesalius.metrics.calibration import ranking_area
from vesalius.metrics.intervals import Difference, Interval, bootstrap_mean, bootstrap_median, paired_difference
from vesalius.metrics.overlap import Detection


@dataclass(frozen=True, kw_only=True)
class ClassSummary:
    """One class over all cases in which it was looked for.

    Args:
        name: The class.
        cases: In how many cases it was looked for.
        present: In how many the reference has it.
        missed: In how many of these nothing was found.
        false_positives: In how many of the others something was found.
        false_positive_ml: Mean volume found there, over those; None without any.
        dice: Mean Dice over the cases that have it.
        nsd: Mean normalised surface Dice over these.
        hd95_mm: Median 95 % Hausdorff distance over these; infinite where most were missed.
        dice_all: Mean Dice over all cases, absent ones counted: 1 where nothing was found, 0 where anything was.
        detection: Lesion by lesion, summed over cases, where that was asked for.
    """

    name: str
    cases: int
    present: int
    missed: int
    false_positives: int
    false_positive_ml: float | None
    dice: Interval | None
    nsd: Interval | None
    hd95_mm: Interval | None
    dice_all: Interval | None
    detection: Detection | None

    @property
    def absent(self) -> int:
        """In how many cases it was looked for and the reference does not have it."""
        return self.cases - self.present

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON states it."""
        detection = self.detection
        return {
            "class": self.name,
            "cases": self.cases,
            "present": self.present,
            "missed": self.missed,
            "absent": self.absent,
            "false_positives": self.false_positives,
            "false_positive_ml": _rounded(self.false_positive_ml),
            "dice": interval_as_dict(self.dice),
            "nsd": interval_as_dict(self.nsd),
            "hd95_mm": interval_as_dict(self.hd95_mm),
            "dice_all": interval_as_dict(self.dice_all),
            "detection": detection
            and {
                "lesions": detection.lesions,
                "detected": detection.detected,
                "findings": detection.findings,
                "false_findings": detection.false_findings,
                "sensitivity": _rounded(detection.sensitivity),
                "precision": _rounded(detection.precision),
            },
        }


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A whole evaluation.

    Args:
        classes: One row per class, in the order they were met.
        dice: Mean over classes of the mean over cases that have them; interval over cases.
        nsd: The same of the normalised surface Dice.
        dice_all: The same with absent classes counted.
        cases: How many cases.
        patients: How many people these show; None where nothing is known of that.
        ranking: How well the model's confidence ranks results below Dice 0.7 under the others; None where nothing
            was said, or no result lies below.
    """

    classes: tuple[ClassSummary, ...]
    dice: Interval | None
    nsd: Interval | None
    dice_all: Interval | None
    cases: int
    patients: int | None
    ranking: float | None

    @property
    def unit(self) -> str:
        """What intervals are over, in words: cases, or patients where these are fewer."""
        return "cases" if self.patients is None or self.patients == self.cases else "patients"

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON states it."""
        return {
            "cases": self.cases,
            **({} if self.patients is None else {"patients": self.patients}),
            "dice": interval_as_dict(self.dice),
            "nsd": interval_as_dict(self.nsd),
            "dice_all": interval_as_dict(self.dice_all),
            "ranking_area": _rounded(self.ranking),
            "classes": [row.as_dict() for row in self.classes],
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two results of the same cases: what the second gives more, in Dice with absent classes counted.

    Args:
        classes: Class -> difference, where both were measured.
        overall: Of the mean over classes.
    """

    classes: tuple[tuple[str, Difference], ...]
    overall: Difference

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON states it."""
        rows = [{"class": name, **_difference(difference)} for name, difference in self.classes]
        return {"metric": "dice_all", "overall": _difference(self.overall), "classes": rows}


def summarise(scores: Sequence[Score], *, patients: Mapping[str, str] | None = None) -> Summary:
    """Make the table of an evaluation.

    Means are over cases, their intervals over people.

    Args:
        scores: Of all cases and classes (``scores.complete``).
        patients: Case -> whom it shows, by any word; each other case shows somebody else.
    """
    patients = patients or {}
    cases = {score.case for score in scores}
    names = list(dict.fromkeys(score.name for score in scores))
    said = [score for score in scores if score.confidence is not None]
    return Summary(
        classes=tuple(_row(name, [score for score in scores if score.name == name], patients) for name in names),
        dice=_overall(scores, names, patients, lambda score: None if score.is_absent else score.dice),
        nsd=_overall(scores, names, patients, lambda score: None if score.is_absent else score.nsd),
        dice_all=_overall(scores, names, patients, lambda score: score.dice),
        cases=len(cases),
        patients=len(set(people_of(tuple(cases), patients))) if cases & patients.keys() else None,
        ranking=ranking_area(
            np.array([score.confidence for score in said], np.float64),
            np.array([score.dice for score in said], np.float64),
        ),
    )


def people_of(cases: Sequence[str], patients: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return whom each case shows, as a key that cases of one person share (``ListedCase.person``)."""
    return [("patient", patients[case]) if case in patients else ("case", case) for case in cases]


def compare(
    first: Sequence[Score], second: Sequence[Score], *, patients: Mapping[str, str] | None = None
) -> Comparison:
    """Compare two results of the same cases, case by case.

    Args:
        first: Scores of the one.
        second: Scores of the other; better where its Dice is larger.
        patients: Case -> whom it shows, where that is known: signs of all scans of a person flip together.

    Raises:
        UsageError: If they share no case and class.
    """
    alike = spelled_alike((*first, *second))
    first, second = alike[: len(first)], alike[len(first) :]
    cases = list(dict.fromkeys(score.case for score in alike))
    names = list(dict.fromkeys(score.name for score in alike))
    tables = [score_table(scores, cases, names, lambda score: score.dice) for scores in (first, second)]
    people = people_of(cases, patients or {})
    overall = paired_difference(*tables, people=people)
    if overall is None:
        raise UsageError(
            expected="two results with classes and cases in common",
            got="none",
            do="compare results of the same data",
        )
    rows = (
        (name, paired_difference(tables[0][:, c], tables[1][:, c], people=people)) for c, name in enumerate(names)
    )
    return Comparison(classes=tuple((name, row) for name, row in rows if row is not None), overall=overall)


def score_table(
    scores: Sequence[Score], cases: Sequence[str], names: Sequence[str], value: Callable[[Score], float | None]
) -> Float[np.ndarray, "n c"]:
    """Return a value for each case and class, NaN where there is none.

    Args:
        scores: Whatever was measured.
        cases: The rows.
        names: The columns: classes.
        value: What to take of a score; None leaves it out.
    """
    rows, columns = ({key: at for at, key in enumerate(keys)} for keys in (cases, names))
    table = np.full((len(cases), len(names)), np.nan)
    for score in scores:
        number = value(score)
        if number is not None:
            table[rows[score.case], columns[score.name]] = number
    return table


def interval_as_dict(interval: Interval | None) -> dict[str, Any] | None:
    """Return an interval as JSON states it; an infinite end is null."""
    if interval is None:
        return None
    return {
        "estimate": _rounded(interval.estimate),
        "low": _rounded(interval.low),
        "high": _rounded(interval.high),
        "n": interval.n,
    }


def _row(name: str, scores: Sequence[Score], patients: Mapping[str, str]) -> ClassSummary:
    present = [score for score in scores if not score.is_absent]
    people, shown = (people_of([score.case for score in some], patients) for some in (scores, present))
    wrong = [score.found_ml for score in scores if score.is_false_positive]
    counted = [score.detection for score in scores if score.detection is not None]
    return ClassSummary(
        name=name,
        cases=len(scores),
        present=len(present),
        missed=sum(score.is_missed for score in present),
        false_positives=len(wrong),
        false_positive_ml=float(np.mean(wrong)) if wrong else None,
        dice=bootstrap_mean(np.array([score.dice for score in present]), people=shown),
        nsd=bootstrap_mean(np.array([score.nsd for score in present]), people=shown),
        hd95_mm=bootstrap_median(np.array([score.hd95_mm for score in present]), people=shown),
        dice_all=bootstrap_mean(np.array([score.dice for score in scores]), people=people),
        detection=sum(counted, Detection()) if counted else None,
    )


def _overall(
    scores: Sequence[Score],
    names: Sequence[str],
    patients: Mapping[str, str],
    value: Callable[[Score], float | None],
) -> Interval | None:
    cases = list(dict.fromkeys(score.case for score in scores))
    return bootstrap_mean(score_table(scores, cases, names, value), people=people_of(cases, patients))


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        **(interval_as_dict(difference.interval) or {}),
        "better": difference.better,
        "worse": difference.worse,
        "is_clear": difference.is_clear,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 5)
