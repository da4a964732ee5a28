"""Measure a trained model on the development cases, through the code users run: ``Segmenter``.

::

    python benchmarks/built_in_model/evaluate.py --run runs/built_in_model/first --sets head-neck torso
    python benchmarks/built_in_model/evaluate.py --model src/vesalius/checkpoints/builtin/vesalius-small --final

Human labels give Dice; silver labels give agreement, and are named so. ``--final`` adds what nothing is chosen by:
``example_ct``, bf16 against fp32, and the answers that need no learning.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from prepare import OBELISK, OPENKBP, with_filled_stomach
from specification import SPEC
from vocabulary import ID

sys.path.insert(0, str(Path(__file__).parents[1]))
import sides
import vesalius
from vesalius.checkpoints.load import load_model
from vesalius.geometry.resample import resample_points
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.confidence import Outcome, fit_expectations, predicted_dice
from vesalius.inference.segmenter import Segmentation, Segmenter, SegmentOptions
from vesalius.labels.findings import Finding
from vesalius.metrics.calibration import GOOD_DICE, ranking_area
from vesalius.models.build import build, optimise_for_inference

FIVE = ("brainstem", "spinal cord", "left parotid gland", "right parotid gland", "mandible")
"""The structures of the head-and-neck target; larynx and oesophagus are drawn in some cases only."""
BY_RULE = ("right kidney", "left lung", "right lung")
"""Classes of the abdomen whose reference is a rule of ours, not a drawing: see ``rules.py``."""
MENDED = "stomach"
"""The class of the abdomen to whose silver label a rule adds: that ends where swallowed contrast begins."""
UNIONS = {"kidneys": ("left kidney", "right kidney"), "lungs": ("left lung", "right lung")}
TOTAL_SEGMENTATOR = {
    "spleen": (1,),
    "right kidney": (2,),
    "left kidney": (3,),
    "gallbladder": (4,),
    "liver": (5,),
    "stomach": (6,),
    "pancreas": (7,),
    "left lung": (10, 11),
    "right lung": (12, 13, 14),
    "esophagus": (15,),
    "bladder": (21,),
    "heart": (51,),
    "aorta": (52,),
    "inferior vena cava": (63,),
    "spinal cord": (79,),
}
"""Our class -> ids of its 117-class task (version 2)."""


@dataclass(frozen=True)
class Reference:
    """A scan and what somebody, or something, says is in it.

    Args:
        name: The case.
        scan: The image.
        masks: Class name -> mask on the scan's grid; only classes that were looked for.
    """

    name: str
    scan: Volume
    masks: Mapping[str, np.ndarray]


def head_and_neck(data: Path) -> Iterator[Reference]:
    """Yield the OpenKBP development cases with their human contours."""
    for path in sorted((data / "openkbp-hn-ct" / "val").glob("*_ct.nii.gz")):
        drawn = vesalius.read(path.with_name(path.name.replace("_ct", "_seg"))).data[0]
        masks = {name: drawn == label for label, name in OPENKBP.items() if (drawn == label).any()}
        yield Reference(path.name[: -len("_ct.nii.gz")], vesalius.read(path), masks)


def torso(data: Path) -> Iterator[Reference]:
    """Yield the torso development cases: one abdomen (silver, and rules) and one lung (human)."""
    folder = data / "abdomen-ct-silver"
    silver = vesalius.read(folder / "lits-volume-0_obelisk_silver.nii.gz").data[0]
    path = folder / "lits-volume-0_ct.nii.gz"
    scan = vesalius.read(path)
    found = resample_points(*with_filled_stomach(path), scan.grid, nearest=True)
    masks = {name: silver == label for label, name in OBELISK.items()}
    masks |= {name: found == ID[name] for name in (*BY_RULE, MENDED)}
    yield Reference("lits-volume-0", scan, masks)
    scan = vesalius.read(data / "cip-lung-ct" / "3DCT_lung_baseline_small.mha")
    mask = vesalius.read(data / "cip-lung-ct" / "3DCT_lung_baseline_mask.mha")
    lung = resample_points(mask.data[0], mask.grid, scan.grid, nearest=True) > 0
    yield Reference("3DCT_lung_baseline", scan, {"right lung": lung})


def example(data: Path) -> Iterator[Reference]:
    """Yield TotalSegmentator's example with its silver labels: never trained on, nothing chosen by it."""
    folder = data / "totalsegmentator-example"
    silver = vesalius.read(folder / "example_ct_seg117.nii.gz").data[0]
    masks = {name: np.isin(silver, ids) for name, ids in TOTAL_SEGMENTATOR.items()}
    yield Reference("example_ct", vesalius.read(folder / "example_ct.nii.gz"), masks)


def sarcoma(data: Path, first: int = 14) -> Iterator[Reference]:
    """Yield sarcoma scans with their human contours, which no model of ours has learnt from.

    Args:
        data: The folder of all data.
        first: The first scan. From 14 on no model has learnt from the images either; those before have shown the
            built-in one what limbs do not contain.
    """
    for path in sorted((data / "sts-tumour-ct" / "train").glob("*_ct.nii.gz"))[first:]:
        drawn = vesalius.read(path.with_name(path.name.replace("_ct", "_seg"))).data[0] > 0
        yield Reference(path.name[: -len("_ct.nii.gz")], vesalius.read(path), {"sarcoma": drawn})


