"""What people drew wins; a model fills in the rest where it was sure, and teaches nothing where it was not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from training.small_case import SPEC, balls, case_with, recipe
from vesalius.data.case import UNKNOWN, UNSURE, Case
from vesalius.training.click_sampling import click_targets, objects_in
from vesalius.training.overlaps import Overlaps
from vesalius.training.prompt_sampling import ask, known, targets
from vesalius.training.pseudo_targets import believed, filled
from vesalius.training.recipes import STAGE_1, STAGE_2, STAGE_3, STAGE_4, ClassPrompting
from vesalius.training.vista3d_task import Vista3DTask
from vesalius.training.window_cutting import WindowCutter

SPLEEN, STOMACH, BLADDER = 1, 2, 5
OVERLAPS = Overlaps.of(SPEC.vocabulary)
ALL = ClassPrompting(present_classes=9, absent_classes=9, other_classes=9)


def line(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.uint8).view(1, 1, -1)


def test_drawn_voxels_stay_and_claimed_classes_fill_the_rest() -> None:
    drawn = line(SPLEEN, SPLEEN, 0, 0, 0, 0, UNKNOWN, UNKNOWN)
    found = line(0, STOMACH, STOMACH, SPLEEN, UNKNOWN, 3, STOMACH, UNKNOWN)
    result = filled(drawn, found, {STOMACH}, {})
    assert result.flatten().tolist() == [SPLEEN, SPLEEN, STOMACH, 0, UNSURE, 0, UNKNOWN, UNKNOWN]


def test_a_tumour_that_a_model_found_in_a_drawn_liver_is_both() -> None:
    drawn, found = line(1, 1, 3, 0), line(26, 0, 26, 26)
    assert filled(drawn, found, {26}, {1: {25, 26}}).flatten().tolist() == [26, 1, 3, 26]
    assert filled(drawn, found, {4}, {1: {25, 26}}).flatten().tolist() == [1, 1, 3, 0]


def test_what_a_model_found_beyond_people_s_trachea_is_airway() -> None:
    """People looked for the trachea (57), and a model found trachea and airway (132, which includes it)."""
    airway = {132: {57}}
    drawn, found = line(57, 57, 0, 0, 1), line(57, 132, 57, 132, 57)
    assert filled(drawn, found, {132}, airway).flatten().tolist() == [57, 57, 132, 132, 1]
    assert filled(line(0), line(26), {1}, {1: {25, 26}}).flatten().tolist() == [1]
    assert filled(line(0), line(26), {1, 26}, {1: {25, 26}}).flatten().tolist() == [26]
    narrow = {1: {2, 3, 4}, 2: {3, 4}}
    assert filled(line(0, 0), line(3, 2), {1, 2}, narrow).flatten().tolist() == [2, 2], "the narrowest is most"
    assert filled(line(0), line(5), {1, 2}, narrow).flatten().tolist() == [0]


def test_where_a_model_was_unsure_people_s_word_on_their_own_classes_holds() -> None:
    labels = line(SPLEEN, STOMACH, UNSURE, UNKNOWN, 0).long()
    question = ask(labels, {SPLEEN, STOMACH}, OVERLAPS, ALL, np.random.default_rng(0), claimed={STOMACH})
    assert question.class_ids[:2].tolist() == [SPLEEN, STOMACH]
    where = dict(
        zip(question.class_ids.tolist(), known(labels, question, OVERLAPS).flatten(1).tolist(), strict=True)
    )
    assert where[SPLEEN] == [True, True, True, False, True]
    assert where[STOMACH] == [True, True, False, False, True]
    assert where[BLADDER] == [True, True, False, False, False]  # nobody looked: only what lies apart is known
    wanted = targets(labels, question, OVERLAPS)
    assert wanted[1].flatten().tolist() == [False, True, False, False, False]


def test_a_click_knows_as_little_of_a_claimed_object() -> None:
    labels = line(SPLEEN, STOMACH, UNSURE, UNKNOWN, 0).long()
    spec = replace(SPEC, architecture=replace(SPEC.vista, point_branch=True))
    objects = objects_in(
        labels,
        frozenset((SPLEEN, STOMACH)),
        OVERLAPS,
        click_targets(spec, OVERLAPS),
        most=4,
        rng=np.random.default_rng(0),
        claimed={STOMACH},
    )
    known_of = {one.target.id: one.known.flatten().tolist() for one in objects}
    assert known_of == {SPLEEN: [True, True, True, False, True], STOMACH: [True, True, False, False, True]}


KIDNEY, CYST, RIGHT = 1, 2, 3
KIDNEYS = Overlaps.of([(KIDNEY, "left kidney"), (CYST, "left kidney cyst"), (RIGHT, "right kidney")])


@pytest.mark.parametrize("by_model", [{CYST}, {CYST, KIDNEY}])
def test_a_cyst_that_a_model_found_is_unknown_in_a_kidney_that_people_drew(by_model: set[int]) -> None:
    """In a kidney that the model found, too, the model's word on its cyst counts; the right one holds none."""
    drawn = line(0, 0, RIGHT, 0, 0) if KIDNEY in by_model else line(KIDNEY, KIDNEY, RIGHT, 0, 0)
    found = line(KIDNEY, KIDNEY, CYST, CYST, 0)
    labels = filled(drawn, found, by_model, KIDNEYS.includes).long()
    assert labels.flatten().tolist() == [KIDNEY, KIDNEY, RIGHT, CYST, 0]
    annotated = {KIDNEY, CYST, RIGHT}
    question = ask(labels, annotated, KIDNEYS, ALL, np.random.default_rng(0), claimed=by_model)
    where = dict(
        zip(question.class_ids.tolist(), known(labels, question, KIDNEYS).flatten(1).tolist(), strict=True)
    )
    in_kidney = KIDNEY in by_model
    assert where == {KIDNEY: [True] * 5, CYST: [in_kidney, in_kidney, True, True, True], RIGHT: [True] * 5}
    spec = replace(
        SPEC,
        vocabulary=((KIDNEY, "left kidney"), (CYST, "left kidney cyst"), (RIGHT, "right kidney")),
        architecture=replace(SPEC.vista, point_branch=True),
    )
    clicked = objects_in(
        labels,
        annotated,
        KIDNEYS,
        click_targets(spec, KIDNEYS),
        most=4,
        rng=np.random.default_rng(0),
        claimed=by_model,
    )
    assert {one.target.id: one.known.flatten().tolist() for one in clicked} == where


