"""Slices are cut where they lie, move with their labels, and change names where left and right are swapped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from training.small_slices import SPEC, STILL, case, recipe
from vesalius.data import crops
from vesalius.data.cache import Cache
from vesalius.data.case import UNKNOWN, Case
from vesalius.data.crops import draw_case, draw_centre
from vesalius.data.datalists.read import read_list
from vesalius.data.prepare import prepare_list
from vesalius.errors import UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io.formats import write
from vesalius.spec import Depth
from vesalius.training.course_data import mirrored_ids
from vesalius.training.slice_cutting import CutSlices, SliceCutter, grid_over, slice_map
from vesalius.transforms.augment import Augmentation
from vesalius.transforms.intensity import normalise_hu_, slice_moments
from vesalius.transforms.nnunet import NnunetChanges

SIDES = {1: 2, 2: 1}
NNUNET: Mapping[str, object] = {"augmentation": "nnunet"}
needs_nnunet = pytest.mark.skipif(
    find_spec("batchgeneratorsv2") is None, reason="vesalius[nnunet] is not installed"
)


def windows(data: object, *, outside: int = 0, depth: int = 1) -> np.ndarray:
    """Return every window of 16 pixels a side, beyond the faces too: [y x k h w d]."""
    filled = np.pad(np.asarray(data), ((8, 8), (8, 8), (depth // 2, depth // 2)), constant_values=outside)
    return np.lib.stride_tricks.sliding_window_view(filled, (16, 16, depth))


def cut(seed: int, *, spec: object = SPEC, of: Case | None = None, **changes: object) -> CutSlices:
    cutter = SliceCutter([of or case()], spec, recipe=recipe(**changes), mirrored=SIDES)  # type: ignore[arg-type]
    return cutter.cut(np.random.default_rng(seed))


def test_a_still_window_is_a_window_of_a_slice() -> None:
    image = (windows(case().image_hu, outside=-1024) + 200.0).clip(0, 500) / 500
    labels = windows(case().labels)
    for seed in range(6):
        found = cut(seed)
        assert found.images.shape == (1, 1, 16, 16)
        same = np.isclose(image, found.images[0, 0].numpy()[..., None], atol=1e-5).all(axis=(3, 4, 5))
        assert same.sum() == 1
        assert np.array_equal(labels[same][0, :, :, 0], found.labels[0].numpy())


@pytest.mark.parametrize(("slices", "window", "pixels"), [(1, 16, 1), (3, 16, 1), (1, 28, 1), (1, 28, 2)])
def test_a_network_that_sees_each_slice_by_its_own_moments_learns_by_those_of_the_whole_slice(
    slices: int, window: int, pixels: int
) -> None:
    spec = replace(SPEC, normalisation="slice", outside_hu=-150.0)
    image = np.asarray(case().image_hu, np.float32) + np.arange(
        0, 60, 10, dtype=np.float32
    )  # no slice is another's
    missing = [(0, max(0, window - side)) for side in image.shape[:2]]
    whole = torch.from_numpy(np.pad(image, (*missing, (0, 0)), constant_values=-150))  # as inference fills it up
    wide = torch.from_numpy(np.pad(image, ((16, 16), (16, 16), (0, 0)), constant_values=-150))
    seen = normalise_hu_(wide, spec, moments=slice_moments(whole, spec.window_hu)).numpy()
    views = np.lib.stride_tricks.sliding_window_view(seen, (window, window), axis=(0, 1))
    fine = [np.repeat(np.repeat(layer, pixels, axis=0), pixels, axis=1) for layer in (image, case().labels)]
    scan = replace(case(), image_hu=fine[0], labels=fine[1], spacing_mm=(4.0 / pixels, 4.0 / pixels, 0.0))
    depth = {"slices": slices, "adapters": (Depth(neighbours=3),)} if slices > 1 else {}
    for seed in range(4):
        for learnt in cut(seed, spec=spec, of=scan, window_size=(window, window), **depth).images[:, 0]:
            assert np.isclose(views, learnt.numpy(), atol=1e-3).all(axis=(3, 4)).any()


def test_most_windows_show_a_class_and_image_and_labels_move_together() -> None:
    turned = replace(STILL, keep_sharp=0.0, degrees=90.0, scale=(0.8, 1.25))
    shown = 0
    for seed in range(20):
        found = cut(seed, augmentation=turned, mirror=(0.5, 0.5))
        for label in (1, 2):
            where = found.labels[0] == label
            inner = -torch.nn.functional.max_pool2d(-where.float()[None], 3, 1, 1)[0] > 0
            if inner.any():
                shown += 1
                values = found.images[0, 0][inner]
                assert float((values - 0.7).abs().min()) < 0.15  # between the two kidneys' 0.8 and 0.6
    assert shown > 10


def test_the_names_of_sides_are_swapped_with_the_sides() -> None:
    for seed in range(8):
        across = cut(seed, window_size=(20, 24), mirror=(0.0, 1.0))
        plain = cut(seed, window_size=(20, 24))
        if not plain.labels.any():
            continue
        swapped = torch.tensor([0, 2, 1])[plain.labels].flip(2)
        assert torch.equal(across.labels, swapped)
        down = cut(seed, window_size=(20, 24), mirror=(1.0, 0.0))
        assert torch.equal(down.labels, plain.labels.flip(1)), "back and front have no names"
        partial = cut(seed, of=case(annotated=frozenset({1})), window_size=(20, 24), mirror=(0.0, 1.0))
        assert partial.looked_for.tolist() == [True, False, True]
        return
    pytest.fail("no window showed a kidney")


def test_a_side_whose_other_side_has_no_name_is_nobody_s_in_a_mirror() -> None:
    spec = replace(SPEC, vocabulary=((1, "left kidney"), (2, "spleen")))
    assert mirrored_ids(spec) == {1: UNKNOWN, 2: 2}
    shown = 0
    for annotated, looked_for in ({1, 2}, [True, False, True]), ({1}, [True, True, False]):
        cutter = SliceCutter(
            [case(annotated=frozenset(annotated))],
            spec,
            recipe=recipe(window_size=(20, 24), mirror=(0.0, 1.0)),
            mirrored=mirrored_ids(spec),
        )
        for seed in range(8):
            found = cutter.cut(np.random.default_rng(seed))
            assert found.looked_for.tolist() == looked_for
            kidney = UNKNOWN if 2 in annotated else 1  # what would have no name is not mirrored
            assert set(found.labels.unique().tolist()) <= {0, 2, kidney}
            shown += kidney in found.labels
    assert shown > 8


def test_neighbouring_slices_are_cut_together() -> None:
    found = cut(3, slices=3, adapters=(Depth(neighbours=3),))
    stack = np.moveaxis(found.labels.numpy(), 0, 2)
    assert stack.any()
    assert (windows(case().labels, depth=3) == stack).all(axis=(3, 4, 5)).any()
    assert found.images.shape == (3, 1, 16, 16)
    with pytest.raises(UsageError, match="depth"):
        recipe(slices=3)


@pytest.mark.parametrize("slices", [4, 5])
def test_slices_that_are_turned_in_their_plane_are_not_mixed_with_their_neighbours(slices: int) -> None:
    heights = np.arange(0, 500, 50, np.int16)
    shape = (40, 40, len(heights))
    scan = Case("one", "made up", np.broadcast_to(heights, shape), np.ones(shape, np.uint8), frozenset((1,)))
    spec = replace(SPEC, outside_hu=0.0, window_hu=(0.0, 500.0))
    turned = replace(STILL, keep_sharp=0.0, degrees=30.0)
    for seed in range(4):
        found = cut(seed, spec=spec, of=scan, slices=slices, adapters=(Depth(neighbours=3),), augmentation=turned)
        shown = found.images[:, 0, 8, 8] * 10  # the number of the slice
        assert float((shown - shown.round()).abs().max()) < 1e-3
        assert shown.round().unique().numel() >= slices - 1  # one may lie below the scan


def test_the_same_seed_cuts_the_same_and_every_change_is_seen() -> None:
    config = Augmentation(cut=0.0, keep_sharp=0.0, low_resolution=1.0, noise=1.0, drift=1.0, blur=1.0, contrast=1.0)
    first, again, other = (cut(seed, augmentation=config) for seed in (1, 1, 2))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


@pytest.mark.parametrize("change", ["blur", "contrast"])
def test_neighbouring_slices_are_blurred_and_change_their_contrast_too(change: str) -> None:
    deep: dict[str, object] = {"slices": 3, "adapters": (Depth(neighbours=3),)}
    plain = cut(3, **deep)
    changed = cut(3, **deep, augmentation=replace(STILL, **{change: 1.0}))  # type: ignore[arg-type]
    assert torch.equal(changed.labels, plain.labels)
    assert bool((changed.images != plain.images).flatten(1).any(dim=1).all()), "each of the three"


def test_slices_turn_in_their_plane() -> None:
    config = replace(STILL, keep_sharp=0.0, degrees=30.0)
    found = slice_map(config, (2.0, 4.0, 0.0), np.random.default_rng(0))
    assert found[2].tolist() == [0, 0, 1]
    assert found[:, 2].tolist() == [0, 0, 1]
    in_mm = np.diag([2.0, 4.0]) @ found[:2, :2] @ np.diag([1 / 2.0, 1 / 4.0])
    assert not np.allclose(in_mm, np.eye(2))
    assert abs(np.linalg.det(in_mm)) == pytest.approx(np.prod(np.linalg.svd(in_mm)[1]))


NATIVE = (1.4, 2.6, 4.0)
"""Millimetres of the voxels of a scan that is learnt from at 1 mm."""
FINE = replace(SPEC, spacing_mm=(1.0, 1.0, 0.0), window_hu=(-1000.0, 1000.0), outside_hu=-1000.0)


def in_mm(shape: tuple[int, int, int] = (30, 22, 3)) -> Case:
    """A scan of which every voxel's value says where it is, and labels whose edges run between voxels."""
    row, column, number = np.indices(shape) * np.reshape(NATIVE, (3, 1, 1, 1))
    labels = np.zeros(shape, np.uint8)
    labels[13:, :, :] = 1
    labels[13:, 12:, :] = 2
    image = 10.0 * row - 3.0 * column + number
    return Case("one", "made up", image.astype(np.float32), labels, frozenset((1, 2)), spacing_mm=NATIVE)


