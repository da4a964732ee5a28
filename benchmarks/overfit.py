"""Whether the full recipe can learn one real case by heart: by name, and from nothing by one click.

::

    python benchmarks/built_in_model/prepare.py
    python benchmarks/overfit.py --run runs/overfit --minutes 25

A head-and-neck scan with human contours, the architecture of the built-in model at random weights, class prompts
and clicks mixed, no augmentation (what is learnt by heart must not change). One of the few scans in which every
structure fits into a window: by one click nothing is found beyond it, so that of a spinal cord of 60 slices (as in
``pt_1``) no click in a window of 48 can give a Dice of 0.95. Minutes are the processor's. Measured through the code
users run: ``Segmenter`` and ``Session``, the first click in the middle of the structure.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import logging
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from by_heart import STILL, measure, report

sys.path.insert(0, str(Path(__file__).parent / "built_in_model"))
from specification import SPEC

from vesalius.data.case import load_case
from vesalius.engine.learner import Learner
from vesalius.engine.loop import train
from vesalius.engine.run import opened
from vesalius.engine.settings import LoopSettings, Optimisation, Part
from vesalius.training.click_start import begin_near_clicks
from vesalius.training.networks import new_network
from vesalius.training.recipes import ClassPrompting, ClickPrompting, VistaRecipe
from vesalius.training.vista3d_task import Vista3DTask

ENOUGH = 0.95


def recipe(minutes: float) -> VistaRecipe:
    """Return class prompts on three windows in four, and clicks on every one."""
    return VistaRecipe(
        window_size=(48, 48, 48),
        drop_label=0.25,
        drop_point=0.0,
        prompting=ClassPrompting(absent_classes=2, other_classes=0),
        clicking=ClickPrompting(clicks=1, rounds=2),
        augmentation=STILL,
        optimisation=Optimisation(parts=(Part(names="point_head.*", rate=2.0),)),
        loop=LoopSettings(minutes=minutes),
    )


def main() -> None:
    """Train, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", type=Path, default=Path("runs/built_in_model/cases/pt_91.npz"))
    parser.add_argument("--run", type=Path, default=Path("runs/overfit"))
    parser.add_argument("--minutes", type=float, default=25.0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    case, chosen = load_case(arguments.case), recipe(arguments.minutes)
    network = new_network(SPEC, seed=0)
    begin_near_clicks(network.point_head, seed=0)
    learner = Learner(network, chosen.optimisation)
    with opened(arguments.run, asdict(chosen)) as run:
        train(Vista3DTask([case], SPEC, recipe=chosen), learner, run, chosen.loop, clock=time.process_time)
    found = measure(learner.average, replace(SPEC, window_size=chosen.window_size), case)
    about = {"case": case.name, "steps": learner.step, "minutes": arguments.minutes}
    report("overfit", found, about, enough=ENOUGH)


if __name__ == "__main__":
    main()
