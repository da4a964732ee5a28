"""What is drawn beside a training's windows has numbers of its own, the same in every version."""

from __future__ import annotations

import numpy as np

from vesalius.data.seeds import seed_beside


def test_each_purpose_and_number_has_a_seed_that_no_window_of_a_training_has() -> None:
    seeds = [seed_beside(5, purpose, number=number) for purpose in ("folds", "paintings") for number in range(3)]
    windows = [(5, step, window) for step in range(3) for window in range(3)]
    drawn = [np.random.default_rng(seed).integers(2**62) for seed in (*seeds, *windows)]
    assert len(set(drawn)) == len(drawn)


def test_runs_begun_before_are_gone_on_with() -> None:
    assert seed_beside(7, "folds") == (7, 0, 0, 977612484)
    assert seed_beside(7, "paintings", number=2) == (7, 2, 0, 3451835656)
