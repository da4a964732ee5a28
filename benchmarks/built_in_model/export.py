"""Write the trained weights as the model inside the package: 16-bit weights, spec, answers, a card of measurements.

::

    python benchmarks/built_in_model/export.py --run runs/small/stage-4 --without-results

The numbers come from ``benchmarks/results/built_in_model.json``, which ``evaluate.py --final`` wrote for these
weights and ``by_name.py`` added to; without it the spec names no Dice and offers every class. ``--kept`` writes the
weights that are there once more, with the numbers of today.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from clicks import SHOWN, after
from evaluate import BY_RULE, FIVE, MENDED, UNIONS, outcomes
from safetensors.torch import load_file
from specification import SPEC

from vesalius.checkpoints.probe import write_golden
from vesalius.checkpoints.safetensors import write_model
from vesalius.inference.confidence import Expectation, fit_expectations
from vesalius.spec import ModelSpec

FOLDER = Path("src/vesalius/checkpoints/builtin/vesalius-small")
RESULTS = Path("benchmarks/results/built_in_model.json")
CLICK_RESULTS = Path("benchmarks/results/built_in_model_clicks.json")
CARD = Path(__file__).parent / "card_template.md"
GOOD_ENOUGH = 0.5
"""Dice (or agreement) on development cases that a class must reach to be part of `everything`."""


def stated(results: dict[str, Any]) -> dict[str, float]:
    """Return class name -> what the spec states, and a report shows beside a result.

    Of head and neck the mean of sixteen development cases with human contours; of the trunk, where development had
    one, what the scan gave that was never trained on. Of classes that are offered only when named, what each gave
    that was asked for alone.
    """
    together = _means(results, "example", "head-neck")
    return together | _means(results.get("by name", {}), "example", "head-neck")


def of_development(results: dict[str, Any]) -> dict[str, float]:
    """Return class name -> mean on the development cases, by which `everything` is chosen."""
    return _means(results, "torso", "head-neck")


def _means(results: dict[str, Any], *parts: str) -> dict[str, float]:
    """Return class name -> mean; where several parts measured it, that of the last."""
    own = {name for _, name in SPEC.vocabulary}
    summaries = (results[part]["summary"].items() for part in parts if part in results)
    return {name: float(entry["mean"]) for summary in summaries for name, entry in summary if name in own}


def specified(results: dict[str, Any] | None) -> ModelSpec:
    """Return the spec with what was measured."""
    if results is None:
        return replace(SPEC, everything=tuple(label for label, _ in SPEC.vocabulary))
    dice, development = stated(results), of_development(results)
    everything = tuple(label for label, name in SPEC.vocabulary if development.get(name, 0.0) >= GOOD_ENOUGH)
    counts = {name: results["head-neck"]["summary"][name]["n"] for name in ("brainstem", "larynx", "esophagus")}
    source = (
        f"head and neck: {counts['brainstem']} development cases of OpenKBP with human contours (larynx "
        f"{counts['larynx']}, esophagus {counts['esophagus']}); trunk: agreement with silver labels on one scan "
        "never trained on; classes that are offered only when named were each asked for alone"
    )
    return replace(
        SPEC,
        dice={name: round(dice[name], 3) for name in sorted(dice)},
        dice_source=source,
        everything=everything,
        confidence=expectations(results["head-neck"]),
    )


def expectations(measured: dict[str, Any]) -> dict[str, Expectation]:
    """Return class name -> what predicts its Dice, where there are enough development cases."""
    fitted = fit_expectations(outcomes(measured["per_case"], measured["evidence"]))
    rounded = {name: [round(number, 4) for number in numbers] for name, numbers in fitted.items()}
    return {name: (a, b, c, d) for name, (a, b, c, d) in rounded.items()}


def card(spec: ModelSpec, results: dict[str, Any], size_bytes: int) -> str:
    """Return the model card: what it is for, on what it rests, what was measured."""
    head, torso, example = (results[name] for name in ("head-neck", "torso", "example"))
    precision, simple = results["bf16 against fp32"]["mean"], results["no learning"]
    rows = [f"| {name} | {_cell(entry)} | {entry['n']} |" for name, entry in head["summary"].items()]
    simple_rows = [
        f"| {name} | {_cell(simple['copied'][name])} | {_cell(simple['position'][name])} |"
        for name in (*FIVE, "mean of the five")
    ]
    offered = ", ".join(name for label, name in spec.vocabulary if label in spec.everything)
    named_only = ", ".join(name for label, name in spec.vocabulary if label not in spec.everything)
    return CARD.read_text().format(
        megabytes=f"{size_bytes / 1e6:.1f}",
        spacing=" x ".join(f"{s:g}" for s in spec.spacing_mm),
        window=" x ".join(str(n) for n in spec.window_size),
        head="\n".join(rows),
        simple="\n".join(simple_rows),
        torso="\n".join([*_torso_rows(torso["per_case"]), *_mean_rows(torso["summary"])]),
        example="\n".join(_example_rows(example["per_case"]["example_ct"])),
        alone="\n".join(_alone_rows(results)),
        confidence=_ranked(results["confidence"]),
        precision=f"{precision['mean']:.4f} (n = {precision['n']})",
        clicks=clicked(json.loads(CLICK_RESULTS.read_text())) if CLICK_RESULTS.exists() else "Not measured yet.",
        offered=offered,
        named_only=named_only,
    )


def clicked(results: dict[str, Any]) -> str:
    """Return the table of Dice after clicks, from the automatic result and from nothing, beside balls."""
    measured = results["head-neck"]
    columns = [
        ("automatic", "from the automatic result"),
        ("brush", "a brush on it"),
        ("nothing", "from nothing"),
        ("balls", "balls"),
    ]
    rows = [f"| structure | n | {' | '.join(words for _, words in columns)} |", "|---|---|---|---|---|---|"]
    for name, entry in measured["automatic"].items():
        cells = [" → ".join(f"{measured[key][name][n]:.3f}" for n in map(after, SHOWN)) for key, _ in columns]
        rows.append(f"| {name} | {entry['n']} | {' | '.join(cells)} |")
    over_result, over_brush, over_balls = (
        _gain(measured[f"gain over {what}"][after(3)]) for what in ("automatic", "the brush", "balls")
    )
    words = (
        f"After three clicks, a mean over the scans (95 %): {over_result} over the automatic result, {over_brush} "
        f"over the brush; from nothing {over_balls} over balls."
    )
    unknown, simple = (results["sarcoma"][key]["all"] for key in ("nothing", "balls"))
    unseen, balls = (results["sarcoma"]["images never seen"][key] for key in ("nothing", "balls"))
    lesions = (
        f"Sarcomas, whose outlines it was never taught ({unknown['n']} scans of limb and hip), clicked on as "
        f"structures without a name: {_line(unknown)}, where balls give {_line(simple)}; after five clicks "
        f"{_gain(results['sarcoma']['gain over balls'][after(5)])} over balls. The last {unseen['n']}, on whose "
        f"images nothing was chosen: after five clicks {unseen[after(5)]['mean']:.3f}, balls "
        f"{balls[after(5)]['mean']:.3f}."
    )
    means = measured["over structures"]
    five = "; ".join(
        f"{words} {_cell(means['the five'][key][after(5)])}" for key, words in columns if key in means["the five"]
    )
    every = "; ".join(
        f"{words} {_cell(means['every structure'][key][after(5)])}"
        for key, words in columns
        if key in means["every structure"]
    )
    told = (
        f"After five clicks, over structures and the scans (95 %): the five of the head: {five}. All "
        f"{means['every structure']['automatic']['structures']} that were drawn: {every}."
    )
    return "\n".join([*rows, "", words, "", told, "", lesions])


def _line(entry: dict[str, Any]) -> str:
    return " → ".join(f"{entry[n]:.3f}" for n in map(after, SHOWN))


def _gain(entry: dict[str, Any]) -> str:
    low, high = entry["interval_95"]
    return f"{entry['mean']:+.3f} ({low:+.3f} to {high:+.3f})"


def _cell(entry: dict[str, Any]) -> str:
    interval = entry.get("interval_95")
    return f"{entry['mean']:.3f}" + (f" ({interval[0]:.3f}-{interval[1]:.3f})" if interval else "")


def _ranked(ranking: dict[str, Any]) -> str:
    area = ranking["auc_below_0.7"]
    low, high = ranking.get("interval_95") or (0.0, 1.0)
    told = "all on one side of 0.7" if area is None else f"area under the curve {area:.2f} ({low:.2f}-{high:.2f})"
    return (
        f"{told} ({ranking['below_0.7']} of {ranking['n']} results below 0.7), mean absolute error "
        f"{ranking['mean_absolute_error']:.3f}"
    )


def _torso_rows(per_case: dict[str, dict[str, float]]) -> list[str]:
    rows = []
    for case, values in per_case.items():
        for name, value in values.items():
            rows.append(f"| {name} | {value:.3f} | {_drawn(case, name)} | {case} |")
    return rows


def _drawn(case: str, name: str) -> str:
    if case == "3DCT_lung_baseline":
        return "human"
    if name == MENDED:
        return "silver and rule"
    return "rule" if name in BY_RULE or name in UNIONS else "silver"


def _mean_rows(summary: dict[str, Any]) -> list[str]:
    """Return the means of what more than one case measured."""
    return [f"| {name} | {e['mean']:.3f} | mean | {e['n']} cases |" for name, e in summary.items() if e["n"] > 1]


def _alone_rows(results: dict[str, Any]) -> list[str]:
    """Return what a class gives that is asked for alone, and beside all the others."""
    rows = []
    for part, labels in (("head-neck", "human"), ("example", "silver")):
        together = results[part]["summary"]
        for name, entry in results.get("by name", {}).get(part, {"summary": {}})["summary"].items():
            beside = _cell(together[name]) if name in together else "none, as in the labels"
            rows.append(f"| {name} | {_cell(entry)} | {beside} | {entry['n']} | {labels} |")
    return rows


def _example_rows(values: dict[str, float]) -> list[str]:
    return [f"| {name} | {value:.3f} |" for name, value in values.items()]


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, help="a training run: its averaged weights")
    source.add_argument("--kept", action="store_true", help="the weights that are there, with the numbers of today")
    parser.add_argument("--without-results", action="store_true", help="a first export, to be measured")
    parser.add_argument("--to", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    results = None if arguments.without_results else json.loads(RESULTS.read_text())
    spec = specified(results)
    if arguments.kept:
        state = load_file(arguments.to / "model.safetensors")
    else:
        state = torch.load(arguments.run / "last.pt", weights_only=True)["average"]
    write_model(arguments.to, state, spec, dtype=torch.float16)
    size = (arguments.to / "model.safetensors").stat().st_size
    write_golden(arguments.to)
    if results is not None:
        (arguments.to / "MODEL_CARD.md").write_text(card(spec, results, size))
    print(f"{size / 1e6:.2f} MB; everything: {[spec.names[label] for label in spec.everything]}")


if __name__ == "__main__":
    main()