def test_a_window_is_brought_to_the_spec_s_spacing_as_it_is_read() -> None:
    """Linear interpolation of a plane is exact: the values say where each pixel lies, the labels must agree."""
    scan, seen = in_mm(), 0
    for seed in range(30):
        found = cut(seed, spec=FINE, of=scan)
        values = found.images[0, 0].numpy() * 2000 - 1000
        inside = (slice(4, -4),) * 2  # windows reach beyond the scan by an eighth of their side
        down, right = np.diff(values, axis=0)[inside], np.diff(values, axis=1)[inside]
        assert np.allclose(down, 10.0, atol=0.05), "1 mm from row to row"
        assert np.allclose(right, -3.0, atol=0.05)
        across = (found.labels[0, 4:-4, 4] > 0).numpy()
        if 0 < across.sum() < len(across):  # the face between rows 12 and 13, seen at a column of known place
            edge = np.argmax(across) + 4
            column_mm = 3.0 * (cut_place(scan, seed)[1] - 7.5 + 4)
            rows_mm = (values[edge - 1 : edge + 1, 4] + column_mm - 4.0 * cut_place(scan, seed)[2]) / 10
            assert rows_mm[0] < 12.5 * NATIVE[0] < rows_mm[1]
            seen += 1
    assert seen > 3


