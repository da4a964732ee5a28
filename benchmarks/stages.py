"""What each of the four stages is worth, and supervoxels and synthesis; and clicks on structures nobody named.

::

    python benchmarks/built_in_model/prepare.py
    python benchmarks/pretraining_works.py --folder runs/pretraining_works --seeds 1
    python benchmarks/stages.py --folder runs/stages --encoder runs/pretraining_works/seed-0 --jobs 2

The architecture of the built-in model at random weights, windows of 32³ voxels of 4x4x3 mm, the same minutes for
every course, two seeds each. Stages are VISTA3D's, as ``vesalius.training.recipes`` states them, with rates, loss
and augmentation of the built-in model and a head that begins near its clicks (``training.click_start``):

1. clicks, supervoxels among their targets: head and neck (people's labels; lungs by a rule), chest (some of them
   people's), abdomen (a model's); no pseudo labels: nobody's answers stand in where nobody looked
2. clicks, without abdomens and supervoxels
3. class prompts on the scans of 1; encoder and click branch frozen
4. class prompts on the scans of 2, and on painted ones (atlas and phantoms)

============================  ==============================================================
``four stages``               1, 2, 3, 4
``without supervoxels``       the same, nothing but named structures to click on in 1
``without synthesis``         1, 2, 3 of the first, then 4 without painted scans
``stages 1 and 3``            two stages, with the minutes of all four
``at once``                   one stage: clicks and class prompts together, nothing frozen, all scans
============================  ==============================================================

Larynx, esophagus and sarcoma are novel: kept out of every stage, and out of the encoder that supervoxels are made
with, which has learnt without labels. They are clicked on as structures without a name. Beside them stand balls
around clicks of the same user, of the size that the structure has in other cases, and extents alone
(``inference.extent``), with no network. For the sake of these, ``--long`` trains for so many minutes: clicks
alone, as stage 1; and all prompts at once, with up to three lumps painted into windows that are only clicked on
(``training.painted_lumps``), limbs among them, of which nothing is labelled.

Measured with ``Segmenter`` and ``Session`` on OpenKBP's 16 development cases (five trained structures, which are
clicked on in the first eight; larynx, esophagus) and the last four sarcoma scans. Intervals are over cases, of the
seeds' means. Minutes are the processor's, of one thread; every course that is finished is kept in the folder, and
the weights of ``--long``. Run again, the script sums up what is kept.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

import sides

sys.path.insert(0, str(Path(__file__).parent / "built_in_model"))
from clicks import as_case
from evaluate import FIVE, head_and_neck, sarcoma
from painting import paint, recontrast
from specification import SPEC
from vocabulary import ID, MIRRORED

from vesalius.checkpoints.load import load_any
from vesalius.curation.supervoxels import SupervoxelSettings, supervoxels_of
from vesalius.data.case import Case, load_case
from vesalius.engine.learner import Learner
from vesalius.engine.loop import train
from vesalius.engine.run import RunFolder
from vesalius.engine.settings import Optimisation, Part
from vesalius.evaluation.clicks import ClickCurve, ClickProtocol, evaluate_clicks
from vesalius.evaluation.references import ReferenceCase
from vesalius.evaluation.scores import ScoringOptions, score_case
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.io.atomic import replacing
from vesalius.metrics.intervals import Interval, bootstrap_mean, paired_difference
from vesalius.models.build import optimise_for_inference
from vesalius.precision import best_precision
from vesalius.training.click_start import begin_near_clicks
from vesalius.training.networks import new_network
from vesalius.training.recipes import (
    STAGE_1,
    STAGE_2,
    STAGE_3,
    STAGE_4,
    VESALIUS_SMALL,
    VESALIUS_SMALL_BEGIN,
    VistaRecipe,
)
from vesalius.training.vista3d_task import Vista3DTask

NOVEL = ("larynx", "esophagus", "sarcoma")
CLICKS = 5
CLICKED_ON = 8
"""Head-and-neck scans whose trained structures are clicked on."""
WINDOW = (32, 32, 32)
WHOLE = replace(SPEC, window_size=WINDOW, unnamed_trust=0.25)
"""The trust was chosen for ``long, lumps``, of 0, 0.25, 0.5 and 0.75, by Dice after five clicks on the first
fourteen sarcomas and on larynx and esophagus of fourteen scans to learn from: 0.83, 0.73, 0.64 (without a
network 0.82, 0.74, 0.62; balls 0.73, 0.70, 0.53)."""
EVERY = {"head-neck": 0.6, "abdomen": 0.25, "chest": 0.15}
"""Groups of stages 1 and 3, and how often a window is theirs."""
BY_PEOPLE = {"head-neck": 0.85, "chest": 0.15}
PAINTED = {"atlas": 0.15, "phantom": 0.15}
MIRROR = {"head-neck": 0.5, "limb": 0.5, "abdomen": 0.25, "chest": 0.25, "atlas": 0.25, "phantom": 0.25}
TORSO = ("abdomen", "chest", "phantom")
SHARES = (0.45, 0.15, 0.28, 0.12)
"""Parts of a course's minutes that its four stages get."""
SIDES = ("four stages", "without supervoxels", "stages 1 and 3", "at once")
"""Courses; the first trains its fourth stage twice, once without painted scans."""
LONG = ("long", "long, lumps")
LIMBS = {"limb": 0.25}
SUPERVOXELS = SupervoxelSettings(spacing_mm=4.0, segments=400, channels=8)
Curves = list[dict[str, Any]]


