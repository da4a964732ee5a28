"""Train the built-in model, stage by stage, with the engine and the recipes that everybody has.

::

    train="python benchmarks/built_in_model/train.py"
    $train begin --run runs/small/begin
    $train finish --run runs/small/finish --start runs/small/begin
    $train begin-clicks --run runs/small/begin-clicks --start runs/small/finish
    $train more-clicks --run runs/small/more-clicks --start runs/small/begin-clicks
    $train finish-clicks --run runs/small/clicks --start runs/small/more-clicks
    $train stage-1 --run runs/small/stage-1 --start runs/small/first-edition --curated runs/built_in_model/curated
    $train stage-2 --run runs/small/stage-2 --start runs/small/stage-1
    $train stage-3 --run runs/small/stage-3 --start runs/small/stage-2 --curated runs/built_in_model/curated
    $train stage-4 --run runs/small/stage-4 --start runs/small/stage-3

Minutes are the processor's, so that a busy machine makes a training longer and not worse. Stopped, the same command
with ``--resume`` goes on from the run's checkpoint.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import logging
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from curate import curated, listed
from painting import paint, recontrast
from specification import SPEC
from vocabulary import MIRRORED

from vesalius.checkpoints.load import load_model
from vesalius.data.case import load_case
from vesalius.engine.learner import Learner
from vesalius.engine.loop import train
from vesalius.engine.run import CHECKPOINT, opened, read_checkpoint
from vesalius.errors import InterruptedRun
from vesalius.models.vista3d import Vista3D
from vesalius.precision import best_precision
from vesalius.spec import ModelSpec
from vesalius.training.course import refuse_existing
from vesalius.training.networks import grown_network, new_network
from vesalius.training.recipes import (
    VESALIUS_SMALL,
    VESALIUS_SMALL_BEGIN,
    VESALIUS_SMALL_CLICKS,
    VESALIUS_SMALL_CLICKS_BEGIN,
    VESALIUS_SMALL_CLICKS_MIDDLE,
    VESALIUS_SMALL_STAGE_1,
    VESALIUS_SMALL_STAGE_2,
    VESALIUS_SMALL_STAGE_3,
    VESALIUS_SMALL_STAGE_4,
)
from vesalius.training.vista3d_task import Vista3DTask

STAGES = {
    "begin": VESALIUS_SMALL_BEGIN,
    "finish": VESALIUS_SMALL,
    "begin-clicks": VESALIUS_SMALL_CLICKS_BEGIN,
    "more-clicks": VESALIUS_SMALL_CLICKS_MIDDLE,
    "finish-clicks": VESALIUS_SMALL_CLICKS,
    "stage-1": VESALIUS_SMALL_STAGE_1,
    "stage-2": VESALIUS_SMALL_STAGE_2,
    "stage-3": VESALIUS_SMALL_STAGE_3,
    "stage-4": VESALIUS_SMALL_STAGE_4,
}
AUTOMATIC_SPEC = replace(SPEC, architecture=replace(SPEC.architecture, point_branch=False))
"""What the first two stages train; the others grow the click branch beside it."""
TORSO = ("abdomen", "chest", "phantom")


def spec_of(stage: str) -> ModelSpec:
    """Return what a stage trains."""
    return AUTOMATIC_SPEC if stage in ("begin", "finish") else SPEC


def started(stage: str, start: Path | None, seed: int) -> Vista3D:
    """Return the network at the start of a stage: random, or from a run's average or a model folder."""
    spec = spec_of(stage)
    if start is None:
        return new_network(spec, seed=seed)
    if (start / CHECKPOINT).exists():
        state = read_checkpoint(start / CHECKPOINT)["average"]
    else:
        state = load_model(start).network.state_dict()
    if spec is SPEC and not any(name.startswith("point_head.") for name in state):
        return grown_network(spec, state, seed=seed)
    network = new_network(spec, seed=seed)
    network.load_state_dict(state)
    return network


def main() -> int:
    """Load the cases and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--cache", type=Path, default=Path("runs/built_in_model/cases"))
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a run, or a model folder, to begin from")
    parser.add_argument("--curated", type=Path, help="supervoxels and pseudo labels, as curate.py makes them")
    parser.add_argument("--resume", action="store_true", help="go on where the run stopped, if there is one")
    parser.add_argument("--minutes", type=float, help="of the processor, instead of the recipe's")
    parser.add_argument("--workers", type=int, default=1, help="cores to use: a window of the step on each")
    arguments = parser.parse_args()
    refuse_existing(arguments.run, resume=arguments.resume)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = STAGES[arguments.stage]
    loop = replace(recipe.loop, minutes=arguments.minutes or recipe.loop.minutes)
    loop = replace(loop, windows=max(loop.windows, arguments.workers), precision=best_precision("cpu"))
    recipe = replace(recipe, loop=loop)
    cases = [
        curated(case, arguments.curated)
        for path in sorted(arguments.cache.glob("[!.]*.npz"))
        if (case := load_case(path)).group in recipe.shares
    ]
    spec = spec_of(arguments.stage)
    task = Vista3DTask(
        cases, spec, recipe=recipe, mirrored=MIRRORED, paint=paint, recontrast=dict.fromkeys(TORSO, recontrast)
    )
    learner = Learner(started(arguments.stage, arguments.start, loop.seed), recipe.optimisation)
    try:
        with opened(arguments.run, {**asdict(recipe), "curated": listed(arguments.curated)}) as run:
            train(task, learner, run, loop, workers=arguments.workers, clock=time.process_time)
    except InterruptedRun as interrupted:
        print(interrupted, file=sys.stderr)
        return 6
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