def cut_place(scan: Case, seed: int) -> np.ndarray:
    """Return the middle of the window of a seed: millimetres along rows and columns, and the slice."""
    rng = np.random.default_rng(seed)
    grid = grid_over(scan, FINE)
    assert grid is not None
    chosen = draw_case({"made up": [scan]}, {"made up": 1.0}, rng)
    centre = draw_centre(chosen, (16, 16, 1), rng, grid=grid)
    middle_mm = (np.array(scan.labels.shape) - 1) / 2 * NATIVE
    row, column = centre[:2] + 0.5 - (np.array(grid.shape[:2]) - 1) / 2 + middle_mm[:2]
    return np.array([row, column, centre[2]])


def test_a_window_is_what_a_resampled_copy_would_have_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crops, "NEAR_A_CLASS", 0.0)  # places in a copy are others, in another order
    rng = np.random.default_rng(0)
    grid = Grid((30, 22, 3), np.diag([*NATIVE, 1.0]))
    labels = np.zeros(grid.shape, np.uint8)
    labels[5:14, 4:11], labels[16:25, 9:20] = 1, 2
    image = (np.where(labels > 0, 300, 0) + rng.normal(0, 100, grid.shape)).astype(np.int16)
    write(Volume(image[None], grid, "CT"), tmp_path / "image.nii.gz")
    write(LabelMap(labels, grid, {}), tmp_path / "label.nii.gz")
    entries = [{"image": "image.nii.gz", "label": "label.nii.gz"}]
    mapping = {"1": "left kidney", "2": "right kidney"}
    (tmp_path / "list.json").write_text(json.dumps({"training": entries, "label_mapping": mapping}))
    listed, cache = read_list(tmp_path / "list.json"), Cache(tmp_path / "cache")
    spec = replace(FINE, orientation="RAS")
    (kept,) = prepare_list(listed, spec, cache, keeps_plane=True)
    (copied,) = prepare_list(listed, spec, cache)
    assert kept.labels.shape == grid.shape
    assert copied.labels.shape == (42, 57, 3)
    for seed in range(12):
        direct, offline = (cut(seed, spec=spec, of=one) for one in (kept, copied))
        inside = (offline.images > 0).numpy()  # beyond the scan there is nothing, here after fading
        assert inside.mean() > 0.6
        apart_hu = (direct.images - offline.images).abs().numpy()[inside] * 2000
        assert apart_hu.max() < 0.7, "the copy is rounded to whole Hounsfield units"
        assert torch.equal(direct.labels, offline.labels)


