"""What ``slice_steps.py`` and ``slice_transfer.py`` share: head-and-neck slices, and one side's training on them.

Scans are OpenKBP's: 4 mm pixels, five structures drawn by people in all of them; larynx and oesophagus, drawn in
some, are unknown to every side. What is learnt from is of its ``train`` part, what is measured on of its ``val``
part, which no pretraining of ours has seen. Minutes are the processor's, of one thread. Everything measured is the
Dice of whole scans, segmented by what ``vesalius segment`` runs.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import sides
from few_shot import measured

if TYPE_CHECKING:
    from vesalius.data.datalists.record import DataList
    from vesalius.geometry.volume import LabelMap, Volume
    from vesalius.training.slice_course import SliceBeginning
    from vesalius.training.slice_recipes import SliceRecipe

DATA = sides.SHARED_DATA / "openkbp-hn-ct"
LABELS = {
    "1": "brainstem",
    "2": "spinal cord",
    "3": "right parotid gland",
    "4": "left parotid gland",
    "5": "mandible",
}
NOT_EVERYWHERE = ("6", "7")
PAIR = 2
"""Labelled scans of a support set."""
NNUNET = Path("runs/nnunet-venv/bin/python")


def names_of(part: str) -> list[str]:
    """Return the names of the scans of ``train`` or ``val``."""
    return sorted(path.name.removesuffix("_ct.nii.gz") for path in (DATA / part).glob("*_ct.nii.gz"))


def support_set(number: int) -> list[str]:
    """Return the names of the scans of a support set; no scan is in two of them."""
    names = np.random.default_rng(0).permutation(names_of("train"))
    return sorted(names[PAIR * number : PAIR * number + PAIR].tolist())


def listed_for(learnt: Sequence[str], judged: Sequence[str], folder: Path) -> DataList:
    """Return the list of the scans to learn from, and of those to measure on."""
    from vesalius.data.datalists.read import read_list

    def entry(part: str, name: str) -> dict[str, str]:
        return {"image": f"{part}/{name}_ct.nii.gz", "label": f"{part}/{name}_seg.nii.gz"}

    content = {
        "name": "head and neck",
        "modality": "CT",
        "label_mapping": LABELS | dict.fromkeys(NOT_EVERYWHERE),
        "training": [entry("train", name) for name in learnt],
        "test": [entry("val", name) for name in judged],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "list.json").write_text(json.dumps(content))
    return read_list(folder / "list.json", root=DATA)


def learnt(
    listed: DataList,
    recipe: SliceRecipe,
    *,
    backbone: Path | None,
    at_random: bool,
    minutes: float,
    seed: int,
    folder: Path,
) -> dict[str, Any]:
    """Train for the minutes and measure.

    Args:
        listed: The scans.
        recipe: What to do.
        backbone: Whose sizes and, unless at random, weights are taken; None is the toy's sizes.
        at_random: Begin with random weights, LayerScale 1.
        minutes: Of the processor.
        seed: Of everything random.
        folder: Where prepared cases are kept.
    """
    import torch

    from vesalius.data.cache import Cache
    from vesalius.engine.learner import Learner
    from vesalius.engine.loop import train
    from vesalius.engine.run import RunFolder
    from vesalius.inference.segmenter import Segmenter, SegmentOptions
    from vesalius.models.build import optimise_for_inference
    from vesalius.precision import best_precision
    from vesalius.spec import MedDinoArchitecture
    from vesalius.training.slice_course import SliceBeginning, SliceCourse
    from vesalius.training.slice_recipes import slice_optimisation

    torch.set_num_threads(1)
    loop = replace(recipe.loop, steps=None, minutes=minutes, windows=1, seed=seed, precision=best_precision("cpu"))
    loop = replace(loop, log_every=10**6)
    recipe = replace(recipe, loop=loop)
    beginning = SliceBeginning.of(backbone, recipe, listed, at_random=at_random)
    if at_random:
        beginning = awake(beginning)
    task = SliceCourse(recipe=recipe, beginning=beginning, listed=listed).task(Cache(folder / "cache"))
    network = beginning.network(recipe, seed=seed)
    assert isinstance(beginning.spec.architecture, MedDinoArchitecture)
    learner = Learner(network, slice_optimisation(recipe, beginning.spec.architecture.encoder))
    train(task, learner, RunFolder(folder / "run", writes=False), loop, clock=time.process_time)
    segmenter = Segmenter(optimise_for_inference(learner.average), beginning.spec)

    def answer(_: str, volume: Volume) -> LabelMap:
        return segmenter.segment(volume, list(LABELS.values()), options=SegmentOptions(unvalidated=True)).labels

    begun = time.process_time()
    dice = measured(listed, answer)
    return {"steps": learner.step, "dice": dice, "measuring_s": round(time.process_time() - begun, 1)}


def by_structure(run: dict[str, Any]) -> dict[str, float]:
    """Return the mean Dice of each structure."""
    return {name: float(np.mean([dice[name] for dice in run["dice"].values()])) for name in LABELS.values()}


def pretraining_minutes(backbone: Path | None) -> float | None:
    """Return how long a run pretrained, in minutes of the processor; None where nobody knows."""
    from vesalius.engine.run import RunFolder

    if backbone is None or not (backbone / "metrics.jsonl").is_file():
        return None
    return round(max(float(record.get("trained_s", 0.0)) for record in RunFolder(backbone).metrics()) / 60, 1)


def given(arguments: argparse.Namespace, *names: str) -> list[str]:
    """Return some of the command line's arguments as words again."""
    return [word for name in names for word in (f"--{name}", str(getattr(arguments, name)))]


