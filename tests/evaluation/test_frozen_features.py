"""Encoders of every kind answer for the same patches of the same slices; those that learnt nothing differ."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vesalius.checkpoints.safetensors import write_model
from vesalius.data.case import Case
from vesalius.errors import UsageError
from vesalius.evaluation.frozen_features import (
    AnyEncoder,
    Places,
    SliceEncoder,
    Thumbnail,
    VolumeEncoder,
    read_encoder,
    read_slices,
    untrained,
)
from vesalius.models.build import build
from vesalius.spec import (
    MedDinoArchitecture,
    ModelSpec,
    PromptedVitArchitecture,
    VistaArchitecture,
    VitArchitecture,
)

VIT = VitArchitecture(patch_size=8, width=16, depth=2, heads=2)
SLICES = ModelSpec(
    name="slices", architecture=VIT, spacing_mm=(2.0, 2.0, 0.0), window_size=(32, 32, 1), normalisation="slice"
)
VOLUMES = ModelSpec(
    name="volumes",
    architecture=VistaArchitecture(width=4, blocks_down=(1, 1, 1), num_embeddings=4, special_classes=()),
    window_size=(16, 12, 8),
)


def scan() -> Case:
    rng = np.random.default_rng(0)
    image = rng.normal(0, 300, (20, 28, 18)).astype(np.int16)
    return Case("a scan", "made up", image, np.ones((20, 28, 18), np.uint8), frozenset({1}))


@pytest.fixture(params=["backbone", "slice model", "volume model"])
def encoder(request: pytest.FixtureRequest, tmp_path: Path) -> AnyEncoder:
    spec = {
        "backbone": SLICES,
        "slice model": ModelSpec(
            name="labelled slices",
            architecture=MedDinoArchitecture(encoder=VIT, taps=(0, 1)),
            spacing_mm=(2.0, 2.0, 0.0),
            window_size=(32, 32, 1),
        ),
        "volume model": VOLUMES,
    }[request.param]
    torch.manual_seed(0)
    write_model(tmp_path / "model", build(spec.architecture).state_dict(), spec)
    return read_encoder(tmp_path / "model")


def test_every_kind_answers_for_every_patch_of_the_slices_asked_for(encoder: AnyEncoder) -> None:
    found = encoder.of_slices(scan(), [1, 10, 17])
    rows, columns = -(-20 // encoder.patch), -(-28 // encoder.patch)
    assert found.shape[0] == 3
    assert found.shape[2:] == (rows, columns)
    assert torch.equal(encoder.of_slices(scan(), [10])[0], found[1])
    assert not torch.equal(found[0], found[1])
    assert Places(encoder.patch).of_slices(scan(), [1, 10, 17]).shape[2:] == found.shape[2:]


def test_what_learnt_nothing_is_drawn_from_its_seed(encoder: AnyEncoder) -> None:
    first, again, other = (untrained(encoder, seed=seed).of_slices(scan(), [3]) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, encoder.of_slices(scan(), [3]))


def test_whole_images_have_one_vector_each_whatever_their_size(encoder: AnyEncoder) -> None:
    images = torch.randn(3, 28, 20, generator=torch.Generator().manual_seed(0)) * 300
    found = encoder.of_images(images)
    assert found.shape[0] == 3
    assert torch.allclose(encoder.of_images(images[1:2])[0], found[1], atol=1e-5)
    assert Thumbnail().of_images(images).shape == (3, 64)


def test_heads_for_prompts_change_nothing_of_what_the_backbone_says_of_the_same_slices(tmp_path: Path) -> None:
    fixed = replace(SLICES, normalisation="fixed", window_hu=(-200.0, 300.0), mean_std_hu=(40.0, 130.0))
    (low, high), (mean, deviation) = fixed.window_hu, fixed.mean_std_hu
    architecture = PromptedVitArchitecture(
        encoder=VIT,
        taps=(0, 1),
        mean_std=((mean - low) / (high - low), deviation / (high - low)),
        width=4,
        num_embeddings=2,
        point_heads=1,
    )
    torch.manual_seed(0)
    prompted = build(architecture).eval()
    spec = replace(
        fixed, architecture=architecture, normalisation="window", spacing_mm=(2.0,) * 3, window_size=(32,) * 3
    )
    write_model(tmp_path / "prompted", prompted.state_dict(), spec)
    write_model(tmp_path / "backbone", prompted.encoder.encoder.state_dict(), fixed)
    with_heads, backbone = (read_encoder(tmp_path / name, taps=(0, 1)) for name in ("prompted", "backbone"))
    torch.testing.assert_close(with_heads.of_slices(scan(), [3, 9]), backbone.of_slices(scan(), [3, 9]))
    images = torch.randn(2, 28, 20, generator=torch.Generator().manual_seed(0)) * 300
    torch.testing.assert_close(with_heads.of_images(images), backbone.of_images(images))


def test_attention_of_what_learnt_nothing_is_not_scaled_away() -> None:
    encoder = SliceEncoder(build(VIT).eval(), SLICES, (1,))
    twin = untrained(encoder)
    assert isinstance(twin, SliceEncoder)
    scales = [tensor for name, tensor in twin.network.named_parameters() if "scale" in name]
    assert scales
    assert all(bool((tensor == 1).all()) for tensor in scales)


def test_a_slice_model_s_windows_lie_where_they_were_cut() -> None:
    torch.manual_seed(0)
    encoder = VolumeEncoder(build(VOLUMES.vista).eval().encoder, VOLUMES)
    case = scan()
    found = encoder.of_slices(case, [5, 12])  # of the first and the second layer of windows
    low, high = VOLUMES.window_hu
    window = torch.from_numpy(np.asarray(case.image_hu)[:16, 12:24, 8:16].astype(np.float32))
    levels = encoder.network(((window - low) / (high - low)).clamp(0, 1)[None, None])
    coarsest = levels[-1][0, :, :, :, (12 - 8) // 4]
    assert torch.allclose(found[1, -len(coarsest) :, :4, 3:6], coarsest, atol=1e-5)


def test_an_image_without_a_unit_is_shown_as_training_shows_it_and_stays_as_it_is() -> None:
    torch.manual_seed(0)
    spec = replace(VOLUMES, modality="MR", normalisation="percentiles")
    low, high = spec.window_hu
    in_hu = scan()
    measured = (np.asarray(in_hu.image_hu, np.float32) - low) / (high - low) * 1800 + 200
    case = replace(in_hu, image_hu=measured.copy(), window=(200.0, 2000.0))
    for encoder in (
        VolumeEncoder(build(spec.vista).eval().encoder, spec),
        SliceEncoder(build(VIT).eval(), spec, (1,)),
    ):
        torch.testing.assert_close(encoder.of_slices(case, [3, 12]), encoder.of_slices(in_hu, [3, 12]))
    assert np.array_equal(np.asarray(case.image_hu), measured)


def test_slices_are_copied_once() -> None:
    image = np.zeros((64, 64, 8), np.float32)
    case = Case("a scan", "made up", image, np.ones(image.shape, np.uint8), frozenset({1}))
    read_slices(case, range(8), SLICES)  # what is imported and compiled at the first call counts for nothing
    tracemalloc.start()
    read = read_slices(case, range(8), SLICES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert image.nbytes <= peak < 1.5 * image.nbytes
    assert read.mul_(2).add_(1).min() == 1
    assert not image.any()


def test_places_know_the_place_and_nothing_else() -> None:
    one = scan()
    other = Case("another", "made up", np.zeros((20, 28, 18), np.int16), np.ones_like(one.labels), frozenset({1}))
    places = Places(4)
    assert torch.equal(places.of_slices(one, [2, 9]), places.of_slices(other, [2, 9]))
    found = places.of_slices(one, [2, 9])
    assert not torch.allclose(found[0, :, 0, 0], found[0, :, 0, 1])
    assert not torch.allclose(found[0], found[1])


def test_blocks_that_are_not_there_are_refused(tmp_path: Path) -> None:
    for spec, taps in ((SLICES, (2,)), (VOLUMES, (0,))):
        write_model(tmp_path / spec.name, build(spec.architecture).state_dict(), spec)
        with pytest.raises(UsageError, match=r"block|volumes"):
            read_encoder(tmp_path / spec.name, taps=taps)