def test_windows_lie_at_the_classes_of_a_scan_with_other_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "NEAR_A_CLASS", 1.0)
    labels = np.zeros((30, 22, 3), np.uint8)
    labels[25, 3, 1] = 1
    scan = replace(in_mm(), labels=labels)
    assert all((cut(seed, spec=FINE, of=scan).labels == 1).any() for seed in range(12))


def test_pixels_as_large_as_the_spec_s_are_read_as_they_are() -> None:
    assert grid_over(case(), SPEC) is None
    assert grid_over(replace(case(), spacing_mm=(4.0, 4.00001, 7.0)), SPEC) is None
    found, plain = cut(2, of=replace(case(), spacing_mm=(4.0, 4.0, 7.0))), cut(2)
    assert torch.equal(found.images, plain.images)
    deep: dict[str, object] = {"slices": 3, "adapters": (Depth(neighbours=3),)}
    numbers = cut(1, spec=FINE, of=replace(in_mm(), image_hu=np.indices((30, 22, 3))[2] * 100), **deep)
    heights = numbers.images[:, 0, 8, 8] * 20 - 10
    assert torch.allclose(heights, heights.round(), atol=1e-3), "slices are not mixed with their neighbours"


def test_classes_must_be_the_channels() -> None:
    with pytest.raises(UsageError, match="gap"):
        SliceCutter(
            [case()], replace(SPEC, vocabulary=((1, "liver"), (3, "spleen")), everything=()), recipe=recipe()
        )
    with pytest.raises(UsageError, match="case 0"):
        SliceCutter([case(annotated=frozenset({7}))], SPEC, recipe=recipe())


