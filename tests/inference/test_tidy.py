"""Tidying: only the largest piece of a single organ stays, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.small_model import small_network, small_spec
from vesalius.geometry.morphology import components
from vesalius.geometry.volume import LabelMap
from vesalius.inference.review import measure
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.inference.tidy import Removed, keep_largest_pieces


@given(seed=st.integers(0, 10_000), density=st.floats(0.05, 0.6))
@settings(deadline=None, max_examples=40)
def test_one_piece_of_each_single_label_stays_and_others_are_untouched(seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    before = (rng.random((9, 11, 7)) < density) * rng.integers(1, 4, (9, 11, 7))
    labels = before.astype(np.uint8)
    removed = keep_largest_pieces(labels, {1, 3}, voxel_ml=0.5)
    assert np.array_equal(labels == 2, before == 2)
    for label in (1, 3):
        pieces, count = components(before == label)
        assert components(labels == label)[1] == min(count, 1)
        taken = removed.get(label, Removed(0, 0.0))
        assert taken.pieces == max(count - 1, 0)
        assert taken.volume_ml == 0.5 * ((before == label) & (labels == 0)).sum()
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
    assert (loose[0].pieces_removed, kept[0].pieces_removed) == (0, loose[0].components - 1)
    assert kept[0].removed_ml == pytest.approx(loose[0].volume_ml - kept[0].volume_ml)


def test_what_was_taken_away_is_pointed_out_where_it_is_no_crumb() -> None:
    from inference.test_segmenter import scan

    spec = small_spec()
    volume, vocabulary = scan(), Segmenter(small_network(spec), spec).vocabulary
    data = np.zeros(volume.grid.shape, dtype=np.uint8)
    data[5:25, 5:25, 5:20] = 1  # 162 ml
    labels, targets = LabelMap(data, volume.grid, {1: "liver"}), vocabulary.resolve(["liver"])
    crumb, piece = (
        measure(volume, labels, targets, vocabulary, removed={1: Removed(2, taken)}) for taken in (16.0, 17.0)
    )
    sentence = "liver: the largest piece has 162.0 ml; 2 more with 17.0 ml were taken away"
    assert sentence in piece.warnings
    assert not any("taken away" in warning for warning in crumb.warnings)


@pytest.mark.parametrize("compat", ["bundle", "paper"])
def test_published_pipelines_are_not_tidied(compat: str) -> None:
    from inference.test_segmenter import scan

    spec = small_spec(single_piece=(1,))
    found = Segmenter(small_network(spec), spec).segment(scan(), options=SegmentOptions(compat=compat))
    assert found.findings.classes[0].components > 1
