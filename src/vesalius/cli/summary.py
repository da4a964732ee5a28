"""``summary.csv``: a row a case, made of the record in its folder, and one for what was left out; free of times."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vesalius.cli.scan_folder import LeftOut
from vesalius.errors import VesaliusError

SUMMARY_FILE = "summary.csv"
"""Lies in the folder of a batch's results."""
_COLUMNS = ("case", "input", "status", "error", "got", "do", "input_sha256", "model", "found", "warnings",
            "unvalidated")  # fmt: skip


@dataclass(kw_only=True)
class Outcome:
    """What has become of one case."""

    case: str
    path: Path
    folder: Path
    error: VesaliusError | None = None
    was_there: bool = False
    """Whether it was done by an earlier run."""
    is_done: bool = False
    row: dict[str, Any] = field(default_factory=dict)

    def fail(self, error: VesaliusError) -> None:
        """Remember why there is no result."""
        self.error = error

    def close(self) -> None:
        """Make the row of the summary, once the case has ended."""
        self.row = {"case": self.case, "input": str(self.path)}
        if self.error is not None:
            words = self.error.as_dict()
            self.row |= {"status": "failed", "error": words["code"], "got": words["got"], "do": words["do"]}
        else:
            self.is_done = True
            self.row |= {"status": "done"} | _row_of_result(self.folder)

    def in_words(self) -> str:
        """Say it in one line."""
        if self.error is not None:
            return f"failed: {self.error.got}; {self.error.do}"
        if self.was_there:
            return "already done"
        return f"done, {self.row['found']} structures, {self.row['warnings']} warnings"


def write_summary(out: Path, outcomes: Sequence[Outcome], left_out: Sequence[LeftOut] = ()) -> None:
    """Write the table of the cases that have ended, and of what was left out; complete or as it was before.

    Raises:
        DiskError: If it cannot be written.
    """
    from vesalius.io.atomic import replacing

    rows = [outcome.row for outcome in outcomes if outcome.row]
    rows += [{"input": str(one.path), "status": "left out", "got": one.why} for one in left_out]
    volumes = dict.fromkeys(column for row in rows for column in row if column not in _COLUMNS)
    text = io.StringIO()
    writer = csv.DictWriter(text, [*_COLUMNS, *volumes], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(out / SUMMARY_FILE) as part:
        part.write_text(
            text.getvalue(), encoding="utf-8", errors="backslashreplace", newline="\n"
        )  # names of files


def _row_of_result(folder: Path) -> dict[str, Any]:
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    return {
        "input_sha256": run["input_sha256"],
        "model": f"{run['model']['name']} {run['model']['version']}",
        "found": sum(finding["voxels"] > 0 for finding in labels["classes"]),
        "warnings": len(labels["warnings"]),
        "unvalidated": "yes" if run["unvalidated"] else "no",
        **{f"{finding['name']} (ml)": finding["volume_ml"] for finding in labels["classes"]},
    }
