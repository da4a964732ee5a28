"""``vesalius train``: a recipe, from a list of cases to a model; goes on with ``--resume``."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vesalius.checkpoints.default_model import DEFAULT_MODEL
from vesalius.cli.list_options import add_list_options, list_of
from vesalius.cli.request import (
    add_sharding,
    add_training_precision,
    require_room,
    threads_of,
    training_precision,
)
from vesalius.cli.slice_training import SLICE_RECIPES, add_augmentation, add_window, train_slices
from vesalius.cli.words import names, number_of_threads
from vesalius.errors import UsageError
from vesalius.labels.vocabulary import Vocabulary
from vesalius.spec import ModelSpec
from vesalius.training.recipes import STAGE_1, STAGE_2, STAGE_3, STAGE_4, VistaRecipe, for_machine, in_multiples

RECIPES: Mapping[str, VistaRecipe] = {
    "stage-1": STAGE_1,
    "stage-2": STAGE_2,
    "stage-3": STAGE_3,
    "stage-4": STAGE_4,
}
"""Name -> recipe; what each is for stands in ``training/recipes.py``."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``vesalius train``."""
    recipes = (*RECIPES, *SLICE_RECIPES)
    parser.add_argument("recipe", choices=recipes, metavar="RECIPE", help=f"one of {', '.join(recipes)}")
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        required=True,
        metavar="LIST",
        help="see `vesalius dataset check`; once for each list to learn from, one for slices",
    )
    add_list_options(parser, folds=True)
    parser.add_argument("--run", type=Path, required=True, dest="folder", metavar="DIR", help="the run folder")
    parser.add_argument("--resume", action="store_true", help="go on where the run in DIR stopped, if there is one")
    parser.add_argument("--dry-run", action="store_true", help="print the plan (time from a few steps) and stop")
    parser.add_argument(
        "--preset",
        choices=("cpu", "gpu", "cluster"),
        default="cpu",
        help="what the machine can bear; meddinov3-toy stays as it is; default: %(default)s",
    )
    parser.add_argument(
        "--model",
        metavar="NAME|PATH",
        help=f"begin with its weights, and keep what it expects and names; default: {DEFAULT_MODEL}. "
        "A backbone takes its names from LIST: stages put heads for names and clicks on it, meddinov3 a decoder",
    )
    parser.add_argument("--at-random", action="store_true", help="begin with random weights of that network")
    parser.add_argument(
        "--spacing", type=float, metavar="MM", help="of pixels (meddinov3) or voxels (stages on a backbone)"
    )
    add_window(parser)
    add_augmentation(parser)
    parser.add_argument(
        "--synthetic",
        type=float,
        metavar="SHARE",
        help="of the windows of a stage, from phantoms and from training labels deformed and painted; default: 0",
    )
    parser.add_argument(
        "--novel",
        type=names,
        metavar="A,B",
        help="classes of a stage that are neither asked for nor learnt from, to be clicked on later as never seen",
    )
    parser.add_argument("--steps", type=int, metavar="N", help="end after so many; default: the recipe's")
    parser.add_argument("--minutes", type=float, metavar="M", help="end after so many minutes instead")
    parser.add_argument("--windows", type=int, metavar="N", help="samples a step, over all processes")
    parser.add_argument(
        "--batch", type=int, metavar="N", help="windows in a sample, which pass the network together"
    )
    parser.add_argument("--validate-every", type=int, metavar="N", help="steps; needs validation cases in LIST")
    parser.add_argument("--patience", type=int, metavar="N", help="end after so many validations in vain")
    parser.add_argument("--seed", type=int, metavar="N", help="default: 0")
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="of prepared cases; default: cache in the run folder"
    )
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or mps")
    add_training_precision(parser)
    parser.add_argument("--threads", type=number_of_threads, metavar="N", help="samples worked on at once")
    add_sharding(parser)
    parser.add_argument("--tensorboard", action="store_true", help="also write events for TensorBoard")


