"""A session with a real, small network: clicks, their removal, locks, names, layers, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from interactive.cubes import cubes, slabs
from interactive.small_session import SHAPE, click, organs, scan, segmenter
from vesalius.errors import (
    GeometryError,
    InputError,
    LockedStructureError,
    NoHeadError,
    NotValidatedError,
    StaleRevisionError,
    UnknownClassError,
    UsageError,
)
from vesalius.geometry.boxes import Box
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.review import measure_labels
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.interactive.session import Session
from vesalius.prompts.click_files import read_clicks
from vesalius.prompts.types import ClassPrompt, MaskPrompt, PointPrompt
from vesalius.spec import ClickLabel

VOLUME = scan()


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return segmenter()


def begin(model: Segmenter, **options: object) -> Session:
    return Session(model, VOLUME, labels=organs(VOLUME), **options)


def same(one: LabelMap, other: LabelMap) -> bool:
    layers = [{"": labels.data, **labels.overlaps} for labels in (one, other)]
    return layers[0].keys() == layers[1].keys() and all(
        np.array_equal(layers[0][n], layers[1][n]) for n in layers[0]
    )


def test_a_click_changes_its_structure_and_says_where(model: Segmenter) -> None:
    session = begin(model)
    before = session.labels
    session.add(click("liver", 14, 12, 10))
    assert session.pending == ("liver",)
    assert same(session.labels, before), "nothing is computed yet"
    prediction = session.predict()
    after = session.labels
    assert prediction.targets == ("liver",)
    assert session.pending == ()
    changed = np.argwhere(after.data != before.data)
    assert tuple(changed.min(0)) == prediction.box.start
    assert tuple(changed.max(0) + 1) == prediction.box.stop
    assert np.array_equal(prediction.layers["labels"], after.data[prediction.box.slices])
    assert np.array_equal(session.mask("liver"), after.data == 1)


def test_in_the_same_windows_the_result_does_not_depend_on_how_often_one_predicts(model: Segmenter) -> None:
    once, often = begin(model), begin(model)
    for session in (once, often):
        session.add(click("liver", 14, 12, 10))
        session.predict()
    for prompt in (click("liver", 12, 10, 9, positive=False), click("liver", 11, 13, 9)):
        once.add(prompt)
        often.add(prompt)
        often.predict()
    once.predict()
    assert len(once.state.windows) == len(often.state.windows) == 1
    assert same(once.labels, often.labels)


def test_removing_a_click_takes_its_effect_and_its_window_back(model: Segmenter) -> None:
    session = begin(model)
    session.add(click("liver", 9, 9, 9))
    session.predict()
    with_one, image_maps = session.labels, session.image_maps
    second = session.add(click("liver", 16, 20, 14))
    session.predict()
    assert image_maps.misses == 2, "another window, which sees the first click, too"
    assert not same(session.labels, with_one)
    session.remove(second)
    session.predict()
    assert same(session.labels, with_one)
    assert image_maps.misses == 2


def test_a_structure_whose_only_click_is_removed_is_what_it_was(model: Segmenter) -> None:
    session = begin(model)
    before = session.labels
    only = session.add(click("spleen", 10, 12, 10))
    session.predict()
    assert not same(session.labels, before)
    session.remove(only)
    assert session.pending == ("spleen",)
    session.predict()
    assert same(session.labels, before)


def test_only_what_was_prompted_anew_is_computed(model: Segmenter) -> None:
    session = begin(model)
    session.add(click("liver", 14, 12, 10))
    session.add(click("spleen", 10, 12, 10))
    assert session.predict().targets == ("liver", "spleen")
    assert session.predict().targets == ()
    assert session.revision == 4, "a prediction that was shown counts, one of nothing does not"
    session.add(click("spleen", 15, 12, 10))
    assert session.predict().targets == ("spleen",)
    assert session.image_maps.hits >= 1


def test_what_is_said_of_one_structure_does_not_depend_on_the_others(model: Segmenter) -> None:
    alone, among = begin(model), begin(model)
    for session in (alone, among):
        session.add(click("new:cyst", 14, 12, 10))
        session.predict()
        session.add(click("new:cyst", 13, 13, 10))
    for voxel in ((13, 12, 10), (12, 12, 10), (11, 11, 10)):
        among.add(click("liver", *voxel))
    alone.predict()
    assert among.predict().targets == ("cyst", "liver")
    assert alone.mask("cyst").any()
    assert np.array_equal(alone.mask("cyst"), among.mask("cyst"))


def test_windows_in_which_nothing_new_was_said_are_not_asked_again(
    model: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, ...]] = []
    logits = type(model.network.point_head).logits

    def counted(head: object, image_map: object, points: torch.Tensor, *rest: object) -> object:
        asked.append(tuple(points.shape))
        return logits(head, image_map, points, *rest)

    monkeypatch.setattr(type(model.network.point_head), "logits", counted)
    for target in ("new:cyst", "liver"):
        session, before = begin(model), len(asked)
        for voxel in ((4, 4, 4), (24, 28, 20), (23, 28, 20)):
            session.add(click(target, *voxel))
            session.predict()
        assert len(asked) == before + 3, "each click lies in one window"
    assert asked[:3] == [(1, 1, 3), (1, 1, 3), (1, 2, 3)], "the first window holds the first click alone"


def test_a_correction_says_to_the_head_where_the_structure_is(
    model: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[np.ndarray, np.ndarray]] = []
    logits = type(model.network.point_head).logits

    def heard(head: object, image_map: object, points: torch.Tensor, labels: torch.Tensor, *rest: object) -> object:
        told.append((points[0].numpy(), labels[0].numpy()))
        return logits(head, image_map, points, labels, *rest)

    monkeypatch.setattr(type(model.network.point_head), "logits", heard)
    session = begin(model)
    liver = np.argwhere(session.mask("liver"))
    session.add(click("liver", *liver[0].tolist(), positive=False))
    session.predict()
    ((_, labels),) = told
    assert labels[-1] == ClickLabel.NEGATIVE, "the user's own comes last"
    assert len(labels) > 1
    assert (labels[:-1] == ClickLabel.POSITIVE).all()


def test_a_moved_click_is_as_if_it_had_been_there_from_the_start(model: Segmenter) -> None:
    moved, direct = begin(model), begin(model)
    number = moved.add(click("liver", 14, 12, 10))
    moved.predict()
    moved.move(number, click("liver", 9, 9, 9))
    moved.predict()
    direct.add(click("liver", 9, 9, 9))
    direct.predict()
    assert moved.prompts == {number: click("liver", 9, 9, 9)}
    if moved.state.windows[0] == direct.state.windows[0]:
        assert same(moved.labels, direct.labels)
    assert moved.predict().targets == ()


def test_of_two_clicks_on_one_voxel_the_one_that_was_moved_there_last_counts() -> None:
    session, place = Session(segmenter(click_reach_mm=20.0, click_pull=0.01), VOLUME), (12, 14, 12)
    first = session.add(click("spleen", 5, 5, 5))
    session.add(click("spleen", *place, positive=False))
    session.move(first, click("spleen", *place))
    session.predict()
    assert session.mask("spleen")[place]


def test_a_click_in_the_world_is_the_click_on_its_voxel(model: Segmenter) -> None:
    in_voxels, in_mm = begin(model), begin(model)
    in_voxels.add(click("liver", 14, 12, 10))
    in_mm.add(PointPrompt(target="liver", ras_mm=(42.0, 36.0, 30.0)))
    in_voxels.predict()
    in_mm.predict()
    assert same(in_voxels.labels, in_mm.labels)


def test_a_click_where_no_body_is_works_up_to_the_last_voxel(model: Segmenter) -> None:
    from_nothing = Session(model, VOLUME)
    for corner in ((0.0, 0.0, 0.0), tuple(n - 0.5 for n in SHAPE)):
        from_nothing.add(PointPrompt(target="new:table", voxel=corner))
        from_nothing.predict()
    assert len(from_nothing.state.windows) == 2
    with cubes():
        session = Session(model, VOLUME)
        session.add(click("new:table", 0, 0, 0))
        session.predict()
        assert session.mask("table")[:3, :3, :3].all()


def test_a_finer_scan_is_clicked_in_its_own_voxels() -> None:
    fine = scan((39, 45, 36), spacing=2.0)
    with cubes():
        session = Session(slabs(), fine)
        session.add(click("liver", 38, 20, 17))
        session.predict()
        centre = np.argwhere(session.mask("liver")).mean(0)
    assert np.abs(centre - (37.5, 20, 17)).max() <= 0.5


def test_eviction_changes_no_result(model: Segmenter) -> None:
    keeping, forgetting = begin(model), begin(model, cache_bytes=0)
    for session in (keeping, forgetting):
        for voxel in ((9, 9, 9), (16, 20, 14), (10, 9, 9)):
            session.add(click("liver", *voxel))
            session.predict()
    assert same(keeping.labels, forgetting.labels)
    assert (keeping.image_maps.misses, forgetting.image_maps.hits) == (2, 0)


def test_a_structure_inside_others_takes_nothing_from_them() -> None:
    with cubes():
        session = Session(slabs(), VOLUME, labels=organs(VOLUME))
        session.add(click("new:cyst", 9, 12, 10))
        session.add(click("hepatic tumor", 7, 9, 7))
        session.predict()
        labels = session.labels
    assert np.array_equal(labels.data, organs(VOLUME).data)
    assert (labels.overlaps["new"] == 8).sum() == 125, (
        "above the composite kidney, which the model makes of its sides"
    )
    assert labels.overlaps["lesions"][7, 9, 7] == 5, "the layer in which the map had tumours, not the table's"
    assert labels.names[8] == "cyst"


def test_a_later_click_wins_and_a_negative_one_claims_nothing() -> None:
    with cubes():
        session = Session(slabs(), VOLUME)
        session.add(click("liver", 10, 10, 10))
        session.add(click("spleen", 12, 10, 10))
        session.predict()
        assert session.labels.data[11, 10, 10] == 2
        session.add(click("liver", 3, 3, 3, positive=False))
        session.predict()
        assert session.labels.data[11, 10, 10] == 2
        again = session.add(click("liver", 10, 10, 9))
        session.predict()
        assert session.labels.data[11, 10, 10] == 1
        session.remove(again)
        session.predict()
        assert session.labels.data[11, 10, 10] == 2


def test_a_later_click_takes_back_what_an_earlier_one_took_from_the_base_there_and_not_elsewhere() -> None:
    with cubes():
        session = Session(slabs(), VOLUME, labels=organs(VOLUME))
        for voxel in ((10, 10, 8), (10, 17, 13)):
            session.add(click("spleen", *voxel))
        session.predict()
        assert session.labels.data[10, 10, 8] == session.labels.data[10, 17, 13] == 2
        back = session.add(click("liver", 10, 10, 8))
        box = session.predict().box
        assert box == Box((8, 8, 6), (13, 13, 11)), "the whole piece under the click"
        assert session.labels.data[10, 10, 8] == 1
        assert session.labels.data[10, 17, 13] == 2, "what was taken elsewhere stays"
        session.add(click("spleen", 10, 10, 8))
        session.predict()
        assert session.labels.data[10, 10, 8] == 2
        session.move(back, click("liver", 10, 10, 8))
        session.predict()
        assert session.labels.data[10, 10, 8] == 1, "moved is said anew"
        session.remove(back)
        session.predict()
        assert session.labels.data[10, 10, 8] == 2


@pytest.mark.parametrize("kind", ["class", "mask"])
def test_a_class_or_mask_prompt_takes_back_all_that_earlier_clicks_took_from_it(kind: str) -> None:
    liver = organs(VOLUME).data == 1
    mask = MaskPrompt(target="liver", mask=liver, grid=VOLUME.grid)
    with cubes():
        session = Session(slabs(), VOLUME, labels=organs(VOLUME))
        session.add(click("spleen", 10, 12, 8))
        session.predict()
        session.add(mask if kind == "mask" else ClassPrompt(target="liver"))
        session.predict()
        if kind == "mask":
            assert np.array_equal(session.mask("liver"), liver)
        else:
            assert session.mask("liver")[:, :, 3:7].all()
            assert session.mask("spleen")[8:13, 10:15, 7:11].all(), "the slab does not reach there"


def test_a_class_prompt_is_the_segmenter_s_mask_and_a_mask_prompt_replaces_it() -> None:
    with cubes():
        session = Session(slabs(), VOLUME, labels=organs(VOLUME))
        session.add(ClassPrompt(target="aorta"))
        session.add(click("aorta", 12, 12, 12))
        session.predict()
        expected = np.zeros(SHAPE, dtype=bool)
        expected[:, :, 18:22] = expected[10:15, 10:15, 10:15] = True
        assert np.array_equal(session.mask("aorta"), expected)
        own = np.zeros(SHAPE, dtype=bool)
        own[1:3] = True
        session.add(MaskPrompt(target="aorta", mask=own, grid=VOLUME.grid))
        session.predict()
        expected = own.copy()
        expected[10:15, 10:15, 10:15] = True
        assert np.array_equal(session.mask("aorta"), expected)


def test_the_automatic_branch_runs_in_a_session(model: Segmenter) -> None:
    session = Session(model, VOLUME)
    session.add(ClassPrompt(target="kidneys"))
    assert session.predict().targets == ("left kidney", "right kidney")
    alone = model(VOLUME, ["kidneys"])
    assert np.array_equal(session.labels.data, alone.data)
    assert session.labels.data.any()


def test_removing_a_class_prompt_takes_back_its_effect_on_what_others_named(model: Segmenter) -> None:
    both, late = Session(model, VOLUME), Session(model, VOLUME)
    for session in (both, late):
        session.add(ClassPrompt(target="liver"))
    second = both.add(ClassPrompt(target="spleen"))
    both.predict()
    late.predict()
    alone = late.labels
    late.add(ClassPrompt(target="spleen"))
    late.predict()
    assert same(both.labels, late.labels), "whenever they were predicted"
    assert not np.array_equal(both.mask("liver"), alone.data == 1)
    both.remove(second)
    both.predict()
    assert same(both.labels, alone)


def test_what_is_locked_stays_and_its_voxels_with_it() -> None:
    with cubes():
        session = Session(slabs(), VOLUME, labels=organs(VOLUME))
        mine = session.add(click("spleen", 15, 12, 10))
        session.lock("spleen")
        spleen = session.mask("spleen")
        session.add(click("liver", 13, 12, 10))
        session.predict()
        assert np.array_equal(session.mask("spleen"), spleen)
        assert session.locked == ("spleen",)
        for refused in (lambda: session.add(click("spleen", 1, 1, 1)), lambda: session.remove(mine)):
            with pytest.raises(LockedStructureError, match="spleen"):
                refused()
        box = session.unlock("spleen")
        assert box is not None
        assert session.labels.data[13, 12, 10] == 1
        assert session.pending == ("spleen",)


def test_accepting_keeps_what_is_seen_and_undo_brings_the_clicks_back(tmp_path: Path) -> None:
    with cubes():
        session = Session(slabs(), VOLUME, labels=organs(VOLUME))
        first = session.add(click("liver", 14, 12, 10))
        session.predict()
        late = session.add(click("spleen", 3, 3, 3))
        session.predict()
        before = session.labels
        assert same(session.accept(), before)
        assert list(session.prompts) == []
        session.add(click("liver", 14, 12, 10, positive=False))
        session.predict()
        assert not session.mask("liver")[12:17, 10:15, 8:13].any(), "the accepted cube is base now"
        session.export_clicks(tmp_path / "clicks.json")
        assert [c.voxel[0] for c in read_clicks(tmp_path / "clicks.json")] == [14, 3, 14]
        for _ in range(3):
            session.undo()
        assert same(session.labels, before)
        assert list(session.prompts) == [first, late]


def test_nothing_is_accepted_whose_effect_was_not_seen(tmp_path: Path) -> None:
    with cubes():
        session = Session(slabs(), VOLUME)
        number = session.add(click("liver", 5, 5, 5))
        session.predict()
        for edit in (
            lambda: session.remove(number),
            lambda: session.move(number, click("liver", 9, 9, 9)),
            lambda: session.add(click("spleen", 3, 3, 3)),
        ):
            edit()
            with pytest.raises(UsageError, match="predict first"):
                session.accept()
            session.undo()
        session.remove(number)
        session.predict()
        assert not session.accept().data.any()
        session.export_clicks(tmp_path / "clicks.json")
        assert read_clicks(tmp_path / "clicks.json") == []


def test_exported_clicks_name_what_another_session_knows(tmp_path: Path) -> None:
    data = organs(VOLUME).data.copy()
    data[20:22] = 9
    labels = LabelMap(data, VOLUME.grid, {1: "Liver", 2: "spleen", 9: "my organ"})
    new_names = {"Liver": "Leber", "my organ": "mine", "new:cyst": "Zyste"}
    with cubes():
        session = Session(slabs(), VOLUME, labels=labels)
        for at, (name, new_name) in zip((3, 9, 15), new_names.items(), strict=True):
            session.add(click(name, at, 3, 3))
            session.rename(name.removeprefix("new:"), new_name)
            session.add(click(new_name, at, 20, 3))
        session.predict()
        session.accept()
        session.add(click("Leber", 9, 9, 9))
        session.export_clicks(tmp_path / "clicks.json")
        clicks = read_clicks(tmp_path / "clicks.json")
        assert [c.target for c in clicks] == [*["liver"] * 2, *["my organ"] * 2, *["new:Zyste"] * 2, "liver"]
        other = Session(slabs(), VOLUME, labels=labels)
        for said in clicks:
            other.add(said)
        other.predict()
        session.predict()
        assert same(other.labels, session.labels)


def test_names_of_an_imported_map_keep_their_ids() -> None:
    data = np.zeros(SHAPE, dtype=np.uint8)
    data[2:4], data[6:8], data[10:12] = 1, 7, 9
    imported = LabelMap(data, VOLUME.grid, {1: "Spleen", 7: "my organ", 9: "kidney_left"})
    with cubes():
        session = Session(slabs(), VOLUME, labels=imported)
        for target in ("spleen", "my organ", "liver", "left kidney", "new:my organ"):
            session.add(click(target, 15, 15, 15))
        names = session.labels.names
    assert names == {1: "Spleen", 7: "my organ", 9: "kidney_left", 10: "liver"}


def test_a_whole_that_the_labels_hold_can_be_clicked_and_is_zero_shot(model: Segmenter) -> None:
    data = np.zeros(SHAPE, dtype=np.uint8)
    data[9:16, 9:16, 9:16] = 1
    whole, new = (Session(model, VOLUME, labels=LabelMap(data, VOLUME.grid, {1: name})) for name in ("kidney", "?"))
    for session, target in ((whole, "kidney"), (new, "?")):
        session.add(click(target, 17, 12, 12))
        session.predict()
    assert not np.array_equal(whole.labels.data, data)
    assert np.array_equal(whole.labels.data, new.labels.data)
    with pytest.raises(UsageError, match="left kidney"):
        Session(model, VOLUME).add(click("kidney", 17, 12, 12))


def test_a_renamed_structure_answers_to_its_new_name() -> None:
    with cubes():
        session = Session(slabs(), VOLUME, labels=organs(VOLUME))
        session.add(click("new:thing", 15, 15, 15))
        session.rename("thing", "metastasis")
        session.rename("liver", "Leber")
        session.add(click("metastasis", 3, 3, 3))
        session.add(click("Leber", 9, 9, 9))
        session.add(click("liver", 9, 9, 8))
        assert {session.labels.names[n] for n in (1, 8)} == {"Leber", "metastasis"}
        assert len(session.labels.names) == 4
        with pytest.raises(UsageError, match="no other structure"):
            session.rename("spleen", "leber")
        with pytest.raises(UsageError, match="can be written"):
            session.rename("spleen", "Milz \ud83d")


@pytest.mark.parametrize("taken", ["aorta", "AORTA", "6", "kidneys", "liver"])
def test_a_structure_cannot_take_the_name_of_another_class_of_the_model(taken: str) -> None:
    labels = LabelMap(organs(VOLUME).data, VOLUME.grid, {1: "label 1", 2: "spleen"})
    session = Session(slabs(), VOLUME, labels=labels)
    for name in ("label 1", "spleen"):
        with pytest.raises(UsageError, match="no class of the model"):
            session.rename(name, taken)
    assert session.revision == 0


def test_a_class_prompt_finds_a_renamed_class_by_either_name() -> None:
    for name in ("Leber", "liver"):
        with cubes():
            session = Session(slabs(), VOLUME, labels=organs(VOLUME))
            session.rename("liver", "Leber")
            session.add(ClassPrompt(target=name))
            assert session.predict().targets == ("Leber",)
            assert session.labels.names[1] == "Leber"
            session.rename("Leber", "liver")
            assert session.labels.names == {1: "liver", 2: "spleen", 5: "hepatic tumor"}


def test_a_new_structure_in_another_spelling_is_the_same_one_and_all_of_them_can_be_measured() -> None:
    with cubes():
        session = Session(slabs(), VOLUME, labels=organs(VOLUME))
        session.add(click("new:node 1", 14, 12, 10))
        session.add(click("new:Node-1", 20, 12, 10))
        session.add(click("new:1 node", 20, 22, 10))
        with pytest.raises(UsageError, match="which it knows"):
            session.add(click("new:Liver_", 3, 3, 3))
        session.predict()
        labels = session.accept()
    assert [name for name in labels.names.values() if "node" in name] == ["node 1", "1 node"]
    found = {finding.name: finding.voxels for finding in measure_labels(VOLUME, labels).classes}
    assert (found["node 1"], found["1 node"]) == (250, 125)


def test_labels_beyond_255_take_wider_integers_and_undo_gives_the_narrow_ones_back() -> None:
    names = {label: f"part {label}" for label in range(1, 255)}
    data = np.zeros(SHAPE, dtype=np.uint8)
    data[3, 3, 3] = 254
    with cubes():
        session = Session(slabs(), VOLUME, labels=LabelMap(data, VOLUME.grid, names))
        session.add(click("new:cyst", 15, 15, 15))
        session.predict()
        labels = session.labels
        assert labels.names[256] == "cyst", "255 means something else in other people's files"
        assert labels.overlaps["new"].dtype == labels.data.dtype == np.uint16
        assert (labels.overlaps["new"] == 256).sum() == 125
        session.undo()
        session.undo()
        assert session.labels.data.dtype == np.uint8


def test_labels_of_more_than_16_bits_are_refused_and_the_highest_of_16_leaves_room_for_new_ones() -> None:
    data = np.zeros(SHAPE, dtype=np.int32)
    for label, names in ((65537, {}), (-1, {}), (0, {70000: "far"})):
        data[3, 3, 3] = label
        with pytest.raises(InputError, match="0 to 65535"):
            Session(slabs(), VOLUME, labels=LabelMap(data, VOLUME.grid, names))
    data[3, 3, 3] = 65535
    with cubes():
        session = Session(slabs(), VOLUME, labels=LabelMap(data, VOLUME.grid, {65535: "far"}))
        session.add(click("new:cyst", 15, 15, 15))
        session.predict()
        labels = session.labels
    assert labels.data[3, 3, 3] == 65535
    assert [label for label, name in labels.names.items() if name == "cyst"] == np.unique(labels.overlaps["new"])[
        1:
    ]


def test_a_stale_edit_is_refused(model: Segmenter) -> None:
    session = begin(model)
    seen = session.revision
    session.add(click("liver", 14, 12, 10), revision=seen)
    for late in (
        lambda: session.add(click("liver", 1, 1, 1), revision=seen),
        lambda: session.remove(1, revision=seen),
        lambda: session.predict(revision=seen),
        lambda: session.undo(revision=seen),
    ):
        with pytest.raises(StaleRevisionError, match="revision 1"):
            late()
    assert list(session.prompts) == [1]


def test_ids_are_never_used_twice(model: Segmenter) -> None:
    session = begin(model)
    first = session.add(click("liver", 14, 12, 10))
    session.undo()
    assert session.add(click("liver", 13, 12, 10)) != first


@pytest.mark.parametrize(
    ("prompt", "error", "words"),
    [
        (click("livre", 1, 1, 1), UnknownClassError, "liver"),
        (click("kidneys", 1, 1, 1), UsageError, "left kidney"),
        (click("new:liver", 1, 1, 1), UsageError, "without `new:`"),
        (click("liver", 40, 1, 1), UsageError, "inside the volume"),
        (ClassPrompt(target="livre"), UnknownClassError, "liver"),
    ],
)
def test_a_prompt_that_makes_no_sense_is_refused_before_it_is_said(
    model: Segmenter, tmp_path: Path, prompt: object, error: type[Exception], words: str
) -> None:
    session = begin(model, journal=tmp_path / "session.jsonl")
    content = (tmp_path / "session.jsonl").read_bytes()
    with pytest.raises(error, match=words):
        session.add(prompt)
    assert (tmp_path / "session.jsonl").read_bytes() == content
    assert (session.revision, dict(session.prompts)) == (0, {})


def test_accepting_a_group_prompt_of_which_a_structure_is_locked_keeps_it_for_that_one_alone() -> None:
    data = np.zeros(SHAPE, dtype=np.uint8)
    data[6:10, 8:12, 8:12], data[16:20, 8:12, 8:12] = 3, 4
    with cubes():
        kidneys = LabelMap(data, VOLUME.grid, {3: "left kidney", 4: "right kidney"})
        session = Session(slabs(), VOLUME, labels=kidneys)
        session.lock("left kidney")
        session.add(ClassPrompt(target="kidneys"))
        session.add(click("right kidney", 3, 3, 14, positive=False))
        session.predict()
        accepted = session.accept()
        assert not accepted.data[3, 3, 14]
        assert session.pending == ()
        session.add(click("spleen", 20, 20, 3))
        assert session.predict().targets == ("spleen",)
        assert np.array_equal(session.labels.data == 4, accepted.data == 4), "the accepted click is not lost"
        assert same(session.accept(), session.labels)
        session.unlock("left kidney")
        assert session.pending == ("left kidney",)
        session.predict()
        assert session.accept().data[0, 0, 10] == 3
        assert dict(session.prompts) == {}


def test_a_whole_beside_its_part_is_refused(model: Segmenter) -> None:
    session = Session(model, VOLUME)
    session.add(ClassPrompt(target="kidney"))
    with pytest.raises(UsageError, match="kidney"):
        session.add(ClassPrompt(target="left kidney"))


def test_a_mask_prompt_is_what_it_was_when_it_was_said() -> None:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[1:3] = True
    with cubes():
        session = Session(slabs(), VOLUME)
        session.add(MaskPrompt(target="liver", mask=mask, grid=VOLUME.grid))
        mask[:] = False
        session.predict()
        assert session.mask("liver")[1:3].all()


def test_a_mask_on_another_grid_is_refused(model: Segmenter) -> None:
    mask, grid = np.ones((4, 4, 4), dtype=bool), Grid((4, 4, 4), np.eye(4))
    with pytest.raises(GeometryError, match="own grid"):
        begin(model).add(MaskPrompt(target="liver", mask=mask, grid=grid))
    with pytest.raises(GeometryError, match="volume's grid"):
        Session(model, VOLUME, labels=LabelMap(mask.astype(np.uint8), grid, {1: "liver"}))


def test_a_model_without_click_branch_is_refused_when_clicked() -> None:
    from inference.small_model import small_network, small_spec

    spec = small_spec()
    session = Session(Segmenter(small_network(spec), spec), VOLUME)
    with pytest.raises(NoHeadError, match="click"):
        session.add(click("liver", 5, 5, 5))
    session.add(ClassPrompt(target="liver"))


def test_images_the_model_was_not_made_for_are_refused_unless_told_to_go_on(model: Segmenter) -> None:
    magnetic = Volume(VOLUME.data, VOLUME.grid, "MR")
    with pytest.raises(NotValidatedError):
        Session(model, magnetic)
    Session(model, magnetic, options=SegmentOptions(unvalidated=True))
    with pytest.raises(InputError, match="2 channels"):
        Session(model, Volume(np.concatenate([VOLUME.data] * 2), VOLUME.grid, "CT"))


def test_at_its_beginning_a_session_has_nothing_to_undo_or_redo(model: Segmenter) -> None:
    session = begin(model)
    with pytest.raises(UsageError, match="undo"):
        session.undo()
    with pytest.raises(UsageError, match="redo"):
        session.redo()
    with pytest.raises(UsageError, match="id of a prompt"):
        session.remove(4)
    with pytest.raises(UsageError, match="locked"):
        session.unlock("liver")
    assert session.revision == 0


def test_a_tilted_scan_is_clicked_in_its_own_voxels() -> None:
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[1, 2] = 0.9
    with cubes():
        session = Session(slabs(), Volume(VOLUME.data, Grid(SHAPE, affine), "CT"))
        session.add(click("liver", 12, 14, 20))
        session.predict()
        assert np.argwhere(session.mask("liver")).mean(0) == pytest.approx((12, 14, 20))


def test_a_click_on_a_large_mask_changes_only_what_it_reaches(model: Segmenter) -> None:
    near = Segmenter(model.network, replace(model.spec, click_reach_mm=0.1))
    voxel = np.argwhere(begin(model).mask("liver"))[0]
    changed = []
    for asked in (model, near):
        session = begin(asked)
        before = session.mask("liver")
        session.add(click("liver", *voxel.tolist(), positive=False))
        session.predict()
        changed.append(session.mask("liver") ^ before)
    free, held = changed
    ball_mm = (begin(model).mask("liver").sum() * VOLUME.grid.voxel_volume_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    apart = (np.argwhere(free) - voxel) @ VOLUME.grid.affine[:3, :3].T
    assert np.linalg.norm(apart, axis=1).max() > 0.7 * ball_mm
    apart = (np.argwhere(held) - voxel) @ VOLUME.grid.affine[:3, :3].T
    assert np.linalg.norm(apart, axis=1).max(initial=0.0) <= 0.7 * ball_mm


def test_a_model_that_states_a_pull_draws_all_that_lies_near_a_click(model: Segmenter) -> None:
    strong = Segmenter(model.network, replace(model.spec, click_reach_mm=24.0, click_pull=1000.0))
    whole = []
    for asked in (model, strong):
        session = Session(asked, VOLUME)
        session.add(click("new:lump", 12, 12, 20))
        session.predict()
        apart = np.argwhere(np.ones(SHAPE, bool)) - (12, 12, 20)
        near = np.linalg.norm(apart @ VOLUME.grid.affine[:3, :3].T, axis=1).reshape(SHAPE) <= 12
        whole.append(bool(session.mask("lump")[near].all()))
    assert whole == [False, True]


def test_a_network_that_is_not_trusted_with_what_has_no_name_is_not_asked_about_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = segmenter(click_reach_mm=24.0, unnamed_trust=0.0)
    head = model.network.point_head

    def masks(target: str) -> np.ndarray:
        session = Session(model, VOLUME)
        session.add(click(target, 12, 12, 20))
        session.predict()
        return session.mask(target.removeprefix("new:"))

    known = masks("liver")
    monkeypatch.setattr(type(head), "logits", lambda *_: pytest.fail("the network was asked"))
    lump = masks("new:lump")
    apart = np.argwhere(lump) - (12, 12, 20)
    assert lump[12, 12, 20]
    assert np.linalg.norm(apart @ VOLUME.grid.affine[:3, :3].T, axis=1).max() < 48
    assert not np.array_equal(lump, known)
