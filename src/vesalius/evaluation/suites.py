"""The papers' benchmarks as plain data: which data set, what its label ids mean, how many cases, what is asked.

The table is ``suites.csv`` beside this file. Facts: VISTA3D's ``label_mappings.json`` and lists (numbers of
cases), its zero-shot and few-shot scripts, MedDINOv3's ``compute_metrics.py`` (a tolerance of 1 mm, and which
folder it reads). VISTA3D's splits are lists that come with its code: a suite knows how many cases they hold and
says when others are given. MedDINOv3's are not published.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import difflib
import io
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Literal, get_args

from vesalius.data.datalists.record import DataList
from vesalius.errors import UsageError
from vesalius.labels.vista3d import TABLE

Kind = Literal["classes", "new", "fine-tuned"]
"""What a model is asked: classes by name; clicks on what it has no name for; classes after fine-tuning."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One data set of a paper's evaluation.

    Args:
        name: To ask for it by.
        title: Of the data set.
        paper: Where its numbers stand.
        cases: How many cases of the authors' list are asked; None where it is not known.
        kind: What a model is asked.
        tolerance_mm: Of the paper's surface Dice; None where it has none.
        shots: Numbers of training cases, where models are fine-tuned first.
        labels: Label id of the data set -> structure.
        note: How the paper's protocol differs from ours.
    """

    name: str
    title: str
    paper: str
    cases: int | None
    kind: Kind
    tolerance_mm: float | None
    shots: tuple[int, ...]
    labels: Mapping[int, str]
    note: str

    @property
    def split(self) -> str | None:
        """Which cases of a list are asked: of zero-shot suites all, as the authors' configurations say."""
        return "all" if self.kind == "new" else None

    def applied_to(self, listed: DataList) -> DataList:
        """Return a list whose label ids mean what the suite says; a file per structure keeps its own names."""
        if listed.format == "totalsegmentator":
            return listed
        return replace(listed, meanings=self.labels)

    def remarks(self, num_cases: int) -> list[str]:
        """Say what keeps the numbers of so many cases from being the paper's."""
        said = [self.note] if self.note else []
        if self.cases is not None and num_cases != self.cases:
            what = "cases" if self.kind == "new" else "test cases"
            said.append(f"the authors' list has {self.cases} {what}, this one {num_cases}")
        if self.shots:
            said.append(f"the paper fine-tunes on {', '.join(map(str, self.shots))} cases first")
        return said


def suite(name: str) -> Suite:
    """Return a suite by its name.

    Raises:
        UsageError: If there is none; close names are suggested.
    """
    found = suites().get(name)
    if found is None:
        close = difflib.get_close_matches(name, suites(), n=3, cutoff=0.4)
        raise UsageError(
            expected=f"a suite: {', '.join(suites())}",
            got=repr(name),
            do=f"did you mean {' or '.join(close)}?" if close else "see docs/how-to/evaluate.md",
        )
    return found


@cache
def suites() -> Mapping[str, Suite]:
    """Return every suite by its name."""
    text = (pkgutil.get_data(__package__, "suites.csv") or b"").decode("utf-8")
    return MappingProxyType({row["name"]: _suite(row) for row in csv.DictReader(io.StringIO(text))})


def _suite(row: Mapping[str, str]) -> Suite:
    kind = row["kind"]
    assert kind in get_args(Kind), kind
    return Suite(
        name=row["name"],
        title=row["title"],
        paper=row["paper"],
        cases=int(row["cases"]) if row["cases"] else None,
        kind=kind,  # type: ignore[arg-type] # checked above
        tolerance_mm=float(row["tolerance_mm"]) if row["tolerance_mm"] else None,
        shots=tuple(int(number) for number in row["shots"].split()),
        labels=MappingProxyType(dict(_label(part) for part in row["labels"].split(";"))),
        note=row["note"],
    )


def _label(part: str) -> tuple[int, str]:
    """Read ``3:14``, an id of the table of structures, or ``3:=name``."""
    label, _, meaning = part.partition(":")
    return int(label), meaning[1:] if meaning.startswith("=") else _names()[int(meaning)]


@cache
def _names() -> Mapping[int, str]:
    return {structure.id: structure.name for structure in TABLE}
