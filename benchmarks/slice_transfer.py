"""Does pretraining transfer: slices learnt from two labelled scans, with a pretrained backbone and from scratch.

``copied``      the labels of the nearest labelled scan, laid over the new one: nothing is learnt
``scratch``     the network at random, LayerScale 1, all layers at one rate
``pretrained``  the same network with the backbone of ``pretraining_works.py``, all of it learning
``frozen``      that backbone as it is, with LoRA beside its maps, and the decoder
``nnunet``      nnU-Net v2's 2-D configuration by its own package (``slice_steps.py``), if it is there, with as many
                windows a step as the others
``scratch, as long``  as ``scratch``, for as many minutes as pretraining and learning have together: on the first
                ``--as-long`` support sets, none without that

    python benchmarks/slice_transfer.py --backbone runs/pretraining_works/seed-0
    python benchmarks/slice_transfer.py --backbone runs/pretraining_works/seed-0 --as-long 2

Five support sets that share no scan; each side has the same minutes of the processor for each. Every run that is
finished is kept in ``--folder``; a second start goes on where the first was stopped. The scans of the support sets
were, without their labels, among those the backbone learnt from; those that are measured on were not.

Minutes of pretraining are spent once for all support sets. Beside ``scratch`` they are not counted, beside
``scratch, as long`` they are, all of them for every set; the result says how many they were (``as_long``). Cutting
the slices and preparing the scans are counted nowhere.

An earlier run of 1.5 minutes had ``frozen`` 0.014 behind ``scratch`` (95 %: 0.048 behind to 0.014 ahead). The
minutes of the run that is reported, and the weight of recall in its recipe, were chosen after looking at these 16
scans.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import sides
import slice_runs
from few_shot import copied, interval, table
from slice_steps import in_words

if TYPE_CHECKING:
    from vesalius.training.slice_recipes import SliceRecipe

AS_LONG = "scratch, as long"
SIDES = ("copied", "scratch", "pretrained", "frozen", "nnunet", AS_LONG)


def recipe_of(side: str, arguments: argparse.Namespace) -> SliceRecipe:
    """Return a side's recipe."""
    from vesalius.spec import Lora
    from vesalius.training.slice_recipes import MEDDINOV3_TOY

    window = (arguments.window, arguments.window)
    whole = replace(MEDDINOV3_TOY, spacing_mm=arguments.spacing, window_size=window, batch=arguments.batch)
    if side in ("scratch", AS_LONG):
        return replace(whole, encoder_rate=1.0, layer_decay=1.0)
    return whole if side == "pretrained" else replace(whole, adapters=(Lora(rank=8),))


def side(arguments: argparse.Namespace) -> None:
    """Run one side on one support set, and print what it measured."""
    chosen = slice_runs.support_set(arguments.set)
    place = arguments.folder / f"set-{arguments.set}"
    listed = slice_runs.listed_for(chosen, slice_runs.names_of("val")[: arguments.judged], place)
    begun = time.process_time()
    if arguments.side == "copied":
        answer = copied(listed)
    elif arguments.side == "nnunet":
        answer = slice_runs.by_nnunet(
            listed,
            minutes=arguments.minutes,
            folder=place / "nnunet",
            python=arguments.nnunet,
            seed=arguments.set,
            batch=arguments.batch,
        )
    else:
        answer = slice_runs.learnt(
            listed,
            recipe_of(arguments.side, arguments),
            backbone=arguments.backbone,
            at_random=arguments.side in ("scratch", AS_LONG),
            minutes=arguments.minutes,
            seed=arguments.set,
            folder=arguments.folder,
        )
    print(json.dumps({**answer, "learnt_from": chosen, "processor_s": round(time.process_time() - begun, 1)}))


def sets_of(arguments: argparse.Namespace) -> dict[str, int]:
    """Return of each side that takes part how many of the support sets, the first ones, it has."""
    absent = {*arguments.leave_out}
    absent |= set() if arguments.nnunet.is_file() else {"nnunet"}
    absent |= set() if arguments.as_long else {AS_LONG}
    sets = dict.fromkeys((name for name in SIDES if name not in absent), arguments.sets)
    return {name: min(number, arguments.as_long) if name == AS_LONG else number for name, number in sets.items()}


