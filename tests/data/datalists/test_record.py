"""What a list can be asked for, whatever its format."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.errors import UsageError


def test_the_first_labelled_training_cases_stay_beside_what_is_validated_and_tested() -> None:
    splits = {"v": "validation", "c": "training", "bare": "training", "a": "training", "b": "training", "t": "test"}
    cases = tuple(
        ListedCase(
            name=name, split=split, image=Path(f"{name}.nii"), label=None if name == "bare" else Path("l.nii")
        )  # type: ignore[arg-type]
        for name, split in splits.items()
    )
    listed = DataList(name="a", path=Path("a.json"), format="monai", cases=cases)
    assert [case.name for case in listed.with_first(2).cases] == ["v", "c", "a", "t"]
    assert listed.with_first(3).split("training") == (cases[1], cases[3], cases[4])
    for wrong in (0, 4):
        with pytest.raises(UsageError, match="1 to 3 cases"):
            listed.with_first(wrong)


def test_a_list_whose_names_only_the_order_of_words_tells_apart_is_refused() -> None:
    names = {1: "level 2 node 3", 2: "level 3 node 2", 3: "left kidney", 4: "KidneyLeft"}
    settings = {"name": "a", "path": Path("a.json"), "format": "monai", "cases": ()}
    with pytest.raises(UsageError, match=r"(?s)in a\.json.*'level 2 node 3' and 'level 3 node 2'"):
        DataList(**settings, meanings=names)  # type: ignore[arg-type]
    del names[2]
    listed = DataList(**settings, meanings=names)  # type: ignore[arg-type]
    assert listed.own_classes() == ((1, "level 2 node 3"), (2, "left kidney"))


def test_a_list_that_names_a_structure_by_half_a_letter_is_refused() -> None:
    with pytest.raises(UsageError, match=r"(?s)a\.json.*ud83d x"):
        DataList(name="a", path=Path("a.json"), format="monai", cases=(), meanings={1: "liver", 2: "\ud83d x"})
