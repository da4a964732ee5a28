"""``vesalius pretrain``: a recipe, from slices without labels to a backbone; goes on with ``--resume``."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

from vesalius.cli.request import (
    add_sharding,
    add_training_precision,
    require_room,
    threads_of,
    training_precision,
)
from vesalius.cli.words import number_of_threads
from vesalius.pretraining.recipes import PRESETS, RECIPES, PretrainingRecipe, for_preset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``vesalius pretrain``."""
    parser.add_argument("recipe", choices=RECIPES, metavar="RECIPE", help=f"one of {', '.join(RECIPES)}")
    parser.add_argument("--data", type=Path, required=True, metavar="STORE", help="see `vesalius curate slices`")
    parser.add_argument("--run", type=Path, required=True, dest="folder", metavar="DIR", help="the run folder")
    parser.add_argument("--resume", action="store_true", help="go on where the run in DIR stopped, if there is one")
    parser.add_argument(
        "--start",
        metavar="BACKBONE",
        help="begin with its weights and fresh heads (a name, a folder, a file of any known layout), or with all "
        "of the pretraining in a run folder; default: at random",
    )
    parser.add_argument(
        "--gram", metavar="BACKBONE", help="stages 2 and 3: the earlier backbone to hold patches to"
    )
    parser.add_argument(
        "--warm-heads",
        type=float,
        metavar="PART",
        help="part of the steps, such as 0.02, in which heads learn alone: they are fresh, the backbone is not",
    )
    parser.add_argument("--no-gram", action="store_true", help="stage 3 without an earlier backbone")
    parser.add_argument(
        "--preset", choices=PRESETS, default="base", help="size of network and batch; default: %(default)s"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="end after so many; default: the recipe's")
    parser.add_argument("--minutes", type=float, metavar="M", help="end after so many minutes instead")
    parser.add_argument("--batch", type=int, metavar="N", help="slices of a sample")
    parser.add_argument("--windows", type=int, metavar="N", help="samples a step, over all processes")
    validation = parser.add_mutually_exclusive_group()
    validation.add_argument("--validate-every", type=int, metavar="N", help="steps; default: the recipe's")
    validation.add_argument("--no-validation", action="store_true", help="learn from all scans; for one, needed")
    parser.add_argument(
        "--keep-every", type=int, metavar="N", help="steps; also keep the backbone of each N-th, in DIR/at-STEP"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="default: 0")
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or mps")
    add_training_precision(parser)
    parser.add_argument(
        "--threads",
        type=number_of_threads,
        metavar="N",
        help="cores: samples worked on at once, or cut before their turn for a GPU",
    )
    add_sharding(parser)
    parser.add_argument("--tensorboard", action="store_true", help="also write events for TensorBoard")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print all that would be done as JSON, then time and memory by a few steps (on stderr), and stop",
    )


def run(args: argparse.Namespace) -> int:
    """Pretrain; what comes out is a backbone: ``vesalius probe --model DIR``."""
    from vesalius.data.slices import SliceStore
    from vesalius.engine.team import joined
    from vesalius.inference.device import device_to_train_on
    from vesalius.pretraining.course import Beginning, PretrainingCourse, carry_out
    from vesalius.pretraining.pretraining_plan import measured_costs, plan_lines

    logging.getLogger("vesalius").setLevel(logging.INFO)
    recipe, store = recipe_of(args), SliceStore(args.data)
    require_room(args)
    beginning = Beginning.of(args.start, recipe, store) if args.start else Beginning.at_random(recipe, store)
    course = PretrainingCourse(recipe=recipe, beginning=beginning, store=store, gram=args.gram)
    device, threads = device_to_train_on(args.device), threads_of(args.threads)
    with joined(device, is_sharded=args.shard) as team:
        if args.dry_run:
            if team.is_first:
                print(json.dumps(course.config(), indent=2), flush=True)
                costs = measured_costs(course, device=device, workers=threads, processes=team.size)
                print(*plan_lines(course, costs, processes=team.size), sep="\n", file=sys.stderr)
            return 0
        carry_out(
            course,
            args.folder,
            device=device,
            workers=threads,
            team=team,
            tensorboard=args.tensorboard,
            keep_every=args.keep_every,
        )
        if team.is_first:
            print(args.folder)
    return 0


def recipe_of(args: argparse.Namespace) -> PretrainingRecipe:
    """Return the recipe that was named, of the size that was named, with what was typed in its place."""
    recipe = for_preset(RECIPES[args.recipe], args.preset)
    names = ("steps", "minutes", "windows", "validate_every", "seed")
    typed = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if "minutes" in typed and "steps" not in typed:
        typed["steps"] = None
    if args.no_validation:
        typed["validate_every"] = None
    typed["precision"] = training_precision(args)  # a recipe cannot know what the machine has
    recipe = replace(recipe, loop=replace(recipe.loop, **typed))
    if args.no_gram:
        recipe = replace(recipe, gram=None)
    if args.warm_heads is not None:
        waiting = {**(recipe.optimisation.waiting or {}), "backbone.*": args.warm_heads}
        recipe = replace(recipe, optimisation=replace(recipe.optimisation, waiting=waiting))
    return recipe if args.batch is None else replace(recipe, batch=args.batch)
