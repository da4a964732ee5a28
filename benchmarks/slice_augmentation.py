"""Which augmentation slices are learnt with: ours, near nnU-Net's, and nnU-Net's own by its library.

``windows``   milliseconds of the processor that drawing one window takes, as the task draws it out of the same scan
              with pixels of its own: read alone, ours, nnU-Net's; medians, all taken in turns, one thread
``vesalius``  a toy learns from two labelled scans, changed as ``slice_recipes.NNUNET_2D`` says
``nnunet``    the same with ``augmentation="nnunet"``

    python benchmarks/slice_augmentation.py [--window 128] [--times 200] [--minutes 3] [--sets 2]

Network, scans, support sets and minutes are those of side ``scratch`` of ``slice_transfer.py``, whose augmentation
is another, gentler one: it turns by 15 degrees at most and makes fewer windows coarser. Here both sides turn by any
angle. Minutes are the processor's and hold the drawing, too; they are spent in what the processor multiplies in
hardware (bf16 or fp32), as ``vesalius train`` does. What is finished is kept in ``--folder``.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import sides
import slice_runs
from few_shot import interval, table
from slice_steps import in_words
from slice_transfer import recipe_of

if TYPE_CHECKING:
    from vesalius.data.datalists.record import DataList
    from vesalius.training.slice_recipes import SliceRecipe

LEARNT = ("vesalius", "nnunet")
SIDES = ("windows", *LEARNT)
WARM_UP = 50
"""Windows that are not counted: what is imported when it is first drawn has been by then."""


def augmented(name: str, arguments: argparse.Namespace) -> SliceRecipe:
    """Return the toy's recipe with one of the augmentations; ``read``: with none."""
    from vesalius.precision import best_precision
    from vesalius.training.slice_recipes import NNUNET_2D
    from vesalius.transforms.augment import Augmentation

    still = Augmentation(keep_sharp=1.0, low_resolution=0.0, noise=0.0, drift=0.0, cut=0.0)
    recipe = recipe_of("scratch", arguments)
    choices: dict[str, Any] = {"read": still, "vesalius": NNUNET_2D, "nnunet": "nnunet"}
    loop = replace(recipe.loop, precision=best_precision("cpu"))
    return replace(recipe, augmentation=choices[name], loop=loop)


def windows(arguments: argparse.Namespace, listed: DataList) -> dict[str, Any]:
    """Return the median time of drawing a window, of each augmentation."""
    import torch

    from vesalius.data.cache import Cache
    from vesalius.training.slice_course import SliceBeginning, SliceCourse

    torch.set_num_threads(1)
    draws: dict[str, Callable[[np.random.Generator], object]] = {}
    for name in ("read", *LEARNT):
        recipe = replace(augmented(name, arguments), batch=1)
        beginning = SliceBeginning.of(None, recipe, listed, at_random=True)
        course = SliceCourse(recipe=recipe, beginning=beginning, listed=listed)
        draws[name] = course.task(Cache(arguments.folder / "cache")).draw
    spent: dict[str, list[float]] = {name: [] for name in draws}
    for seed in range(arguments.times + WARM_UP):
        for name, draw in draws.items():
            begun = time.process_time()
            draw(np.random.default_rng(seed))
            spent[name].append(time.process_time() - begun)
    counted = {name: np.array(seconds[WARM_UP:]) * 1000 for name, seconds in spent.items()}
    return {
        "median_ms": {name: round(float(statistics.median(ms)), 2) for name, ms in counted.items()},
        "mean_ms": {name: round(float(ms.mean()), 2) for name, ms in counted.items()},
        "batchgeneratorsv2": version("batchgeneratorsv2"),
    }


def side(arguments: argparse.Namespace) -> None:
    """Run one side on one support set, and print what it measured."""
    chosen = slice_runs.support_set(arguments.set)
    place = arguments.folder / f"set-{arguments.set}"
    listed = slice_runs.listed_for(chosen, slice_runs.names_of("val")[: arguments.judged], place)
    begun = time.process_time()
    if arguments.side == "windows":
        answer = windows(arguments, listed)
    else:
        answer = slice_runs.learnt(
            listed,
            augmented(arguments.side, arguments),
            backbone=None,
            at_random=True,
            minutes=arguments.minutes,
            seed=arguments.set,
            folder=arguments.folder,
        )
    print(json.dumps({**answer, "learnt_from": chosen, "processor_s": round(time.process_time() - begun, 1)}))


