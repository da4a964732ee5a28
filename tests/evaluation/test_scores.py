"""One case against answers worked out by hand: boxes, layers, axes, absent classes, voxels nobody judged."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evaluation.scenes import GRID, labels
from vesalius.errors import GeometryError, UsageError
from vesalius.evaluation.benchmark import Evaluation
from vesalius.evaluation.scores import Score, ScoringOptions, complete, judged_in, score_case, score_masks
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap
from vesalius.metrics.overlap import Detection

NAMES = {1: "liver", 2: "spleen", 3: "pancreas"}


def by_name(scores: tuple[Score, ...]) -> dict[str, Score]:
    return {score.name: score for score in scores}


def test_a_box_shifted_by_one_voxel() -> None:
    truth = labels({1: (2, 12, 10, 8), 2: (14, 17, 4, 4)}, NAMES)
    found = labels({1: (3, 13, 10, 8)}, NAMES)
    seen = by_name(score_case("a", found, truth, options=ScoringOptions(tolerance_mm=1.0)).scores)
    assert list(seen) == ["liver", "spleen", "pancreas"]
    liver = seen["liver"]
    assert liver.truth_ml == liver.found_ml == pytest.approx(800 * 0.016)
    assert liver.dice == 0.9
    # 416 surface voxels each; of each 80 (a face) and 48 (the inside of the other's face) lie 2 mm off
    assert liver.nsd == pytest.approx(1 - 128 / 416)
    assert liver.hd95_mm == 2.0
    assert (seen["spleen"].dice, seen["spleen"].nsd, seen["spleen"].hd95_mm) == (0, 0, math.inf)
    assert seen["spleen"].is_missed
    assert (seen["pancreas"].dice, seen["pancreas"].nsd, seen["pancreas"].hd95_mm) == (1, 1, 0)
    assert seen["pancreas"].is_absent
    assert not seen["pancreas"].is_false_positive


def test_what_is_found_of_an_absent_class_costs() -> None:
    seen = by_name(score_case("a", labels({3: (1, 2, 1, 1)}, NAMES), labels({}, NAMES)).scores)
    assert seen["pancreas"].is_false_positive
    assert seen["pancreas"].dice == 0
    assert seen["pancreas"].found_ml == pytest.approx(0.016)


def test_other_axes_are_the_same_voxels_and_other_voxels_are_refused() -> None:
    truth = labels({1: (2, 12, 10, 8)}, NAMES)
    turned = labels({1: (2, 12, 10, 8)}, NAMES).reoriented("PIR")
    assert score_case("a", turned, truth).scores[0].dice == 1
    moved = LabelMap(truth.data, Grid(GRID.shape, GRID.affine + np.eye(4, k=3)), NAMES)
    with pytest.raises(GeometryError, match="first voxel at 1, 0, 0"):
        score_case("a", moved, truth)
    rounded = LabelMap(truth.data, Grid(GRID.shape, GRID.affine + 1e-4 * np.eye(4, k=3)), NAMES)
    assert score_case("a", rounded, truth).scores[0].dice == 1


@pytest.mark.parametrize("axes", ["RAS", "SPL", "AIR"])
def test_a_tilted_gantry_changes_no_distance(axes: str) -> None:
    seen = {}
    for degrees in (0, 25):
        affine = np.diag([1.0, 1.0, 4.0, 1.0])
        affine[1, 2] = 4 * np.tan(np.radians(degrees))
        grid = Grid((40, 60, 14), affine).reoriented(axes)
        places = np.moveaxis(grid.to_world(np.indices(grid.shape).transpose(1, 2, 3, 0)), -1, 0)
        centre = grid.to_world((np.array(grid.shape) - 1) / 2)[:, None, None, None]
        shift = np.array([0, 2.0, 4.0])[:, None, None, None]
        balls = [np.square(places - at).sum(axis=0) <= 14**2 for at in (centre + shift, centre)]
        seen[degrees] = score_masks("a", "ball", *balls, grid, tolerance_mm=2.0)
    assert seen[25].hd95_mm == pytest.approx(seen[0].hd95_mm, abs=0.15)
    assert seen[25].nsd == pytest.approx(seen[0].nsd, abs=0.03)


def test_a_structure_inside_another_counts_in_both_however_it_is_stored() -> None:
    names = {1: "liver", 26: "hepatic tumor"}
    in_layers = labels({1: (2, 12, 10, 8)}, names, overlaps={"tumors": {26: (4, 6, 3, 3)}})
    in_one = labels({1: (2, 12, 10, 8), 26: (4, 6, 3, 3)}, names)
    for found, truth in ((in_layers, in_one), (in_one, in_layers)):
        seen = by_name(score_case("a", found, truth).scores)
        assert seen["liver"].dice == seen["hepatic tumor"].dice == 1
        assert seen["liver"].truth_ml == pytest.approx(800 * 0.016)
        assert seen["hepatic tumor"].truth_ml == pytest.approx(18 * 0.016)


def test_voxels_nobody_judged_are_left_out_on_both_sides() -> None:
    truth = labels({1: (2, 12, 10, 8), 9: (10, 14, 10, 8)}, {1: "liver", 9: "ignore"})
    found = labels({1: (2, 14, 10, 8)}, NAMES)
    scores = score_case("a", found, truth, unknown={9}).scores
    assert [score.name for score in scores] == ["liver"]
    assert scores[0].dice == 1
    assert scores[0].truth_ml == pytest.approx(640 * 0.016)


def test_what_is_drawn_in_one_layer_is_known_whatever_another_marks() -> None:
    ends = {label: (at, at + 2, 4, 4) for label, at in ((1, 0), (2, 2), (9, 4))}
    over = {"one": {9: (0, 6, 4, 4)}, "two": {9: (6, 8, 4, 4)}}
    judged = judged_in(labels(ends, {1: "liver", 2: "spleen"}, overlaps=over), {9})
    assert judged is not None
    assert judged[:10, 2, 2].tolist() == [True] * 4 + [False] * 4 + [True] * 2


def test_lesions_and_confidence_are_noted_where_they_are_asked_for() -> None:
    truth = labels({1: (2, 12, 10, 8), 2: (14, 17, 4, 4)}, NAMES)
    seen = by_name(
        score_case(
            "a",
            truth,
            truth,
            options=ScoringOptions(lesions=("Spleen",)),
            confidence={"spleen": 0.8, "liver": None},
        ).scores
    )
    assert seen["spleen"].detection == Detection(lesions=1, detected=1, findings=1)
    assert seen["liver"].detection is None
    assert (seen["spleen"].confidence, seen["liver"].confidence) == (0.8, None)
    assert seen["spleen"].as_dict()["lesions_detected"] == 1


def test_without_stated_names_a_class_was_looked_for_if_any_reference_holds_it() -> None:
    cases = [
        score_case("a", labels({1: (2, 12, 10, 8), 4: (14, 16, 2, 2)}), labels({1: (2, 12, 10, 8)})),
        score_case("b", labels({}), labels({2: (2, 4, 3, 3)})),
        score_case("c", labels({1: (2, 4, 3, 3)}), labels({2: (2, 4, 3, 3)})),
    ]
    seen = {(score.case, score.name): score.dice for score in complete(cases)}
    assert seen == {
        ("a", "label 1"): 1.0,
        ("a", "label 2"): 1.0,  # in no file of this case, and rightly so
        ("b", "label 1"): 1.0,
        ("b", "label 2"): 0.0,
        ("c", "label 1"): 0.0,  # a false positive
        ("c", "label 2"): 0.0,
    }  # label 4 was found, but nobody looked for it


def test_stated_names_say_what_was_looked_for() -> None:
    cases = [
        score_case("a", labels({1: (2, 12, 10, 8)}, NAMES), labels({1: (2, 12, 10, 8)}, {1: "liver"})),
        score_case("b", labels({}, NAMES), labels({2: (2, 4, 3, 3)}, {2: "spleen"})),
    ]
    assert [(score.case, score.name) for score in complete(cases)] == [("a", "liver"), ("b", "spleen")]


def test_a_result_that_names_only_what_it_found_has_missed_what_another_one_names() -> None:
    both = {1: (2, 12, 10, 8), 2: (14, 17, 4, 4)}
    cases = [
        score_case("a", labels(both, {1: "liver", 2: "spleen"}), labels(both, NAMES)),
        score_case("b", labels({1: (2, 12, 10, 8)}, {1: "liver"}), labels(both, NAMES)),
    ]
    seen = {(score.case, score.name): score.dice for score in complete(cases)}
    assert seen == {("a", "liver"): 1.0, ("a", "spleen"): 1.0, ("b", "liver"): 1.0, ("b", "spleen"): 0.0}
    missed = next(score for score in complete(cases) if (score.case, score.name) == ("b", "spleen"))
    assert (missed.is_missed, missed.hd95_mm) == (True, math.inf)


LOBES = {3: "left lung upper lobe", 4: "left lung lower lobe"}
LUNG = {3: (2, 8, 6, 6), 4: (8, 14, 6, 6)}


def test_a_result_that_names_only_the_parts_it_found_is_compared_by_these() -> None:
    whole = labels({5: (2, 14, 6, 6)}, {1: "liver", 5: "left lung"})
    cases = [
        score_case("a", labels(LUNG, LOBES | {1: "liver"}), whole),
        score_case("b", labels({3: (2, 14, 6, 6)}, {1: "liver", 3: LOBES[3]}), whole),
    ]
    alone, together = (
        {(score.case, score.name): score.dice for score in complete(some)} for some in (cases[1:], cases)
    )
    assert alone == {("b", "liver"): 1.0}, "nobody said that all of a lung was looked for"
    assert Evaluation.of(cases[1:], ScoringOptions()).only_in_results == {LOBES[3]: 1}
    assert Evaluation.of(cases, ScoringOptions()).only_in_results == {}
    found, options = labels({3: (2, 14, 6, 6)}, {3: LOBES[3]}), ScoringOptions(classes=("Lung_Left",))
    (asked,) = score_case("b", found, whole, options=options).scores
    assert (asked.name, asked.dice) == ("left lung", 1.0), "the same where it was asked for by name"
    assert together == {("a", "liver"): 1.0, ("a", "left lung"): 1.0, ("b", "liver"): 1.0, ("b", "left lung"): 1.0}


def test_parts_that_were_compared_as_a_whole_are_not_missed() -> None:
    truth = labels(LUNG, LOBES)
    cases = [
        score_case("a", labels({5: (2, 14, 6, 6)}, {5: "left lung"}), truth),
        score_case("b", truth, truth),
    ]
    assert {(score.case, score.name): score.dice for score in complete(cases)} == {
        ("a", "left lung"): 1.0,
        ("b", LOBES[3]): 1.0,
        ("b", LOBES[4]): 1.0,
    }
    evaluation = Evaluation.of(cases, ScoringOptions())
    assert (evaluation.only_in_references, evaluation.only_in_results) == ({}, {})


def test_parts_that_a_result_names_are_missed_where_another_one_does_not_name_them() -> None:
    cases = [
        score_case("a", labels(LUNG, LOBES), labels({5: (2, 14, 6, 6)}, {5: "left lung"})),
        score_case("b", labels({4: LUNG[4]}, {4: LOBES[4]}), labels(LUNG, LOBES)),
    ]
    assert {(score.case, score.name): score.dice for score in complete(cases)} == {
        ("a", "left lung"): 1.0,
        ("b", LOBES[4]): 1.0,
        ("b", LOBES[3]): 0.0,
    }


def test_a_class_that_was_asked_for_by_name_is_missed_where_a_result_does_not_name_it() -> None:
    both, options = {1: (2, 12, 10, 8), 2: (14, 17, 4, 4)}, ScoringOptions(classes=("Spleen",))
    for found in ({1: "liver"}, {1: "aorta"}):
        (score,) = score_case("a", labels({1: (2, 12, 10, 8)}, found), labels(both, NAMES), options=options).scores
        assert (score.name, score.dice, score.is_missed) == ("spleen", 0.0, True)


def test_a_class_has_one_spelling_in_a_run() -> None:
    box = {1: (2, 12, 10, 8)}
    cases = [
        score_case(str(n), labels(box, NAMES), labels(box, {1: name})) for n, name in enumerate(("liver", "Liver"))
    ]
    assert [(score.case, score.name) for score in complete(cases)] == [("0", "liver"), ("1", "liver")]


def test_an_infinite_distance_is_null_in_json() -> None:
    score = score_case("a", labels({}, NAMES), labels({1: (2, 12, 10, 8)}, NAMES)).scores[0]
    assert score.as_dict()["hd95_mm"] is None


def test_a_negative_tolerance_is_refused() -> None:
    with pytest.raises(UsageError):
        ScoringOptions(tolerance_mm=-1.0)