SETS = {"head-neck": head_and_neck, "torso": torso, "example": example}


def segmenter_of(arguments: argparse.Namespace, precision: str) -> Segmenter:
    """Load a model folder, or the averaged weights of a training run."""
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    if arguments.model:
        loaded = load_model(arguments.model, dtype=dtype)
        return Segmenter(loaded.network, loaded.spec)
    network = build(SPEC.architecture)
    network.load_state_dict(torch.load(arguments.run / "last.pt", weights_only=True)["average"])
    return Segmenter(optimise_for_inference(network, dtype=dtype), SPEC)


def segment(segmenter: Segmenter, scan: Volume) -> LabelMap:
    """Ask for every class of the vocabulary."""
    return segmentation(segmenter, scan).labels


def segmentation(segmenter: Segmenter, scan: Volume) -> Segmentation:
    """Ask for every class of the vocabulary; return also what the network thinks of its answer."""
    names = [name for _, name in segmenter.spec.vocabulary]
    return segmenter.segment(scan, names, options=SegmentOptions(unvalidated=True))


Evidence = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Case -> class -> ``probability``, ``volume_ml``, ``is_cut`` of a result that has voxels."""


def evidence(found: Segmentation) -> dict[str, dict[str, float]]:
    """Return what a prediction of Dice is made of, for every class that was found."""
    return {
        finding.name: {
            "probability": round(found.probability[finding.class_id], 4),
            "volume_ml": round(finding.volume_ml, 3),
            "is_cut": finding.touches_border,
        }
        for finding in found.findings.found
        if finding.class_id in found.probability
    }


def outcomes(
    per_case: Mapping[str, Mapping[str, float]], seen: Evidence, *, but: str = ""
) -> dict[str, list[Outcome]]:
    """Return class name -> results whose Dice is known, of all cases but one."""
    found: dict[str, list[Outcome]] = {}
    for case, values in per_case.items():
        for name, value in values.items():
            if case != but and name in seen[case]:
                signs = seen[case][name]
                one = Outcome(signs["probability"], signs["volume_ml"], bool(signs["is_cut"]), value)
                found.setdefault(name, []).append(one)
    return found


def ranking(per_case: Mapping[str, Mapping[str, float]], seen: Evidence) -> Any:
    """Say how well predicted Dice ranks results below 0.7 under the others, each case left out of its own fit.

    Returns:
        The area under the ROC curve (0.5 is chance, None where all lie on one side), with its 95 % bootstrap
        interval over cases, for all results of classes with a fit; how many results there were and lay below 0.7.
    """
    predicted: dict[str, list[tuple[float, float]]] = {}
    for case, values in per_case.items():
        fit = fit_expectations({n: some for n, some in outcomes(per_case, seen, but=case).items() if n in FIVE})
        for name in set(values) & set(seen[case]):
            expected = predicted_dice(fit, _as_finding(name, seen[case][name]), seen[case][name]["probability"])
            if expected is not None:
                predicted.setdefault(case, []).append((expected, values[name]))
    pairs = np.array([pair for some in predicted.values() for pair in some])
    if not len(pairs):
        return {"auc_below_0.7": None, "n": 0, "below_0.7": 0, "mean_absolute_error": None}
    area, interval = ranking_area(pairs[:, 0], pairs[:, 1]), _area_interval(list(predicted.values()))
    return {
        "auc_below_0.7": None if area is None else round(area, 3),
        "interval_95": interval,
        "n": len(pairs),
        "below_0.7": int((pairs[:, 1] < GOOD_DICE).sum()),
        "mean_absolute_error": round(float(np.abs(pairs[:, 0] - pairs[:, 1]).mean()), 4),
    }


def _as_finding(name: str, signs: Mapping[str, float]) -> Finding:
    return Finding(
        class_id=ID[name], name=name, colour=(0, 0, 0), snomed=None, volume_ml=signs["volume_ml"], voxels=1,
        mean_hu=None, confidence=None, touches_border=bool(signs["is_cut"]), components=1,
    )  # fmt: skip


def _area_interval(cases: Sequence[Sequence[tuple[float, float]]]) -> list[float]:
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(2000):
        pairs = np.array([pair for index in rng.integers(len(cases), size=len(cases)) for pair in cases[index]])
        area = ranking_area(pairs[:, 0], pairs[:, 1])
        areas += [] if area is None else [area]
    return [round(float(value), 3) for value in np.percentile(areas, [2.5, 97.5])] if areas else []


def dice(a: np.ndarray, b: np.ndarray) -> float | None:
    """Return 2|a and b| / (|a| + |b|), in 0..1; None where both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else None


