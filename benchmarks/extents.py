"""What clicks and intensities alone say of structures without a name: no network is asked.

::

    python benchmarks/extents.py

Larynx, esophagus and sarcoma, as ``stages.py`` clicks on them for the sake of zero-shot: by a simulated user, from
nothing, as structures without a name; and balls around the clicks of the same user. On scans to learn from, by some
of which the constants of ``inference.extent`` were chosen (fourteen of each structure), and on the development
cases, which chose no constant (they spoke against one more kind of evidence, which was left out): OpenKBP's that
have a larynx or an esophagus, and the last four sarcoma scans. The windows are the built-in model's; on the
development cases also those of ``stages.py``.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sides

sys.path.insert(0, str(Path(__file__).parent / "built_in_model"))
from clicks import as_case
from evaluate import Reference, head_and_neck, sarcoma
from prepare import OPENKBP

import vesalius
from stages import CLICKS, NOVEL, WHOLE, Curves, gained, holding_novel, of, of_structure
from vesalius.checkpoints.load import load_model
from vesalius.evaluation.clicks import ClickProtocol, evaluate_clicks
from vesalius.evaluation.references import ReferenceCase
from vesalius.inference.segmenter import Segmenter, SegmentOptions

MODEL = Path(__file__).parents[1] / "src" / "vesalius" / "checkpoints" / "builtin" / "vesalius-small"
FEWEST_VOXELS, MOST_SCANS = 200, 14
"""Of a larynx or an esophagus that is clicked on, and how many of each structure, of the scans to learn from."""


def learning(data: Path) -> Iterator[Reference]:
    """Yield the first scans to learn from that show a larynx or an esophagus, and the first sarcomas."""
    left = dict.fromkeys(("larynx", "esophagus"), MOST_SCANS)
    for path in sorted((data / "openkbp-hn-ct" / "train").glob("*_ct.nii.gz")):
        drawn = vesalius.read(path.with_name(path.name.replace("_ct", "_seg"))).data[0]
        masks = {name: drawn == label for label, name in OPENKBP.items() if left.get(name)}
        masks = {name: mask for name, mask in masks.items() if mask.sum() > FEWEST_VOXELS}
        for name in masks:
            left[name] -= 1
        if masks:
            yield Reference(path.name.removesuffix("_ct.nii.gz"), vesalius.read(path), masks)
        if not any(left.values()):
            break
    yield from itertools.islice(sarcoma(data, first=0), MOST_SCANS)


def clicked(segmenter: Segmenter, cases: list[ReferenceCase]) -> dict[str, Curves]:
    """Return the curves of clicks and of balls, by the names that ``stages.py`` gives them; there is no network."""
    protocol = ClickProtocol(clicks=CLICKS, start="nothing", new=True)
    found = evaluate_clicks(segmenter, cases, protocol, how=SegmentOptions(unvalidated=True))
    curves = [of(curve) for curve in found.curves]
    balls = [of(curve) for curve in found.baseline]
    return {"novel": curves, "novel, no network": curves, "novel, balls": balls}


def stated(curves: dict[str, Curves]) -> dict[str, Any]:
    """Return means by structure after one, three and five clicks, and the gain over balls."""
    return {
        "by structure": {name: of_structure([curves], name) for name in NOVEL},
        "after 1, 3, 5 clicks": {
            name: [
                round(float(np.mean([one["dice"][n] for one in curves["novel"] if one["name"] == name])), 4)
                for n in (1, 3, 5)
            ]
            for name in NOVEL
        },
        "over balls": gained([curves], "novel", "novel, balls"),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    torch.set_num_threads(1)
    loaded = load_model(MODEL, dtype=torch.float32)
    assert loaded.spec.unnamed_trust == 0, "the network would be asked"
    segmenter = Segmenter(loaded.network, loaded.spec)
    novel = list(holding_novel([as_case(reference) for reference in head_and_neck(sides.SHARED_DATA)]))
    small = Segmenter(loaded.network, replace(WHOLE, unnamed_trust=0.0))
    sets = {
        "learning": [as_case(reference) for reference in learning(sides.SHARED_DATA)],
        "development": [*novel, *map(as_case, sarcoma(sides.SHARED_DATA))],
    }
    found = {name: stated(clicked(segmenter, cases)) for name, cases in sets.items()}
    found["development, windows of stages.py"] = stated(clicked(small, sets["development"]))
    sides.write_result("extents", found)
    sides.print_table(
        [
            ["", *NOVEL, "over balls"],
            *(
                [name, *(one["by structure"][n]["novel"] for n in NOVEL), one["over balls"]["mean"]]
                for name, one in found.items()
            ),
        ]
    )


if __name__ == "__main__":
    main()
