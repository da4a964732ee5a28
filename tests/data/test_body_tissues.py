"""What has no label becomes the tissue that its intensity says; what has one keeps it."""

from __future__ import annotations

import numpy as np

from vesalius.data.body_tissues import with_tissues
from vesalius.data.tissue_names import tissue_of
from vesalius.labels.mapping import UNKNOWN


def test_ct_is_told_apart_by_hounsfield_units_and_labels_stay() -> None:
    image = np.repeat(np.array([-1000, -800, -100, 50, 700], np.int16), 25).reshape(5, 5, 5).repeat(3, axis=0)
    labels = np.zeros(image.shape, np.uint8)
    labels[:, 0], labels[:, 1] = 7, UNKNOWN
    found, names = with_tissues(labels, image, taken={7, 253, UNKNOWN}, is_ct=True)
    assert (found[labels > 0] == labels[labels > 0]).all()
    assert [names[int(found[at, 3, 3])] for at in range(1, 15, 3)] == ["airway", "lung", "fat", "muscle", "bone"]
    assert not {7, 253, UNKNOWN} & set(names)
    assert all(tissue_of(name).name == name for name in names.values())


def test_images_without_a_unit_have_four_greys_and_noise_makes_fewer_islands() -> None:
    rng = np.random.default_rng(0)
    image = np.arange(16, dtype=np.float32).repeat(256).reshape(16, 16, 16) + rng.normal(0, 1, (16, 16, 16))
    found, names = with_tissues(np.zeros(image.shape, np.uint8), image, taken=(), is_ct=False)
    assert len(names) == 4
    assert np.mean(found == max(names)) == 0.5  # the darker half
    assert len(np.unique(found[2])) == 1


def test_without_free_ids_nothing_is_changed() -> None:
    labels = np.zeros((2, 2, 2), np.uint8)
    found, names = with_tissues(labels, labels.astype(np.int16), taken=range(1, 252), is_ct=True)
    assert (found is labels, names) == (True, {})
