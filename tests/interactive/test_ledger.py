"""The ledger: what is not written is not counted, and an edit of what was is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interactive.small_session import click
from vesalius.errors import DiskError, StaleRevisionError
from vesalius.geometry.boxes import Box
from vesalius.interactive.edits import AddPrompt, Predict, Undo
from vesalius.interactive.journal import Journal
from vesalius.interactive.ledger import Ledger, outcome_of

ADDED = AddPrompt(4, click("liver", 1, 2, 3))


def test_edits_and_predictions_shown_are_counted_and_written_in_order(tmp_path: Path) -> None:
    path, ledger = tmp_path / "session.jsonl", Ledger()
    ledger.journal = Journal.create(path, {})
    ledger.record(ADDED)
    ledger.record(Predict())
    ledger.record_shown(outcome_of(ledger.revision, None, {}))
    assert (ledger.revision, ledger.last_prompt_id) == (3, 4)
    ledger.close()
    ledger.record(Undo())
    assert ledger.revision == 4, "it counts without a journal, too"
    journal, _, records = Journal.open(path)
    journal.close()
    assert [(record.get("revision"), record.get("edit")) for record in records[:2]] == [(1, "add"), (2, "predict")]
    assert records[2:] == [{"predicted": 2, "box": None}]


def test_what_cannot_be_written_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Journal, record: object) -> None:
        raise DiskError(expected="", got=str(record), do="")

    ledger = Ledger()
    ledger.journal = Journal.create(tmp_path / "session.jsonl", {})
    monkeypatch.setattr(Journal, "append", full)
    with pytest.raises(DiskError):
        ledger.record(ADDED)
    with pytest.raises(DiskError):
        ledger.record_shown(outcome_of(1, None, {}))
    assert (ledger.revision, ledger.last_prompt_id) == (0, 0)


def test_an_edit_of_another_revision_is_refused() -> None:
    ledger = Ledger()
    ledger.count(ADDED)
    ledger.count_shown()
    ledger.check_revision(None)
    ledger.check_revision(2)
    with pytest.raises(StaleRevisionError, match="revision 1"):
        ledger.check_revision(1)


def test_the_outcome_depends_on_where_labels_changed_and_on_what_they_are() -> None:
    box, elsewhere = Box((1, 1, 1), (3, 3, 3)), Box((1, 1, 2), (3, 3, 4))
    ones = {"labels": np.ones((2, 2, 2), np.uint8)}
    first = outcome_of(7, box, ones)
    assert (first["predicted"], first["box"]) == (7, [[1, 1, 1], [3, 3, 3]])
    others = (outcome_of(7, elsewhere, ones), outcome_of(7, box, {"labels": ones["labels"] * 2}))
    assert len({first["sha256"], *(other["sha256"] for other in others)}) == 3