def for_this(recipe: VistaRecipe, minutes: float, seed: int, groups: Mapping[str, float]) -> VistaRecipe:
    """Return a stage for the small network: small windows, its rates, its loss, its augmentation."""
    parts = (*recipe.optimisation.parts, Part(names="point_head.*", rate=2.0))
    learning = replace(VESALIUS_SMALL_BEGIN.optimisation, parts=parts)
    if recipe in (STAGE_2, STAGE_4):  # they go on from weights that have learnt
        learning = replace(VESALIUS_SMALL.optimisation, parts=parts)
    return replace(
        recipe,
        window_size=WINDOW,
        shares=groups,
        mirror={group: MIRROR[group] for group in groups},
        pseudo_labels=False,
        novel=tuple(ID[name] for name in NOVEL if name in ID),
        loss="vesalius",
        augmentation=VESALIUS_SMALL_BEGIN.augmentation,
        clicking=replace(recipe.clicking, objects=6, rounds=3, as_new=0.3),
        optimisation=learning,
        loop=replace(
            VESALIUS_SMALL_BEGIN.loop,
            minutes=minutes,
            windows=2,
            seed=seed,
            log_every=50,
            precision=best_precision("cpu"),
        ),
    )


def course(side: str, minutes: float, seed: int) -> dict[str, VistaRecipe]:
    """Return the stages of a course, in order."""
    one, two, three, four = (share * minutes for share in SHARES)
    first, third = (for_this(stage, m, seed, EVERY) for stage, m in ((STAGE_1, one), (STAGE_3, three)))
    if side == "at once":
        both = replace(STAGE_1, drop_label=0.25, drop_point=0.25, optimisation=Optimisation())
        return {"at once": for_this(both, minutes, seed, BY_PEOPLE | PAINTED | {"abdomen": 0.25})}
    if side == "stages 1 and 3":
        return {
            "1": replace(first, loop=replace(first.loop, minutes=one + two)),
            "3": replace(third, loop=replace(third.loop, minutes=three + four)),
        }
    if side == "without supervoxels":
        clicking = replace(first.clicking, part=0.0, joined=0.0, unseen=0.0, united=0.0)
        first = replace(first, clicking=clicking)
    return {
        "1": first,
        "2": for_this(STAGE_2, two, seed, BY_PEOPLE),
        "3": third,
        "4": for_this(STAGE_4, four, seed, BY_PEOPLE | PAINTED),
    }


def long_recipe(side: str, minutes: float, seed: int) -> VistaRecipe:
    """Return what is trained for the sake of clicks on what nobody named."""
    if side == "long":
        return for_this(STAGE_1, minutes, seed, EVERY)
    both = replace(STAGE_1, drop_label=0.6, drop_point=0.5, optimisation=Optimisation())
    recipe = for_this(both, minutes, seed, EVERY | PAINTED | LIMBS)
    return replace(recipe, clicking=replace(recipe.clicking, painted=3))


