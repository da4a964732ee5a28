"""Preparing: cases on the model's grid, kept under what they depend on, learnt from without reading the whole."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.small_set import AFFINE, SHAPE, Written, make_case
from vesalius.data.cache import Cache
from vesalius.data.case import UNKNOWN, Case, load_case, save_case
from vesalius.data.chunked import ChunkedArray
from vesalius.data.crops import draw_centre
from vesalius.data.datalists.read import read_list
from vesalius.data.kept_case import open_case
from vesalius.data.prepare import prepare_list
from vesalius.errors import FileFormatError, GeometryError, NotValidatedError, UnknownClassError, UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io.formats import write
from vesalius.spec import ModelSpec, VistaArchitecture

SPEC = ModelSpec(
    name="small",
    architecture=VistaArchitecture(width=8, blocks_down=(1, 1, 1), num_embeddings=16, point_branch=False),
    spacing_mm=(4.0, 4.0, 5.0),
    window_size=(16, 16, 16),
    vocabulary=((1, "liver"), (2, "spleen"), (7, "right kidney"), (8, "left kidney")),
)


def prepared(path: Path, cache: Path, spec: ModelSpec = SPEC, **options: int) -> tuple[Case, ...]:
    return prepare_list(read_list(path), spec, Cache(cache), **options)


def folders(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if (path / "case.json").exists())


def test_a_case_lies_on_the_model_s_grid_under_the_model_s_ids(write_set: Written, tmp_path: Path) -> None:
    (case,) = prepared(write_set({"a": {}}, name="few"), tmp_path / "cache")
    image, labels = make_case(0)
    assert (case.name, case.group, case.annotated, case.present) == ("a", "few", {1, 7, 8}, (1, 7, 8))
    assert isinstance(case.image_hu, ChunkedArray)
    kept = (slice(1, 23), slice(1, 19))  # the body with a margin of 10 mm
    assert np.array_equal(np.asarray(case.labels) > 0, labels[kept] > 0)
    assert np.array_equal(np.asarray(case.image_hu), np.maximum(image, -1024)[kept])
    assert case.places is not None
    for label, at in case.places.items():
        assert set(np.asarray(case.labels)[tuple(at.T.astype(int))].tolist()) == {label}


def test_the_axes_and_voxels_are_the_model_s(write_set: Written, tmp_path: Path) -> None:
    flipped = np.array([[0, 0, 4.0, 0], [-4.0, 0, 0, 90], [0, 4.0, 0, 0], [0, 0, 0, 1]])
    (case,) = prepared(write_set({"a": {"affine": flipped}}), tmp_path / "cache")
    labels = np.asarray(case.labels)
    drawn = make_case(0)[1]
    assert (labels == 1).sum() == pytest.approx((drawn == 1).sum() * 64 / 80, rel=0.15)
    # in the file the left kidney has the lower first index, which here runs to the back
    centre = {label: np.argwhere(labels == label).mean(axis=0) for label in (7, 8)}
    assert centre[8][1] > centre[7][1] + 5
    assert centre[8][0] == pytest.approx(centre[7][0], abs=1)


def test_a_second_run_finds_everything_and_another_spec_or_file_does_not(
    write_set: Written, tmp_path: Path
) -> None:
    path, cache = write_set({"a": {}, "b": {}}), tmp_path / "cache"
    prepared(path, cache)
    first = folders(cache)
    assert len(first) == 2
    stamps = {name: (cache / name).stat().st_mtime_ns for name in first}
    prepared(path, cache)
    assert {name: (cache / name).stat().st_mtime_ns for name in folders(cache)} == stamps
    prepared(path, cache, ModelSpec(**{**vars(SPEC), "spacing_mm": (5.0, 5.0, 5.0)}))
    assert len(folders(cache)) == 4
    write(LabelMap(make_case(3)[1], Grid(SHAPE, AFFINE), {}), path.parent / "a_seg.nii.gz")
    prepared(path, cache)
    assert len(folders(cache)) == 5


def test_a_corrected_modality_makes_the_case_anew(write_set: Written, tmp_path: Path) -> None:
    path, cache = write_set({"a": {"image": make_case(0)[0] * np.int16(2)}}), tmp_path / "cache"
    lowest = []
    for modality in ("MR", "CT"):
        path.write_text(re.sub('"modality": {"0": "..?"}', f'"modality": {{"0": "{modality}"}}', path.read_text()))
        (case,) = prepared(path, cache, replace(SPEC, modality=modality))
        lowest.append(int(np.asarray(case.image_hu).min()))
    assert lowest == [-2000, -1024]


def test_the_name_of_a_class_and_the_window_of_intensities_do_not_touch_the_cache(
    write_set: Written, tmp_path: Path
) -> None:
    path, cache = write_set({"a": {}}), tmp_path / "cache"
    prepared(path, cache)
    prepared(path, cache, ModelSpec(**{**vars(SPEC), "window_hu": (-100.0, 300.0)}))
    path.write_text(path.read_text().replace("liver", "Liver"))
    prepared(path, cache)
    assert len(folders(cache)) == 1


def layered(write_set: Written, names: dict[int, str], over: np.ndarray) -> Path:
    """Write a case whose label is a Slicer segmentation with a second layer."""
    path = write_set(
        {"a": {"labels": None, "entry": {"label": "a.seg.nrrd"}}}, labels={str(a): b for a, b in names.items()}
    )
    drawn = LabelMap(make_case(0)[1], Grid(SHAPE, AFFINE), names, {"over": over})
    write(drawn, path.parent / "a.seg.nrrd")
    return path


NAMES = {1: "liver", 2: "left kidney", 3: "right kidney", 4: "hepatic tumor"}
WITH_TUMOURS = ModelSpec(**{**vars(SPEC), "vocabulary": (*SPEC.vocabulary, (26, "hepatic tumor"))})


def test_a_tumour_drawn_in_a_layer_of_its_own_is_not_lost(write_set: Written, tmp_path: Path) -> None:
    over = np.zeros(SHAPE, np.uint8)
    over[15:18, 7:10, 9:12] = 4
    over[19, 8, 9] = 4  # and where no liver was drawn
    (case,) = prepared(layered(write_set, NAMES, over), tmp_path / "cache", WITH_TUMOURS)
    labels = np.asarray(case.labels)
    assert case.present == (1, 7, 8, 26)
    assert (labels == 26).sum() == 28
    assert np.isin(labels, (1, 26)).sum() == (make_case(0)[1] == 1).sum() + 1


def test_of_voxels_that_two_unrelated_structures_share_nothing_is_known(write_set: Written, tmp_path: Path) -> None:
    over = np.zeros(SHAPE, np.uint8)
    over[18:21, 8, 9] = 4
    (case,) = prepared(layered(write_set, {**NAMES, 4: "spleen"}, over), tmp_path / "cache")
    labels = np.asarray(case.labels)
    assert ((labels == UNKNOWN).sum(), (labels == 2).sum()) == (1, 2)
    assert (labels == 1).sum() == (make_case(0)[1] == 1).sum() - 1


def test_masks_of_structures_that_overlap_make_no_negatives(write_set: Written, tmp_path: Path) -> None:
    image, drawn = make_case(0)
    scan, grid = tmp_path / "set" / "s1", Grid(SHAPE, AFFINE)
    (scan / "segmentations").mkdir(parents=True)
    write(Volume(image[None], grid, "CT"), scan / "ct.nii.gz")
    inside = np.zeros(SHAPE, bool)
    inside[15:18, 7:10, 9:12] = True
    for name, mask in (("liver", drawn == 1), ("spleen", inside), ("hepatic_tumor", inside)):
        write(LabelMap(mask.astype(np.uint8), grid, {}), scan / "segmentations" / f"{name}.nii.gz")
    (case,) = prepared(scan.parent, tmp_path / "cache", WITH_TUMOURS)
    labels = np.asarray(case.labels)
    assert (case.annotated, case.present) == ({1, 2, 26}, (1,))
    assert (labels == UNKNOWN).sum() == inside.sum()
    (scan / "segmentations" / "spleen.nii.gz").unlink()
    (case,) = prepared(scan.parent, tmp_path / "cache", WITH_TUMOURS)
    assert (np.asarray(case.labels) == 26).sum() == inside.sum()


@pytest.mark.slow
def test_several_processes_give_what_one_gives(write_set: Written, tmp_path: Path) -> None:
    path = write_set({name: {} for name in "abc"})
    one, two = prepared(path, tmp_path / "one"), prepared(path, tmp_path / "two", workers=2)
    assert [case.name for case in two] == ["a", "b", "c"]
    assert all(
        np.array_equal(np.asarray(a.image_hu), np.asarray(b.image_hu)) for a, b in zip(one, two, strict=True)
    )


def test_pseudo_labels_supervoxels_and_unlabelled_scans_are_kept(write_set: Written, tmp_path: Path) -> None:
    path = write_set({"a": {"labels": None, "entry": {"pseudo_label": "p.nii.gz", "supervoxels": "s.nii.gz"}}})
    grid = Grid(SHAPE, AFFINE)
    write(LabelMap(np.full(SHAPE, 7, np.uint8), grid, {}), path.parent / "p.nii.gz")
    write(LabelMap(np.full(SHAPE, 300, np.uint16), grid, {}), path.parent / "s.nii.gz")
    (case,) = prepared(path, tmp_path / "cache")
    assert (case.annotated, case.present) == (frozenset(), ())
    assert np.unique(np.asarray(case.pseudo_labels)).tolist() == [7]
    assert np.unique(np.asarray(case.supervoxels)).tolist() == [300]
    assert not np.asarray(case.labels).any()


def test_pseudo_labels_are_read_by_the_names_in_their_file_and_say_where_their_classes_lie(
    write_set: Written, tmp_path: Path
) -> None:
    path = write_set({"a": {"entry": {"pseudo_label": "p.nii.gz"}}})
    found = np.zeros(SHAPE, np.uint8)
    found[4:6, 4:6, 2:4], found[8:10, 4:6, 2:4], found[12:14, 4:6, 2:4] = 1, 2, UNKNOWN
    names = {1: "spleen", 2: "pituitary", UNKNOWN: "unknown"}
    write(LabelMap(found, Grid(SHAPE, AFFINE), names), path.parent / "p.nii.gz")
    (case,) = prepared(path, tmp_path / "cache")
    assert case.annotated == {1, 7, 8}
    assert case.claimed == (2,)
    values = np.asarray(case.pseudo_labels)
    assert np.unique(values).tolist() == [0, 2, UNKNOWN]
    assert (values == UNKNOWN).sum() == 2 * (values == 2).sum()  # a name the model lacks is unknown, too
    at = case.place_of(2, np.random.default_rng(0))
    assert values[tuple(at)] == 2
    centres = [draw_centre(case, (4, 4, 4), np.random.default_rng(seed)) for seed in range(60)]
    assert sum(bool(np.abs(centre - at).max() < 4) for centre in centres) > 5


def test_other_names_beside_a_pseudo_label_make_the_case_anew(write_set: Written, tmp_path: Path) -> None:
    path = write_set({"a": {"entry": {"pseudo_label": "p.nrrd"}}})
    write(LabelMap(np.ones(SHAPE, np.uint8), Grid(SHAPE, AFFINE), {}), path.parent / "p.nrrd")
    found = []
    for name in ("right kidney", "spleen", "spleen"):
        (path.parent / "p.json").write_text(json.dumps({"1": name}))
        (case,) = prepared(path, tmp_path / "cache")
        found.append(np.unique(np.asarray(case.pseudo_labels)).tolist())
    assert found == [[7], [2], [2]]
    assert len(folders(tmp_path / "cache")) == 2


def test_scans_of_which_nothing_is_known_are_left_out_or_refused_before_anything_is_prepared(
    write_set: Written, tmp_path: Path
) -> None:
    path = write_set({"a": {}, "b": {"labels": None}, "c": {"entry": {"classes": []}}})
    cases = prepared(path, tmp_path / "cache")
    assert [case.name for case in cases] == ["a"]
    listed, cache = read_list(path), tmp_path / "another"
    with pytest.raises(UsageError, match=r"looked for in b, c(?s:.)*a label"):
        prepare_list(listed, SPEC, Cache(cache), cases=listed.cases)
    with pytest.raises(UsageError, match="looked for in b"):
        prepared(write_set({"b": {"labels": None}}), cache)
    assert not cache.exists()


def test_mr_keeps_its_own_numbers(write_set: Written, tmp_path: Path) -> None:
    fractions = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    path = write_set({"a": {"image": fractions}, "b": {}}, modality={"0": "MR"})
    one, two = prepared(path, tmp_path / "cache", replace(SPEC, modality="MR"))
    assert one.image_hu is not None
    assert two.image_hu is not None
    assert (one.image_hu.dtype, two.image_hu.dtype) == (np.float32, np.int16)
    assert np.array_equal(np.asarray(one.image_hu), fractions)


@pytest.mark.parametrize(("factor", "modality"), [(1, "MR"), (1e-3, "CT"), (1e-3, "XX")])
def test_other_numbers_than_hounsfield_units_are_refused_by_a_model_that_sees_these(
    factor: float, modality: str, write_set: Written, tmp_path: Path
) -> None:
    image = (make_case(0)[0] * factor).astype(np.float32)
    path = write_set({"a": {"image": image}}, modality={"0": modality})
    with pytest.raises(NotValidatedError, match=r"Hounsfield units, which small sees, in a\b"):
        prepared(path, tmp_path / "cache")
    prepared(path, tmp_path / "cache", replace(SPEC, modality="MR", normalisation="percentiles"))


@pytest.mark.parametrize(("modality", "is_taken"), [("CT", True), ("XX", False)])
def test_values_without_a_negative_one_are_taken_for_hounsfield_units_where_somebody_says_ct(
    modality: str, is_taken: bool, write_set: Written, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_set({"a": {"image": make_case(0)[0].clip(0)}}, modality={"0": modality})
    if is_taken:
        (case,) = prepared(path, tmp_path / "cache")
        assert case.image_hu is not None
        assert np.asarray(case.image_hu).min() == 0
        assert "a: no value is negative" in caplog.text
        return
    with pytest.raises(NotValidatedError, match="no value is negative"):
        prepared(path, tmp_path / "cache")


def test_ct_that_is_shifted_by_1024_is_refused_whatever_anybody_says(write_set: Written, tmp_path: Path) -> None:
    path = write_set({"a": {"image": make_case(0)[0] + 1024}}, modality={"0": "CT"})
    with pytest.raises(NotValidatedError, match="shifted by 1024"):
        prepared(path, tmp_path / "cache")


def test_of_an_image_without_a_unit_the_values_that_stand_for_a_window_are_kept(
    write_set: Written, tmp_path: Path
) -> None:
    path = write_set({"a": {}})
    mr = replace(SPEC, modality="MR", normalisation="percentiles")
    image = make_case(0)[0]
    (case,) = prepared(path, tmp_path / "cache", mr)
    assert case.window == pytest.approx(np.percentile(image, (0.5, 99.5)).tolist())
    prepared(path, tmp_path / "cache", replace(mr, window_percentiles=(5.0, 95.0)))
    assert len(folders(tmp_path / "cache")) == 2
    assert prepared(path, tmp_path / "cache")[0].window is None
    assert len(folders(tmp_path / "cache")) == 3


def test_a_tilted_scan_is_set_upright(write_set: Written, tmp_path: Path) -> None:
    tilted = AFFINE.copy()
    tilted[1, 2] = 1.5  # each slice is shifted to the front
    (case,) = prepared(write_set({"a": {"affine": tilted}}), tmp_path / "cache")
    drawn = make_case(0)[1]
    assert case.labels.shape[1] > SHAPE[1]
    for label, source in ((1, 1), (8, 2)):
        assert (np.asarray(case.labels) == label).sum() == pytest.approx((drawn == source).sum(), rel=0.15)


def test_unknown_voxels_have_no_place(write_set: Written, tmp_path: Path) -> None:
    path = write_set({"a": {}})
    listed = read_list(path)
    object.__setattr__(listed, "unknown", frozenset({2}))
    object.__setattr__(listed, "meanings", {1: "liver", 3: "right kidney"})
    (case,) = prepare_list(listed, SPEC, Cache(tmp_path / "cache"))
    assert case.places is not None
    assert sorted(case.places) == [1, 7]
    assert (np.asarray(case.labels) == UNKNOWN).sum() == (make_case(0)[1] == 2).sum()


def test_windows_are_drawn_near_classes_without_reading_the_labels(write_set: Written, tmp_path: Path) -> None:
    (case,) = prepared(write_set({"a": {}}), tmp_path / "cache")
    object.__setattr__(case.labels, "path", tmp_path / "gone")
    rng = np.random.default_rng(0)
    centres = np.array([draw_centre(case, (8, 8, 8), rng) for _ in range(300)])
    assert (np.abs(centres - np.array([16, 8, 11])).max(axis=1) < 5).mean() > 0.2  # the liver, one of three


def test_where_classes_lie_is_read_when_a_window_is_drawn_and_fills_no_memory(
    write_set: Written, tmp_path: Path
) -> None:
    path = write_set({"a": {"entry": {"pseudo_label": "p.nii.gz"}}})
    write(LabelMap(make_case(0)[1], Grid(SHAPE, AFFINE), {1: "spleen"}), path.parent / "p.nii.gz")
    (case,) = prepared(path, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").glob("*/places.npz")
    kept.rename(kept.with_name("away"))
    rng = np.random.default_rng(0)
    for label in (1, 2):  # drawn, and found by a model
        with pytest.raises(FileFormatError, match="made again"):
            case.place_of(label, rng)
    kept.with_name("away").rename(kept)
    assert case.claimed == (2,)


def test_a_cached_case_can_be_written_as_one_file(write_set: Written, tmp_path: Path) -> None:
    (case,) = prepared(write_set({"a": {}}), tmp_path / "cache")
    back = load_case(save_case(case, tmp_path / "npz"))
    assert np.array_equal(np.asarray(back.labels), np.asarray(case.labels))


def test_faults_of_a_case_are_those_of_its_files_and_leave_nothing(write_set: Written, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(GeometryError):
        prepared(write_set({"a": {"labels": make_case(0)[1][:-1]}}), cache)
    assert folders(cache) == []
    with pytest.raises(UnknownClassError, match="liver"):
        prepared(write_set({"a": {}}, labels={"1": "livr"}), cache)


def test_a_folder_that_is_no_case_is_refused(tmp_path: Path) -> None:
    (tmp_path / "case.json").write_text(json.dumps({"layers": ["image"]}))
    with pytest.raises(FileFormatError, match="made again"):
        open_case(tmp_path, name="a", group="b", annotated=frozenset({1}))
