"""Measure the click branch on the development cases, in the session users work in, with an honest count of clicks.

::

    python benchmarks/built_in_model/clicks.py --model src/vesalius/checkpoints/builtin/vesalius-small --limit 4

A simulated user clicks into the largest error, one click at a time. Each structure begins with the automatic result
(of everything the model knows, as ``segment`` gives it), and with nothing. Beside them stands the same user without
the image: with a round brush on the same automatic result, and with balls around the clicks. Last come sarcomas,
which the model was never taught, clicked on as structures without a name; images of the last four alone were in
nobody's hands when it learnt and the rules for such structures were chosen (``SEEN``). Intervals are over cases.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from evaluate import FIVE, SETS, Reference, sarcoma, segmenter_of
from vocabulary import ID

sys.path.insert(0, str(Path(__file__).parents[1]))
import sides
from vesalius.evaluation.clicks import ClickCurve, ClickProtocol, evaluate_clicks
from vesalius.evaluation.references import ReferenceCase
from vesalius.geometry.volume import LabelMap
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.metrics.intervals import bootstrap_mean, paired_difference

SHOWN = (0, 1, 3, 5, 10)
"""Numbers of clicks after which the table says how good the result is."""
MEANS = "over structures"
"""Key of the means of the five structures of the head, and of all that somebody drew."""
UNNAMED = 100
"""Stands for a structure that the model has no name for, in labels."""
SEEN = 14
"""Sarcomas on whose images the constants of ``inference/extent.py`` were chosen, and which taught the model what
limbs do not contain."""


def after(clicks: int) -> str:
    """Return the key of the results under which Dice after so many clicks stands."""
    return f"after {clicks}"


def shown(curves: Iterable[ClickCurve]) -> list[int]:
    """Return the numbers of clicks to tell of: no more than anybody made."""
    most = max(len(curve.seconds) for curve in curves)
    return [n for n in SHOWN if n <= most]


def as_case(reference: Reference) -> ReferenceCase:
    """Return a development case in the form that the evaluation of clicks reads."""
    labels = np.zeros(reference.scan.grid.shape, dtype=np.uint8)
    names = {ID.get(name, UNNAMED): name for name in reference.masks}
    for label, name in names.items():
        labels[reference.masks[name]] = label
    return ReferenceCase(
        name=reference.name, volume=reference.scan, truth=LabelMap(labels, reference.scan.grid, names)
    )


def by_clicks(curves: Iterable[ClickCurve]) -> dict[str, dict[str, object]]:
    """Return structure (and all of them) -> mean Dice after so many clicks, and how many there were."""
    columns: dict[str, list[ClickCurve]] = {}
    for curve in curves:
        for name in (curve.scores[0].name, "all"):
            columns.setdefault(name, []).append(curve)
    return {name: {"n": len(some), **_means(some)} for name, some in sorted(columns.items())}


def _means(curves: Sequence[ClickCurve]) -> dict[str, float]:
    return {after(n): round(float(np.mean([curve.after(n).dice for curve in curves])), 4) for n in shown(curves)}


def over_structures(curves: Sequence[ClickCurve], names: Sequence[str] = ()) -> dict[str, Any]:
    """Return the mean over structures of the mean over cases after so many clicks; 95 % intervals are over cases.

    Args:
        curves: Of any structures.
        names: Those that count; none at all means all.
    """
    names = names or sorted({curve.scores[0].name for curve in curves})
    cases = sorted({curve.scores[0].case for curve in curves if curve.scores[0].name in names})
    results: dict[str, Any] = {"structures": len(names)}
    for n in shown(curves):
        table = np.full((len(cases), len(names)), np.nan)
        for curve in curves:
            if curve.scores[0].name in names:
                place = cases.index(curve.scores[0].case), names.index(curve.scores[0].name)
                table[place] = curve.after(n).dice
        interval = bootstrap_mean(table)
        assert interval is not None
        ends = [round(end, 4) for end in (interval.low, interval.high) if end is not None]
        results["n"] = interval.n
        results[after(n)] = {"mean": round(interval.estimate, 4), "interval_95": ends}
    return results


def gains(
    curves: Sequence[ClickCurve], others: Sequence[ClickCurve] | None = None
) -> dict[str, dict[str, float | list[float]]]:
    """Return what clicks gain in Dice, a mean over cases of the mean over structures, with its 95 % interval.

    Args:
        curves: In the session.
        others: Of the same structures, compared after as many clicks; None compares with no click at all.
    """
    results: dict[str, dict[str, float | list[float]]] = {}
    for n in shown(curves)[1:]:
        by_case: dict[str, list[float]] = {}
        for curve, other in zip(curves, others or curves, strict=True):
            assert (curve.scores[0].case, curve.scores[0].name) == (other.scores[0].case, other.scores[0].name)
            gained = curve.after(n).dice - other.after(n if others else 0).dice
            by_case.setdefault(curve.scores[0].case, []).append(gained)
        means = np.array([np.mean(some) for some in by_case.values()])
        difference = paired_difference(np.zeros(len(means)), means)
        assert difference is not None
        interval = difference.interval
        ends = [round(end, 4) for end in (interval.low, interval.high) if end is not None]
        results[after(n)] = {"mean": round(interval.estimate, 4), "interval_95": ends}
    return results


def measured(segmenter: Segmenter, cases: Sequence[ReferenceCase], *, clicks: int) -> dict[str, Any]:
    """Return the curves that begin with the automatic result, those that begin with nothing, and the balls'."""
    results: dict[str, Any] = {}
    means: dict[str, dict[str, Any]] = {"the five": {}, "every structure": {}}
    for start in ("automatic", "nothing"):
        protocol = ClickProtocol(clicks=clicks, start=start)  # type: ignore[arg-type]
        found = evaluate_clicks(
            segmenter,
            cases,
            protocol,
            everything=True,
            how=SegmentOptions(unvalidated=True),
            on_structure=lambda said: print(said, file=sys.stderr, flush=True),
        )
        results[start] = by_clicks(found.curves)
        if start == "automatic":
            results["brush"] = by_clicks(found.brush)
            results["gain over automatic"] = gains(found.curves)
            results["gain over the brush"] = gains(found.curves, found.brush)
        else:
            results["balls"] = by_clicks(found.baseline)
            results["gain over balls"] = gains(found.curves, found.baseline)
        beside = {"brush": found.brush} if start == "automatic" else {"balls": found.baseline}
        for what, curves in {start: found.curves, **beside}.items():
            means["the five"][what] = over_structures(curves, FIVE)
            means["every structure"][what] = over_structures(curves)
        seconds = [second for curve in found.curves for second in curve.seconds]
        results[f"seconds a click, from {start}"] = round(float(np.median(seconds)), 3) if seconds else None
    results[MEANS] = means
    return results


