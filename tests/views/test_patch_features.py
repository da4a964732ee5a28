"""Patch features: alike in colour where alike to the encoder, across images, however many channels there are."""

from __future__ import annotations

import numpy as np

from vesalius.views.patch_features import render_patch_features


def middle(picture: np.ndarray, column: int, left: bool) -> tuple[int, ...]:
    """The colour of the left or right half of an image's patches."""
    x = 4 + column * 164 + (40 if left else 120)
    return tuple(int(value) for value in picture[168 + 80, x])


def test_patches_that_are_alike_have_one_colour_in_every_image() -> None:
    rng = np.random.default_rng(1)
    kinds = rng.normal(0, 1, (3, 12))
    features = np.zeros((2, 12, 4, 4))
    features[0, :, :, :2], features[0, :, :, 2:] = kinds[0][:, None, None], kinds[1][:, None, None]
    features[1, :, :, :2], features[1, :, :, 2:] = kinds[1][:, None, None], kinds[2][:, None, None]
    picture = render_patch_features(rng.random((2, 32, 32)), features)
    assert picture.shape == (2 * 164 + 4, 2 * 164 + 4, 3)
    assert middle(picture, 0, left=False) == middle(picture, 1, left=True)
    assert middle(picture, 0, left=True) != middle(picture, 0, left=False)
    assert middle(picture, 1, left=True) != middle(picture, 1, left=False)


def test_the_image_stands_above_its_patches() -> None:
    images = np.stack([np.zeros((16, 16)), np.ones((16, 16))])
    picture = render_patch_features(images, np.random.default_rng(2).random((2, 5, 2, 2)))
    assert picture[80, 84].tolist() == [0, 0, 0]
    assert picture[80, 164 + 84].tolist() == [255, 255, 255]


def test_features_of_fewer_channels_than_colours_or_all_alike_are_drawn() -> None:
    assert render_patch_features(np.zeros((1, 8, 8)), np.random.default_rng(3).random((1, 2, 3, 3))).max() > 0
    assert render_patch_features(np.zeros((1, 8, 8)), np.ones((1, 4, 3, 3))).dtype == np.uint8
