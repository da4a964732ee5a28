"""Settings: what cannot be meant is refused; steps or minutes say how much is behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vesalius.engine.settings import LoopSettings, Optimisation, Part, by_depth
from vesalius.errors import UsageError


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0},
        {"clip_norm": 0.0},
        {"weight_decay": -1.0},
        {"warm_up": 0.5, "plateau": 0.4},
        {"plateau": 1.1},
        {"floor": -0.1},
        {"ema_decay": 1.0},
        {"betas": (0.9, 1.0)},
    ],
)
def test_an_optimisation_that_cannot_be_meant_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Optimisation(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"steps": 1, "minutes": 1.0},
        {"steps": 0},
        {"minutes": 0.0},
        {"steps": 1, "windows": 0},
        {"steps": 1, "log_every": 0},
        {"steps": 1, "seed": -1},
        {"steps": 1, "save_every_s": -1.0},
        {"steps": 1, "validate_every": 0},
        {"steps": 1, "validate_every": -2},
        {"steps": 1, "validate_every": 1, "patience": 0},
        {"steps": 1, "patience": 3},
        {"steps": 4, "ends_at": 5},
        {"steps": 4, "ends_at": 0},
        {"minutes": 1.0, "ends_at": 1},
    ],
)
def test_a_loop_that_cannot_be_meant_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        LoopSettings(**wrong)


def test_progress_counts_steps_or_minutes() -> None:
    assert LoopSettings(steps=8).progress(2, 1e9) == 0.25
    assert LoopSettings(steps=8).progress(9, 0.0) == 1.0
    assert LoopSettings(minutes=2.0).progress(10**9, 30.0) == 0.25
    assert LoopSettings(minutes=2.0).progress(0, 121.0) == 1.0
    assert [LoopSettings(steps=8).end, LoopSettings(minutes=2.0).end, LoopSettings(steps=8, ends_at=2).end] == [
        1,
        1,
        0.25,
    ]


def test_validations_come_before_the_first_step_every_so_often_and_at_the_end() -> None:
    chosen = LoopSettings(steps=8, validate_every=3)
    assert [step for step in range(9) if chosen.validates_at(step, is_over=step == 8)] == [0, 3, 6, 8]
    assert not LoopSettings(steps=8).validates_at(8, is_over=True)


@pytest.mark.parametrize(
    "wrong", [{"names": ""}, {"names": "a", "rate": -1.0}, {"names": "a", "weight_decay": -1.0}]
)
def test_a_part_that_cannot_be_meant_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Part(**wrong)  # type: ignore[arg-type]


def test_rates_fall_from_layer_to_layer_towards_the_input() -> None:
    parts = by_depth(["embed.*", "blocks.0.*", "blocks.1.*"], decay=0.5)
    assert [(part.names, part.rate) for part in parts] == [
        ("embed.*", 0.125),
        ("blocks.0.*", 0.25),
        ("blocks.1.*", 0.5),
    ]
    with pytest.raises(UsageError):
        by_depth(["a"], decay=0.0)


def test_settings_recipes_and_augmentation_need_no_torch() -> None:
    code = (
        "import sys; import vesalius.engine.settings, vesalius.training.recipes, vesalius.transforms.augment;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
