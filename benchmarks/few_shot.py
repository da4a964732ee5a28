"""What a few labelled cases of another organ and scanner are worth: fine-tuned, from scratch, copied, by nnU-Net.

::

    python benchmarks/few_shot.py --folder runs/few_shot --minutes 4 --jobs 2

MSD's hippocampus MR, which the built-in CT model has never seen: 1, 3 and 10 cases, five random support sets each
out of the first twenty by name, measured on the last forty. Four sides:

``finetuned``  ``vesalius finetune``'s spec, recipe and weights: the built-in model, the whole network learning
``scratch``    the same network, spec and recipe at random weights, at the rate that served it best
``copied``     the labels of the support case that looks most alike, stretched to the scan; no minutes
``nnunet``     nnU-Net v2 by its own package (``few_shot_nnunet.py``), its schedule shortened to the same minutes

Minutes are the processor's, of one thread: a busy machine makes the benchmark longer, and its results hardly worse.
Rates were chosen by Dice after 30 steps from one case, on twelve cases of the middle of the data set: fine-tuned
0.71 at 0.03 and 0.72 at 0.06, scratch 0.67 at 0.015 and 0.73 at 0.03. Three rates of fine-tuning had been looked
at on eight of the forty before (0.45 at 0.006, 0.62 at 0.015, 0.70 at 0.03).
nnU-Net predicts for longer than it may train, so ``--nnunet-sets`` can give it the first support sets only; with
``--nnunet-long`` it is trained once more, on the first set of three cases, for as many minutes as one can spare.
Intervals: both support sets and cases are drawn. Every finished run is kept in the folder; the benchmark goes on.

nnU-Net needs a Python of its own, and is left out without one::

    python -m venv runs/nnunet-venv
    runs/nnunet-venv/bin/pip install nnunetv2==2.8.1
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

if TYPE_CHECKING:
    from vesalius.data.datalists.record import DataList
    from vesalius.geometry.volume import LabelMap, Volume

DATA = sides.SHARED_DATA / "msd-hippocampus-mr" / "train"
LABELS = {"1": "anterior hippocampus", "2": "posterior hippocampus"}
SIDES = ("copied", "scratch", "finetuned", "nnunet")
LONG, LONG_CASES = "nnunet-long", 3
POOL, HELD_OUT = 20, 40
SCRATCH_RATE = 0.03
DRAWS = 4000
Scores = dict[str, dict[str, float]]
"""Case -> class -> Dice."""


def listed_for(cases: int, support_set: int, held_out: int, folder: Path) -> DataList:
    """Return the list of one support set, and of the cases to measure on."""
    from vesalius.data.datalists.read import read_list

    names = sorted(path.name for path in (DATA / "images").glob("*.nii.gz"))
    chosen = np.random.default_rng((cases, support_set)).permutation(POOL)[:cases]

    def entry(name: str) -> dict[str, str]:
        return {"image": f"images/{name}", "label": f"labels/{name}"}

    content = {
        "name": "hippocampus",
        "modality": "MR",
        "label_mapping": LABELS,
        "training": [entry(names[at]) for at in sorted(chosen)],
        "test": [entry(name) for name in names[-HELD_OUT:][:held_out]],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "list.json").write_text(json.dumps(content))
    return read_list(folder / "list.json", root=DATA)


def measured(listed: DataList, answer: Any) -> Scores:
    """Return the Dice of every class in every case to measure on; ``answer`` is given a volume."""
    from vesalius.evaluation.references import read_references
    from vesalius.evaluation.scores import score_case
    from vesalius.labels.vocabulary import Vocabulary

    found: Scores = {}
    for case in read_references(listed, listed.split("test"), Vocabulary.of(())):
        scores = score_case(case.name, answer(case.name, case.volume), case.truth).scores
        found[case.name] = {score.name: round(score.dice, 5) for score in scores}
    return found


def learnt(arguments: argparse.Namespace, listed: DataList, *, at_random: bool) -> dict[str, Any]:
    """Train for the minutes, by the spec and recipe of ``vesalius finetune``, and measure."""
    import torch

    from vesalius.data.cache import Cache
    from vesalius.engine.learner import Learner
    from vesalius.engine.loop import train
    from vesalius.engine.run import RunFolder
    from vesalius.inference.segmenter import Segmenter, SegmentOptions
    from vesalius.models.build import optimise_for_inference
    from vesalius.precision import best_precision
    from vesalius.training.course import task_of
    from vesalius.training.finetune import FinetuneOptions, begin

    torch.set_num_threads(1)
    options = FinetuneOptions(folds=0, seed=arguments.set)
    course = begin("vesalius-small", listed, options, precision=best_precision("cpu")).course
    loop = replace(course.recipe.loop, steps=None, minutes=arguments.minutes, log_every=10**6)
    recipe = replace(course.recipe, loop=loop)
    if at_random:
        rate = replace(recipe.optimisation, learning_rate=SCRATCH_RATE)
        course = replace(course, beginning=replace(course.beginning, state=None))
        recipe = replace(recipe, optimisation=rate)
    course = replace(course, recipe=recipe)
    task = task_of(course, Cache(arguments.folder / "cache"))
    learner = Learner(course.beginning.network(seed=arguments.set), course.optimisation())
    train(task, learner, RunFolder(arguments.place / "run", writes=False), loop, clock=time.process_time)
    segmenter = Segmenter(optimise_for_inference(learner.average), course.beginning.spec)

    def answer(_: str, volume: Volume) -> LabelMap:
        return segmenter.segment(volume, list(LABELS.values()), options=SegmentOptions(unvalidated=True)).labels

    return {"steps": learner.step, "dice": measured(listed, answer)}


def copied(listed: DataList) -> dict[str, Any]:
    """Copy labels, and measure."""
    from vesalius.evaluation.copied_labels import CopiedLabels
    from vesalius.labels.vocabulary import Vocabulary

    copy = CopiedLabels(listed, listed.split("training"), Vocabulary.of(()))
    return {"dice": measured(listed, lambda _, volume: copy(volume))}


def by_nnunet(arguments: argparse.Namespace, listed: DataList) -> dict[str, Any]:
    """Have nnU-Net train and predict in its own Python, and measure."""
    from vesalius.geometry.volume import LabelMap
    from vesalius.io.formats import read_labels

    place = arguments.place / arguments.side
    place.mkdir(exist_ok=True)
    files = {
        split: [
            {"name": case.name, "image": str(case.image), "label": str(case.label)} for case in listed.split(split)
        ]
        for split in ("training", "test")
    }
    asked = {"labels": LABELS, "learn": files["training"], "predict": files["test"]}
    (place / "case.json").write_text(json.dumps(asked))
    words = [str(place), "--minutes", str(arguments.minutes)]
    done = sides.run_with(arguments.nnunet, "few_shot_nnunet.py", *words, log=place / "log.txt")
    names = {int(label): name for label, name in LABELS.items()}

    def answer(name: str, _: Volume) -> LabelMap:
        found = read_labels(place / "found" / f"{name}.nii.gz")
        return LabelMap(found.data, found.grid, names)

    return {**done, "dice": measured(listed, answer)}


def side(arguments: argparse.Namespace) -> None:
    """Run one side on one support set, and print what it measured."""
    arguments.place = arguments.folder / f"{arguments.cases}-{arguments.set}"
    listed = listed_for(arguments.cases, arguments.set, arguments.held_out, arguments.place)
    begun = time.process_time()
    if arguments.side == "copied":
        answer = copied(listed)
    elif arguments.side in ("nnunet", LONG):
        answer = by_nnunet(arguments, listed)
    else:
        answer = learnt(arguments, listed, at_random=arguments.side == "scratch")
    print(json.dumps({**answer, "processor_s": round(time.process_time() - begun, 1)}))


def table(runs: list[dict[str, Any]]) -> np.ndarray:
    """Return the mean over classes of Dice, for each support set and case."""
    return np.array([[np.mean(list(dice.values())) for dice in run["dice"].values()] for run in runs])


def interval(values: np.ndarray) -> dict[str, float]:
    """Return the mean of a table [set, case] with its 95 % interval: sets and cases are drawn, each with others."""
    rng = np.random.default_rng(0)
    sets, cases = values.shape
    means = [
        values[np.ix_(rng.integers(sets, size=sets), rng.integers(cases, size=cases))].mean() for _ in range(DRAWS)
    ]
    low, high = np.percentile(means, (2.5, 97.5))
    return {"mean": round(float(values.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def flipped(first: np.ndarray, second: np.ndarray) -> list[float]:
    """Return the ends of the 95 % interval of second minus first, by flipping the signs of cases."""
    from vesalius.metrics.intervals import paired_difference

    difference = paired_difference(first, second)
    assert difference is not None
    return [round(end, 4) for end in (difference.interval.low, difference.interval.high) if end is not None]


def labelled(cases: int) -> str:
    """Return the name of a number of labelled cases in the results."""
    return f"{cases} labelled"


def summary(found: dict[int, dict[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    """Return Dice of each side, and what fine-tuning gains over each other one, for each number of cases."""
    result: dict[str, Any] = {}
    for cases, of_side in found.items():
        tables = {name: table(runs) for name, runs in of_side.items()}
        result[labelled(cases)] = {
            "dice": {name: interval(values) for name, values in tables.items()},
            "finetuned_minus": {
                name: {
                    **interval(tables["finetuned"][: len(values)] - values),
                    "by_set": [
                        round(float(gain), 4) for gain in (tables["finetuned"][: len(values)] - values).mean(axis=1)
                    ],
                    "over_cases": flipped(values.mean(axis=0), tables["finetuned"][: len(values)].mean(axis=0)),
                }
                for name, values in tables.items()
                if name != "finetuned"
            },
            "steps": {
                name: [run.get("steps", run.get("iterations")) for run in runs]
                for name, runs in of_side.items()
                if name != "copied"
            },
        }
    return result


def main() -> None:
    """Run every side of every support set, those that are not kept yet; print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/few_shot"))
    parser.add_argument("--minutes", type=float, default=4.0, help="of the processor, for each training")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 3, 10])
    parser.add_argument("--sets", type=int, default=5)
    parser.add_argument("--held-out", type=int, default=HELD_OUT, help="cases to measure on, at most 40")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, a thread each")
    parser.add_argument("--nnunet", type=Path, default=Path("runs/nnunet-venv/bin/python"), help="its Python")
    parser.add_argument("--nnunet-sets", type=int, help="support sets for nnU-Net, the first ones; by default all")
    parser.add_argument("--nnunet-long", type=float, default=0.0, help="minutes of its one long training; 0: none")
    parser.add_argument("--result", default="few_shot", help="name of the result; other minutes want another")
    parser.add_argument("--side", choices=(*SIDES, LONG))
    parser.add_argument("--cases", type=int)
    parser.add_argument("--set", type=int)
    arguments = parser.parse_args()
    if arguments.side:
        side(arguments)
        return
    names = [name for name in SIDES if name != "nnunet" or arguments.nnunet.is_file()]
    of_nnunet = arguments.sets if arguments.nnunet_sets is None else arguments.nnunet_sets
    sets = {name: range(of_nnunet if name == "nnunet" else arguments.sets) for name in names}
    runs = [(cases, number, name) for cases in arguments.sizes for name in names for number in sets[name]]

    def words(cases: int, number: int, minutes: float = arguments.minutes) -> list[str]:
        own = ["--folder", str(arguments.folder), "--minutes", str(minutes), "--cases", str(cases)]
        return [
            *own,
            "--set",
            str(number),
            "--held-out",
            str(arguments.held_out),
            "--nnunet",
            str(arguments.nnunet),
        ]

    asked = [(f"{cases}-{number}", name, words(cases, number)) for cases, number, name in runs]
    answers = sides.each_once(arguments.folder, __file__, asked, jobs=arguments.jobs)
    measured_runs = dict(zip(runs, answers, strict=True))
    found = {
        cases: {name: [measured_runs[cases, n, name] for n in sets[name]] for name in names}
        for cases in arguments.sizes
    }
    result = summary(found)
    longest: dict[str, Any] = {}
    if arguments.nnunet_long and "nnunet" in names and LONG_CASES in arguments.sizes:
        asked = [(f"{LONG_CASES}-0", LONG, words(LONG_CASES, 0, arguments.nnunet_long))]
        (longest,) = sides.each_once(arguments.folder, __file__, asked, jobs=1)
        beside = measured_runs[LONG_CASES, 0, "finetuned"]
        longest = {
            "minutes": arguments.nnunet_long,
            "cases": LONG_CASES,
            "dice": interval(table([longest])),
            "finetuned": interval(table([beside])),
            "iterations": longest["iterations"],
        }
    rows: list[list[object]] = [["cases", *names]]
    for cases in arguments.sizes:
        of_side = result[labelled(cases)]["dice"]
        rows.append(
            [
                cases,
                *(f"{of_side[n]['mean']:.3f} ({of_side[n]['low']:.3f}-{of_side[n]['high']:.3f})" for n in names),
            ]
        )
    sides.print_table(rows)
    if "nnunet" not in names:
        print(f"nnU-Net was left out: no {arguments.nnunet}; {Path(__file__).name} says how to make it")
    from vesalius.checkpoints.catalog import BUILTIN

    about = {
        "minutes": arguments.minutes,
        "support_sets": arguments.sets,
        "support_sets_of_nnunet": of_nnunet if "nnunet" in names else 0,
        "weights": sides.weights(BUILTIN / "vesalius-small"),
        "held_out_cases": arguments.held_out,
        "dice": "mean over both classes; low to high: 95 % of draws of support sets and cases",
        "finetuned_minus": "by_set: each support set's; over_cases: 95 % by flipping signs, of the sets' means",
    }
    sides.write_result(arguments.result, {**about, "by_cases": result, "nnunet_long": longest})


if __name__ == "__main__":
    main()
