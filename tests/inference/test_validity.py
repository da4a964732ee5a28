"""Validity: which volumes a model was not made for, and why."""

from __future__ import annotations

import numpy as np
import pytest

from inference.small_model import small_spec
from inference.test_segmenter import scan
from vesalius.errors import InputError, NotValidatedError
from vesalius.geometry.volume import Volume
from vesalius.inference.validity import check_validity

SPEC = small_spec()


def test_what_the_model_was_made_for_has_nothing_against_it() -> None:
    assert check_validity(scan(), SPEC, unvalidated=False) == ()
    assert check_validity(scan("unknown"), SPEC, unvalidated=False) == ()


def test_values_that_are_not_hounsfield_units_are_refused() -> None:
    shifted = Volume(scan().data + 1024, scan().grid, "CT")
    with pytest.raises(NotValidatedError, match="1024"):
        check_validity(shifted, SPEC, unvalidated=False)


def test_voxels_far_from_those_of_the_model_are_refused_and_told_beside_the_modality() -> None:
    far = scan("MR", affine=np.diag([0.01, 0.01, 0.01, 1.0]))
    with pytest.raises(NotValidatedError, match="a MR image; voxels of"):
        check_validity(far, SPEC, unvalidated=False)
    assert check_validity(far, SPEC, unvalidated=True) == ("a MR image", "voxels of 0.01 x 0.01 x 0.01 mm")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_image_with_a_voxel_that_is_no_number_is_refused_also_where_told_to_go_on(value: float) -> None:
    data = scan().data.astype(np.float32)
    data[0, 9, 11, 7] = value
    with pytest.raises(InputError, match=f"1 of {data.size} voxels"):
        check_validity(Volume(data, scan().grid, "CT"), SPEC, unvalidated=True)
    data[0, 9, 11, 7] = 40.0
    assert check_validity(Volume(data, scan().grid, "CT"), SPEC, unvalidated=True) == ()