def run(args: argparse.Namespace) -> int:
    """Train; what comes out is a model folder: ``vesalius segment --model DIR``."""
    from vesalius.data.cache import Cache
    from vesalius.engine.team import joined
    from vesalius.inference.device import device_to_train_on
    from vesalius.training.beginning import Beginning
    from vesalius.training.course import Course, carry_out
    from vesalius.training.training_plan import plan_of

    logging.getLogger("vesalius").setLevel(logging.INFO)
    require_room(args)
    if args.recipe in SLICE_RECIPES:
        _refuse_volumes_only(args)
        train_slices(args, list_of(args, only_list(args)), typed_of(args))
        return 0
    _refuse_slices_only(args)
    recipe = recipe_of(args)
    lists = [list_of(args, path) for path in args.data]
    beginning = Beginning.of(
        args.model or DEFAULT_MODEL, recipe, at_random=args.at_random, lists=lists, spacing_mm=args.spacing
    )
    recipe = replace(recipe, novel=novel_ids(args.novel or (), beginning.spec))
    recipe = in_multiples(recipe, beginning.spec.vista.size_multiple)
    course = Course(recipe=recipe, beginning=beginning, listed=lists[0], others=tuple(lists[1:]))
    device, cache = device_to_train_on(args.device), Cache(args.cache or args.folder / "cache")
    workers = threads_of(args.threads)
    with joined(device, is_sharded=args.shard) as team:
        if args.dry_run:
            if team.is_first:
                plan = plan_of(course, cache, device=device, workers=workers, processes=team.size)
                print(*plan.lines(), sep="\n")
            return 0
        carry_out(
            course,
            args.folder,
            cache=cache,
            device=device,
            workers=workers,
            team=team,
            tensorboard=args.tensorboard,
        )
        if team.is_first:
            print(args.folder)
    return 0


def _refuse_slices_only(args: argparse.Namespace) -> None:
    for is_typed, word, do in (
        (args.window is not None, "--window-size", "leave it out; --windows counts the samples of a step"),
        (args.augmentation is not None, "--augmentation", "leave it out"),
    ):
        if is_typed:
            slices = ", ".join(SLICE_RECIPES)
            raise UsageError(expected=f"{word} with a recipe of slices: {slices}", got=args.recipe, do=do)


def _refuse_volumes_only(args: argparse.Namespace) -> None:
    for name in ("synthetic", "novel"):
        if getattr(args, name) is not None:
            raise UsageError(
                expected=f"--{name} with a stage of volumes: {', '.join(RECIPES)}",
                got=args.recipe,
                do="leave it out",
            )


def novel_ids(novel: Sequence[str], spec: ModelSpec) -> tuple[int, ...]:
    """Return the classes that names mean to a model; of what is made of several, each.

    Raises:
        UnknownClassError: For what the model does not name.
    """
    if not novel:
        return ()
    targets = Vocabulary.of(spec.vocabulary).resolve(novel)
    return tuple(sorted(label for target in targets for label in target.members))


def only_list(args: argparse.Namespace) -> Path:
    """Return the list that was named, for a recipe that reads one.

    Raises:
        UsageError: If several were.
    """
    if len(args.data) > 1:
        raise UsageError(
            expected=f"one --data with {args.recipe}, whose classes are those of the list",
            got=", ".join(map(str, args.data)),
            do="put the cases into one list, or train a stage of volumes",
        )
    path: Path = args.data[0]
    return path


def recipe_of(args: argparse.Namespace) -> VistaRecipe:
    """Return the recipe that was named, as the machine can bear it, with what was typed in its place."""
    recipe = for_machine(RECIPES[args.recipe], args.preset)
    if args.synthetic is not None:
        recipe = replace(recipe, synthetic=replace(recipe.synthetic, share=args.synthetic))
    batch = recipe.batch if args.batch is None else args.batch
    return replace(recipe, batch=batch, loop=replace(recipe.loop, **typed_of(args)))


def typed_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return what was typed of the loop; minutes take the place of a recipe's steps, and steps that of minutes."""
    # the precision is always said: a recipe cannot know what the machine has
    fields = ("steps", "minutes", "windows", "validate_every", "patience", "seed")
    typed = {name: getattr(args, name) for name in fields if getattr(args, name) is not None}
    if ("minutes" in typed) != ("steps" in typed):
        typed |= {"steps": None} if "minutes" in typed else {"minutes": None}
    return typed | {"precision": training_precision(args)}
