"""Recipes of slices: what a machine changes of them, and what it leaves as it was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from training.small_slices import BACKBONE, recipe
from vesalius.errors import UsageError
from vesalius.training.slice_recipes import (
    MEDDINOV3,
    MEDDINOV3_LINEAR,
    MEDDINOV3_NNUNET,
    MEDDINOV3_PRIMUS,
    MEDDINOV3_TOY,
    in_windows_of,
    slices_for_machine,
)


def test_the_toy_stays_as_it_was_measured_on_any_machine() -> None:
    for preset in ("cpu", "gpu", "cluster"):
        assert slices_for_machine(MEDDINOV3_TOY, preset) == MEDDINOV3_TOY
    assert slices_for_machine(MEDDINOV3, "cpu").window_size == (128, 128)
    assert slices_for_machine(MEDDINOV3, "cpu").loop.windows == 2
    assert slices_for_machine(MEDDINOV3, "cluster").loop.windows == 16


def test_a_stated_window_shows_as_much_as_the_planned_one_or_has_the_pixels_that_were_typed() -> None:
    own = recipe(window_size=None)
    for side, planned, spacing_mm, wanted_mm in (
        (32, None, None, 2.0),  # the backbone's 16 pixels of 4 mm
        (8, None, None, 8.0),
        (32, (24, 48), None, 6.0),  # as much as the longer side shows
        (32, None, 1.5, 1.5),
    ):
        found = in_windows_of(side, own, BACKBONE, planned=planned, spacing_mm=spacing_mm)
        assert found == replace(own, window_size=(side, side), spacing_mm=wanted_mm)
    finer = in_windows_of(32, replace(own, spacing_mm=3.0), BACKBONE, planned=None, spacing_mm=None)
    assert finer.spacing_mm == 1.5, "of a recipe with pixels of its own"
    with pytest.raises(UsageError, match="multiple of 4"):
        in_windows_of(18, own, BACKBONE, planned=None, spacing_mm=2.0)


def test_the_recipes_of_decoders_differ_in_what_they_say() -> None:
    assert replace(MEDDINOV3, decoder="primus") == MEDDINOV3_PRIMUS
    assert replace(MEDDINOV3_PRIMUS, augmentation="nnunet") == MEDDINOV3_NNUNET
    assert (MEDDINOV3_LINEAR.decoder, MEDDINOV3_LINEAR.encoder_rate) == ("linear", 0.0)
