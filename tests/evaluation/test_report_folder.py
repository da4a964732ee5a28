"""An evaluation is written over an earlier one, of whatever day, and over nothing else."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vesalius.errors import UsageError
from vesalius.evaluation.benchmark import Evaluation
from vesalius.evaluation.report import as_record
from vesalius.evaluation.report_folder import RECORD, check_report_folder
from vesalius.evaluation.scores import ScoringOptions


def record() -> dict[str, Any]:
    nothing = Evaluation(
        scores=(), options=ScoringOptions(), only_in_references={}, only_in_results={}, patients={}
    )
    return as_record(nothing, about={})


@pytest.mark.parametrize("leave_out", [(), ("schema",)])
def test_an_earlier_evaluation_is_ours_also_from_before_it_said_so(tmp_path: Path, leave_out: tuple[str]) -> None:
    kept = {key: value for key, value in record().items() if key not in leave_out}
    (tmp_path / RECORD).write_text(json.dumps(kept))
    check_report_folder(tmp_path)


@pytest.mark.parametrize(
    "content", [{}, [], {"schema": "other 1"}, {**record(), "schema": "other 1"}, {"vesalius": "1", "about": {}}]
)
def test_another_file_of_that_name_is_not(tmp_path: Path, content: object) -> None:
    (tmp_path / RECORD).write_text(json.dumps(content))
    with pytest.raises(UsageError, match="something else"):
        check_report_folder(tmp_path)