def main() -> None:
    """Run every side, those that are not kept yet; print the tables, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/slice_augmentation"))
    parser.add_argument("--minutes", type=float, default=3.0, help="of the processor, for each training")
    parser.add_argument("--sets", type=int, default=2, help="support sets; 0: only time windows")
    parser.add_argument("--judged", type=int, default=16, help="scans to measure on, at most 16")
    parser.add_argument("--spacing", type=float, default=2.0, help="mm of a pixel")
    parser.add_argument("--window", type=int, default=128, help="pixels of a window")
    parser.add_argument("--batch", type=int, default=4, help="windows a step")
    parser.add_argument("--times", type=int, default=200, help="windows to time, of each augmentation")
    parser.add_argument("--result", default="slice_augmentation", help="name of the result")
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--set", type=int)
    arguments = parser.parse_args()
    if arguments.side:
        side(arguments)
        return

    def words(number: int) -> list[str]:
        own = ["--folder", str(arguments.folder), "--set", str(number)]
        return own + slice_runs.given(arguments, "minutes", "judged", "spacing", "window", "batch", "times")

    runs = [(number, name) for number in range(arguments.sets) for name in LEARNT]
    asked = [("set-0", "windows", words(0)), *((f"set-{number}", name, words(number)) for number, name in runs)]
    timed, *learnt = sides.each_once(arguments.folder, __file__, asked, jobs=1)
    times = timed["median_ms"]
    rows: list[list[object]] = [["augmentation", "ms a window"], *([name, ms] for name, ms in times.items())]
    about = {
        "window": arguments.window,
        "times": arguments.times,
        "median_ms": times,
        "mean_ms": timed["mean_ms"],
        "batchgeneratorsv2": timed["batchgeneratorsv2"],
    }
    sides.print_table(rows)
    if learnt:
        about |= learning(arguments, dict(zip(runs, learnt, strict=True)))
    sides.write_result(arguments.result, about)


def learning(arguments: argparse.Namespace, found: dict[tuple[int, str], dict[str, Any]]) -> dict[str, Any]:
    """Print the table of what was learnt, and return it for the result."""
    from vesalius.precision import best_precision

    numbers = range(arguments.sets)
    tables = {name: table([found[number, name] for number in numbers]) for name in LEARNT}
    dice = {name: interval(values) for name, values in tables.items()}
    difference = tables["nnunet"] - tables["vesalius"]
    more, over = interval(difference), drawn(arguments.sets)
    rows: list[list[object]] = [["augmentation", "Dice (95 %)", "more than ours"]]
    rows += [["vesalius", in_words(dice["vesalius"]), ""], ["nnunet", in_words(dice["nnunet"]), in_words(more)]]
    sides.print_table(rows)
    return {
        "minutes": arguments.minutes,
        "support_sets": arguments.sets,
        "labelled_scans_of_a_set": slice_runs.PAIR,
        "measured_on": arguments.judged,
        "dice_of": f"mean over five structures; intervals of 95 % over {over}",
        "intervals_over": over,
        "precision": best_precision("cpu"),
        "by_structure": {
            name: [slice_runs.by_structure(found[number, name]) for number in numbers] for name in LEARNT
        },
        "steps": {name: [found[number, name]["steps"] for number in numbers] for name in LEARNT},
        "processor_s": {name: [found[number, name]["processor_s"] for number in numbers] for name in LEARNT},
        "dice": dice,
        "more_by_nnunet": more,
        "more_by_pair": [interval(of_pair[None]) for of_pair in difference],
    }


def drawn(sets: int) -> str:
    """Say what is drawn for an interval; each support set is a pair of scans, and the seed of its training."""
    return "cases of one pair of scans and one seed" if sets == 1 else f"cases and {sets} pairs, a seed each"


if __name__ == "__main__":
    main()