def scores(labels: LabelMap, reference: Reference) -> dict[str, float]:
    """Return Dice per class that was looked for, and of the unions whose halves both were."""
    masks = {name: (labels.mask(name), mask) for name, mask in reference.masks.items()}
    for union, (first, second) in UNIONS.items():
        if first in masks and second in masks:
            pair = zip(masks[first], masks[second], strict=True)
            found, truth = (one | other for one, other in pair)
            masks[union] = (found, truth)
    measured = {name: dice(*pair) for name, pair in masks.items()}
    return {name: round(value, 4) for name, value in measured.items() if value is not None}


def summary(per_case: Mapping[str, Mapping[str, float]]) -> dict[str, object]:
    """Return n, mean and 95 % bootstrap interval over cases, per class and for the mean of the five."""
    columns: dict[str, list[float]] = {}
    for case in per_case.values():
        for name, value in case.items():
            columns.setdefault(name, []).append(value)
    if all(set(FIVE) <= set(case) for case in per_case.values()):
        columns["mean of the five"] = [float(np.mean([case[n] for n in FIVE])) for case in per_case.values()]
    return {name: _interval(values) for name, values in columns.items()}


def _interval(values: Sequence[float]) -> dict[str, object]:
    sample = np.asarray(values)
    draws = np.random.default_rng(0).choice(sample, (4000, len(sample))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    result: dict[str, object] = {"n": len(sample), "mean": round(float(sample.mean()), 4)}
    if len(sample) > 1:
        result["interval_95"] = [round(float(low), 4), round(float(high), 4)]
    return result


def between_precisions(data: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """Return Dice between the labels made in bf16 and in fp32, per development case and class."""
    first, second = segmenter_of(arguments, "bf16"), segmenter_of(arguments, "fp32")
    per_case: dict[str, dict[str, float]] = {}
    for name in ("head-neck", "torso"):
        for reference in SETS[name](data):
            a, b = segment(first, reference.scan), segment(second, reference.scan)
            values = {n: dice(a.mask(n), b.mask(n)) for n in reference.masks}
            per_case[reference.name] = {n: round(v, 4) for n, v in values.items() if v is not None}
    means = [float(np.mean(list(case.values()))) for case in per_case.values()]
    return {"mean": _interval(means), "per_case": per_case}


def copied_labels(data: Path) -> dict[str, object]:
    """Return what needs no learning: labels of a training case stretched over each development case.

    *copied*: of the training case whose extent in millimetres is nearest. *position*: what more than three in ten
    of all training cases have at that place of the scan.
    """
    folder = data / "openkbp-hn-ct" / "train"
    known = [vesalius.read(path) for path in sorted(folder.glob("*_seg.nii.gz"))]
    extents = np.array([np.array(v.grid.shape) * v.grid.spacing_mm for v in known])
    results: dict[str, dict[str, dict[str, float]]] = {"copied": {}, "position": {}}
    for reference in head_and_neck(data):
        grid = reference.scan.grid
        apart = np.linalg.norm(extents - np.array(grid.shape) * grid.spacing_mm, axis=1)
        stretched = [_stretched(v.data[0], grid.shape) for v in known]
        nearest = stretched[int(apart.argmin())]
        for label, name in OPENKBP.items():
            if name in FIVE:
                often = np.mean([s == label for s in stretched], axis=0) > 0.3
                for method, mask in (("copied", nearest == label), ("position", often)):
                    value = dice(mask, reference.masks[name])
                    results[method].setdefault(reference.name, {})[name] = round(value or 0.0, 4)
    return {method: summary(per_case) for method, per_case in results.items()}


def _stretched(labels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    index = [
        np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1)
        for n, m in zip(shape, labels.shape, strict=True)
    ]
    return labels[np.ix_(*index)]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", type=Path, help="a model folder")
    source.add_argument("--run", type=Path, help="a training run: its averaged weights")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["head-neck", "torso"])
    parser.add_argument("--limit", type=int, help="only the first cases of each set")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--final", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    command = " ".join(["python", *sys.argv])
    results: dict[str, object] = {
        "command": command,
        "commit": sides.commit(),
        **({"weights": sides.weights(arguments.model)} if arguments.model else {}),
        "precision": arguments.precision,
    }
    segmenter = segmenter_of(arguments, arguments.precision)
    for name in [*arguments.sets, *(["example"] if arguments.final else [])]:
        per_case: dict[str, dict[str, float]] = {}
        seen: dict[str, dict[str, dict[str, float]]] = {}
        for reference in list(SETS[name](arguments.data))[: arguments.limit]:
            start = time.perf_counter()
            found = segmentation(segmenter, reference.scan)
            per_case[reference.name] = scores(found.labels, reference)
            seen[reference.name] = evidence(found)
            print(
                f"{reference.name:20s} {time.perf_counter() - start:5.1f} s  {per_case[reference.name]}", flush=True
            )
        results[name] = {"summary": summary(per_case), "per_case": per_case, "evidence": seen}
        if name == "head-neck":
            results["confidence"] = ranking(per_case, seen)
        print(json.dumps(results[name]["summary"], indent=1))
    if arguments.final:
        results["bf16 against fp32"] = between_precisions(arguments.data, arguments)
        results["no learning"] = copied_labels(arguments.data)
        print(json.dumps({k: results[k] for k in ("bf16 against fp32", "no learning")}, indent=1))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
