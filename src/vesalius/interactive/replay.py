"""Replay: a journal's records done again, and what came out differently."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vesalius.errors import FileFormatError, VesaliusError
from vesalius.interactive.edits import Predict, edit_from_json
from vesalius.interactive.journal import Record
from vesalius.interactive.ledger import Ledger, outcome_of
from vesalius.interactive.workspace import Workspace


def replay(workspace: Workspace, ledger: Ledger, *, records: Sequence[Record], path: Path) -> tuple[str, ...]:
    """Do again what a journal holds; a prediction that has no end was never shown.

    Args:
        workspace: As the session began; is brought to where it ended.
        ledger: Counts what is done again; writes nothing.
        records: Of the journal, its header aside.
        path: Of the journal, to name in errors.

    Returns:
        Where labels are not those that the journal states, in words; nothing where all are.

    Raises:
        FileFormatError: If an edit cannot be read, or makes no sense where it stands.
    """
    differences: list[str] = []
    outcomes = {record["predicted"]: record for record in records if "predicted" in record}
    for record in records:
        if "predicted" in record:
            ledger.count_shown()
            continue
        try:
            edit = edit_from_json(record)
            if not isinstance(edit, Predict):
                history = workspace.after(edit)
                workspace.show(history, workspace.draw(history))
        except (ValueError, VesaliusError) as error:
            raise FileFormatError(
                expected=f"edits that can be done again, in {path}",
                got=f"edit {ledger.revision + 1}: {error}",
                do="open it with the vesalius that wrote it, or begin a new session",
            ) from error
        ledger.count(edit)
        number = ledger.revision
        if isinstance(edit, Predict) and number in outcomes:
            shown = workspace.drawn_prediction(workspace.predicted(workspace.state))
            workspace.show(shown.history, shown.drawing)
            outcome = outcome_of(number, shown.box, shown.layers)
            if outcome != outcomes[number]:
                differences.append(f"the labels of prediction {number}, in the box {outcome['box']}")
    return tuple(differences)
