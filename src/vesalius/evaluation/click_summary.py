"""What clicks bring: Dice and surfaces against their number, how many are needed, and how long one takes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vesalius.evaluation.benchmark import Evaluation
from vesalius.evaluation.clicks import ClickCurve, ClickEvaluation
from vesalius.evaluation.report import ends_cell, estimate_cell
from vesalius.evaluation.scores import Score, ScoringOptions
from vesalius.evaluation.summary import interval_as_dict, people_of, score_table
from vesalius.metrics.calibration import GOOD_DICE
from vesalius.metrics.intervals import Interval, bootstrap_mean
from vesalius.views.curves import Curve, render_curves
from vesalius.views.page import cell, facts, image, name_cell, number, table
from vesalius.views.preview import png_bytes

REACHES = (0.85, 0.90)
"""Dice that a user may be content with."""
_SHOWN = (0, 1, 3, 5, 10)


@dataclass(frozen=True)
class Reach:
    """How many clicks a Dice takes.

    Args:
        dice: To reach.
        structures: How many were tried.
        reached: How many got there within the budget.
        median_clicks: Over all of them, those that failed counted as more than any budget; None if half failed.
    """

    dice: float
    structures: int
    reached: int
    median_clicks: float | None

    @classmethod
    def of(cls, curves: Sequence[ClickCurve], dice: float) -> Reach:
        """Count over curves."""
        needed = [curve.clicks_to(dice) for curve in curves]
        median = float(np.median([np.inf if clicks is None else clicks for clicks in needed])) if needed else np.inf
        return cls(
            dice=dice,
            structures=len(needed),
            reached=sum(clicks is not None for clicks in needed),
            median_clicks=median if np.isfinite(median) else None,
        )


def evaluation_after(result: ClickEvaluation, clicks: int, options: ScoringOptions) -> Evaluation:
    """Return the evaluation of all structures after so many clicks, for tables and comparison."""
    return Evaluation(
        scores=tuple(curve.after(clicks) for curve in result.curves),
        options=options,
        only_in_references=dict(result.times_skipped),
        only_in_results={},
        patients=result.patients,
    )


def clicks_as_dict(result: ClickEvaluation) -> dict[str, Any]:
    """Return everything as JSON states it."""
    budget = range(result.protocol.clicks + 1)
    return {
        "protocol": dataclasses.asdict(result.protocol),
        "skipped": dict(result.skipped),
        "after": [
            {"clicks": n, **_means(result, result.curves, n), "balls": _means(result, result.baseline, n)}
            for n in budget
        ],
        "reach": [dataclasses.asdict(Reach.of(result.curves, dice)) for dice in REACHES],
        "balls_reach": [dataclasses.asdict(Reach.of(result.baseline, dice)) for dice in REACHES],
        "seconds_a_click": _seconds(result.curves),
        "curves": [
            {
                "case": curve.scores[0].case,
                "class": curve.scores[0].name,
                "dice": [round(score.dice, 5) for score in curve.scores],
                "nsd": [round(score.nsd, 5) for score in curve.scores],
                "seconds": [round(second, 3) for second in curve.seconds],
                "balls_dice": [round(score.dice, 5) for score in baseline.scores],
            }
            for curve, baseline in zip(result.curves, result.baseline, strict=True)
        ],
    }


def click_sections(result: ClickEvaluation) -> list[str]:
    """Return the parts of a page: the curves as a picture, a table by class, and what was done."""
    return [
        "<h2>Clicks</h2>",
        image(_picture(result), "Dice and normalised surface Dice against the number of clicks"),
        '<p class="faint">Mean over classes and cases, absent ones counted. Dots: the session; line: balls around '
        "the clicks that never read the image, begun with nothing.</p>",
        _mean_table(result),
        _class_table(result),
        facts("The simulated user", _protocol_facts(result)),
    ]


_METRICS: dict[str, Callable[[Score], float | None]] = {
    "dice": lambda score: score.dice,
    "nsd": lambda score: score.nsd,
}


def _means(result: ClickEvaluation, curves: Sequence[ClickCurve], clicks: int) -> dict[str, Any]:
    return {f"{metric}_all": interval_as_dict(_mean(result, curves, clicks, metric)) for metric in _METRICS}


def _mean(result: ClickEvaluation, curves: Sequence[ClickCurve], clicks: int, metric: str) -> Interval | None:
    """Return the mean of some of a result's curves after so many clicks, with its interval over people."""
    scores = [curve.after(clicks) for curve in curves]
    cases = list(dict.fromkeys(score.case for score in scores))
    names = list(dict.fromkeys(score.name for score in scores))
    table = score_table(scores, cases, names, _METRICS[metric])
    return bootstrap_mean(table, people=people_of(cases, result.patients))


