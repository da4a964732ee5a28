"""``vesalius train`` and ``finetune`` of slices: a backbone and a list of cases -> a model that labels slices."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.cli.request import threads_of, training_precision
from vesalius.errors import UsageError
from vesalius.training.slice_recipes import (
    MEDDINOV3,
    MEDDINOV3_DEPTH,
    MEDDINOV3_FROZEN,
    MEDDINOV3_LINEAR,
    MEDDINOV3_NNUNET,
    MEDDINOV3_PRIMUS,
    MEDDINOV3_TOY,
    NNUNET_2D,
    SliceRecipe,
    slices_for_machine,
)

if TYPE_CHECKING:
    from vesalius.data.cache import Cache
    from vesalius.data.datalists.record import DataList
    from vesalius.engine.team import Team
    from vesalius.training.slice_course import SliceCourse

SLICE_RECIPES: Mapping[str, SliceRecipe] = {
    "meddinov3": MEDDINOV3,
    "meddinov3-primus": MEDDINOV3_PRIMUS,
    "meddinov3-nnunet": MEDDINOV3_NNUNET,
    "meddinov3-linear": MEDDINOV3_LINEAR,
    "meddinov3-frozen": MEDDINOV3_FROZEN,
    "meddinov3-depth": MEDDINOV3_DEPTH,
    "meddinov3-toy": MEDDINOV3_TOY,
}
"""Name -> recipe; what each is for stands in ``training/slice_recipes.py``."""
_VOLUMES_ONLY = ("new", "like", "keep_names", "folds", "patience")
"""What ``vesalius finetune`` can be told of models of volumes alone."""


def add_window(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--window-size`` of a command that may train a model of slices."""
    about = "of a slice's window; default: the backbone's, on cpu at most 128, or the recipe's; slice models only"
    parser.add_argument("--window-size", dest="window", type=int, metavar="PIXELS", help=about)


