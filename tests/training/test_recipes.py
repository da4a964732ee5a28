"""Recipes: what cannot be meant is refused; a stage is the one before and its differences; JSON holds all of it."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

import pytest

from training.small_case import recipe
from vesalius.errors import UsageError
from vesalius.training.recipes import VESALIUS_SMALL, VESALIUS_SMALL_BEGIN


@pytest.mark.parametrize(
    "wrong",
    [
        {"window_size": (16, 0, 16)},
        {"recall": -0.1},
        {"shares": {"balls": -1.0}},
        {"shares": {}},
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


def test_the_second_stage_is_the_first_and_its_differences() -> None:
    differing = {
        field.name
        for field in fields(VESALIUS_SMALL)
        if getattr(VESALIUS_SMALL, field.name) != getattr(VESALIUS_SMALL_BEGIN, field.name)
    }
    assert differing == {"window_size", "shares", "optimisation", "loop"}
    assert VESALIUS_SMALL.shares.keys() == VESALIUS_SMALL_BEGIN.shares.keys() == VESALIUS_SMALL.mirror.keys()


def test_json_holds_all_of_a_recipe() -> None:
    assert json.loads(json.dumps(asdict(VESALIUS_SMALL)))["prompting"] == {"absent_classes": 4, "other_classes": 2}
    changed = json.dumps(asdict(recipe(recall=0.2)))
    assert changed != json.dumps(asdict(recipe(recall=0.1)))
