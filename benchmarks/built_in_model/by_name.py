"""Measure the classes that are offered only when named as users meet them: each asked for by name, alone.

::

    python benchmarks/built_in_model/by_name.py --model FOLDER --out benchmarks/results/built_in_model.json

``evaluate.py`` asks for the whole vocabulary at once, where every class has all the others for rivals; whoever
names one class gets more of it. What is measured joins what ``evaluate.py`` has written to ``--out``.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from evaluate import SETS, Reference, dice, segmenter_of, summary

sys.path.insert(0, str(Path(__file__).parents[1]))
import sides
from vesalius.inference.segmenter import Segmenter, SegmentOptions

MEASURED_ON = ("head-neck", "example")
"""Sets in which somebody looked for such classes; of the trunk's development cases no one did."""


def named_only(segmenter: Segmenter) -> tuple[str, ...]:
    """Return the classes that ``everything`` does not offer."""
    offered = segmenter.spec.everything
    return tuple(name for label, name in segmenter.spec.vocabulary if label not in offered)


def dice_by_name(
    segmenter: Segmenter, references: Iterable[Reference], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return case -> class -> Dice, each class asked for alone; only classes that were looked for."""
    how = SegmentOptions(unvalidated=True)
    found: dict[str, dict[str, float]] = {}
    for reference in references:
        for name in names:
            if name in reference.masks:
                labels = segmenter(reference.scan, [name], options=how)
                value = dice(labels.mask(name), reference.masks[name])
                if value is not None:
                    found.setdefault(reference.name, {})[name] = round(value, 4)
    return found


def main() -> None:
    """Measure, print, and write beside what was measured of all classes at once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a model folder")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--out", type=Path, required=True, help="what evaluate.py wrote")
    arguments = parser.parse_args()
    results = json.loads(arguments.out.read_text())
    segmenter = segmenter_of(arguments, arguments.precision)
    names = named_only(segmenter)
    measured: dict[str, object] = {"command": " ".join(["python", *sys.argv]), "commit": sides.commit()}
    measured["weights"] = sides.weights(arguments.model)
    for name in MEASURED_ON:
        per_case = dice_by_name(segmenter, SETS[name](arguments.data), names)
        measured[name] = {"summary": summary(per_case), "per_case": per_case}
        print(json.dumps(measured[name], indent=1), flush=True)
    results["by name"] = measured
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
