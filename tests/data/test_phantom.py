"""The phantom: anatomy in its place for every seed, the same person at every voxel size, in bounded memory."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from vesalius.data.phantom import PhantomConfig, make_phantom, phantom_slabs
from vesalius.errors import UsageError
from vesalius.geometry.volume import LabelMap, Volume

SEEDS = (0, pytest.param(1, marks=pytest.mark.slow))
COARSE = PhantomConfig(shape=(92, 72, 104), spacing_mm=(5.0, 5.0, 7.0), tumours=True)
SMALL = PhantomConfig(shape=(48, 40, 20), spacing_mm=(9.0, 9.0, 14.0), seed=5, region="abdomen")
ORGANS = (
    "liver", "spleen", "pancreas", "right kidney", "left kidney", "aorta", "inferior vena cava",
    "portal vein and splenic vein", "gallbladder", "esophagus", "stomach", "duodenum", "small bowel", "colon",
    "bladder",
    "heart", "trachea", "spinal cord", "sacrum", "sternum", "left hip", "right hip", "left femur", "right femur",
    "left lung upper lobe", "left lung lower lobe", "right lung upper lobe", "right lung middle lobe",
    "right lung lower lobe", "left autochthon", "right autochthon", "left iliopsoas", "right iliopsoas",
    "left gluteus maximus", "right gluteus maximus", "left gluteus medius", "right gluteus medius",
    "left gluteus minimus", "right gluteus minimus", "left adrenal gland", "right adrenal gland",
    "costal cartilages",
)  # fmt: skip
VERTEBRAE = [
    f"vertebrae {name}"
    for name in ("S1", *(f"L{n}" for n in range(5, 0, -1)), *(f"T{n}" for n in range(12, 0, -1)))
]
RIBS = [f"{side} rib {number}" for side in ("left", "right") for number in range(1, 13)]
PAIRED = (
    "kidney",
    "adrenal gland",
    "hip",
    "femur",
    "autochthon",
    "iliopsoas",
    "gluteus maximus",
    "clavicula",
    "scapula",
)


@pytest.fixture(scope="module", params=SEEDS)
def torso(request: pytest.FixtureRequest) -> tuple[Volume, LabelMap]:
    return make_phantom(dataclasses.replace(COARSE, seed=request.param))


@pytest.fixture(scope="module")
def small() -> tuple[Volume, LabelMap]:
    return make_phantom(SMALL)


def centroid(labels: LabelMap, name: str) -> np.ndarray:
    return labels.grid.to_world(np.argwhere(labels.mask(name)).mean(axis=0))


def volume_ml(labels: LabelMap, name: str) -> float:
    return float(labels.mask(name).sum() * labels.grid.voxel_volume_ml)


def test_every_promised_structure_is_in_a_whole_torso(torso):
    _, labels = torso
    missing = [name for name in (*ORGANS, *VERTEBRAE, *RIBS) if not labels.mask(name).any()]
    assert missing == []


def test_organs_have_the_volumes_of_adults(torso):
    _, labels = torso
    plausible_ml = {
        "liver": (700, 2400), "spleen": (50, 450), "right kidney": (60, 320), "left kidney": (60, 320),
        "pancreas": (20, 180), "heart": (250, 1100), "aorta": (90, 400), "stomach": (120, 1100),
        "bladder": (30, 700), "vertebrae L3": (20, 90), "vertebrae T6": (8, 40), "left femur": (60, 260),
    }  # fmt: skip
    volumes = {name: volume_ml(labels, name) for name in plausible_ml}
    assert [n for n, (low, high) in plausible_ml.items() if not low < volumes[n] < high] == [], volumes
    lungs = sum(volume_ml(labels, name) for name in ORGANS if "lung" in name)
    assert 2500 < lungs < 8500


def test_organs_lie_on_their_side(torso):
    _, labels = torso
    spine = centroid(labels, "vertebrae T10")
    assert centroid(labels, "liver")[0] > spine[0] + 15
    for name in ("spleen", "stomach", "heart"):
        assert centroid(labels, name)[0] < spine[0] - 5, name
    assert centroid(labels, "aorta")[0] < centroid(labels, "inferior vena cava")[0]
    assert centroid(labels, "gallbladder")[0] > spine[0]
    for name in PAIRED:
        assert centroid(labels, f"right {name}")[0] > centroid(labels, f"left {name}")[0] + 15, name


def test_organs_lie_in_front_behind_above_and_below_each_other(torso):
    _, labels = torso
    at = {name: centroid(labels, name) for name in ORGANS}
    assert at["bladder"][2] < at["right kidney"][2] < at["heart"][2] < at["trachea"][2]
    assert at["bladder"][2] < at["liver"][2] < at["heart"][2]
    pairs = (
        ("right kidney", "gallbladder"), ("left kidney", "stomach"), ("spinal cord", "aorta"),
        ("sacrum", "bladder"),
        ("left autochthon", "left iliopsoas"), ("aorta", "sternum"),
    )  # fmt: skip
    for behind, before in pairs:
        assert at[behind][1] < at[before][1], (behind, before)


def test_vertebrae_and_ribs_are_in_order(torso):
    _, labels = torso
    heights = [centroid(labels, name)[2] for name in VERTEBRAE]
    assert heights == sorted(heights)
    ids = {name: label for label, name in labels.names.items()}
    numbers = [ids[name] for name in VERTEBRAE[1:]]
    assert numbers == sorted(numbers)  # L5 is 33, T1 is 49
    for side, sign in (("left", -1), ("right", 1)):
        for number in range(1, 13):
            rib = centroid(labels, f"{side} rib {number}")
            assert sign * (rib[0] - centroid(labels, f"vertebrae T{number}")[0]) > 15
        tops = [np.argwhere(labels.mask(f"{side} rib {n}"))[:, 2].max() for n in range(1, 13)]
        assert tops == sorted(tops, reverse=True)


def test_tissues_measure_what_they_do_in_ct(torso):
    volume, labels = torso
    hu = volume.data[0]
    assert hu.dtype == np.int16
    assert labels.data.dtype == np.uint8

    def median(name: str) -> float:
        return float(np.median(hu[labels.mask(name)]))

    assert median("left lung upper lobe") < -750
    assert median("trachea") < -800
    assert 45 < median("liver") < 160
    assert 60 < median("spleen") < 180
    assert 100 < median("aorta") < 220
    assert median("right kidney") > median("liver")
    assert 0 < median("left autochthon") < 95
    assert median("vertebrae L3") > 90
    assert -20 < median("bladder") < 60
    assert hu.min() >= -1024
    fat = hu[(labels.data == 0) & (hu > -140) & (hu < -60)]
    assert fat.size * labels.grid.voxel_volume_ml > 2000


def test_contrast_phases_enhance_vessels_and_kidneys():
    def aorta_and_cava(contrast: str) -> tuple[float, float]:
        config = PhantomConfig(shape=(72, 56, 12), spacing_mm=(6.0, 6.0, 16.0), region="abdomen", contrast=contrast)
        volume, labels = make_phantom(config)
        return tuple(np.median(volume.data[0][labels.mask(n)]) for n in ("aorta", "inferior vena cava"))

    plain, arterial, portal = (aorta_and_cava(phase) for phase in ("none", "arterial", "portal"))
    assert plain[0] < 70
    assert arterial[0] > portal[0] + 60 > plain[0] + 100
    assert portal[1] > arterial[1] > plain[1] - 20


def test_tumours_lie_inside_their_organs(torso, small):
    _, labels = torso
    bones = (*VERTEBRAE, "sacrum", "left hip", "right hip")
    hosts = {
        "hepatic tumor": ("liver",), "pancreatic tumor": ("pancreas",), "colon cancer primaries": ("colon",),
        "lung tumor": tuple(n for n in labels.names.values() if "lobe" in n),
        "bone lesion": bones,
        "hepatic vessel": ("liver",),
    }  # fmt: skip
    ids = {name: label for label, name in labels.names.items()}
    found = 0
    for lesion, organs in hosts.items():
        mask = labels.mask(lesion)
        assert np.isin(labels.data[mask], [ids[o] for o in organs]).all(), lesion
        found += bool(mask.any())
    assert found >= 4
    assert set(labels.overlaps) == {"vessels", "airways", "tumours"}
    assert not small[1].overlaps.keys() & {"tumours"}


def test_a_seed_is_a_person_and_the_same_every_time(small):
    first, again = small, make_phantom(SMALL)
    assert np.array_equal(first[0].data, again[0].data)
    assert np.array_equal(first[1].data, again[1].data)
    other = make_phantom(dataclasses.replace(SMALL, seed=6))
    assert (first[1].data != other[1].data).mean() > 0.03
    assert not np.array_equal(first[0].data, other[0].data)


def test_the_same_person_comes_out_at_half_the_resolution():
    fine = PhantomConfig(shape=(160, 120, 64), spacing_mm=(2.5, 2.5, 3.5), region="abdomen", seed=2)
    coarse = dataclasses.replace(fine, shape=(80, 60, 32), spacing_mm=(5.0, 5.0, 7.0))
    sharp, blunt = make_phantom(fine)[1], make_phantom(coarse)[1]
    for name in ("liver", "right kidney", "left kidney", "colon", "stomach", "vertebrae L1", "left autochthon"):
        # Each coarse voxel holds 2×2×2 fine ones: it should be labelled where at least half of them are.
        share = sharp.mask(name).reshape(80, 2, 60, 2, 32, 2).mean(axis=(1, 3, 5))
        a, b = share >= 0.5, blunt.mask(name)
        dice = 2 * (a & b).sum() / (a.sum() + b.sum())
        assert dice > 0.9, (name, dice)


def test_a_region_is_a_crop_of_the_same_person():
    whole = PhantomConfig(shape=(60, 46, 56), spacing_mm=(7.0, 7.0, 12.0), seed=4, noise_hu=0.0)
    chest = dataclasses.replace(whole, shape=(60, 46, 24), region="chest")
    torso, part = make_phantom(whole), make_phantom(chest)
    offset = torso[1].grid.to_voxel(part[1].grid.affine[:3, 3])[2]
    start = round(offset)
    if abs(offset - start) > 1e-6:  # the regions' middles are not a whole number of these voxels apart
        assert np.ptp([centroid(torso[1], "heart"), centroid(part[1], "heart")], axis=0).max() < 3
    else:
        assert np.array_equal(torso[1].data[:, :, start : start + 24], part[1].data)
    assert not part[1].mask("bladder").any()
    assert not part[1].mask("left femur").any()
    assert part[1].mask("heart").any()


def test_slabs_of_any_thickness_are_the_same_phantom(small):
    volume, labels = small
    for thickness in (7, 50):
        slabs = list(phantom_slabs(SMALL, thickness=thickness))
        assert [slab.start for slab in slabs] == list(range(0, SMALL.shape[2], thickness))
        assert np.array_equal(np.concatenate([slab.hu for slab in slabs], axis=2), volume.data[0])
        assert np.array_equal(np.concatenate([slab.labels for slab in slabs], axis=2), labels.data)
        for name, layer in labels.overlaps.items():
            assert np.array_equal(np.concatenate([slab.layers[name] for slab in slabs], axis=2), layer)


def test_borders_are_partial_volumes_not_steps():
    config = PhantomConfig(
        shape=(100, 80, 12), spacing_mm=(4.0, 4.0, 4.0), region="chest", noise_hu=0.0, table=False
    )
    volume, labels = make_phantom(config)
    hu = volume.data[0].astype(int)
    lung = np.isin(labels.data, [28, 29, 30, 31, 32])
    between = (hu > -650) & (hu < -250)
    neighbours = np.zeros_like(lung)
    for axis in range(2):
        neighbours |= lung ^ np.roll(lung, 1, axis) | lung ^ np.roll(lung, -1, axis)
    assert between[neighbours].mean() > 0.15
    assert between[~neighbours].mean() < between[neighbours].mean() / 4


def test_noise_has_the_size_asked_for():
    quiet = dataclasses.replace(SMALL, noise_hu=0.0)
    still, labels = make_phantom(quiet)
    difference = make_phantom(dataclasses.replace(SMALL, noise_hu=20.0))[0].data.astype(float) - still.data
    muscle = labels.mask("left autochthon")
    assert difference[0][muscle].std() == pytest.approx(20, rel=0.2)


def test_the_affine_is_axis_aligned_ras_and_spacing_fits_the_region(small):
    labels = small[1]
    assert labels.grid.axis_codes == "RAS"
    assert labels.grid.spacing_mm == SMALL.spacing_mm
    for region in ("torso", "chest", "abdomen", "pelvis"):
        grid = PhantomConfig(shape=(40, 40, 40), region=region).grid
        assert grid.spacing_mm[0] == grid.spacing_mm[1]
        assert 40 * grid.spacing_mm[0] >= 440


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (0, 4, 4)},
        {"spacing_mm": (1.0, -1.0, 1.0)},
        {"spacing_mm": (1.0, float("nan"), 1.0)},
        {"noise_hu": -1.0},
        {"noise_hu": float("nan")},
        {"seed": -1},
    ],
)
def test_a_wrong_configuration_is_refused(wrong):
    with pytest.raises(UsageError, match="expected"):
        dataclasses.replace(SMALL, **wrong)


@pytest.mark.parametrize("wrong", ['region="head"', 'contrast="late"'])
def test_a_word_that_is_no_choice_is_refused(wrong):
    # In a process of its own: here the shape checks of the tests would refuse it before we do.
    script = f"from vesalius.data.phantom import PhantomConfig; PhantomConfig({wrong})"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "vesalius.errors.UsageError: expected: a " in answer.stderr


def test_a_field_of_view_beside_the_body_is_air():
    config = PhantomConfig(shape=(8, 8, 3), spacing_mm=(2.0, 2.0, 4.0), noise_hu=0.0, table=False)
    assert make_phantom(config)[1].data.any()  # in the middle there is someone
    tall = PhantomConfig(shape=(8, 8, 3), spacing_mm=(2.0, 2.0, 1500.0), noise_hu=0.0, table=False)
    assert (make_phantom(tall)[0].data[0, :, :, 2] < -900).all()


@pytest.mark.slow
def test_memory_is_the_arrays_and_little_more():
    script = textwrap.dedent("""
        import resource
        from vesalius.data.phantom import PhantomConfig, make_phantom
        make_phantom(PhantomConfig(shape=(16, 16, 2)))  # what importing and one slice cost
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        config = PhantomConfig(shape=(512, 512, 160), spacing_mm=(0.8, 0.8, 1.0), region="abdomen", tumours=True)
        volume, labels = make_phantom(config)
        held = volume.data.nbytes + labels.data.nbytes + sum(layer.nbytes for layer in labels.overlaps.values())
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before * 1024 - held)
    """)
    answer = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert int(answer.stdout) < 300e6