def add_augmentation(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--augmentation`` of a command that may train a model of slices."""
    about = (
        "of slices: our own, or nnU-Net's by its library (pip install 'vesalius[nnunet]'); default: the recipe's"
    )
    parser.add_argument("--augmentation", choices=("vesalius", "nnunet"), help=about)


def slice_recipe_of(args: argparse.Namespace, typed: Mapping[str, Any]) -> SliceRecipe:
    """Return the recipe that was named, as the machine can bear it, with what was typed in its place."""
    recipe = _augmented(args, slices_for_machine(SLICE_RECIPES[args.recipe], args.preset))
    if args.spacing is not None:
        recipe = replace(recipe, spacing_mm=args.spacing)
    batch = recipe.batch if args.batch is None else args.batch
    return replace(recipe, batch=batch, loop=replace(recipe.loop, **typed))


def train_slices(args: argparse.Namespace, listed: DataList, typed: Mapping[str, Any]) -> None:
    """Train a model of slices.

    Args:
        args: What was typed.
        listed: The list.
        typed: What was typed of the loop.
    """
    from vesalius.engine.team import joined
    from vesalius.inference.device import device_to_train_on
    from vesalius.training.slice_course import SliceBeginning, SliceCourse
    from vesalius.training.training_plan import slice_plan_of, view_words

    recipe = _fitted(args, slice_recipe_of(args, typed), SLICE_RECIPES[args.recipe])
    beginning = SliceBeginning.of(args.model, recipe, listed, at_random=args.at_random)
    course = SliceCourse(recipe=recipe, beginning=beginning, listed=listed)
    device = device_to_train_on(args.device)
    with joined(device, is_sharded=args.shard) as team:
        if team.is_first:
            _say(f"windows of {view_words(beginning.spec)} of a slice")
        if args.dry_run:
            if team.is_first:
                workers = threads_of(args.threads)
                plan = slice_plan_of(course, _cache(args), device=device, workers=workers, processes=team.size)
                print(*plan.lines(), sep="\n")
            return
        _carry_out(args, course, device, team, tensorboard=args.tensorboard)
        if team.is_first:
            print(args.folder)


def is_of_slices(model: str | Path) -> bool:
    """Say whether a model is a backbone of slices, or labels slices.

    Raises:
        ModelError: If there is no such model, or it is refused.
    """
    from vesalius.checkpoints.load import find_weights_of
    from vesalius.checkpoints.weights import open_weights
    from vesalius.spec import PromptArchitecture

    return not isinstance(open_weights(find_weights_of(model)).spec.architecture, PromptArchitecture)


def finetune_slices(args: argparse.Namespace, listed: DataList) -> None:
    """Say the plan, teach a backbone to label slices, and say whether it finds more than what was there before.

    Args:
        args: What was typed.
        listed: The list.

    Raises:
        UsageError: If something was asked for that only models of volumes have, or a patient is in two of the
            list's splits.
    """
    from vesalius.engine.forecast import Costs
    from vesalius.engine.run import CHECKPOINT
    from vesalius.engine.team import joined
    from vesalius.inference.device import device_to_train_on
    from vesalius.training.finetune import Resources, keep_plan, kept_plan, state_dice, write_record
    from vesalius.training.finetune.slices import (
        SliceTuning,
        measure_slices,
        slice_benefits,
        slice_plan_lines,
        slice_record,
    )
    from vesalius.training.training_plan import view_words

    tuning = SliceTuning.of(args.model, _finetune_recipe(args), listed)
    device = device_to_train_on(args.device)
    resources = Resources(cache=_cache(args), device=device, workers=threads_of(args.threads))
    goes_on = (args.folder / CHECKPOINT).exists()
    costs = kept_plan(args.folder, Costs) if goes_on else None
    with joined(device, is_sharded=args.shard) as team:
        if team.is_first:
            _say(f"windows of {view_words(tuning.course.beginning.spec)} of a slice")
        if team.is_first and (args.dry_run or not goes_on):
            costs = measure_slices(tuning, resources, processes=team.size)
            for line in slice_plan_lines(tuning, costs):
                print(line, flush=True)
        if not args.dry_run:
            if team.is_first and costs is not None:
                keep_plan(args.folder, costs)
            _carry_out(args, tuning.course, device, team)
    if args.dry_run or not team.is_first:
        return
    benefits = slice_benefits(tuning, args.model, args.folder, device=device, on_measuring=_say)
    for benefit in benefits:
        print(benefit.words())
    state_dice(args.folder, benefits)
    print(write_record(args.folder, slice_record(tuning, costs, args.folder, benefits)).parent)


def _finetune_recipe(args: argparse.Namespace) -> SliceRecipe:
    """Return how to teach a backbone by what was typed, or refuse what only models of volumes have."""
    asked = [name for name in _VOLUMES_ONLY if getattr(args, name)]
    if asked:
        raise UsageError(
            expected=f"a model of volumes for --{asked[0].replace('_', '-')}",
            got=f"{args.model}, of slices",
            do="leave it out: a decoder for the list's structures begins anew, in one training without validations",
        )
    planned = MEDDINOV3 if args.freeze == "none" else MEDDINOV3_FROZEN
    recipe = _augmented(args, slices_for_machine(planned, args.preset))
    if args.spacing is not None:
        recipe = replace(recipe, spacing_mm=args.spacing)
    length = {"minutes": args.minutes, "steps": None} if args.steps is None else {"steps": args.steps}
    loop = replace(recipe.loop, seed=args.seed, precision=training_precision(args), **length)
    return _fitted(args, replace(recipe, loop=loop), planned)


def _augmented(args: argparse.Namespace, recipe: SliceRecipe) -> SliceRecipe:
    """Take the augmentation that was typed; our own is the recipe's, if that has one of ours."""
    if args.augmentation == "nnunet":
        return replace(recipe, augmentation="nnunet")
    if args.augmentation == "vesalius" and recipe.augmentation == "nnunet":
        return replace(recipe, augmentation=NNUNET_2D)
    return recipe


def _fitted(args: argparse.Namespace, recipe: SliceRecipe, planned: SliceRecipe) -> SliceRecipe:
    """Take the window that was typed; keep the field of view in any other than was planned, unless by --spacing."""
    from vesalius.training.course_data import spec_of
    from vesalius.training.slice_recipes import TOY_SPEC, as_wide, in_windows_of

    if args.window is None and args.spacing is not None:
        return recipe
    spec, size = spec_of(args.model) if args.model else TOY_SPEC, planned.window_size
    if args.window is None:
        return as_wide(recipe, spec, planned=size)
    return in_windows_of(args.window, recipe, spec, planned=size, spacing_mm=args.spacing)


def _carry_out(
    args: argparse.Namespace, course: SliceCourse, device: str, team: Team, *, tensorboard: bool = False
) -> None:
    from vesalius.training.slice_course import carry_out_slices

    carry_out_slices(
        course,
        args.folder,
        cache=_cache(args),
        device=device,
        workers=threads_of(args.threads),
        team=team,
        tensorboard=tensorboard,
    )


def _cache(args: argparse.Namespace) -> Cache:
    from vesalius.data.cache import Cache

    return Cache(args.cache or args.folder / "cache")


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