def cases_for(recipe: VistaRecipe, options: argparse.Namespace) -> Iterator[Case]:
    """Yield the prepared cases of a stage, with their supervoxels where the stage makes targets of them."""
    clicking = recipe.clicking
    wants = recipe.drop_label > 0 and clicking.part + clicking.joined + clicking.unseen + clicking.united > 0
    for path in sorted(options.cases.glob("[!.]*.npz")):
        case = load_case(path)
        if case.group in recipe.shares:
            drawn = options.folder / "supervoxels" / f"{case.name}.npz"
            yield replace(case, supervoxels=np.load(drawn)["numbers"]) if wants and drawn.is_file() else case


def make_supervoxels(options: argparse.Namespace) -> dict[str, Any]:
    """Divide the scans of stage 1; those that are there are kept."""
    folder, encoder = options.folder / "supervoxels", load_any(options.encoder)
    folder.mkdir(parents=True, exist_ok=True)
    counts = []
    for path in sorted(options.cases.glob("[!.]*.npz")):
        case, place = load_case(path), folder / path.name
        if case.group not in EVERY or case.image_hu is None:
            continue
        if not place.is_file():
            grid = Grid(case.labels.shape, np.diag([*SPEC.spacing_mm, 1.0]))
            volume = Volume(np.asarray(case.image_hu)[None], grid, "CT")
            with replacing(place) as part:
                np.savez_compressed(part, numbers=supervoxels_of(volume, encoder, SUPERVOXELS).data)
        counts.append(len(np.unique(np.load(place)["numbers"])) - 1)
    return {"scans": len(counts), "parts a scan": float(np.median(counts))}


def train_stage(
    recipe: VistaRecipe, state: Mapping[str, Tensor] | None, options: argparse.Namespace
) -> dict[str, Tensor]:
    """Train a stage from weights, or at random, and return its average."""
    network = new_network(WHOLE, seed=options.seed)
    if state is None:
        begin_near_clicks(network.point_head, seed=options.seed)
    else:
        network.load_state_dict(state)
    torso = dict.fromkeys((group for group in TORSO if group in recipe.shares), recontrast)
    task = Vista3DTask(
        list(cases_for(recipe, options)), WHOLE, recipe=recipe, mirrored=MIRRORED, paint=paint, recontrast=torso
    )
    learner = Learner(network, recipe.optimisation)
    train(task, learner, RunFolder(options.folder / "unused", writes=False), recipe.loop, clock=time.process_time)
    print(f"  {options.side}, seed {options.seed}: {learner.step} steps", file=sys.stderr, flush=True)
    return dict(learner.average.state_dict())


def holding_novel(scans: Sequence[ReferenceCase]) -> Iterator[ReferenceCase]:
    """Yield those with a novel structure, of which these alone are asked."""
    for scan in scans:
        names = {label: name for label, name in scan.truth.names.items() if name in NOVEL}
        if names:
            truth = np.where(np.isin(scan.truth.data, list(names)), scan.truth.data, 0).astype(np.uint8)
            yield replace(scan, truth=LabelMap(truth, scan.truth.grid, names))


def found_by(state: Mapping[str, Tensor], *, clicks_only: bool = False) -> dict[str, Curves]:
    """Measure weights on the development cases."""
    network = new_network(WHOLE, seed=0)
    network.load_state_dict(dict(state))
    segmenter = Segmenter(optimise_for_inference(network), WHOLE)
    scans = [as_case(reference) for reference in head_and_neck(sides.SHARED_DATA)]
    clicked_on = scans[:CLICKED_ON]
    how = SegmentOptions(unvalidated=True)
    trained = ScoringOptions(classes=FIVE)
    found: dict[str, Curves] = {}
    if not clicks_only:
        found["automatic"] = [one for scan in scans for one in automatic(segmenter, scan)]
        corrected = evaluate_clicks(segmenter, clicked_on, ClickProtocol(clicks=CLICKS), options=trained, how=how)
        found["corrected"] = [of(curve) for curve in corrected.curves]
    from_nothing = ClickProtocol(clicks=CLICKS, start="nothing")
    clicked = evaluate_clicks(segmenter, clicked_on, from_nothing, options=trained, how=how)
    found["clicks"] = [of(curve) for curve in clicked.curves]
    found["balls"] = [of(curve) for curve in clicked.baseline]
    as_new = replace(from_nothing, new=True)
    new = [*holding_novel(scans), *map(as_case, sarcoma(sides.SHARED_DATA))]
    unnamed = evaluate_clicks(segmenter, new, as_new, how=how)
    found["novel"] = [of(curve) for curve in unnamed.curves]
    found["novel, balls"] = [of(curve) for curve in unnamed.baseline]
    untold = Segmenter(segmenter.network, replace(WHOLE, unnamed_trust=0.0))
    found["novel, no network"] = [of(curve) for curve in evaluate_clicks(untold, new, as_new, how=how).curves]
    return found


