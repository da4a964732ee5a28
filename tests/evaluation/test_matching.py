"""Classes are matched by what their names mean, else by ids, and nothing is compared that nobody stated."""

from __future__ import annotations

import pytest

from vesalius.errors import UnknownClassError, UsageError
from vesalius.evaluation.matching import MatchBy, canonical, match_classes
from vesalius.evaluation.scores import Score, spelled_alike

OURS = {1: "liver", 2: "left kidney", 3: "hepatic tumor", 4: "my own structure"}
THEIRS = {5: "Liver", 6: "kidney_left", 7: "spleen", 9: "My-Own Structures"}


def test_names_are_matched_however_they_are_spelled() -> None:
    matching = match_classes(OURS, THEIRS)
    assert matching.by_names
    assert [(pair.name, pair.found, pair.truth) for pair in matching.pairs] == [
        ("Liver", (1, 3), (5,)),
        ("kidney_left", (2,), (6,)),
        ("My-Own Structures", (4,), (9,)),
    ]
    assert matching.only_truth == ("spleen",)
    assert matching.only_found == ("hepatic tumor",)


def test_a_liver_is_compared_with_what_lies_in_it_on_both_sides() -> None:
    names = {1: "liver", 2: "hepatic tumour"}
    pairs = {pair.name: pair for pair in match_classes(names, names).pairs}
    assert pairs["liver"].found == pairs["liver"].truth == (1, 2)
    assert pairs["hepatic tumour"].truth == (2,)


LOBES = {
    10: "lung_upper_lobe_left",
    11: "lung_lower_lobe_left",
    12: "lung_upper_lobe_right",
    13: "lung_middle_lobe_right",
    14: "lung_lower_lobe_right",
    5: "liver",
}


def test_a_whole_is_compared_with_its_parts_together_whichever_side_has_them() -> None:
    lungs = {1: "liver", 2: "left lung", 3: "right lung"}
    pairs = {pair.name: (pair.found, pair.truth) for pair in match_classes(lungs, LOBES).pairs}
    assert pairs == {"liver": ((1,), (5,)), "left lung": ((2,), (10, 11)), "right lung": ((3,), (12, 13, 14))}
    other = match_classes(LOBES, lungs)
    assert {pair.name: (pair.truth, pair.found) for pair in other.pairs} == pairs
    assert other.only_truth == other.missed == ()
    assert set(other.only_found) == {part for parts in other.parts.values() for part in parts}
    assert match_classes(lungs, LOBES).missed == ()
    both = match_classes({1: "kidney", 2: "liver"}, {3: "left kidney", 4: "right kidney"})
    assert [(pair.name, pair.found, pair.truth) for pair in both.pairs] == [("kidney", (1,), (3, 4))]
    assert both.only_found == ("liver",)


def test_a_whole_of_which_a_part_was_not_looked_for_is_compared_with_nothing() -> None:
    some = {label: name for label, name in LOBES.items() if label != 11}
    matching = match_classes({1: "liver", 2: "left lung", 3: "right lung"}, some)
    assert [pair.name for pair in matching.pairs] == ["liver", "right lung"]
    assert matching.only_found == ("left lung",)
    assert [(pair.name, pair.found) for pair in matching.missed] == [("lung_upper_lobe_left", ())]
    lobes_too = match_classes({**LOBES, 2: "left lung"}, {**LOBES, 6: "left lung"})
    assert {pair.name: pair.truth for pair in lobes_too.pairs}["left lung"] == (6,), "it is stated by itself"


def test_synonyms_mean_the_same() -> None:
    assert canonical("kidney_left") == canonical("Left Kidney")
    assert canonical("hepatic tumour") == canonical("hepatic tumor")
    assert canonical("left kidney") != canonical("right kidney")
    assert canonical("foo bars") == canonical("Bar-foo")


@pytest.mark.parametrize("nameless", [OURS, THEIRS], ids=["found", "truth"])
def test_ids_are_matched_where_one_side_has_no_names_only_if_that_is_asked_for(nameless: dict[int, str]) -> None:
    """A reference whose 1 is a spleen must not be compared in silence with a result whose 1 is the liver."""
    numbers = {1: "label 1", 5: "label 5"}
    found, truth = (numbers, THEIRS) if nameless is OURS else (OURS, numbers)
    with pytest.raises(UsageError, match="--match ids"):
        match_classes(found, truth)
    matching = match_classes(found, truth, by="ids")
    assert not matching.by_names
    pairs = {pair.found: pair.name for pair in matching.pairs}
    assert pairs[1,] == ("label 1" if nameless is OURS else "liver")
    assert pairs[5,] == ("Liver" if nameless is OURS else "label 5")


def test_ids_are_matched_where_no_side_has_names_or_one_has_no_classes() -> None:
    numbers = {1: "label 1", 5: "label 5"}
    assert [pair.truth for pair in match_classes(numbers, numbers).pairs] == [(1,), (5,)]
    assert match_classes({}, OURS).pairs == match_classes({}, OURS, by="ids").pairs


def test_ids_can_be_insisted_on_and_so_can_names() -> None:
    assert not match_classes(OURS, THEIRS, by="ids").by_names
    with pytest.raises(UsageError, match="none in the reference"):
        match_classes(OURS, {1: "label 1"}, by="names")


def test_maps_without_a_name_in_common_are_refused() -> None:
    with pytest.raises(UsageError, match="match by ids"):
        match_classes({1: "liver"}, {1: "spleen"})


@pytest.mark.parametrize("by", ["auto", "ids"])
def test_structures_that_only_the_order_of_words_tells_apart_are_refused_not_mixed_up(by: MatchBy) -> None:
    """By ids, too: what ids pair is gathered by name over a run, and would be one row of its table."""
    names = {1: "level 2 node 3", 2: "level 3 node 2"}
    for found, truth, where in ((names, {1: "liver"}, "what was found"), (OURS, names, "the reference")):
        with pytest.raises(UsageError, match=f"(?s)in {where}.*'level 2 node 3' and 'level 3 node 2'"):
            match_classes(found, truth, by=by)
    nothing = {"case": "a", "truth_ml": 0.0, "found_ml": 0.0, "dice": 1.0, "nsd": 1.0, "hd95_mm": 0.0}
    gathered = spelled_alike([Score(name=name, **nothing) for name in names.values()])  # type: ignore[arg-type]
    assert {score.name for score in gathered} == {"level 2 node 3"}
    spellings = {1: "left kidney", 2: "kidney_left", 3: "Lesion", 4: "lesions"}
    assert [pair.truth for pair in match_classes(spellings, spellings).pairs] == [(1, 2), (3, 4)]


def test_some_classes_can_be_chosen_by_any_spelling() -> None:
    assert [pair.name for pair in match_classes(OURS, THEIRS, classes=["left_kidney"]).pairs] == ["kidney_left"]
    (spleen,) = match_classes(OURS, THEIRS, classes=["spleen"]).pairs  # only the reference states it
    assert (spleen.found, spleen.truth) == ((), (7,))
    with pytest.raises(UnknownClassError, match="'aorta'"):
        match_classes(OURS, THEIRS, classes=["aorta"])
