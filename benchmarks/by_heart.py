"""What ``overfit.py`` and ``promptable_vit.py`` share: a case as a scan, and how well it was learnt."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

import sides
from vesalius.data.case import Case
from vesalius.engine.learner import Learner
from vesalius.engine.loop import train
from vesalius.engine.run import opened
from vesalius.evaluation.clicks import ClickProtocol, evaluate_clicks
from vesalius.evaluation.references import ReferenceCase
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.models.build import optimise_for_inference
from vesalius.models.promptable import Promptable
from vesalius.precision import best_precision
from vesalius.spec import ModelSpec
from vesalius.training.recipes import VistaRecipe
from vesalius.training.vista3d_task import Vista3DTask
from vesalius.transforms.augment import Augmentation

STILL = Augmentation(keep_sharp=1.0, cut=0.0, low_resolution=0.0, noise=0.0, drift=0.0)
"""What is learnt by heart must not change."""


def learn(network: Promptable, spec: ModelSpec, case: Case, recipe: VistaRecipe, folder: Path) -> int:
    """Teach a network one case in a run of its own, have it end as its running average, and return the steps."""
    learner, loop = Learner(network, recipe.optimisation), replace(recipe.loop, precision=best_precision("cpu"))
    with opened(folder, asdict(replace(recipe, loop=loop))) as run:
        train(Vista3DTask([case], spec, recipe=recipe), learner, run, loop, clock=time.process_time)
    network.load_state_dict(learner.average.state_dict())
    return learner.step


def reference(case: Case, spec: ModelSpec) -> ReferenceCase:
    """Return the case as a scan with what was drawn in it."""
    assert case.image_hu is not None
    grid = Grid(case.labels.shape, np.diag([*spec.spacing_mm, 1.0]))
    drawn = {label: name for label, name in spec.vocabulary if label in case.present}
    labels = case.labels[:, :, :]
    truth = np.where(np.isin(labels, list(drawn)), labels, 0).astype(np.uint8)
    volume = Volume(np.asarray(case.image_hu[:, :, :])[None], grid, "CT")
    return ReferenceCase(name=case.name, volume=volume, truth=LabelMap(truth, grid, drawn))


def measure(network: Promptable, spec: ModelSpec, case: Case) -> dict[str, dict[str, float]]:
    """Return name -> Dice by name, and by one click from nothing."""
    segmenter = Segmenter(optimise_for_inference(network), spec)
    how = SegmentOptions(unvalidated=True)
    once = ClickProtocol(clicks=1, start="automatic", jitter_mm=0.0)
    by_name = evaluate_clicks(segmenter, [reference(case, spec)], once, how=how)
    by_click = evaluate_clicks(segmenter, [reference(case, spec)], replace(once, start="nothing"), how=how)
    return {
        named.scores[0].name: {
            "by name": round(named.after(0).dice, 4),
            "by one click": round(clicked.after(1).dice, 4),
        }
        for named, clicked in zip(by_name.curves, by_click.curves, strict=True)
    }


def report(name: str, found: dict[str, dict[str, float]], about: dict[str, Any], *, enough: float) -> None:
    """Print what was found, and write it as a result."""
    sides.print_table([("structure", "by name", "by one click"), *((n, *v.values()) for n, v in found.items())])
    by_way = {how: [values[how] for values in found.values()] for how in ("by name", "by one click")}
    lowest = {how: min(dice) for how, dice in by_way.items()}
    mean = {how: round(sum(dice) / len(dice), 4) for how, dice in by_way.items()}
    print(f"lowest {lowest}, mean {mean}; asked for {enough}")
    sides.write_result(name, {**about, "asked for": enough, "lowest": lowest, "mean": mean, "dice": found})