def automatic(segmenter: Segmenter, scan: ReferenceCase) -> Curves:
    """Return the Dice of the five structures, asked for by name."""
    labels = segmenter.segment(scan.volume, list(FIVE), options=SegmentOptions(unvalidated=True)).labels
    scores = score_case(scan.name, labels, scan.truth, options=ScoringOptions(classes=FIVE)).scores
    return [{"case": score.case, "name": score.name, "dice": [round(score.dice, 4)]} for score in scores]


def of(curve: ClickCurve) -> dict[str, Any]:
    """Return a curve as data."""
    first = curve.scores[0]
    return {
        "case": first.case,
        "name": first.name,
        "dice": [round(curve.after(n).dice, 4) for n in range(CLICKS + 1)],
    }


def side(options: argparse.Namespace) -> dict[str, Any]:
    """Train a course, and measure what it ends with."""
    torch.set_num_threads(1)
    if options.side == "supervoxels":
        return make_supervoxels(options)
    state: dict[str, Tensor] | None = None
    if options.side in LONG:
        kept = options.folder / f"seed-{options.seed}" / f"{options.side}.safetensors"
        if not kept.is_file():
            state = train_stage(long_recipe(options.side, options.minutes, options.seed), None, options)
            with replacing(kept) as part:
                save_file({name: value.contiguous() for name, value in state.items()}, part)
        return {options.side: found_by(load_file(kept), clicks_only=True)}
    stages, found = course(options.side, options.minutes, options.seed), {}
    for name, recipe in stages.items():
        if name == "4" and options.side == "four stages":
            plain = replace(recipe, shares=BY_PEOPLE, mirror={group: MIRROR[group] for group in BY_PEOPLE})
            found["without synthesis"] = found_by(train_stage(plain, state, options))
        state = train_stage(recipe, state, options)
    assert state is not None
    return {options.side: found_by(state), **found}


MEASURES = {
    "automatic": ("automatic", 0),
    "automatic and 5 clicks": ("corrected", CLICKS),
    "5 clicks, trained": ("clicks", CLICKS),
    "5 clicks, novel": ("novel", CLICKS),
    "5 clicks, novel, no network": ("novel, no network", CLICKS),
    "5 clicks, novel, balls": ("novel, balls", CLICKS),
}
GAINS = {
    "trained, 5 clicks minus balls": ("clicks", "balls"),
    "novel, 5 clicks minus balls": ("novel", "novel, balls"),
    "novel, 5 clicks minus no network": ("novel", "novel, no network"),
}


def by_case(curves: Curves, clicks: int, names: Sequence[str] = ()) -> dict[str, float]:
    """Return case -> mean Dice over its structures."""
    kept: dict[str, list[float]] = {}
    for curve in curves:
        if not names or curve["name"] in names:
            kept.setdefault(curve["case"], []).append(curve["dice"][clicks])
    return {case: float(np.mean(some)) for case, some in kept.items()}


def over_seeds(runs: Sequence[Mapping[str, Curves]], what: str, clicks: int) -> NDArray[np.float64]:
    """Return the mean Dice of each case, over the seeds."""
    return np.mean([list(by_case(run[what], clicks).values()) for run in runs], axis=0)


def stated(runs: Sequence[Mapping[str, Curves]], what: str, clicks: int) -> dict[str, Any]:
    """Return the mean over cases of the seeds' means with its 95 % interval, and each seed's mean."""
    each = [float(over_seeds([run], what, clicks).mean()) for run in runs]
    return in_numbers(bootstrap_mean(over_seeds(runs, what, clicks)), each)


def gained(runs: Sequence[Mapping[str, Curves]], what: str, over: str) -> dict[str, Any]:
    """Return what clicks give more than what stands beside them, by flipping signs over cases; and by seed."""
    first, second = (over_seeds(runs, which, CLICKS) for which in (over, what))
    difference = paired_difference(first, second)
    each = [float((over_seeds([run], what, CLICKS) - over_seeds([run], over, CLICKS)).mean()) for run in runs]
    return in_numbers(difference and difference.interval, each)


