"""nnU-Net's changes: what its library gives when it is called directly, in threads, too; no generator is moved."""

from __future__ import annotations

import importlib
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vesalius.data.case import UNKNOWN
from vesalius.errors import MissingExtraError
from vesalius.transforms.nnunet import NnunetChanges, region_size, require_library, turn_of

SIZE = (24, 20)
REGION = region_size(SIZE)
LABELS = np.array([0, 1, 2, UNKNOWN], np.uint8)


needs_library = pytest.mark.skipif(
    find_spec("batchgeneratorsv2") is None, reason="vesalius[nnunet] is not installed"
)


def region(slices: int = 1, size: tuple[int, int] = SIZE) -> tuple[Tensor, Tensor]:
    """Blocks of four labels, and a picture that follows from them but for a little noise."""
    rng, (rows, columns) = np.random.default_rng(0), region_size(size)
    blocks = np.kron(rng.choice(LABELS, (16, 16, slices)), np.ones((4, 4, 1), np.uint8))[:rows, :columns]
    picture = np.where(blocks == UNKNOWN, 3, blocks) - 1.5 + rng.normal(0, 0.05, blocks.shape)
    return torch.from_numpy(picture.astype(np.float32)), torch.from_numpy(blocks)


def middle_of(whole: Tensor, size: tuple[int, int] = SIZE) -> Tensor:
    """The window of a region that is neither turned nor scaled."""
    row, column = ((long - part) // 2 for long, part in zip(whole.shape, size, strict=False))
    return whole[row : row + size[0], column : column + size[1]]


def changed(seed: int, slices: int = 1, size: tuple[int, int] = SIZE) -> tuple[Tensor, Tensor]:
    return NnunetChanges(size, slices=slices)(*region(slices, size), np.random.default_rng(seed))


def by_the_library(seed: int, slices: int, size: tuple[int, int], degrees: float) -> tuple[Tensor, Tensor]:
    """What nnU-Net's trainer composes for two dimensions, called with the process' generators seeded.

    Its numbers are written down a second time here: its trainer is not called. Of several slices it has nothing to
    say; what ``NnunetChanges`` states of them is composed.
    """
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from batchgeneratorsv2.transforms.utils.random import RandomTransform
    from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTransform

    def at_times(change: Any, part: float) -> Any:
        """Do it at times, and see all slices as one long one."""
        chosen = RandomTransform(change, part)
        return lambda **data: (
            data | {"image": chosen(image=data["image"].reshape(1, -1, size[1]))["image"].reshape(slices, *size)}
        )

    turn = degrees / 360 * 2 * np.pi
    spatial = SpatialTransform(
        size, 0, False, p_elastic_deform=0, p_rotation=0.2, rotation=(-turn, turn), p_scaling=0.2,
        scaling=(0.7, 1.4), p_synchronize_scaling_across_axes=1, border_mode_seg="constant", padding_value_seg=-1,
    )  # fmt: skip
    quarter, gamma, is_one = BGContrast((0.75, 1.25)), BGContrast((0.7, 1.5)), slices == 1
    alike, of_channels, seldom = not is_one, 0.5 if is_one else 1.0, 1.0 if is_one else 0.5
    chain = ComposeTransforms([
        spatial,
        at_times(GaussianNoiseTransform((0, 0.1), 1, True), 0.1),
        RandomTransform(
            GaussianBlurTransform((0.5, 1.0), alike, False, of_channels, benchmark=False), 0.2 * seldom
        ),
        at_times(MultiplicativeBrightnessTransform(quarter, False, 1), 0.15),
        at_times(ContrastTransform(quarter, True, False, 1), 0.15),
        RandomTransform(
            SimulateLowResolutionTransform((0.5, 1), alike, True, None, None, of_channels), 0.25 * seldom
        ),
        at_times(GammaTransform(gamma, 1, False, 1, 1), 0.1),
        at_times(GammaTransform(gamma, 0, False, 1, 1), 0.3),
        RemoveLabelTransform(-1, 0),
    ])  # fmt: skip
    image, labels = region(slices, size)
    drawn = int(np.random.default_rng(seed).integers(2**32))
    np.random.seed(drawn)
    torch.manual_seed(drawn)
    found = chain(
        image=image.permute(2, 0, 1).contiguous(), segmentation=labels.permute(2, 0, 1).to(torch.int16).contiguous()
    )
    return found["image"].permute(1, 2, 0), found["segmentation"].permute(1, 2, 0)


@needs_library
@pytest.mark.parametrize(
    ("size", "slices", "degrees"), [(SIZE, 1, 180.0), ((16, 28), 1, 15.0), (SIZE, 3, 180.0)],
    ids=["a slice", "elongated", "slices"],
)  # fmt: skip
def test_a_seed_gives_what_the_library_gives_bit_for_bit(
    size: tuple[int, int], slices: int, degrees: float
) -> None:
    plain = [middle_of(part, size) for part in region(slices, size)]
    differ = np.zeros(2, dtype=int)
    for seed in range(40):
        found = changed(seed, slices, size)
        wanted_image, wanted_labels = by_the_library(seed, slices, size, degrees)
        assert torch.equal(found[0], wanted_image), f"seed {seed}"
        assert torch.equal(found[1], wanted_labels.to(torch.uint8))
        differ += [not torch.equal(a, b) for a, b in zip(found, plain, strict=True)]
    assert 20 < differ[0] < 40, "most pictures are changed, and not all"
    assert 8 < differ[1] < 25, "a third are turned or scaled"


@needs_library
def test_other_threads_change_nothing_and_a_seed_gives_one_window() -> None:
    seeds = list(range(16)) * 2
    alone = [changed(seed) for seed in seeds]
    is_over = threading.Event()

    def disturbing() -> None:
        while not is_over.is_set():
            np.random.seed(5)
            torch.manual_seed(5)
            np.random.uniform()
            torch.rand(3)

    other = threading.Thread(target=disturbing)
    other.start()
    try:
        with ThreadPoolExecutor(3) as pool:
            together = list(pool.map(changed, seeds))
    finally:
        is_over.set()
        other.join()
    for first, again in zip(alone, together, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({float(image.sum()) for image, _ in alone}) > 8, "seeds differ"


def words() -> np.ndarray:
    """Return the state of NumPy's own generator."""
    state = np.random.get_state(legacy=False)
    assert isinstance(state, dict)
    return np.append(state["state"]["key"], state["state"]["pos"])


@needs_library
def test_the_process_generators_stay_as_they_are_and_the_library_still_draws_from_them() -> None:
    np.random.seed(3)
    torch.manual_seed(3)
    numpy_s, torch_s = words(), torch.get_rng_state()
    for seed in range(20):
        changed(seed)
    assert np.array_equal(words(), numpy_s)
    assert torch.equal(torch.get_rng_state(), torch_s)
    drawn = importlib.import_module("batchgeneratorsv2.helpers.scalar_type").sample_scalar((0.0, 1.0))
    assert drawn == np.random.RandomState(3).uniform()


def scene(slices: int = 1) -> tuple[Tensor, Tensor]:
    """Two bars on background, one of them unknown, large enough to have an inside; picture and label agree."""
    labels = torch.zeros(*REGION, slices, dtype=torch.uint8)
    labels[4:24, 4:12], labels[6:20, 15:23] = 1, UNKNOWN
    return torch.where(labels == UNKNOWN, 2.0, labels.float()), labels


def inside(where: Tensor) -> Tensor:
    """Pixels of a mask [h w] whose neighbours, too, are of it."""
    grown = torch.nn.functional.max_pool2d(1.0 - where.float()[None], 5, 1, 2)[0]
    return grown == 0


@needs_library
def test_picture_and_labels_move_together_and_unknown_stays_unknown() -> None:
    image, labels = scene()
    middle, change, moved = middle_of(labels), NnunetChanges(SIZE), 0
    for seed in range(40):
        found, drawn = change(image, labels, np.random.default_rng(seed))
        assert set(drawn.unique().tolist()) <= {0, 1, UNKNOWN}
        shown = [inside(drawn[..., 0] == label) for label in (0, 1, UNKNOWN)]
        if torch.equal(drawn, middle) or not all(where.any() for where in shown):
            continue
        levels = torch.stack([found[..., 0][where].median() for where in shown])
        assert bool((levels.diff() > 0.3).all()), f"seed {seed}"
        for place, where in enumerate(shown):
            nearest = (found[..., 0][where][:, None] - levels).abs().argmin(1)
            assert float((nearest == place).float().mean()) > 0.97, f"seed {seed}"
        moved += 1
    assert moved > 5
    assert torch.equal(image, scene()[0]), "what is given is not written into"


@needs_library
def test_neighbouring_slices_are_changed_alike() -> None:
    image, labels = (part.expand(-1, -1, 3) for part in scene())
    image = torch.cat([image[..., :2], image[..., 2:] + 1], dim=2)  # the last is brighter by what the labels differ
    change, same, compared = NnunetChanges(SIZE, slices=3), 0, 0
    for seed in range(60):
        found, drawn = change(image, labels, np.random.default_rng(seed))
        assert torch.equal(drawn, drawn[..., :1].expand(-1, -1, 3))
        same += torch.allclose(found[..., 0], found[..., 1], atol=1e-5)
        where = [inside(drawn[..., 0] == label) for label in (UNKNOWN, 1)]
        if all(bool(one.any()) for one in where):
            here, there = found[..., 0][where[0]].median(), found[..., 2][where[1]].median()
            assert abs(float(here - there)) < 0.1, "what was equally bright still is, wherever it lies"
            compared += 1
    assert compared > 50
    assert same > 53, "all but those with noise, which is each pixel's own"


@needs_library
def test_a_picture_in_0_1_is_changed_as_much_as_a_normalised_one() -> None:
    (image, labels), differ = region(), 0
    for seed in range(20):
        one, two = (
            NnunetChanges(SIZE)(picture, labels, np.random.default_rng(seed), is_normalised=False)[0]
            for picture in (image, 0.05 * image + 0.4)
        )
        assert torch.allclose(two, 0.05 * one + 0.4, atol=1e-4)
        differ += not torch.allclose(one, middle_of(image), atol=0.1)
    assert differ > 8, "windows are changed"


def test_a_region_is_as_large_as_nnunet_s() -> None:
    assert [region_size(size) for size in ((128, 128), (96, 128), (64, 128))] == [
        (150, 150),
        (150, 150),
        (111, 150),
    ]
    assert [round(np.degrees(turn_of(size))) for size in ((96, 128), (64, 128))] == [180, 15]


@needs_library
def test_what_a_transform_imports_is_missed_before_it_is_composed(monkeypatch: pytest.MonkeyPatch) -> None:
    require_library()
    monkeypatch.delitem(sys.modules, "batchgeneratorsv2.transforms.noise.gaussian_blur")
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(MissingExtraError, match=r"without skimage\.data"):
        require_library()


def test_without_the_library_the_line_to_type_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "batchgeneratorsv2.helpers.scalar_type", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vesalius\[nnunet\]'"):
        NnunetChanges(SIZE)


@needs_library
def test_a_library_that_draws_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("batchgeneratorsv2.helpers.scalar_type"), "np", object())
    with pytest.raises(MissingExtraError, match="draws otherwise"):
        require_library()
