"""Where a NIfTI header places its voxels, and what is told where its two ways to say so disagree."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vesalius.io.nifti_grid import grid_of_header

AFFINE = np.array([[-0.7, 0.1, 0, 11], [0.1, 0.7, 0, -12], [0, 0, 2.5, 13], [0, 0, 0, 1.0]])


def header(qform: np.ndarray, code: int = 1) -> nib.Nifti1Header:
    """A header with a sound sform, and with this qform."""
    made = nib.Nifti1Header()
    made.set_data_shape((5, 6, 7))
    made.set_sform(AFFINE, 1)
    made.set_qform(qform, code)
    return made


def moved(mm: float) -> np.ndarray:
    return AFFINE + np.array([[0, 0, 0, mm], [0] * 4, [0] * 4, [0] * 4])


@pytest.mark.parametrize(
    ("qform", "says"),
    [
        (AFFINE, []),
        (moved(0.2), []),  # less than half a voxel
        (moved(9.0), ["another place (corners up to 9 mm apart)"]),
        (np.diag([-1.0, 1, 1, 1]) @ AFFINE, ["the qform mirrors it"]),
    ],
)
def test_qform_that_disagrees_with_the_sform_is_told(qform: np.ndarray, says: list[str]) -> None:
    grid, repairs = grid_of_header(header(qform), Path("a.nii"))
    assert np.allclose(grid.affine, AFFINE, atol=1e-6)
    assert [part in repair for part, repair in zip(says, repairs, strict=True)] == [True] * len(says)
    assert grid_of_header(header(qform, code=0), Path("a.nii"))[1] == ()


def test_qform_of_another_space_is_told_only_where_it_is_mirrored() -> None:
    for qform, told in ((moved(90.0), 0), (np.diag([-1.0, 1, 1, 1]) @ AFFINE, 1)):
        two_spaces = header(qform)
        two_spaces.set_sform(AFFINE, 4)  # MNI; the qform is the scanner's
        grid, repairs = grid_of_header(two_spaces, Path("a.nii"))
        assert np.allclose(grid.affine, AFFINE, atol=1e-6)
        assert ["the qform mirrors it" in repair for repair in repairs] == [True] * told


def test_qform_that_is_none_is_told_beside_a_sound_sform() -> None:
    odd = header(AFFINE)
    odd["quatern_b"] = 2.0
    assert "the qform is none" in grid_of_header(odd, Path("a.nii"))[1][0]
