"""While tests run, wrong types and wrong shapes are refused, whether or not a function speaks of shapes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float, TypeCheckError

from shape_checks import has_shapes
from vesalius.geometry.boxes import Box, bounding_box
from vesalius.geometry.volume import Volume
from vesalius.metrics.overlap import detect_lesions, dice_of_counts


def test_a_type_is_checked_where_nothing_is_said_of_shapes() -> None:
    with pytest.raises(BeartypeCallHintViolation):
        dice_of_counts("1", 2, 3)  # type: ignore[arg-type]
    assert dice_of_counts(1, 1, 1) == 1


def test_shapes_are_checked_and_those_of_two_arguments_against_each_other() -> None:
    mask = np.ones((2, 2, 2), bool)
    assert bounding_box(mask) == Box((0, 0, 0), (2, 2, 2))
    with pytest.raises(TypeCheckError):
        bounding_box(mask[0])
    with pytest.raises(TypeCheckError):
        detect_lesions(mask, mask[:1])


def test_fields_are_checked() -> None:
    with pytest.raises(TypeCheckError):
        Volume(np.zeros((2, 2, 2)), "no grid", "CT")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hint", "found"),
    [
        (int, False),
        (list[str] | None, False),
        (Callable[[int], str], False),
        (Float[np.ndarray, "i j"], True),
        (dict[str, Float[np.ndarray, "i j"]] | None, True),
        (Callable[[Float[np.ndarray, "i j"]], Any], True),
    ],
)
def test_shapes_are_found_however_deep(hint: Any, found: bool) -> None:
    assert has_shapes(hint) is found
