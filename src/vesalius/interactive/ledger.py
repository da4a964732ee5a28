"""Ledger: what a session has acknowledged, counted, and on disk first where there is a journal."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

from vesalius.errors import StaleRevisionError
from vesalius.geometry.boxes import Box
from vesalius.interactive.canvas import box_sha256
from vesalius.interactive.edits import AddPrompt, Edit, edit_to_json
from vesalius.interactive.journal import Journal, Record
from vesalius.shapes import LabelArray


class Ledger:
    """Counts edits and predictions shown; whoever writes to it holds the session's lock."""

    def __init__(self) -> None:
        self.journal: Journal | None = None
        """Where they are written before they are counted; None keeps none."""
        self.revision = 0
        """How many were acknowledged."""
        self.last_prompt_id = 0
        """The highest that was given; ids are never given twice."""

    def check_revision(self, revision: int | None) -> None:
        """Refuse an edit of another revision than the present one; None is whatever is now.

        Raises:
            StaleRevisionError: If it is another.
        """
        if revision is not None and revision != self.revision:
            raise StaleRevisionError(
                expected=f"an edit of revision {self.revision}",
                got=f"one of revision {revision}",
                do="look at what has changed since, and say it again",
            )

    def record(self, edit: Edit) -> None:
        """Acknowledge an edit: write it to the journal, count it.

        Raises:
            DiskError: If it cannot be written; it is then not counted.
        """
        if self.journal is not None:
            self.journal.append({"revision": self.revision + 1, **edit_to_json(edit)})
        self.count(edit)

    def record_shown(self, outcome: Record) -> None:
        """Acknowledge that a prediction is shown: write its outcome, count it. Errors as of ``record``."""
        if self.journal is not None:
            self.journal.append(outcome)
        self.count_shown()

    def count(self, edit: Edit) -> None:
        """Count an edit that needs no writing, as one that is in the journal already."""
        self.revision += 1
        if isinstance(edit, AddPrompt):
            self.last_prompt_id = max(self.last_prompt_id, edit.prompt_id)

    def count_shown(self) -> None:
        """Count a prediction shown, of which the same holds."""
        self.revision += 1

    def close(self) -> None:
        """Let go of the journal; counting goes on without."""
        if self.journal is not None:
            self.journal.close()
        self.journal = None


def outcome_of(number: int, box: Box | None, layers: Mapping[str, LabelArray]) -> Record:
    """Return the line that ends a prediction: which edit it was, where labels changed, and their hash there."""
    if box is None:
        return {"predicted": number, "box": None}
    return {"predicted": number, "box": [list(box.start), list(box.stop)], "sha256": box_sha256(box, layers)}
