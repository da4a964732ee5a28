"""What bf16 costs a trained model of slices: the same weights, the same scans, segmented in bf16 and in fp32.

    python benchmarks/slice_precision.py --backbone runs/pretraining_works/seed-0

The toy learns from the scans of ``slice_steps.py``, with the recipe of ``vesalius train meddinov3-toy`` and by what
that command runs, for minutes of one thread. Then the folder's model segments the scans that were held out, once
in either precision, as ``vesalius segment`` does. What is finished is kept in ``--folder``.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sides
import slice_runs
from few_shot import measured, table
from slice_steps import in_words
from slice_transfer import recipe_of

if TYPE_CHECKING:
    from vesalius.data.datalists.record import DataList
    from vesalius.geometry.volume import LabelMap, Volume
    from vesalius.metrics.intervals import Interval

PRECISIONS = ("fp32", "bf16")
SIDES = ("learnt", *PRECISIONS)


def learn(arguments: argparse.Namespace, listed: DataList) -> dict[str, Any]:
    """Train into the folder, and return how far that came."""
    import torch

    from vesalius.data.cache import Cache
    from vesalius.engine.run import RunFolder
    from vesalius.precision import best_precision
    from vesalius.training.slice_course import SliceBeginning, SliceCourse, carry_out_slices

    torch.set_num_threads(1)
    recipe = recipe_of("pretrained", arguments)
    how = {"minutes": arguments.minutes, "seed": arguments.seed, "precision": best_precision("cpu")}
    recipe = replace(recipe, loop=replace(recipe.loop, steps=None, **how))
    beginning = SliceBeginning.of(arguments.backbone, recipe, listed)
    course = SliceCourse(recipe=recipe, beginning=beginning, listed=listed)
    cache, model = Cache(arguments.folder / "cache"), arguments.folder / "model"
    carry_out_slices(course, model, cache=cache, clock=time.process_time)
    return {"steps": max(int(record.get("step", 0)) for record in RunFolder(model).metrics())}


def segmented(arguments: argparse.Namespace, listed: DataList, precision: str) -> dict[str, Any]:
    """Segment the scans that were held out in one precision, and measure."""
    import torch

    from vesalius.inference.segmenter import SegmentOptions, load

    torch.set_num_threads(1)
    segmenter = load(arguments.folder / "model", precision=precision)  # type: ignore[arg-type]

    def answer(_: str, volume: Volume) -> LabelMap:
        names = list(slice_runs.LABELS.values())
        return segmenter.segment(volume, names, options=SegmentOptions(unvalidated=True)).labels

    return {"dice": measured(listed, answer)}


def side(arguments: argparse.Namespace) -> None:
    """Learn, or segment in one precision, and print what came of it."""
    names = slice_runs.names_of("train")[: arguments.cases], slice_runs.names_of("val")[: arguments.judged]
    listed = slice_runs.listed_for(*names, arguments.folder)
    begun = time.process_time()
    learns = arguments.side == "learnt"
    answer = learn(arguments, listed) if learns else segmented(arguments, listed, arguments.side)
    print(json.dumps({**answer, "processor_s": round(time.process_time() - begun, 1)}))


def ends(interval: Interval) -> dict[str, Any]:
    """Return an interval as the results have it."""
    low, high = (None if end is None else round(end, 5) for end in (interval.low, interval.high))
    return {"mean": round(interval.estimate, 5), "low": low, "high": high}


def main() -> None:
    """Learn and segment, what is not kept yet; print the table, write the result."""
    from vesalius.metrics.intervals import bootstrap_mean, paired_difference

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/slice_precision"))
    pretrained = Path("runs/pretraining_works/seed-0")
    parser.add_argument("--backbone", type=Path, default=pretrained, help="a pretrained toy")
    parser.add_argument("--minutes", type=float, default=3.0, help="of the processor, for the training")
    parser.add_argument("--cases", type=int, default=48, help="scans to learn from, at most 96")
    parser.add_argument("--judged", type=int, default=16, help="scans to measure on, 6 to 16")
    parser.add_argument("--spacing", type=float, default=2.0, help="mm of a pixel")
    parser.add_argument("--window", type=int, default=128, help="pixels of a window")
    parser.add_argument("--batch", type=int, default=4, help="windows a step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--result", default="slice_precision", help="name of the result")
    parser.add_argument("--side", choices=SIDES)
    arguments = parser.parse_args()
    if arguments.side:
        side(arguments)
        return
    words = ["--folder", str(arguments.folder), "--backbone", str(arguments.backbone)]
    words += slice_runs.given(arguments, "minutes", "cases", "judged", "spacing", "window", "batch", "seed")
    asked = [("", name, words) for name in SIDES]
    learnt, *found = sides.each_once(arguments.folder, __file__, asked, jobs=1)  # the first makes what others read
    tables = {name: table([run])[0] for name, run in zip(PRECISIONS, found, strict=True)}
    of_cases = {name: bootstrap_mean(values) for name, values in tables.items()}
    dice = {name: ends(interval) for name, interval in of_cases.items() if interval is not None}
    difference = paired_difference(tables["fp32"], tables["bf16"])
    assert difference is not None
    largest = max(
        abs(found[0]["dice"][case][name] - dice_of)
        for case, of_case in found[1]["dice"].items()
        for name, dice_of in of_case.items()
    )
    sides.print_table([["precision", "Dice (95 %)"], *([name, in_words(dice[name])] for name in PRECISIONS)])
    print(f"bf16 - fp32: {difference}, at most {largest:.4f} of a structure in a case")
    about = {name: getattr(arguments, name) for name in ("minutes", "spacing", "window", "seed")}
    about |= {"learnt_from": arguments.cases, "measured_on": arguments.judged, "steps": learnt["steps"]}
    about["dice_of"] = "mean over five structures; intervals of 95 %: cases drawn; of the difference: signs flipped"
    sides.write_result(
        arguments.result,
        {
            **about,
            "dice": dice,
            "bf16_minus_fp32": {
                **ends(difference.interval),
                "better": difference.better,
                "worse": difference.worse,
                "largest_of_a_structure_in_a_case": round(largest, 5),
            },
        },
    )


if __name__ == "__main__":
    main()
