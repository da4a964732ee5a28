"""Recipes of slices: what a machine changes of them, and what it leaves as it was measured."""

from __future__ import annotations

from vesalius.training.slice_recipes import MEDDINOV3, MEDDINOV3_TOY, slices_for_machine


def test_the_toy_stays_as_it_was_measured_on_any_machine() -> None:
    for preset in ("cpu", "gpu", "cluster"):
        assert slices_for_machine(MEDDINOV3_TOY, preset) == MEDDINOV3_TOY
    assert slices_for_machine(MEDDINOV3, "cpu").window_size == (128, 128)
    assert slices_for_machine(MEDDINOV3, "cpu").loop.windows == 2
    assert slices_for_machine(MEDDINOV3, "cluster").loop.windows == 16
