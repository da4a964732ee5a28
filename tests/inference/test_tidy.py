"""Tidying: only the largest piece of a single organ stays, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.small_model import small_network, small_spec
from vesalius.geometry.morphology import components
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.inference.tidy import keep_largest_pieces


@given(seed=st.integers(0, 10_000), density=st.floats(0.05, 0.6))
@settings(deadline=None, max_examples=40)
def test_one_piece_of_each_single_label_stays_and_others_are_untouched(seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    before = (rng.random((9, 11, 7)) < density) * rng.integers(1, 4, (9, 11, 7))
    labels = before.astype(np.uint8)
    removed = keep_largest_pieces(labels, {1, 3})
    assert removed == (labels != before).sum()
    assert np.array_equal(labels == 2, before == 2)
    for label in (1, 3):
        pieces, count = components(before == label)
        assert components(labels == label)[1] == min(count, 1)
        if count:
            assert (labels == label).sum() == np.bincount(pieces.ravel())[1:].max()


def test_a_model_says_which_of_its_classes_are_one_piece() -> None:
    from inference.test_segmenter import scan

    plain, tidy = small_spec(), small_spec(single_piece=(1,))
    loose = Segmenter(small_network(plain), plain).segment(scan()).findings.classes
    kept = Segmenter(small_network(tidy), tidy).segment(scan()).findings.classes
    assert loose[0].components > 1
    assert kept[0].components == 1
    assert kept[0].voxels < loose[0].voxels
    assert [f.voxels for f in kept[1:]] == [f.voxels for f in loose[1:]]


@pytest.mark.parametrize("compat", ["bundle", "paper"])
def test_published_pipelines_are_not_tidied(compat: str) -> None:
    from inference.test_segmenter import scan

    spec = small_spec(single_piece=(1,))
    found = Segmenter(small_network(spec), spec).segment(scan(), options=SegmentOptions(compat=compat))
    assert found.findings.classes[0].components > 1
