"""The files of an evaluation say the same numbers, and the page runs nothing it was given."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.scenes import labels
from vesalius.errors import DiskError
from vesalius.evaluation.benchmark import Evaluation
from vesalius.evaluation.csv_tables import classes_csv, scores_csv
from vesalius.evaluation.report import as_text, notes, render, write_report
from vesalius.evaluation.scores import ScoringOptions, score_case
from views.page_parser import Page

NAMES = {1: "liver", 2: "spleen", 3: "<script>"}
OPTIONS = ScoringOptions(lesions=("spleen",))


def evaluation(shift: int = 1) -> Evaluation:
    truth = {1: (2, 12, 10, 8), 2: (14, 17, 4, 4)}
    cases = [
        score_case(
            case,
            labels({1: (2 + shift, 12 + shift, 10, 8), 3: (0, 1, 1, 1)}, {**NAMES, 4: "extra"}),
            labels(truth, {**NAMES, 5: "other"}),
            options=OPTIONS,
        )
        for case in ("one", "two & three")
    ]
    return Evaluation.of(cases, OPTIONS)


def test_every_file_says_the_same(tmp_path: Path) -> None:
    better, worse = evaluation(1), evaluation(2)
    files = write_report(
        tmp_path / "out", better, about={"results": "<x>"}, comparison=better.compared_with(worse), more={"k": 1}
    )
    assert [file.name for file in files] == ["report.html", "evaluation.json", "classes.csv", "scores.csv"]
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    rows = {row["class"]: row for row in record["summary"]["classes"]}
    assert rows["liver"]["dice"]["estimate"] == 0.9
    assert rows["spleen"]["missed"] == 2
    assert rows["<script>"]["false_positives"] == 2
    assert record["comparison"]["overall"]["better"] == 2
    assert record["not_compared"] == {"only_in_references": {"other": 2}, "only_in_results": {"extra": 2}}
    assert (record["k"], record["about"]) == (1, {"results": "<x>"})
    table = {
        row["class"]: row for row in csv.DictReader(io.StringIO((tmp_path / "out" / "classes.csv").read_text()))
    }
    assert table["liver"]["dice"] == "0.9"
    assert table["spleen"]["hd95_mm"] == ""
    assert (table["spleen"]["lesions"], table["spleen"]["lesions_detected"]) == ("2", "0")
    scores = list(csv.DictReader(io.StringIO((tmp_path / "out" / "scores.csv").read_text())))
    assert len(scores) == 6
    assert scores[0]["case"] == "one"


def test_the_page_shows_the_numbers_and_runs_nothing() -> None:
    better = evaluation(1)
    page = Page(render(better, about={"results": "a"}, comparison=better.compared_with(evaluation(2))))
    assert len(page.scripts) == 1
    liver = next(row for row in page.rows if row[0] == "liver")
    assert "0.900" in liver
    spleen = next(row for row in page.rows if row[0] == "spleen")
    assert "\N{INFINITY}" in spleen
    assert "0 of 2" in spleen
    assert any(row[0] == "mean over classes" for row in page.rows)
    for words in ("missed altogether", "where the reference has none", "not compared", "<script> in one"):
        assert words in page.text


def test_of_many_classes_that_one_side_lacks_the_first_are_named_and_the_rest_counted() -> None:
    lacking = replace(evaluation(), only_in_references={f"vertebra {number}": 1 for number in range(1, 25)})
    (line,) = [note for note in notes(lacking) if "the results say nothing" in note]
    assert line.endswith("vertebra 9, vertebra 10 and 14 more")
    few = replace(lacking, only_in_references={"vertebra 1": 1, "vertebra 2": 1})
    (line,) = [note for note in notes(few) if "the results say nothing" in note]
    assert line.endswith(": vertebra 1, vertebra 2")


def test_the_lines_of_a_terminal_fit_their_columns() -> None:
    lines = as_text(evaluation()).splitlines()
    assert lines[0].split()[:3] == ["class", "present", "Dice"]
    assert lines[1].startswith("liver")
    assert "0.900" in lines[1]
    assert "2 of 2 absent" in lines[3]
    assert len({line.index("0.") for line in lines[1:3]}) == 1


def test_tables_of_nothing_have_heads() -> None:
    assert classes_csv([]).startswith("class,cases")
    assert scores_csv([]) == "case,class\n"


def test_a_folder_that_cannot_be_made_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError):
        write_report(tmp_path / "file" / "out", evaluation(), about={})


def test_the_report_says_whether_intervals_are_over_patients() -> None:
    known = replace(evaluation(1), patients={"one": "<b>Smith</b>", "two & three": "<b>Smith</b>"})
    for one, unit in ((evaluation(1), "cases"), (known, "patients")):
        page = render(one, about={"results": "a"}, comparison=one.compared_with(evaluation(2)))
        assert f"interval over {unit}" in page
        assert f"fewer than six {unit}" in page
        assert ("2 cases of 1 patient," in page) == (unit == "patients")
        assert ("intervals are over patients" in as_text(one)) == (unit == "patients")
        assert f"draws of {unit}" in one.as_dict()["metrics"]["intervals"]
        assert "Smith" not in page + json.dumps(one.as_dict())
