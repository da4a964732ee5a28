"""What Gram anchoring and high resolution bring a toy: stages 2 and 3 run to their ends, and are probed after each.

    python benchmarks/pretraining_works.py --folder runs/pretraining_works --seeds 1
    python benchmarks/pretraining_stages.py --folder runs/pretraining_stages --stage-1 runs/pretraining_works/seed-0

``stage 1``          as the first line left it
``stage 1 for more`` the same objectives and views for as many minutes more, at the rate of stage 2: the control
``stage 2``          from stage 1, its patches held to stage 1's teacher (Gram anchoring)
``stage 3``          from stage 2, batches of five sizes up to twice as large, held to the same teacher

Each has the same minutes of the processor on one core. Probes are those of ``pretraining_works.py``, on scans that
nothing was learnt from. Finished stages and probes are kept in the folder, stopped ones go on.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import logging
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pretraining_works import course_of, make_store, probed_once, read_probed
from sides import print_table, write_result
from vesalius.errors import InterruptedRun
from vesalius.evaluation.frozen_features import Places
from vesalius.precision import best_precision
from vesalius.pretraining.course import Beginning, PretrainingCourse, carry_out
from vesalius.pretraining.recipes import STAGE_1, STAGE_2, STAGE_3, PretrainingRecipe, for_preset

FIRST, MORE, SECOND, THIRD = "stage 1", "stage 1 for more", "stage 2", "stage 3"
AFTER = {MORE: FIRST, SECOND: FIRST, THIRD: SECOND}
"""Stage -> the one it begins from."""


def recipe_of(stage: str, minutes: float, seed: int) -> PretrainingRecipe:
    """Return a stage's recipe for the toy."""
    control = replace(STAGE_2, gram=None, resolutions=STAGE_1.resolutions)
    recipe = for_preset({MORE: control, SECOND: STAGE_2, THIRD: STAGE_3}[stage], "toy")
    loop = replace(recipe.loop, steps=None, minutes=minutes, seed=seed, precision=best_precision("cpu"))
    return replace(recipe, loop=loop)


def carried_out(stage: str, arguments: argparse.Namespace) -> Path:
    """Train a stage to its end, or find it there, and return its run."""
    run: Path = arguments.folder / stage.replace(" ", "-")
    if (run / "ended").is_file():
        return run
    recipe, store = recipe_of(stage, arguments.minutes, arguments.seed), make_store(arguments.stage_1.parent)
    course = PretrainingCourse(
        recipe=recipe,
        beginning=Beginning.of(run_of(AFTER[stage], arguments), recipe, store),
        store=store,
        gram=None if recipe.gram is None else arguments.stage_1,
    )
    carry_out(course, run, clock=time.process_time)
    (run / "ended").touch()
    return run


def run_of(stage: str, arguments: argparse.Namespace) -> Path:
    """Return the folder of a stage that has ended."""
    folder: Path = arguments.stage_1 if stage == FIRST else carried_out(stage, arguments)
    return folder


def main() -> int:
    """Train, probe, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder, first = Path("runs/pretraining_stages"), Path("runs/pretraining_works/seed-0")
    parser.add_argument("--folder", type=Path, default=folder, help="for runs and what was measured")
    parser.add_argument("--stage-1", type=Path, default=first, help="a run, beside the slices it learnt from")
    parser.add_argument("--minutes", type=float, default=6.0, help="of one core, for each stage")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    try:
        runs = {stage: run_of(stage, arguments) for stage in (FIRST, *AFTER)}
    except InterruptedRun as interrupted:
        print(interrupted, file=sys.stderr)
        return 6
    encoders = {stage: read_probed(runs[stage]) for stage in (THIRD, SECOND, MORE, FIRST)}
    beside = {**encoders, "place alone": Places(encoders[FIRST].patch)}
    probed = probed_once(beside, arguments.folder / "probe.json", arguments.folder, seed=arguments.seed)
    means = {(one["features"], one["probe"]): one["mean"] for one in probed["scores"] if one["probe"]}
    rows: list[list[object]] = [["", "linear", "k-NN"]]
    rows += [[name, *(f"{means[name, kind]['estimate']:.3f}" for kind in ("linear", "k-NN"))] for name in beside]
    print_table(rows)
    stages: dict[str, Any] = {stage: course_of(runs[stage]) for stage in (FIRST, *AFTER)}
    about = {"minutes": arguments.minutes, "seed": arguments.seed}
    write_result("pretraining_stages", {**about, "stages": stages, "probe": probed})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