def _seconds(curves: Sequence[ClickCurve]) -> dict[str, float | int | None]:
    """Return the median of first clicks, which show the network new windows, and of later ones."""
    first = [curve.seconds[0] for curve in curves if curve.seconds]
    later = [second for curve in curves for second in curve.seconds[1:]]
    medians = [round(float(np.median(part)), 3) if part else None for part in (first, later)]
    return {"first_median": medians[0], "later_median": medians[1], "clicks": len(first) + len(later)}


def _picture(result: ClickEvaluation) -> bytes:
    curves = []
    for metric, title in (("dice", "Dice"), ("nsd", "NSD")):
        for of, is_dotted in ((result.curves, True), (result.baseline, False)):
            means = [(n, _mean(result, of, n, metric)) for n in range(result.protocol.clicks + 1)]
            points = tuple((n, mean.estimate) for n, mean in means if mean is not None)
            curves.append(Curve(f"{title} after n clicks", points, is_dotted=is_dotted))
    return png_bytes(render_curves([curve for curve in curves if curve.points]))


def _mean_table(result: ClickEvaluation) -> str:
    columns = ["clicks", "Dice", "95 %", "NSD", "95 %", "balls: Dice", "95 %"]
    rows = []
    for n in range(result.protocol.clicks + 1):
        asked = ((result.curves, "dice"), (result.curves, "nsd"), (result.baseline, "dice"))
        means = [_mean(result, curves, n, metric) for curves, metric in asked]
        cells = [part for mean in means for part in (estimate_cell(mean), ends_cell(mean))]
        rows.append([number(n, "d"), *cells])
    return table("Mean by number of clicks", columns, rows, note="Over classes and cases, absent ones counted.")


def _class_table(result: ClickEvaluation) -> str:
    budget = result.protocol.clicks
    shown = [n for n in dict.fromkeys((*_SHOWN, budget)) if n <= budget]
    names = list(dict.fromkeys(curve.scores[0].name for curve in result.curves))
    columns = [
        "class",
        "cases",
        *(f"Dice, {n} clicks" for n in shown),
        f"balls, {budget} clicks",
        *(f"clicks to {dice:.2f}, median" for dice in REACHES),
        *(f"never {dice:.2f}" for dice in REACHES),
    ]
    rows = []
    for name in names:
        curves, baseline = (
            [curve for curve in of if curve.scores[0].name == name] for of in (result.curves, result.baseline)
        )
        reaches = [Reach.of(curves, dice) for dice in REACHES]
        rows.append(
            [
                name_cell(name),
                number(len(curves), "d"),
                *(number(_plain_mean(curves, n), ".3f", low=GOOD_DICE) for n in shown),
                number(_plain_mean(baseline, budget), ".3f"),
                *(_clicks_cell(reach, budget) for reach in reaches),
                *(number(reach.structures - reach.reached, "d") for reach in reaches),
            ]
        )
    return table("Dice by number of clicks", columns, rows, note="The mask after exactly so many clicks.")


def _clicks_cell(reach: Reach, budget: int) -> str:
    if reach.median_clicks is None:
        return cell(f"more than {budget}", sort="Infinity")
    return number(reach.median_clicks, "g")


def _plain_mean(curves: Sequence[ClickCurve], clicks: int) -> float:
    return float(np.mean([curve.after(clicks).dice for curve in curves]))


def _protocol_facts(result: ClickEvaluation) -> list[tuple[str, object]]:
    protocol, seconds = result.protocol, _seconds(result.curves)
    first, later = seconds["first_median"], seconds["later_median"]
    return [
        ("clicks", f"up to {protocol.clicks} a structure, beginning with {_BEGINNINGS[protocol.start]}"),
        ("aim", f"{protocol.style} of the largest error, jitter {protocol.jitter_mm:g} mm, seed {protocol.seed}"),
        ("names", "kept from the model" if protocol.new else "given where the model knows them"),
        ("first click", f"{first:.2f} s, median" if first is not None else None),
        ("later clicks", f"{later:.2f} s, median" if later is not None else None),
        ("not clicked", "; ".join(f"{name}: {why}" for name, why in result.skipped.items())),
    ]


_BEGINNINGS = {"automatic": "the automatic result", "nothing": "nothing"}