def ahead(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Return by how much one table is above another over the support sets that both have, with its interval."""
    both = min(len(first), len(second))
    return interval(first[:both] - second[:both])


def main() -> None:
    """Run every side of every support set, those that are not kept yet; print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/slice_transfer"))
    pretrained = Path("runs/pretraining_works/seed-0")
    parser.add_argument("--backbone", type=Path, default=pretrained, help="a pretrained toy")
    parser.add_argument("--minutes", type=float, default=5.0, help="of the processor, for each training")
    parser.add_argument("--sets", type=int, default=5)
    parser.add_argument("--as-long", type=int, default=0, metavar="N", help=f"support sets of '{AS_LONG}'")
    parser.add_argument("--judged", type=int, default=16, help="scans to measure on, at most 16")
    parser.add_argument("--spacing", type=float, default=2.0, help="mm of a pixel")
    parser.add_argument("--window", type=int, default=128, help="pixels of a window")
    parser.add_argument("--batch", type=int, default=4, help="windows a step")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, a thread each")
    parser.add_argument("--nnunet", type=Path, default=slice_runs.NNUNET, help="its Python")
    parser.add_argument("--leave-out", nargs="+", choices=SIDES[2:5], default=[], help="sides")
    parser.add_argument("--result", default="slice_transfer", help="name of the result")
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--set", type=int)
    arguments = parser.parse_args()
    if arguments.side:
        side(arguments)
        return
    pretrained_for = slice_runs.pretraining_minutes(arguments.backbone)
    if arguments.as_long and pretrained_for is None:
        parser.error(f"--as-long: {arguments.backbone} does not say how long it was pretrained")
    sets = sets_of(arguments)
    runs = [(number, name) for number in range(arguments.sets) for name in sets if number < sets[name]]

    def minutes_of(name: str) -> float:
        return float(arguments.minutes + (pretrained_for or 0.0) * (name == AS_LONG))

    def words(number: int, name: str) -> list[str]:
        own = ["--folder", str(arguments.folder), "--set", str(number), "--backbone", str(arguments.backbone)]
        own += ["--nnunet", str(arguments.nnunet)]
        own += ["--minutes", str(minutes_of(name))]
        return own + slice_runs.given(arguments, "judged", "spacing", "window", "batch")

    asked = [(f"set-{number}", name, words(number, name)) for number, name in runs]
    answers = sides.each_once(arguments.folder, __file__, asked, jobs=arguments.jobs)
    found = dict(zip(runs, answers, strict=True))
    tables = {name: table([found[number, name] for number in range(sets[name])]) for name in sets}
    dice = {name: interval(values) for name, values in tables.items()}
    gained = {name: ahead(tables[name], tables["scratch"]) for name in sets if name != "scratch"}
    counted: dict[str, Any] = {}
    if AS_LONG in sets and "pretrained" in sets:
        counted = {"minutes": minutes_of(AS_LONG), "support_sets": sets[AS_LONG]}
        counted["gained_by_pretraining"] = ahead(tables["pretrained"], tables[AS_LONG])
    rows: list[list[object]] = [["side", "Dice (95 %)", "more than from scratch"]]
    rows += [[name, in_words(dice[name]), in_words(gained.get(name))] for name in sets]
    if counted:
        rows.append([f"pretrained - {AS_LONG}", in_words(counted["gained_by_pretraining"]), ""])
    sides.print_table(rows)
    about = {
        "minutes": arguments.minutes,
        "support_sets": arguments.sets,
        "labelled_scans_of_a_set": slice_runs.PAIR,
        "measured_on": arguments.judged,
        "dice_of": "mean over five structures; intervals of 95 %: support sets and cases drawn",
        "pretrained_for_min": pretrained_for,
        **({"as_long": counted} if counted else {}),
        "by_structure": {
            name: [slice_runs.by_structure(found[n, name]) for n in range(sets[name])] for name in sets
        },
        "steps": {
            name: [found[n, name].get("steps", found[n, name].get("iterations")) for n in range(sets[name])]
            for name in sets
        },
    }
    sides.write_result(arguments.result, {**about, "dice": dice, "gained_over_scratch": gained})


if __name__ == "__main__":
    main()
