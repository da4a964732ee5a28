"""Layers become one map: what lies inside wins where it counts as part, else nothing is known; no order matters."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from vesalius.data.layers import merged
from vesalius.labels.mapping import UNKNOWN

LIVER, TUMOUR, SPLEEN, CORE = 1, 26, 3, 9
INCLUDES = {LIVER: {TUMOUR}, TUMOUR: {CORE}}


@pytest.mark.parametrize(
    ("drawn", "kept"),
    [
        ((LIVER, 0, 0), LIVER),
        ((LIVER, TUMOUR, 0), TUMOUR),
        ((LIVER, SPLEEN, 0), UNKNOWN),
        ((LIVER, TUMOUR, SPLEEN), UNKNOWN),
        ((LIVER, TUMOUR, CORE), UNKNOWN),  # nobody says that the liver includes the core
        ((0, TUMOUR, CORE), CORE),
        ((LIVER, LIVER, UNKNOWN), LIVER),
        ((UNKNOWN, 0, 0), UNKNOWN),
        ((0, 0, 0), 0),
    ],
)
def test_the_class_that_all_others_include_is_kept_or_nothing_is_known(drawn: tuple[int, ...], kept: int) -> None:
    for order in permutations(drawn):
        layers = [np.full((1, 1, 1), label, np.uint8) for label in order]
        assert merged(layers, INCLUDES).tolist() == [[[kept]]]


def test_voxels_that_one_layer_claims_stay_its_own_and_the_layers_as_they_are() -> None:
    base, over = np.array([[[1, 1, 0, 0]]], np.uint8), np.array([[[0, 26, 26, 0]]], np.uint16)
    assert merged([base, over], INCLUDES).ravel().tolist() == [1, 26, 26, 0]
    assert base.ravel().tolist() == [1, 1, 0, 0]