@needs_nnunet
def test_nnunet_s_windows_are_windows_of_a_scan_where_it_changes_nothing() -> None:
    image = (windows(case().image_hu, outside=-1024) + 200.0).clip(0, 500) / 500
    labels, plain, still = windows(case().labels), 0, 0
    for seed in range(30):
        found, again = cut(seed, **NNUNET), cut(seed, **NNUNET)
        assert torch.equal(found.images, again.images)
        assert torch.equal(found.labels, again.labels)
        assert found.images.shape == (1, 1, 16, 16)
        assert set(found.labels.unique().tolist()) <= {0, 1, 2}
        plain += np.isclose(image, found.images[0, 0].numpy()[..., None], atol=1e-4).all(axis=(3, 4, 5)).any()
        still += (labels == found.labels[0].numpy()[..., None]).all(axis=(3, 4, 5)).any()
    assert 3 < plain < still < 30, "some as they are, more with changed intensities, some turned or scaled"


@needs_nnunet
@pytest.mark.parametrize("normalisation", ["window", "fixed", "slice"])
def test_nnunet_s_changes_get_a_region_and_are_told_whether_it_is_normalised(
    normalisation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[tuple[tuple[int, ...], bool]] = []

    def heard(_: object, image: Tensor, labels: Tensor, rng: object, *, is_normalised: bool) -> object:
        got.append((tuple(image.shape), is_normalised))
        return image, labels

    monkeypatch.setattr(NnunetChanges, "__call__", heard)
    cut(0, spec=replace(SPEC, normalisation=normalisation), **NNUNET)
    assert got == [((18, 18, 1), normalisation != "window")]


@needs_nnunet
def test_in_nnunet_s_windows_the_names_of_sides_are_swapped_with_the_sides() -> None:
    mirrored, swapped = 0, torch.tensor([0, 2, 1])
    for seed in range(16):
        plain = cut(seed, window_size=(20, 24), **NNUNET)
        across = cut(seed, window_size=(20, 24), mirror=(0.0, 1.0), **NNUNET)
        down = cut(seed, window_size=(20, 24), mirror=(1.0, 0.0), **NNUNET)
        assert {1, 2} >= set(across.labels.unique().tolist()) - {0}
        if plain.labels.any() and torch.equal(across.labels, swapped[plain.labels].flip(2)):
            mirrored += torch.equal(down.labels, plain.labels.flip(1))
    assert mirrored > 4, "all that are not turned besides"
    partial = cut(3, of=case(annotated=frozenset({1})), mirror=(0.0, 1.0), **NNUNET)
    assert partial.looked_for.tolist() == [True, False, True]


@needs_nnunet
def test_nnunet_s_windows_of_neighbouring_slices_and_of_what_nobody_judged() -> None:
    image, same = np.asarray(case().image_hu)[:, :, 2:3], 0
    scan = replace(case(), image_hu=np.repeat(image, 6, axis=2))
    for seed in range(30):
        found = cut(seed, of=scan, slices=3, adapters=(Depth(neighbours=3),), **NNUNET)
        assert found.images.shape == (3, 1, 16, 16)
        assert found.labels.shape == (3, 16, 16)
        same += torch.allclose(found.images[:1], found.images[1:], atol=1e-4)
    assert same > 24, "all but those with noise, or at the ends of the scan"
    unknown = replace(case(), labels=np.where(case().labels == 1, UNKNOWN, case().labels))
    assert sum(UNKNOWN in cut(seed, of=unknown, **NNUNET).labels for seed in range(12)) > 3