def in_numbers(interval: Interval | None, seeds: Sequence[float] = ()) -> dict[str, Any]:
    """Return an interval as data: over how many cases, their mean, its ends, and what each seed gives."""
    assert interval is not None
    ends = {"low": interval.low, "high": interval.high}
    return {
        "n": interval.n,
        "mean": round(interval.estimate, 4),
        **{k: None if end is None else round(end, 4) for k, end in ends.items()},
        **({"seeds": [round(seed, 4) for seed in seeds]} if seeds else {}),
    }


def of_structure(runs: Sequence[Mapping[str, Curves]], structure: str) -> dict[str, float]:
    """Return in how many cases a novel structure is, and the mean Dice after all clicks, however it is drawn."""
    found = {
        what: [list(by_case(run[what], CLICKS, (structure,)).values()) for run in runs]
        for what in ("novel", "novel, no network", "novel, balls")
    }
    means = {what: round(float(np.mean(values)), 4) for what, values in found.items()}
    return {"n": len(found["novel"][0]), **means}


def summary(found: Mapping[str, Sequence[Mapping[str, Curves]]]) -> dict[str, Any]:
    """Return every course's scores, and how they differ from those of all four stages."""
    result: dict[str, Any] = {}
    for name, runs in found.items():
        own: dict[str, Any] = {}
        for measure, (what, clicks) in MEASURES.items():
            if what not in runs[0]:
                continue
            own[measure] = stated(runs, what, clicks)
            if "four stages" in found and name not in ("four stages", *LONG):
                whole, values = (over_seeds(some, what, clicks) for some in (found["four stages"], runs))
                difference = paired_difference(whole, values)
                own[measure]["minus four stages"] = in_numbers(difference and difference.interval)
        for gain, (what, over) in GAINS.items():
            own[gain] = gained(runs, what, over)
        own["novel, by structure"] = {structure: of_structure(runs, structure) for structure in NOVEL}
        result[name] = own
    return result


def main() -> None:
    """Run every course that is not kept yet, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/stages"))
    parser.add_argument("--cases", type=Path, default=Path("runs/built_in_model/cases"))
    parser.add_argument("--encoder", type=Path, default=Path("runs/pretraining_works/seed-0"))
    parser.add_argument("--minutes", type=float, default=9.0, help="of the processor, for a course")
    parser.add_argument("--long", type=float, default=25.0, help="minutes for the sake of clicks; 0: none")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=1, help="courses at a time, a thread each")
    parser.add_argument("--only", nargs="+", choices=(*SIDES, *LONG), help="courses; all by default")
    parser.add_argument("--result", default="stages", help="name of the result")
    parser.add_argument("--remark", help="what to know of the measurements, kept with them")
    parser.add_argument("--side", choices=(*SIDES, *LONG, "supervoxels"), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(side(options)))
        return
    runs = [(seed, name, options.minutes) for seed in range(options.seeds) for name in SIDES]
    runs += [(seed, name, options.long) for seed in range(options.seeds) for name in LONG if options.long]
    runs = [run for run in runs if options.only is None or run[1] in options.only]
    shared = ["--folder", str(options.folder), "--cases", str(options.cases), "--encoder", str(options.encoder)]
    (divided,) = sides.each_once(options.folder, __file__, [("", "supervoxels", shared)], jobs=1)
    asked = [
        (f"seed-{seed}", name, [*shared, "--minutes", str(minutes), "--seed", str(seed)])
        for seed, name, minutes in runs
    ]
    answers = sides.each_once(options.folder, __file__, asked, jobs=options.jobs)
    found: dict[str, list[dict[str, Curves]]] = {}
    for answer in answers:
        for name, measured in answer.items():
            found.setdefault(name, []).append(measured)
    result = summary(found)
    rows: list[list[object]] = [["course", *MEASURES]]
    for name, own in result.items():
        rows.append([name, *(own[measure]["mean"] if measure in own else "-" for measure in MEASURES)])
    sides.print_table(rows)
    about: dict[str, Any] = {"minutes": options.minutes, "long minutes": options.long, "supervoxels": divided}
    if options.remark:
        about["remark"] = options.remark
    kept = {place: sides.kept_sides(options.folder / place, [name]) for place, name, _ in asked}
    sides.write_result(options.result, {**about, "courses": result, "kept": kept})


if __name__ == "__main__":
    main()
