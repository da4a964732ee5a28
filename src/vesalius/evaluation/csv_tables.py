"""The tables of an evaluation as CSV, a cell a number."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vesalius.evaluation.scores import Score
from vesalius.evaluation.summary import ClassSummary

_CLASS_COLUMNS = (
    "class", "cases", "present", "missed", "absent", "false_positives", "false_positive_ml", "dice", "dice_low",
    "dice_high", "nsd", "nsd_low", "nsd_high", "hd95_mm", "hd95_mm_low", "hd95_mm_high", "dice_all", "dice_all_low",
    "dice_all_high", "lesions", "lesions_detected", "findings", "false_findings",
)  # fmt: skip


def classes_csv(classes: Sequence[ClassSummary]) -> str:
    """Return the table of classes as CSV; an infinite or unknown number is an empty cell."""
    return _csv(_CLASS_COLUMNS, (_class_cells(row.as_dict()) for row in classes))


def scores_csv(scores: Sequence[Score]) -> str:
    """Return every score as CSV, a row for each case and class; an infinite or unknown number is an empty cell."""
    rows = [score.as_dict() for score in scores]
    columns = tuple(rows[0]) if rows else ("case", "class")
    return _csv(columns, ([row[column] for column in columns] for row in rows))


def _class_cells(row: Mapping[str, Any]) -> list[object]:
    cells = [row[column] for column in _CLASS_COLUMNS[:7]]
    for metric in ("dice", "nsd", "hd95_mm", "dice_all"):
        interval = row[metric] or {}
        cells += [interval.get(end) for end in ("estimate", "low", "high")]
    seen = row["detection"] or {}
    return [*cells, *(seen.get(key) for key in ("lesions", "detected", "findings", "false_findings"))]


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if value is None else value for value in row] for row in rows)
    return text.getvalue()
