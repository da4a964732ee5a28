"""Synthesis: labels bent and repainted, the same for the same generator, HU of tissues in CT mode."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from vesalius.data.phantom import PhantomConfig, make_phantom
from vesalius.data.synthesis import SynthesisConfig, synthesise
from vesalius.errors import UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap


@pytest.fixture(scope="module")
def labels() -> LabelMap:
    return make_phantom(
        PhantomConfig(shape=(72, 56, 48), spacing_mm=(6.0, 6.0, 7.0), region="abdomen", tumours=True)
    )[1]


STILL = SynthesisConfig(bend_mm=0.0, rotation_degrees=0.0, scaling=0.0, shift_mm=0.0)


def test_the_same_generator_paints_the_same_and_another_differs(labels):
    first, again, other = (synthesise(labels, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first[0].data, again[0].data)
    assert np.array_equal(first[1].data, again[1].data)
    assert not np.array_equal(first[0].data, other[0].data)
    assert (first[1].data != other[1].data).mean() > 0.01


def test_labels_are_bent_a_little_and_keep_grid_names_and_layers(labels):
    volume, bent = synthesise(labels, rng=np.random.default_rng(3))
    assert bent.grid is labels.grid
    assert volume.grid is labels.grid
    assert volume.data.shape == (1, *labels.grid.shape)
    assert volume.data.dtype == np.int16
    assert bent.data.dtype == labels.data.dtype
    assert bent.names == labels.names
    assert set(bent.overlaps) == set(labels.overlaps)
    assert set(np.unique(bent.data)) <= set(np.unique(labels.data))
    a, b = labels.mask("liver"), bent.mask("liver")
    overlap = 2 * (a & b).sum() / (a.sum() + b.sum())
    assert 0.3 < overlap < 0.995
    assert 0.6 < b.sum() / a.sum() < 1.6


def test_without_deformation_labels_stay_where_they_are(labels):
    _, still = synthesise(labels, rng=np.random.default_rng(4), config=STILL)
    assert np.array_equal(still.data, labels.data)
    assert np.array_equal(still.overlaps["tumours"], labels.overlaps["tumours"])


def test_layers_are_bent_with_the_labels(labels):
    _, bent = synthesise(labels, rng=np.random.default_rng(5))
    vessels = bent.mask("hepatic vessel")
    assert vessels.any()
    assert bent.mask("liver")[vessels].mean() > 0.9


def test_a_shift_moves_labels_by_millimetres_whatever_the_voxel():
    for spacing in ((1.0, 1.0, 1.0), (1.0, 2.0, 4.0)):
        data = np.zeros((40, 40, 40), dtype=np.uint8)
        data[15:25, 15:25, 15:25] = 1
        grid = Grid((40, 40, 40), np.diag([*spacing, 1.0]))
        config = SynthesisConfig(bend_mm=0.0, rotation_degrees=0.0, scaling=0.0, shift_mm=5.0)
        _, moved = synthesise(LabelMap(data, grid, {1: "liver"}), rng=np.random.default_rng(0), config=config)
        shift = (np.argwhere(moved.data).mean(axis=0) - np.argwhere(data).mean(axis=0)) * spacing
        rng = np.random.default_rng(0)
        rng.normal(size=6)  # rotation and scaling are drawn first
        assert np.allclose(shift, -5.0 * rng.normal(size=3), atol=0.51 * max(spacing))


def test_ct_mode_keeps_tissues_apart_as_in_ct(labels):
    for seed in range(4):
        volume, bent = synthesise(labels, rng=np.random.default_rng(seed))
        hu = volume.data[0]
        lung = np.isin(bent.data, [28, 29, 30, 31, 32])
        assert np.median(hu[lung]) < -600
        assert -20 < np.median(hu[bent.mask("liver")]) < 200
        assert np.median(hu[bent.mask("vertebrae L2")]) > np.median(hu[bent.mask("left autochthon")]) + 50
        assert np.median(hu[:3, :3]) < -850


def test_random_contrasts_are_unlike_ct_and_unlike_each_other(labels):
    config = SynthesisConfig(contrasts="random")
    livers = []
    for seed in range(8):
        volume, bent = synthesise(labels, rng=np.random.default_rng(seed), config=config)
        livers.append(np.median(volume.data[0][bent.mask("liver")]))
    assert np.std(livers) > 100


def test_structures_have_texture_and_noise_as_asked():
    data = np.ones((48, 48, 24), dtype=np.uint8)
    labels = LabelMap(data, Grid(data.shape, np.diag([2.0, 2.0, 2.0, 1.0])), {1: "liver"})
    quiet = SynthesisConfig(
        bend_mm=0.0, rotation_degrees=0.0, scaling=0.0, shift_mm=0.0, texture_hu=0.0, noise_hu=(0.0, 0.0)
    )
    assert synthesise(labels, rng=np.random.default_rng(0), config=quiet)[0].data.std() < 1
    noisy = SynthesisConfig(
        bend_mm=0.0, rotation_degrees=0.0, scaling=0.0, shift_mm=0.0, texture_hu=0.0, noise_hu=(25.0, 25.0)
    )
    assert synthesise(labels, rng=np.random.default_rng(0), config=noisy)[0].data.std() == pytest.approx(
        25, rel=0.05
    )


def test_blur_softens_borders_in_millimetres():
    data = np.zeros((60, 20, 20), dtype=np.uint8)
    data[30:] = 1
    data[:30] = 2
    labels = LabelMap(data, Grid(data.shape, np.diag([1.0, 1.0, 3.0, 1.0])), {1: "lung", 2: "bone"})
    still = {"bend_mm": 0.0, "rotation_degrees": 0.0, "scaling": 0.0, "shift_mm": 0.0}
    sharp, soft = (
        synthesise(
            labels,
            rng=np.random.default_rng(0),
            config=SynthesisConfig(**still, texture_hu=0.0, noise_hu=(0.0, 0.0), blur_mm=(mm, mm)),
        )[0].data[0]
        for mm in (0.0, 3.0)
    )
    low, high = sharp.min(), sharp.max()
    between = lambda hu: ((hu > low + 100) & (hu < high - 100))[:, 10, 10].sum()  # noqa: E731
    assert between(sharp) == 0
    assert 5 <= between(soft) <= 12


def test_the_atlas_of_real_anatomy_can_be_painted(shared_data):
    import SimpleITK

    image = SimpleITK.ReadImage(str(shared_data / "labels-only" / "spl_abdominal_atlas_seg.nrrd"))
    data = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)[::4, ::4, ::4]
    names = {int(label): f"structure {label}" for label in np.unique(data) if label} | {3: "liver", 699: "Rib19"}
    labels = LabelMap(data.astype(np.uint16), Grid(data.shape, np.diag([6.0, 6.0, 12.0, 1.0])), names)
    volume, bent = synthesise(labels, rng=np.random.default_rng(0))
    assert bent.mask("liver").any()
    assert 20 < np.median(volume.data[0][bent.mask("liver")]) < 160


@pytest.mark.parametrize("wrong", [{"bend_mm": -1.0}, {"noise_hu": (5.0, 1.0)}, {"bend_knot_mm": 0.0}])
def test_a_wrong_configuration_is_refused(wrong):
    with pytest.raises(UsageError, match="expected"):
        SynthesisConfig(**wrong)
