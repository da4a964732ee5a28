"""The files of an evaluation: ``evaluation.json``, two tables as CSV, and one self-contained HTML page."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import vesalius
from vesalius.evaluation.benchmark import Evaluation
from vesalius.evaluation.csv_tables import classes_csv, scores_csv
from vesalius.evaluation.matching import canonical
from vesalius.evaluation.report_folder import RECORD, SCHEMA
from vesalius.evaluation.scores import Score
from vesalius.evaluation.summary import ClassSummary, Comparison, Summary
from vesalius.io.atomic import disk_errors, replacing
from vesalius.metrics.calibration import GOOD_DICE
from vesalius.metrics.intervals import Interval
from vesalius.views.page import box, cell, facts, heading, name_cell, number, page, table

_WORST = 12
_MOST_LISTED = 10
"""Names in a line of the terminal or the page; ``evaluation.json`` has all."""


def write_report(
    folder: Path,
    evaluation: Evaluation,
    *,
    about: Mapping[str, Any],
    comparison: Comparison | None = None,
    sections: Sequence[str] = (),
    more: Mapping[str, Any] | None = None,
) -> tuple[Path, ...]:
    """Write every file of an evaluation.

    Args:
        folder: Where to; made if absent. Files of these names are replaced: ``check_report_folder`` looks first.
        evaluation: What was measured.
        about: What was evaluated and how, for the page and the JSON: plain data.
        comparison: Against another result.
        sections: HTML to put above the table of cases.
        more: Further keys of the JSON object.

    Returns:
        The files, the page first.

    Raises:
        DiskError: If one cannot be written.
    """
    record = as_record(evaluation, about=about, comparison=comparison) | dict(more or {})
    files = {
        "report.html": render(evaluation, about=about, comparison=comparison, sections=sections),
        RECORD: json.dumps(record, indent=2, allow_nan=False) + "\n",
        "classes.csv": classes_csv(evaluation.summary().classes),
        "scores.csv": scores_csv(evaluation.scores),
    }
    with disk_errors(f"to make the folder {folder}", do="name another one with -o"):
        folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(files, key=lambda name: name != RECORD):
        with replacing(folder / name) as part:
            part.write_text(files[name], encoding="utf-8", newline="\n")
    return tuple(folder / name for name in files)


def as_record(
    evaluation: Evaluation, *, about: Mapping[str, Any], comparison: Comparison | None = None
) -> dict[str, Any]:
    """Return everything as one object of plain data."""
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "vesalius": vesalius.__version__,
        "about": dict(about),
        **evaluation.as_dict(),
    }
    if comparison is not None:
        record["comparison"] = comparison.as_dict()
    return record


def render(
    evaluation: Evaluation,
    *,
    about: Mapping[str, Any],
    comparison: Comparison | None = None,
    sections: Sequence[str] = (),
) -> str:
    """Return the page of an evaluation; arguments as ``write_report``."""
    summary = evaluation.summary()
    title = str(about.get("title") or "How good the results are")
    line = [
        f"{_counted(summary)}, {len(summary.classes)} classes",
        f"mean Dice {in_words(summary.dice)}" if summary.dice else "",
        f"absent classes counted {in_words(summary.dice_all)}" if summary.dice_all else "",
    ]
    return page(
        title,
        [
            heading(title, line),
            box("Look at these", _warnings(evaluation)),
            _class_table(summary, evaluation.options.tolerance_mm),
            _comparison_table(comparison, summary.unit) if comparison else "",
            *sections,
            _worst_table(evaluation.scores),
            facts("About", [(key, value) for key, value in about.items() if key != "title"]),
            facts("Confidence", _confidence_facts(summary.ranking)),
        ],
    )


def as_text(evaluation: Evaluation, comparison: Comparison | None = None) -> str:
    """Return the table of classes as lines for a terminal."""
    summary = evaluation.summary()
    surface = f"NSD, {evaluation.options.tolerance_mm:g} mm"
    rows = [("class", "present", "Dice (95 %)", surface, "HD95, mm", "false positives")]
    for row in summary.classes:
        wrong = f"{row.false_positives} of {row.absent} absent" if row.absent else ""
        distance = f"{row.hd95_mm.estimate:.1f}" if row.hd95_mm else ""
        rows.append((row.name, str(row.present), in_words(row.dice), in_words(row.nsd), distance, wrong))
    rows.append(("mean over classes", "", in_words(summary.dice), in_words(summary.nsd), "", ""))
    rows.append(("absent ones counted", "", in_words(summary.dice_all), "", "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if comparison is not None:
        gained = comparison.overall
        change = in_words(gained.interval, "+.4f")
        lines.append(
            f"Dice gained, paired: {change}; better in {gained.better} {summary.unit}, worse in {gained.worse}"
        )
    if summary.unit == "patients":
        lines.append(f"{_counted(summary)}: intervals are over patients, all scans of one together")
    return "\n".join(lines)


def _counted(summary: Summary) -> str:
    """Say how many cases there are, and of how many patients, where these are fewer."""
    cases = f"{summary.cases} case{'s' * (summary.cases != 1)}"
    patients = f"patient{'s' * (summary.patients != 1)}"
    return f"{cases} of {summary.patients} {patients}" if summary.unit == "patients" else cases


def in_words(interval: Interval | None, form: str = ".3f") -> str:
    """Return an interval as people read it: ``0.912 (0.885 to 0.934)``."""
    if interval is None:
        return ""
    ends = [format(end, form) for end in (interval.low, interval.high) if end is not None]
    return f"{interval.estimate:{form}}" + (f" ({' to '.join(ends)})" if ends else "")


def notes(evaluation: Evaluation) -> list[str]:
    """Say what was not compared, and why."""
    only = [
        (evaluation.only_in_references, "the results say nothing about"),
        (evaluation.only_in_results, "the references say nothing about"),
    ]
    said = [f"not compared, because {why} them: {_first_of(names)}" for names, why in only if names]
    counted = {canonical(score.name) for score in evaluation.scores if score.detection is not None}
    strange = [name for name in evaluation.options.lesions if canonical(name) not in counted]
    if strange:
        said.append(f"lesions were not counted, because no such class was compared: {', '.join(strange)}")
    return said


def _first_of(counts: Mapping[str, int]) -> str:
    """Return names in a row; of a whole vocabulary the first, and how many more there are."""
    names = list(counts)
    if len(names) <= _MOST_LISTED:
        return ", ".join(names)
    return f"{', '.join(names[:_MOST_LISTED])} and {len(names) - _MOST_LISTED} more"


def _warnings(evaluation: Evaluation) -> list[str]:
    wrong = [score for score in evaluation.scores if score.is_false_positive]
    missed = [score for score in evaluation.scores if score.is_missed]
    found = [
        (missed, "structures were missed altogether"),
        (wrong, "structures were found where the reference has none"),
    ]
    counted = [f"{len(scores)} {what}: {_listed(scores)}" for scores, what in found if scores]
    return [*counted, *notes(evaluation)]


def _listed(scores: Sequence[Score]) -> str:
    names = [f"{score.name} in {score.case}" for score in scores[:_WORST]]
    return ", ".join(names) + (f" and {len(scores) - _WORST} more" if len(scores) > _WORST else "")


def _class_table(summary: Summary, tolerance_mm: float) -> str:
    classes = summary.classes
    with_lesions = any(row.detection for row in classes)
    columns = [
        "class",
        "cases",
        "present",
        "missed",
        "Dice",
        "95 %",
        f"NSD, {tolerance_mm:g} mm",
        "95 %",
        "HD95, mm",
        "absent",
        "false positives",
        "ml each",
        "Dice, absent counted",
        *(["lesions found", "findings right"] if with_lesions else []),
    ]
    rows = [_class_row(row, with_lesions=with_lesions) for row in classes]
    note = (
        "Dice and NSD: mean over the cases that have the class, with its 95 % interval over "
        f"{summary.unit}; HD95: median. "
        "Absent counted: 1 where nothing was found of an absent class, 0 where anything was."
    )
    return table("Classes", columns, rows, note=note)


def _class_row(row: ClassSummary, *, with_lesions: bool) -> list[str]:
    seen = row.detection
    lesions = [
        cell(f"{seen.detected} of {seen.lesions}" if seen else "", sort=seen.sensitivity if seen else ""),
        cell(f"{seen.findings - seen.false_findings} of {seen.findings}" if seen else "",
             sort=seen.precision if seen else ""),
    ]  # fmt: skip
    return [
        name_cell(row.name, is_faint=not row.present),
        number(row.cases, "d"),
        number(row.present, "d"),
        number(row.missed or None, "d"),
        estimate_cell(row.dice),
        ends_cell(row.dice),
        estimate_cell(row.nsd),
        ends_cell(row.nsd),
        _distance(row.hd95_mm.estimate if row.hd95_mm else None),
        number(row.absent, "d"),
        number(row.false_positives or None, "d"),
        number(row.false_positive_ml, ".2f"),
        estimate_cell(row.dice_all),
        *(lesions if with_lesions else []),
    ]


def _comparison_table(comparison: Comparison, unit: str) -> str:
    rows = [("mean over classes", comparison.overall), *comparison.classes]
    cells = [
        [
            name_cell(name),
            number(difference.interval.n, "d"),
            number(difference.interval.estimate, "+.4f"),
            ends_cell(difference.interval, "+.4f"),
            number(difference.better, "d"),
            number(difference.worse, "d"),
            cell("yes" if difference.is_clear else "", sort=int(difference.is_clear)),
        ]
        for name, difference in rows
    ]
    columns = ["class", unit, "Dice gained", "95 %", f"{unit} better", "worse", "clear"]
    note = (
        f"Paired, case by case, by flipping signs; fewer than six {unit} give no interval. Dice with absent "
        "classes counted; clear: the interval excludes 0. Many classes are compared, so some will look clear by "
        "chance."
    )
    return table("Against the other result", columns, cells, note=note)


def _worst_table(scores: Sequence[Score]) -> str:
    worst = sorted(scores, key=lambda score: score.dice)[:_WORST]
    rows = [
        [
            name_cell(score.case),
            cell(score.name, sort=score.name),
            number(score.dice, ".3f", low=GOOD_DICE),
            number(score.nsd, ".3f", low=GOOD_DICE),
            _distance(score.hd95_mm),
            number(score.truth_ml, ".2f"),
            number(score.found_ml, ".2f"),
            number(score.confidence, ".2f", low=GOOD_DICE),
        ]
        for score in worst
    ]
    columns = ["case", "class", "Dice", "NSD", "HD95, mm", "reference, ml", "found, ml", "confidence"]
    return table("Worst results", columns, rows, note="Every result is in scores.csv.")


def _confidence_facts(ranking: float | None) -> list[tuple[str, object]]:
    if ranking is None:
        return []
    meaning = f"how often, of a result below Dice {GOOD_DICE:g} and another, the one below has the lower confidence"
    return [("ranking area", f"{ranking:.3f}: {meaning} (0.5 is guessing)")]


def estimate_cell(interval: Interval | None) -> str:
    """Return a cell with the number itself, marked where it is low."""
    return number(interval.estimate if interval else None, ".3f", low=GOOD_DICE)


def ends_cell(interval: Interval | None, form: str = ".3f") -> str:
    """Return a cell with the ends of an interval; empty where there are none."""
    if interval is None or interval.low is None or interval.high is None:
        return cell("", sort="")
    return cell(f"{interval.low:{form}} to {interval.high:{form}}", sort=interval.low)


def _distance(value: float | None) -> str:
    if value is not None and math.isinf(value):
        return cell("\N{INFINITY}", sort="Infinity", is_low=True)
    return number(value, ".1f")