def test_a_tumour_that_a_model_saw_in_no_part_of_a_drawn_liver_is_known_to_be_absent_there() -> None:
    overlaps = Overlaps.of([(1, "liver"), (2, "hepatic tumor"), (3, "spleen")])
    labels = filled(line(1, 1, 3, 0), line(0, 2, 0, 0), {2}, overlaps.includes).long()
    question = ask(labels, {1, 2}, overlaps, ALL, np.random.default_rng(0), claimed={2})
    assert question.class_ids[:2].tolist() == [1, 2]
    assert known(labels, question, overlaps)[1].flatten().tolist() == [True, True, False, True]
    assert targets(labels, question, overlaps)[1].flatten().tolist() == [False, True, False, False]


def test_where_a_model_was_unsure_of_a_tumour_in_a_drawn_liver_nothing_is_known_of_it() -> None:
    liver, tumour, spleen = 1, 2, 3
    names = ((liver, "liver"), (tumour, "hepatic tumor"), (spleen, "spleen"))
    spec = replace(SPEC, vocabulary=names, architecture=replace(SPEC.vista, point_branch=True))
    overlaps = Overlaps.of(names)
    image = np.full((16, 16, 16), 40, np.int16)
    drawn, found = np.zeros(image.shape, np.uint8), np.zeros(image.shape, np.uint8)
    drawn[:8], drawn[8:12] = liver, spleen
    found[:2], found[2:12] = tumour, UNKNOWN  # not sure of half of the liver, nor of the spleen
    case = Case("partly", "balls", image, drawn, frozenset((liver, spleen)), pseudo_labels=found)
    chosen = recipe(pseudo_labels=True, augmentation=replace(recipe().augmentation, keep_sharp=1.0))
    cut = WindowCutter([case], spec, recipe=chosen).cut(np.random.default_rng(0))
    assert {0, liver, tumour, spleen} == set(cut.labels.unique().tolist())
    rng = np.random.default_rng(0)
    how = {"claimed": cut.claimed, "unsure": cut.unsure}
    question = ask(cut.labels, cut.annotated, overlaps, ALL, rng, **how)  # type: ignore[arg-type]
    asked = question.class_ids.tolist()
    is_known = dict(zip(asked, known(cut.labels, question, overlaps), strict=True))
    assert torch.equal(is_known[tumour], (cut.labels != liver) & (cut.labels != spleen)), "it may lie in any organ"
    assert all(bool(is_known[label].all()) for label in (liver, spleen))
    objects = objects_in(
        cut.labels,
        cut.annotated,
        overlaps,
        click_targets(spec, overlaps),
        most=4,
        rng=rng,
        **how,  # type: ignore[arg-type]
    )
    assert all(np.array_equal(one.known, is_known[one.target.id].numpy()) for one in objects)
    assert len(objects) == 3


