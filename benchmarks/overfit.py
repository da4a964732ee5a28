"""Whether the built-in model's recipes can learn one real case by heart: by name, and from nothing by one click.

::

    python benchmarks/built_in_model/prepare.py
    python benchmarks/overfit.py --run runs/overfit --minutes 50

A head-and-neck scan with human contours, the architecture of the built-in model at random weights, courses made of
its recipes, in their order: class prompts; then the click branch beside them, on small windows first, with encoder
and automatic branch frozen. No augmentation (what is learnt by heart must not change). One of few in which every
structure fits into a window: by one click nothing is found beyond it, so that of a spinal cord of 60 slices (as in
``pt_1``) no click in a window of 48 can give a Dice of 0.95. Minutes are the processor's: the issue's 25, on two
cores, are 50. Measured through the code users run: ``Segmenter`` and ``Session``, the first click in the middle of
the structure.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

from by_heart import STILL, learn, measure, report

sys.path.insert(0, str(Path(__file__).parent / "built_in_model"))
from specification import SPEC

from vesalius.data.case import load_case
from vesalius.engine.settings import LoopSettings, Optimisation, Part
from vesalius.training.networks import grown_network, new_network
from vesalius.training.recipes import AUTOMATIC, ClassPrompting, ClickPrompting, VistaRecipe, frozen

ENOUGH = 0.95


SHARES = {"names": 0.16, "clicks, small windows": 0.28, "clicks": 0.56}
"""Parts of the minutes."""


def recipes(minutes: float) -> dict[str, VistaRecipe]:
    """Return the courses, one after the other."""
    names = VistaRecipe(
        window_size=(48, 48, 48),
        prompting=ClassPrompting(absent_classes=2, other_classes=0),
        augmentation=STILL,
        loop=LoopSettings(minutes=minutes * SHARES["names"]),
    )
    small = replace(
        names,
        window_size=(32, 32, 32),
        drop_label=1.0,
        drop_point=0.0,
        clicking=ClickPrompting(clicks=1, rounds=2, objects=6),
        optimisation=Optimisation(parts=(*frozen("encoder.*", *AUTOMATIC), Part(names="point_head.*", rate=2.0))),
        loop=replace(names.loop, minutes=minutes * SHARES["clicks, small windows"]),
    )
    whole = replace(
        small,
        window_size=names.window_size,
        recall=0.0,  # nothing sleeps any more, and what wakes draws too much: 126 voxels of a mandible, 48 too few
        clicking=replace(small.clicking, rounds=1),
        loop=replace(small.loop, minutes=minutes * SHARES["clicks"]),
    )
    return {"names": names, "clicks, small windows": small, "clicks": whole}


def main() -> None:
    """Train, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", type=Path, default=Path("runs/built_in_model/cases/pt_91.npz"))
    parser.add_argument("--run", type=Path, default=Path("runs/overfit"))
    parser.add_argument("--minutes", type=float, default=50.0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    case, steps = load_case(arguments.case), {}
    spec = replace(SPEC, architecture=replace(SPEC.architecture, point_branch=False))
    network = new_network(spec, seed=0)
    for name, chosen in recipes(arguments.minutes).items():
        if chosen.teaches_clicks and spec is not SPEC:
            spec, network = SPEC, grown_network(SPEC, network.state_dict(), seed=0)
        folder = arguments.run / name.replace(", ", "-").replace(" ", "-")
        steps[name] = learn(network, spec, case, chosen, folder)
    found = measure(network, replace(SPEC, window_size=(48, 48, 48)), case)
    about = {"case": case.name, "steps": steps, "minutes": arguments.minutes}
    report("overfit", found, about, enough=ENOUGH)


if __name__ == "__main__":
    main()
