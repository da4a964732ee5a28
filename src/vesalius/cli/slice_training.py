"""The recipes of ``vesalius train`` for slices: a backbone and a list of cases -> a model that labels slices."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vesalius.training.slice_recipes import (
    MEDDINOV3,
    MEDDINOV3_DEPTH,
    MEDDINOV3_FROZEN,
    MEDDINOV3_TOY,
    SliceRecipe,
    slices_for_machine,
)

if TYPE_CHECKING:
    from vesalius.data.datalists.record import DataList

SLICE_RECIPES: Mapping[str, SliceRecipe] = {
    "meddinov3": MEDDINOV3,
    "meddinov3-frozen": MEDDINOV3_FROZEN,
    "meddinov3-depth": MEDDINOV3_DEPTH,
    "meddinov3-toy": MEDDINOV3_TOY,
}
"""Name -> recipe; what each is for stands in ``training/slice_recipes.py``."""


def slice_recipe_of(args: argparse.Namespace, typed: Mapping[str, Any]) -> SliceRecipe:
    """Return the recipe that was named, as the machine can bear it, with what was typed in its place."""
    recipe = slices_for_machine(SLICE_RECIPES[args.recipe], args.preset)
    if args.spacing is not None:
        recipe = replace(recipe, spacing_mm=args.spacing)
    return replace(recipe, loop=replace(recipe.loop, **typed))


def train_slices(args: argparse.Namespace, listed: DataList, typed: Mapping[str, Any]) -> None:
    """Train a model of slices.

    Args:
        args: What was typed.
        listed: The list.
        typed: What was typed of the loop.
    """
    import torch

    from vesalius.data.cache import Cache
    from vesalius.engine.team import joined
    from vesalius.inference.segmenter import choose_device
    from vesalius.training.slice_course import SliceBeginning, SliceCourse, carry_out_slices

    recipe = slice_recipe_of(args, typed)
    beginning = SliceBeginning.of(args.model, recipe, listed, at_random=args.at_random)
    with joined() as team:
        carry_out_slices(
            SliceCourse(recipe=recipe, beginning=beginning, listed=listed),
            args.folder,
            cache=Cache(args.cache or args.folder / "cache"),
            device=choose_device(args.device),
            workers=args.threads or torch.get_num_threads(),
            team=team,
            tensorboard=args.tensorboard,
        )
        if team.is_first:
            print(args.folder)