def awake(beginning: SliceBeginning) -> SliceBeginning:
    """Return a beginning at random whose blocks act from the first step: LayerScale 1."""
    architecture = beginning.spec.architecture
    encoder = replace(architecture.encoder, layer_scale=1.0)  # type: ignore[union-attr]
    spec = replace(beginning.spec, architecture=replace(architecture, encoder=encoder))  # type: ignore[arg-type]
    return replace(beginning, spec=spec)


def by_nnunet(
    listed: DataList, *, minutes: float, folder: Path, python: Path, seed: int, batch: int | None = None
) -> dict[str, Any]:
    """Have nnU-Net's 2-D configuration train and predict in its own Python, and measure.

    Args:
        listed: What to learn from and what to measure on.
        minutes: Of the processor, for the training.
        folder: Where it works.
        python: Its own.
        seed: Of the training.
        batch: Windows a step; None: as it plans.
    """
    from vesalius.geometry.volume import LabelMap
    from vesalius.io.formats import read_labels, write

    (folder / "labels").mkdir(parents=True, exist_ok=True)
    ignored = max(map(int, LABELS)) + 1
    files: dict[str, list[dict[str, str]]] = {"training": [], "test": []}
    for case in (*listed.split("training"), *listed.split("test")):
        assert case.label is not None
        labels = read_labels(case.label)
        data = labels.data.copy()
        for label in map(int, NOT_EVERYWHERE):
            data[labels.data == label] = ignored
        path = folder / "labels" / f"{case.name}.nii.gz"
        write(LabelMap(data, labels.grid, {}), path)
        files[case.split].append({"name": case.name, "image": str(case.image), "label": str(path)})
    asked = {"labels": LABELS | {str(ignored): "ignore"}, "channel": "CT"}
    (folder / "case.json").write_text(json.dumps(asked | {"learn": files["training"], "predict": files["test"]}))
    words = [str(folder), "--minutes", str(minutes), "--configuration", "2d", "--seed", str(seed)]
    words += [] if batch is None else ["--batch", str(batch)]
    done = sides.run_with(python, "few_shot_nnunet.py", *words, log=folder / "log.txt")
    names = {int(label): name for label, name in LABELS.items()}

    def answer(name: str, _: Volume) -> LabelMap:
        found = read_labels(folder / "found" / f"{name}.nii.gz")
        return LabelMap(found.data, found.grid, names)

    return {**done, "dice": measured(listed, answer)}