def untaught(segmenter: Segmenter, cases: Sequence[ReferenceCase], *, clicks: int) -> dict[str, object]:
    """Return the curves of structures that the model has no name for, and the balls': of all, and of the last."""
    protocol = ClickProtocol(clicks=clicks, start="nothing", new=True)
    found = evaluate_clicks(segmenter, cases, protocol, how=SegmentOptions(unvalidated=True))
    means = {"nothing": over_structures(found.curves), "balls": over_structures(found.baseline)}
    last = {case.name for case in cases[SEEN:]}
    unseen = {
        what: over_structures([curve for curve in curves if curve.scores[0].case in last])
        for what, curves in (("nothing", found.curves), ("balls", found.baseline))
    }
    return {
        "nothing": by_clicks(found.curves),
        "balls": by_clicks(found.baseline),
        "gain over balls": gains(found.curves, found.baseline),
        "over cases": means,
        "images never seen": unseen,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", type=Path, help="a model folder")
    source.add_argument("--run", type=Path, help="a training run: its averaged weights")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--sets", nargs="*", choices=SETS, default=["head-neck"], help="none: sarcomas alone, into what --out holds"
    )
    parser.add_argument(
        "--means", action="store_true", help="no more than the means over structures, into what --out holds"
    )
    parser.add_argument("--limit", type=int, help="only the first cases of each set")
    parser.add_argument("--clicks", type=int, default=10)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    segmenter = segmenter_of(arguments, arguments.precision)
    command = " ".join(["python", *sys.argv])
    results: dict[str, Any] = {"command": command, "commit": sides.commit()}
    if arguments.model:
        results["weights"] = sides.weights(arguments.model)
    if arguments.means:
        results = json.loads(arguments.out.read_text())
    elif not arguments.sets and arguments.out and arguments.out.is_file():
        kept = json.loads(arguments.out.read_text())
        results = {**kept, "command of sarcoma": command, "commit of sarcoma": sides.commit()}
    for name in arguments.sets:
        cases = [as_case(reference) for reference in list(SETS[name](arguments.data))[: arguments.limit]]
        found = measured(segmenter, cases, clicks=arguments.clicks)
        if arguments.means:
            made = {"command": command, "commit": sides.commit()}
            results[name] = {**results[name], MEANS: {**made, **found[MEANS]}}
        else:
            results[name] = found
    if not arguments.means:
        unnamed = [as_case(reference) for reference in sarcoma(arguments.data, first=0)]
        results["sarcoma"] = untaught(segmenter, unnamed, clicks=arguments.clicks)
    print(json.dumps(results, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