def with_pseudo(case: Case, **changes: object) -> Case:
    _, truth = balls(int(case.name.split("-")[-1]))
    return replace(case, pseudo_labels=truth, **changes)  # type: ignore[arg-type]


def test_the_recipe_says_whether_a_model_is_believed() -> None:
    assert [stage.pseudo_labels for stage in (STAGE_1, STAGE_2, STAGE_3, STAGE_4)] == [True, False, True, False]
    drawn, alone = with_pseudo(case_with(SPLEEN, 1)), with_pseudo(case_with(SPLEEN, 2), annotated=frozenset())
    assert (drawn.claimed, alone.claimed) == ((STOMACH,), (SPLEEN, STOMACH))
    for believes in (True, False):
        seen = believed([drawn, alone], pseudo_labels=believes, novel=frozenset())
        assert [case.name for case in seen] == [drawn.name, alone.name][: 1 + believes]
        assert all((case.pseudo_labels is not None) == believes for case in seen)


def test_windows_ask_for_what_a_model_found_and_people_did_not_look_for() -> None:
    case = with_pseudo(case_with(SPLEEN, 1))
    for believes in (True, False):
        cutter = WindowCutter([case], SPEC, recipe=recipe(pseudo_labels=believes))
        cuts = [cutter.cut(np.random.default_rng(seed)) for seed in range(20)]
        assert all(cut.annotated == {SPLEEN, BLADDER} | ({STOMACH} if believes else set()) for cut in cuts)
        assert any(bool((cut.labels == STOMACH).any()) for cut in cuts) == believes
        assert all(cut.claimed == ({STOMACH} if believes else set()) for cut in cuts)


def test_a_scan_that_nobody_labelled_teaches_what_a_model_found() -> None:
    case = with_pseudo(case_with(SPLEEN, 1), labels=np.zeros((24, 24, 24), np.uint8), annotated=frozenset())
    task = Vista3DTask([case], SPEC, recipe=recipe(pseudo_labels=True))
    asked = [task.draw(np.random.default_rng(seed)).windows[0].question for seed in range(10)]
    assert any(one is not None and {SPLEEN, STOMACH} & set(one.class_ids[: one.present].tolist()) for one in asked)


def test_novel_classes_are_taken_from_no_model_and_draw_no_window() -> None:
    case = with_pseudo(case_with(SPLEEN, 1), annotated=frozenset((SPLEEN,)))
    cutter = WindowCutter([case], SPEC, recipe=recipe(pseudo_labels=True, novel=(STOMACH,)))
    cuts = [cutter.cut(np.random.default_rng(seed)) for seed in range(20)]
    assert all(cut.annotated == {SPLEEN} for cut in cuts)
    assert not any(bool((cut.labels == STOMACH).any()) for cut in cuts)
    assert believed([case], pseudo_labels=True, novel={STOMACH})[0].claimed == ()
    alone = with_pseudo(case_with(SPLEEN, 2), annotated=frozenset())
    assert believed([alone], pseudo_labels=True, novel={SPLEEN, STOMACH}) == []


def test_a_mirrored_window_renames_what_a_model_found() -> None:
    image, _ = balls(0)
    found = np.zeros(image.shape, np.uint8)
    found[:, :, 8:16] = 3
    case = Case("femur", "balls", image, np.zeros_like(found), frozenset((BLADDER,)), pseudo_labels=found)
    sides = {3: 4, 4: 3}
    cutter = WindowCutter([case], SPEC, recipe=recipe(pseudo_labels=True, mirror={"balls": 1.0}), mirrored=sides)
    cut = cutter.cut(np.random.default_rng(0))
    assert cut.claimed == {4}
    assert 4 in cut.labels
    assert 3 not in cut.labels
