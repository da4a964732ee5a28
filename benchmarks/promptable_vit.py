"""Whether VISTA3D's heads on a vision transformer can learn one real case by heart: by name, and by one click.

::

    python benchmarks/built_in_model/prepare.py
    python benchmarks/promptable_vit.py --run runs/promptable_vit --minutes 50

A head-and-neck scan with human contours, of which a few are kept; a toy ViT that sees slices one by one, both heads
over the volume; everything begins at random and learns, by ``training.vista3d_task`` as VISTA3D's own network does:
names first; then clicks on every window and names on every second, the click decoder a copy of the other at first;
clicks alone at the end, with all else frozen, on windows into which every structure fits from each of its voxels.
No augmentation: what is learnt by heart must not change. Minutes are the processor's: 25 of two cores are 50.
Measured through the code users run, ``Segmenter`` and ``Session``, the first click in the middle of the structure.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from by_heart import STILL, learn, measure, report

sys.path.insert(0, str(Path(__file__).parent / "built_in_model"))
from specification import SPEC as BUILT_IN

from vesalius.data.case import Case, load_case
from vesalius.engine.settings import LoopSettings, Optimisation, Part
from vesalius.spec import VIT_TOY, ModelSpec, PromptedVitArchitecture
from vesalius.training.networks import grown_network, new_network
from vesalius.training.recipes import AUTOMATIC, ClassPrompting, ClickPrompting, VistaRecipe, frozen

STRUCTURES = ("mandible", "brainstem", "left parotid gland")
WINDOW, WHOLE = (32, 32, 32), (48, 48, 48)
"""Of the first courses, which cost little; and of the last and the model: from a click in one branch of the
mandible a window of 32 does not reach the other (318 of its 1293 voxels), where a click finds nothing."""
ENOUGH = 0.9


def spec() -> ModelSpec:
    """Return the model: the built-in one's vocabulary and grid, a transformer for its network."""
    heads = BUILT_IN.vista
    architecture = PromptedVitArchitecture(
        encoder=replace(VIT_TOY, in_channels=1, patch_size=4, layer_scale=1.0),
        taps=(0, 1, 2, 3),
        mean_std=(0.5, 0.25),
        width=24,
        num_embeddings=heads.num_embeddings,
        last_supported=heads.last_supported,
        special_classes=heads.special_classes,
        point_heads=2,
    )
    return replace(
        BUILT_IN, name="promptable-vit", architecture=architecture, window_size=WHOLE, confidence={}, dice={}
    )


SHARES = {"names": 14, "clicks": 26, "clicks alone": 10}
"""Of 50 minutes."""


def recipes(minutes: float) -> dict[str, VistaRecipe]:
    """Return the courses, one after the other."""
    names = VistaRecipe(
        window_size=WINDOW,
        prompting=ClassPrompting(absent_classes=1, other_classes=0),
        augmentation=STILL,
        optimisation=Optimisation(learning_rate=4e-3),
        loop=LoopSettings(minutes=minutes * SHARES["names"] / 50),
    )
    clicks = replace(
        names,
        drop_label=0.5,
        drop_point=0.0,
        clicking=ClickPrompting(clicks=1, rounds=2),
        optimisation=Optimisation(learning_rate=5e-3, parts=(Part(names="point_head.*", rate=3.0),)),
        loop=replace(names.loop, minutes=minutes * SHARES["clicks"] / 50),
    )
    alone = replace(
        clicks,
        drop_label=1.0,
        window_size=WHOLE,
        recall=0.0,  # nothing sleeps any more
        clicking=ClickPrompting(clicks=1, rounds=1),
        optimisation=Optimisation(
            learning_rate=0.01, parts=(*frozen("encoder.*", *AUTOMATIC), Part(names="point_head.*", rate=2.0))
        ),
        loop=replace(names.loop, minutes=minutes * SHARES["clicks alone"] / 50),
    )
    return {"names": names, "clicks": clicks, "clicks alone": alone}


def kept(case: Case) -> Case:
    """Return a case of which only ``STRUCTURES`` were looked for; all else is background."""
    ids = [label for label, name in BUILT_IN.vocabulary if name in STRUCTURES]
    labels = np.where(np.isin(case.labels[:, :, :], ids), case.labels[:, :, :], 0).astype(np.uint8)
    assert case.image_hu is not None
    return Case(case.name, case.group, case.image_hu[:, :, :], labels, frozenset(ids) & case.annotated)


def main() -> None:
    """Train, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=Path, default=Path("runs/built_in_model/cases/pt_91.npz"))
    parser.add_argument("--run", type=Path, default=Path("runs/promptable_vit"))
    parser.add_argument("--minutes", type=float, default=50.0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    case, steps, both = kept(load_case(options.case)), {}, spec()
    chosen = recipes(options.minutes)
    names = replace(both, architecture=replace(both.vista, point_branch=False))
    network = new_network(names, seed=0)
    steps["names"] = learn(network, names, case, chosen["names"], options.run / "names")
    network = grown_network(both, network.state_dict(), seed=0)
    for name in ("clicks", "clicks alone"):
        steps[name] = learn(network, both, case, chosen[name], options.run / name.replace(" ", "-"))
    found = measure(network, both, case)
    about = {"case": case.name, "steps": steps, "minutes": options.minutes}
    report("promptable_vit", found, about, enough=ENOUGH)


if __name__ == "__main__":
    main()
