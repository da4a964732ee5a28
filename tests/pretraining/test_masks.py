"""Masks: exactly as many patches as they were to have, in blocks, in half of the views, spread over the range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.errors import UsageError
from vesalius.pretraining.masks import draw_mask, draw_masks
from vesalius.pretraining.settings import Masking


@given(st.integers(0, 60), st.integers(0, 1000))
def test_a_mask_hides_exactly_so_many_patches(hidden: int, seed: int) -> None:
    mask = draw_mask(hidden, (6, 10), Masking(), np.random.default_rng(seed))
    assert int(mask.sum()) == hidden


def test_half_of_the_views_are_masked_and_their_ratios_are_spread_over_the_range() -> None:
    masks = draw_masks(40, (14, 14), Masking(), np.random.default_rng(1))
    ratios = np.sort(masks.mean(axis=1))
    assert masks.shape == (40, 196)
    assert (ratios[:20] == 0).all()
    bounds = np.linspace(0.1, 0.5, 21)
    assert (ratios[20:] >= bounds[:-1] - 1 / 196).all()
    assert (ratios[20:] <= bounds[1:]).all()


def test_what_is_hidden_lies_in_blocks() -> None:
    rng = np.random.default_rng(2)
    hidden = [draw_mask(60, (14, 14), Masking(), rng) for _ in range(20)]
    scattered = [rng.permutation(mask.flatten()).reshape(14, 14) for mask in hidden]

    def neighbours(masks: list[np.ndarray]) -> float:
        return float(np.mean([(mask[1:] & mask[:-1]).sum() for mask in masks]))

    assert neighbours(hidden) > 1.5 * neighbours(scattered)


def test_the_same_generator_draws_the_same_and_another_not() -> None:
    first, again, other = (draw_masks(6, (8, 8), Masking(), np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("fields", [{"ratio": (0.5, 0.1)}, {"images": 1.5}, {"smallest_block": 0}])
def test_settings_that_make_no_sense_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Masking(**fields)  # type: ignore[arg-type]
