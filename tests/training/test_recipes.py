"""Recipes: what cannot be meant is refused; a stage is the one before and its differences; JSON holds all of it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields

import pytest

from training.small_case import CLICK_SPEC, recipe
from vesalius.checkpoints.catalog import VISTA3D_SPEC
from vesalius.engine.learner import Learner
from vesalius.engine.optim import rate_factor
from vesalius.errors import UsageError
from vesalius.training.networks import new_network
from vesalius.training.recipes import (
    FINETUNE,
    STAGE_1,
    STAGE_2,
    STAGE_3,
    STAGE_4,
    VESALIUS_SMALL,
    VESALIUS_SMALL_BEGIN,
    VESALIUS_SMALL_CLICKS,
    VESALIUS_SMALL_STAGE_1,
    VESALIUS_SMALL_STAGE_2,
    VESALIUS_SMALL_STAGE_3,
    VESALIUS_SMALL_STAGE_4,
    ClickPrompting,
    VistaRecipe,
    for_machine,
)


@pytest.mark.parametrize(
    "wrong",
    [
        {"window_size": (16, 0, 16)},
        {"recall": -0.1},
        {"shares": {"balls": -1.0}},
        {"drop_label": 1.5},
        {"drop_point": -0.1},
        {"batch": 0},
        {"mirror": {"others": 0.5}},
        {"mirror": {"balls": 1.1}},
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        recipe(**wrong)


def test_a_recipe_does_not_change_with_the_mapping_it_was_made_from() -> None:
    shares = {"balls": 1.0}
    chosen = recipe(shares=shares)
    shares["balls"] = 0.0
    assert chosen.shares == {"balls": 1.0}


def differing(one: VistaRecipe, other: VistaRecipe) -> set[str]:
    return {field.name for field in fields(one) if getattr(one, field.name) != getattr(other, field.name)}


def test_a_stage_is_the_one_before_and_its_differences() -> None:
    assert differing(STAGE_1, STAGE_2) == {"clicking", "pseudo_labels"}
    assert differing(STAGE_1, STAGE_3) == {"drop_label", "drop_point", "optimisation", "loop"}
    assert differing(STAGE_3, STAGE_4) == {"loop", "pseudo_labels"}
    assert differing(VESALIUS_SMALL_BEGIN, VESALIUS_SMALL) == {"window_size", "shares", "optimisation", "loop"}
    assert VESALIUS_SMALL.shares.keys() == VESALIUS_SMALL_BEGIN.shares.keys() == VESALIUS_SMALL.mirror.keys()


def test_stages_drift_and_coarsen_as_far_as_published() -> None:
    """There: scale and shift even within a tenth of the window, low resolution down to 0.3, one window in five."""
    low, high = VISTA3D_SPEC.window_hu
    augmentation = STAGE_1.augmentation
    assert augmentation.drift_factor == (0.9, 1.1)
    assert augmentation.drift_hu == pytest.approx(0.1 * (high - low) / math.sqrt(3), rel=0.01)
    assert augmentation.coarseness == pytest.approx((1.0, 1 / 0.3), rel=0.02)
    assert {augmentation.drift, augmentation.low_resolution, augmentation.noise} == {0.2}
    assert STAGE_4.augmentation == augmentation


def test_stages_freeze_what_vista3d_s_freeze() -> None:
    """Stages 3 and 4 there: encoder, click decoder and point head for more epochs than there are."""
    for chosen, learning in (
        (STAGE_1, {"encoder", "point_decoder", "point_head"}),
        (STAGE_4, {"automatic_decoder", "class_head"}),
        (FINETUNE, {"encoder", "point_decoder", "point_head", "automatic_decoder", "class_head"}),
        (VESALIUS_SMALL_CLICKS, {"point_decoder", "point_head"}),
        (VESALIUS_SMALL_STAGE_1, {"encoder", "point_decoder", "point_head"}),
        (VESALIUS_SMALL_STAGE_2, {"encoder", "point_decoder", "point_head"}),
        (VESALIUS_SMALL_STAGE_3, {"automatic_decoder", "class_head"}),
        (VESALIUS_SMALL_STAGE_4, {"automatic_decoder", "class_head"}),
    ):
        learner = Learner(new_network(CLICK_SPEC, seed=0), chosen.optimisation)
        found = {name.split(".")[0] for name, p in learner.network.named_parameters() if p.requires_grad}
        assert found == learning


def test_stages_are_optimised_as_published() -> None:
    """AdamW, weight decay 1e-5, a cosine over the whole training (``hyper_parameters_stage{1..4}.yaml``)."""
    for chosen in (STAGE_1, STAGE_2, STAGE_3, STAGE_4):
        settings = chosen.optimisation
        assert (settings.weight_decay, settings.betas) == (1e-5, (0.9, 0.999))
        half_a_cosine = [0.5 * (1 + math.cos(math.pi * part)) for part in (0.0, 0.3, 1.0)]
        assert [rate_factor(part, settings) for part in (0.0, 0.3, 1.0)] == pytest.approx(half_a_cosine)
    assert FINETUNE.optimisation.weight_decay == 1e-2  # ours, as measured


def test_a_small_machine_gets_small_windows_and_a_cluster_many() -> None:
    small = for_machine(STAGE_3, "cpu")
    assert small.window_size == (64, 64, 64)
    assert small.prompting.present_classes == 16
    assert (small.drop_label, small.optimisation) == (STAGE_3.drop_label, STAGE_3.optimisation)
    assert differing(STAGE_3, for_machine(STAGE_3, "cluster")) == {"loop"}
    assert for_machine(STAGE_3, "cluster").loop.windows == 64
    assert for_machine(VESALIUS_SMALL_BEGIN, "cpu").window_size == (48, 48, 48)


def test_kinds_of_objects_that_are_more_than_all_are_refused() -> None:
    with pytest.raises(UsageError):
        ClickPrompting(part=0.5, joined=0.5, unseen=0.1)
    with pytest.raises(UsageError):
        ClickPrompting(rounds=0)


def test_json_holds_all_of_a_recipe() -> None:
    assert json.loads(json.dumps(asdict(VESALIUS_SMALL)))["prompting"] == {
        "present_classes": 32,
        "absent_classes": 4,
        "other_classes": 2,
    }
    changed = json.dumps(asdict(recipe(recall=0.2)))
    assert changed != json.dumps(asdict(recipe(recall=0.1)))
