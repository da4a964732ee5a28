"""Components, regions, erosion and depth, against scipy and against plain numpy."""

from __future__ import annotations

import tracemalloc
from typing import Literal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from vesalius.geometry import morphology

label_maps = arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 3), elements=st.integers(0, 3))
CORNERS = np.ones((3, 3, 3))


@given(label_maps)
def test_components_agree_with_scipy(labels: np.ndarray) -> None:
    mask = labels > 1
    numbered, count = morphology.components(mask)
    expected, expected_count = ndimage.label(mask, CORNERS)
    assert count == expected_count
    assert ((numbered > 0) == mask).all()
    for component in range(1, count + 1):
        assert len(np.unique(expected[numbered == component])) == 1


@given(label_maps, st.sampled_from([6, 26]), st.booleans())
def test_erosion_agrees_with_scipy(labels: np.ndarray, connectivity: Literal[6, 26], outside: bool) -> None:
    mask = labels > 1
    expected = ndimage.binary_erosion(mask, CORNERS if connectivity == 26 else None, border_value=outside)
    assert (morphology.eroded(mask, connectivity=connectivity, outside=outside) == expected).all()


@given(label_maps, st.booleans())
def test_depth_agrees_with_scipy_in_millimetres(labels: np.ndarray, transposed: bool) -> None:
    mask = (labels > 0).T if transposed else labels > 0
    spacing = (0.7, 1.5, 3.0)
    inside = ndimage.distance_transform_edt(np.pad(mask, 1), spacing)[1:-1, 1:-1, 1:-1]
    assert np.allclose(morphology.depth_mm(mask, spacing), inside, rtol=1e-5)
    if not mask.all():
        open_ended = ndimage.distance_transform_edt(mask, spacing)
        assert np.allclose(morphology.depth_mm(mask, spacing, outside=True), open_ended, rtol=1e-5)


@given(label_maps, st.booleans())
def test_regions_are_what_numpy_counts(labels: np.ndarray, transposed: bool) -> None:
    labels = labels.T if transposed else labels
    regions = morphology.label_regions(labels)
    assert sorted(regions) == [label for label in np.unique(labels).tolist() if label]
    for label, region in regions.items():
        where = np.argwhere(labels == label)
        assert region.voxels == len(where)
        assert region.box.start == tuple(where.min(0))
        assert region.box.stop == tuple(where.max(0) + 1)
        assert np.allclose(region.centroid_ijk, where.mean(0))


@given(label_maps)
def test_components_are_counted_label_by_label(labels: np.ndarray) -> None:
    expected = {n: ndimage.label(labels == n, CORNERS)[1] for n in np.unique(labels).tolist() if n}
    assert morphology.component_counts(labels) == expected


def test_ids_above_the_number_of_voxels_are_found_too() -> None:
    regions = morphology.label_regions(np.full((1, 2, 3), 60_000, np.uint16))
    assert list(regions) == [60_000]
    assert regions[60_000].voxels == 6


def test_counting_many_labels_needs_no_array_per_label() -> None:
    labels = np.repeat(np.arange(1, 121, dtype=np.uint8), 8 * 64 * 64).reshape(-1, 64, 64)
    tracemalloc.start()
    counts = morphology.component_counts(labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(counts.values()) == {1}
    assert len(counts) == 120
    assert peak < 12 * labels.nbytes  # of one byte each; an array per label would take 120
