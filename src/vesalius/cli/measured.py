"""What ``vesalius evaluate`` measured, and how it is told: an object, or a table and its notes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vesalius.evaluation.benchmark import Evaluation
    from vesalius.evaluation.summary import Comparison


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured, and what is to be told beside it."""

    evaluation: Evaluation
    about: Mapping[str, Any]
    comparison: Comparison | None = None
    sections: Sequence[str] = ()
    """Further parts of the page."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the JSON object."""

    def write(self, out: Path) -> tuple[Path, ...]:
        """Write every file of the evaluation, the page first.

        Raises:
            DiskError: If one cannot be written.
        """
        from vesalius.evaluation.report import write_report

        return write_report(
            out,
            self.evaluation,
            about=self.about,
            comparison=self.comparison,
            sections=self.sections,
            more=self.more,
        )

    def print(self, files: Sequence[Path], *, as_json: bool) -> None:
        """Print the table, notes on stderr, and where the page is; or the JSON object alone."""
        from vesalius.evaluation.report import as_record, as_text, notes

        if as_json:
            record = as_record(self.evaluation, about=self.about, comparison=self.comparison)
            print(json.dumps(record | dict(self.more), indent=2))
            return
        print(as_text(self.evaluation, self.comparison))
        for note in (*notes(self.evaluation), self.about.get("beware")):
            if note:
                print(note, file=sys.stderr)
        for file in files[:1]:
            print(file)


def say(case: str) -> None:
    """Say on stderr which case is being measured."""
    print(case, file=sys.stderr, flush=True)
