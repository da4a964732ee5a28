"""Suites are what the papers' code says, and say what keeps a number from being the paper's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vesalius.data.datalists.record import DataList
from vesalius.errors import UsageError
from vesalius.evaluation.suites import suite, suites
from vesalius.labels.vista3d import TABLE

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference" / "vista3d_classes.json"
NAMES = {structure.id: structure.name for structure in TABLE}
OFFICIAL = {
    "vista3d-msd03": "Task03",
    "vista3d-msd06": "Task06",
    "vista3d-msd07": "Task07",
    "vista3d-msd08": "Task08",
    "vista3d-msd09": "Task09",
    "vista3d-msd10": "Task10",
    "vista3d-aeropath": "AeroPath",
    "vista3d-btcv-abdomen": "BTCV-Abdomen",
    "vista3d-btcv-cervix": "BTCV-Cervix",
    "vista3d-verse": "VerSe",
    "vista3d-abdomenct-1k": "AbdomenCT-1K",
    "vista3d-amos22": "AMOS22",
    "vista3d-totalsegmentator": "TotalSegmentatorV2",
}


def listed(format_: str = "monai") -> DataList:
    return DataList(name="a", path=Path("a.json"), format=format_, cases=(), meanings={1: "lung"})  # type: ignore[arg-type]


def test_the_papers_sets_are_there() -> None:
    names = list(suites())
    assert sum(name in OFFICIAL for name in names) == 13
    assert sum(suites()[name].kind == "new" for name in names) == 4
    assert {name: suites()[name].shots[:3] for name in names if suites()[name].shots} == {
        "vista3d-word-few-shot": (1, 5, 10),
        "vista3d-mouse-few-shot": (1, 5, 10),
    }
    assert {name for name in names if suites()[name].tolerance_mm == 1.0} == {
        "meddinov3-amos22",
        "meddinov3-btcv",
        "meddinov3-kits23",
        "meddinov3-lits",
    }


@pytest.mark.skipif(not REFERENCE.is_file(), reason=f"no {REFERENCE.name} beside the checkout")
@pytest.mark.parametrize("name", OFFICIAL)
def test_label_maps_are_the_official_ones(name: str) -> None:
    official = json.loads(REFERENCE.read_text())["label_mappings_local_to_global"][OFFICIAL[name]]
    assert dict(suite(name).labels) == {local: NAMES[label] for local, label in official}


def test_a_suite_says_what_ids_mean_except_where_files_have_names() -> None:
    one = suite("vista3d-msd03")
    assert dict(one.applied_to(listed()).meanings) == {1: "liver", 2: "hepatic tumor"}
    assert one.applied_to(listed("totalsegmentator")).meanings == {1: "lung"}


def test_what_keeps_a_number_from_being_the_papers_is_said() -> None:
    assert suite("vista3d-msd09").remarks(8) == []
    assert suite("vista3d-msd09").remarks(9) == ["the authors' list has 8 test cases, this one 9"]
    assert suite("vista3d-kits").remarks(42)[-1] == "the authors' list has 210 cases, this one 42"
    assert "without them in the paper" in suite("meddinov3-lits").note
    assert all("its split is not published" in one.note for one in suites().values() if one.name.startswith("medd"))
    assert "pretraining" in suite("meddinov3-lits").remarks(1)[0]
    assert "fine-tunes on 1, 5, 10" in suite("vista3d-word-few-shot").remarks(30)[-1]


def test_zero_shot_suites_ask_all_cases_of_a_list() -> None:
    cases = {name: (one.split, one.cases) for name, one in suites().items() if one.kind == "new"}
    assert cases == {
        "vista3d-adrenal": ("all", 53),
        "vista3d-hcc-tace": ("all", 105),
        "vista3d-kits": ("all", 210),
        "vista3d-mouse": ("all", 140),
    }
    assert (suite("vista3d-mouse-few-shot").split, suite("vista3d-mouse-few-shot").cases) == (None, 28)


def test_an_unknown_suite_is_refused_with_what_may_be_meant() -> None:
    with pytest.raises(UsageError, match="did you mean vista3d-msd0"):
        suite("vista3d-msd3")
