"""The paper's steps on head-and-neck slices, in the same time each: what each of them brings a toy.

``plain``       a vision transformer at random, its last block decoded as Primus does
``depths``      features of four depths beside one another, decoded as published
``fused``       the same, each brought to one width first: the default decoder
``resolution``  the same field of view with 1.75 times the pixels along each side, as the paper's 896 for 512
``pretrained``  the backbone of ``pretraining_works.py`` in its place
``nnunet``      nnU-Net v2's 2-D configuration by its own package, its schedule shortened to the same minutes
                (its planner cuts across the coarsest axis, which in these scans is not the body's: it may)
``nnunet, batch``  the same with as many windows a step as the others have, in place of those it plans for a GPU
``nnunet, batch, long``  that one for ``--long`` minutes, as many as can be afforded; one seed, none without that

A random transformer learns at one rate in all its layers, a pretrained one at less in the first.

    python benchmarks/slice_steps.py --backbone runs/pretraining_works/seed-0

The minutes of pretraining are not counted here: the result says how many they were (``pretrained_for_min``), and
``slice_transfer.py --as-long`` has the side that counts them. Preparing the scans is counted nowhere. nnU-Net has
its own Python; without it its sides are left out:

    python -m venv runs/nnunet-venv
    runs/nnunet-venv/bin/pip install nnunetv2==2.8.1

Every run that is finished is kept in ``--folder``; a second start goes on where the first was stopped.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import sides
import slice_runs
from few_shot import interval, table

if TYPE_CHECKING:
    from vesalius.training.slice_recipes import SliceRecipe

LONG = "nnunet, batch, long"
SIDES = ("plain", "depths", "fused", "resolution", "pretrained", "nnunet", "nnunet, batch", LONG)
FINER = 1.75
"""Pixels of the high resolution for one of the other, along each side."""


def recipe_of(side: str, arguments: argparse.Namespace) -> SliceRecipe:
    """Return a side's recipe: that of the side before it and its difference."""
    from vesalius.training.slice_recipes import MEDDINOV3_TOY

    window = (arguments.window, arguments.window)
    plain = replace(
        MEDDINOV3_TOY,
        spacing_mm=arguments.spacing,
        window_size=window,
        taps=(arguments.depth - 1,),
        decoder="primus",
        encoder_rate=1.0,
        layer_decay=1.0,
        batch=arguments.batch,
    )
    depths = replace(plain, taps=None)
    fused = replace(depths, decoder="fused")
    finer = round(arguments.window * FINER / 16) * 16
    resolution = replace(fused, spacing_mm=arguments.spacing * arguments.window / finer, window_size=(finer, finer))
    own = {"encoder_rate": MEDDINOV3_TOY.encoder_rate, "layer_decay": MEDDINOV3_TOY.layer_decay}
    pretrained = replace(resolution, **own)
    recipes = {"plain": plain, "depths": depths, "fused": fused, "resolution": resolution, "pretrained": pretrained}
    return recipes[side]


def side(arguments: argparse.Namespace) -> None:
    """Run one side with one seed, and print what it measured."""
    place = arguments.folder / f"{arguments.side}-{arguments.seed}"
    names = slice_runs.names_of("train")[: arguments.cases], slice_runs.names_of("val")[: arguments.judged]
    listed = slice_runs.listed_for(*names, place)
    begun = time.process_time()
    if arguments.side.startswith("nnunet"):
        answer = slice_runs.by_nnunet(
            listed,
            minutes=arguments.minutes,
            folder=place / "nnunet",
            python=arguments.nnunet,
            seed=arguments.seed,
            batch=arguments.batch if "batch" in arguments.side else None,
        )
    else:
        backbone = arguments.backbone
        arguments.depth = depth_of(backbone)
        answer = slice_runs.learnt(
            listed,
            recipe_of(arguments.side, arguments),
            backbone=backbone,
            at_random=arguments.side != "pretrained",
            minutes=arguments.minutes,
            seed=arguments.seed,
            folder=arguments.folder,
        )
    print(json.dumps({**answer, "processor_s": round(time.process_time() - begun, 1)}))


