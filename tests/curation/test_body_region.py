"""Where the body is, without the table, and what a slice shows by simple rules."""

from __future__ import annotations

import numpy as np

from vesalius.curation.body_region import areas_cm2, body_mask, filled, regions_of, slice_box


def disc(radius: float, shape: tuple[int, int] = (96, 96), centre: tuple[float, float] = (48, 48)) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2


def stack(*slices: np.ndarray) -> np.ndarray:
    return np.stack([one for one in slices for _ in range(3)], axis=2).astype(np.int16)


def tissue(outline: np.ndarray, hole: np.ndarray | None = None, bone: np.ndarray | None = None) -> np.ndarray:
    image = np.where(outline, 40, -1000)
    if hole is not None:
        image[hole] = -850
    if bone is not None:
        image[bone] = 900
    return image


def test_the_table_and_noise_in_the_air_are_no_body() -> None:
    scan = stack(tissue(disc(20)))
    scan[80:82, 10:90] = -200  # a sheet below the back
    scan[5, 5] = 500
    mask = body_mask(scan)
    assert not mask[70:].any()
    assert not mask[5, 5].any()
    assert mask[48, 48].all()
    box = slice_box(mask[:, :, 1], (2, 2))
    assert 26 <= box.start[0] <= 29
    assert 68 <= box.stop[0] <= 71


def test_both_legs_are_body() -> None:
    mask = body_mask(stack(tissue(disc(12, centre=(48, 25)) | disc(14, centre=(48, 70)))))
    assert mask[48, 25].all()
    assert mask[48, 70].all()


def test_air_has_no_body() -> None:
    scan = np.full((40, 40, 3), -1000, np.int16)
    assert not body_mask(scan).any()
    assert slice_box(body_mask(scan)[:, :, 0], (1, 1)).shape == (40, 40, 1)


def test_areas_are_in_square_centimetres() -> None:
    mask = np.zeros((20, 20, 2), bool)
    mask[:10, :10, 1] = True
    assert areas_cm2(mask, 4.0).tolist() == [0, 4]


def test_holes_are_filled_and_bays_are_not() -> None:
    ring = disc(20) & ~disc(10)
    assert (filled(ring) == disc(20)).all()
    ring[48:50, 58:] = False
    assert not filled(ring)[48, 48]


def test_regions_follow_lungs_width_and_bone() -> None:
    wide, narrow = disc(44), disc(22)  # 5 mm pixels: 1,500 and 380 pixels
    chest = tissue(wide, hole=disc(14, centre=(48, 30)) | disc(14, centre=(48, 66)))
    head = tissue(narrow, bone=narrow & ~disc(20))
    thigh = tissue(narrow, bone=disc(3))
    slices = [tissue(wide), chest, tissue(wide), head]
    found = regions_of(stack(*slices), body_mask(stack(*slices)), 9.0)
    assert found[1::3] == ["abdomen-pelvis", "chest", "chest", "head-neck"]  # shoulders are wide and airless
    assert regions_of(stack(thigh), body_mask(stack(thigh)), 9.0)[1] == "limb"
    below_the_neck = regions_of(stack(tissue(wide), head), body_mask(stack(tissue(wide), head)), 9.0)
    assert below_the_neck[1::3] == ["chest", "head-neck"]