def depth_of(backbone: Path | None) -> int:
    """Return how many blocks the backbone has, or the toy."""
    from vesalius.checkpoints.load import find_weights_of
    from vesalius.checkpoints.weights import open_weights
    from vesalius.spec import VitArchitecture
    from vesalius.training.slice_recipes import TOY_SPEC

    spec = TOY_SPEC if backbone is None else open_weights(find_weights_of(backbone)).spec
    assert isinstance(spec.architecture, VitArchitecture)
    return spec.architecture.depth


def main() -> None:
    """Run every side with every seed, those that are not kept yet; print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/slice_steps"))
    parser.add_argument("--backbone", type=Path, help="a pretrained toy; without it that side is left out")
    parser.add_argument("--minutes", type=float, default=8.0, help="of the processor, for each training")
    parser.add_argument("--long", type=float, metavar="MINUTES", help=f"of '{LONG}'; without it that is left out")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--cases", type=int, default=48, help="scans to learn from, at most 96")
    parser.add_argument("--judged", type=int, default=16, help="scans to measure on, at most 16")
    parser.add_argument("--spacing", type=float, default=2.0, help="mm of a pixel, before the high resolution")
    parser.add_argument("--window", type=int, default=128, help="pixels of a window, before the high resolution")
    parser.add_argument("--batch", type=int, default=4, help="windows a step")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, a thread each")
    parser.add_argument("--nnunet", type=Path, default=slice_runs.NNUNET, help="its Python")
    parser.add_argument("--result", default="slice_steps", help="name of the result")
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    if arguments.side:
        side(arguments)
        return
    is_there = {"pretrained": arguments.backbone is not None, "nnunet": arguments.nnunet.is_file()}
    names = [name for name in SIDES if is_there.get(name.split(",")[0], True) and (name != LONG or arguments.long)]
    seeds = {name: range(1 if name == LONG else arguments.seeds) for name in names}
    runs = [(name, seed) for seed in range(arguments.seeds) for name in names if seed in seeds[name]]

    def words(name: str, seed: int) -> list[str]:
        own = ["--folder", str(arguments.folder), "--seed", str(seed), "--nnunet", str(arguments.nnunet)]
        own += ["--backbone", str(arguments.backbone)] if arguments.backbone else []
        own += ["--minutes", str(arguments.long if name == LONG else arguments.minutes)]
        return own + slice_runs.given(arguments, "cases", "judged", "spacing", "window", "batch")

    asked = [(f"{name}-{seed}", name, words(name, seed)) for name, seed in runs]
    answers = sides.each_once(arguments.folder, __file__, asked, jobs=arguments.jobs)
    found = dict(zip(runs, answers, strict=True))
    tables = {name: table([found[name, seed] for seed in seeds[name]]) for name in names}
    ours = [name for name in names if not name.startswith("nnunet")]
    dice = {name: interval(values) for name, values in tables.items()}
    gained = {later: interval(tables[later] - tables[earlier]) for earlier, later in pairwise(ours)}
    rows: list[list[object]] = [["step", "Dice (95 %)", "more than the one before"]]
    rows += [[name, in_words(dice[name]), in_words(gained.get(name))] for name in names]
    sides.print_table(rows)
    about = {
        "minutes": arguments.minutes,
        **({"minutes_of_long": arguments.long} if arguments.long else {}),
        "seeds": arguments.seeds,
        "learnt_from": arguments.cases,
        "measured_on": arguments.judged,
        "dice_of": "mean over five structures; intervals of 95 %: seeds and cases drawn, of one seed the cases",
        "pretrained_for_min": slice_runs.pretraining_minutes(arguments.backbone),
        "by_structure": {
            name: [slice_runs.by_structure(found[name, seed]) for seed in seeds[name]] for name in names
        },
        "steps": {
            name: [run.get("steps", run.get("iterations")) for (side, _), run in found.items() if side == name]
            for name in names
        },
    }
    sides.write_result(arguments.result, {**about, "dice": dice, "gained_over_the_step_before": gained})


def in_words(found: dict[str, float] | None) -> str:
    """Return an interval as people read it."""
    return "" if found is None else f"{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


if __name__ == "__main__":
    main()
