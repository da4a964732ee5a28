"""What pretraining a toy teaches: its frozen features beside random ones and the place alone, on unseen people.

    python benchmarks/pretraining_works.py --folder DIR --seeds 3 --minutes 25
    python benchmarks/pretraining_works.py --folder DIR --seeds 3 --minutes 25 --report
    python benchmarks/pretraining_works.py --folder DIR --choose 1 1.5

The first line makes the slices and then, seed after seed, trains on one core and probes; whatever was stopped goes
on where it was. The second only writes the result of the seeds that are done. The third probes the first seed at
several sizes of pixel, on scans of the training part, and writes a result of its own. A toy ViT learns without
labels from the shared scans, but none of those that the probe is developed on (the validation part of OpenKBP,
``lits-volume-0``, ``3DCT_lung_baseline``, ``example_ct``): the store is checked against their pictures. Then a
linear map from frozen patches to five structures is fitted on labelled scans of OpenKBP's training part, and asked
of its validation part.
Minutes are of the processor, so a busy machine changes nothing.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sides import SHARED_DATA, commit, write_result
from vesalius.curation.slice_factory import SliceSettings
from vesalius.curation.slices import curate_slices
from vesalius.data.cache import Cache
from vesalius.data.datalists.read import read_list
from vesalius.data.datalists.record import DataList
from vesalius.data.slices import MANIFEST, SliceStore
from vesalius.engine.run import RunFolder
from vesalius.errors import InterruptedRun
from vesalius.evaluation.frozen_features import FrozenFeatures, Places, SliceEncoder, read_encoder, untrained
from vesalius.evaluation.probe_data import read_probe_cases
from vesalius.evaluation.probes import ProbeOptions, probe_segmentation
from vesalius.io.atomic import replacing
from vesalius.precision import best_precision
from vesalius.pretraining.course import Beginning, PretrainingCourse, carry_out
from vesalius.pretraining.recipes import STAGE_1, PretrainingRecipe, for_preset

SPACING_MM = 2.0
"""Of the slices that views are cut from; most scans were made at about 4."""
PROBED_MM = 1.0
"""Of the slices that are probed; ``--choose`` compares sizes on labelled scans that nothing else is reported of
(``results/pretraining_pixels.json``). It was looked at on the people who are reported, too, once and before."""
PROBED_SLICES = 12
"""Of each scan."""
LEARNT_FROM = 24
"""Labelled scans that the probe is fitted on."""
CHOSEN_ON = 12
"""Labelled scans of the training part, after those, that sizes of pixel are compared on."""
TARGET = 0.08
OPENKBP = {
    "1": "brainstem",
    "2": "spinal cord",
    "3": "right parotid gland",
    "4": "left parotid gland",
    "5": "mandible",
}
_KEPT_ASIDE = {
    "abdomen-ct-silver": ("lits-volume-0_ct.nii.gz",),
    "cip-lung-ct": ("3DCT_lung_baseline_small.mha",),
    "totalsegmentator-example": ("example_ct.nii.gz", "example_ct_sm.nii.gz"),
}


def training_images() -> list[Path]:
    """Return the scans to learn from."""
    images = sorted((SHARED_DATA / "openkbp-hn-ct" / "train").glob("*_ct.nii.gz"))
    images += sorted((SHARED_DATA / "sts-tumour-ct" / "train").glob("*_ct.nii.gz"))[:14]
    images += sorted((SHARED_DATA / "abdomen-ct-silver").glob("crlm-ct-*_ct.nii.gz"))
    return images


def development_images() -> list[Path]:
    """Return the scans that nothing may be learnt from."""
    images = sorted((SHARED_DATA / "openkbp-hn-ct" / "val").glob("*_ct.nii.gz"))
    return images + [SHARED_DATA / folder / name for folder, names in _KEPT_ASIDE.items() for name in names]


def listed(path: Path, **parts: Any) -> DataList:
    """Write a list and read it."""
    path.write_text(json.dumps({"modality": "CT", **parts}, indent=1))
    return read_list(path, root=SHARED_DATA)


def make_store(folder: Path) -> SliceStore:
    """Cut the slices, or find them cut."""
    store = folder / "slices"
    if not (store / MANIFEST).is_file():
        parts = {"training": training_images(), "validation": development_images()}
        data = listed(
            folder / "scans.json", **{part: [{"image": str(one)} for one in some] for part, some in parts.items()}
        )
        found = curate_slices(data, store, settings=SliceSettings(spacing_mm=SPACING_MM), excluded=(), resume=True)
        for outcome in found.outcomes:
            if outcome.error is not None:
                print(outcome.error, file=sys.stderr)
        for refusal in found.refused:
            print(f"refused: {refusal.as_dict()}", file=sys.stderr)
    return SliceStore(store)


def recipe_of(arguments: argparse.Namespace, seed: int) -> PretrainingRecipe:
    """Return the toy's recipe for so many minutes."""
    recipe = for_preset(STAGE_1, "toy")
    loop = replace(recipe.loop, steps=None, minutes=arguments.minutes, seed=seed, precision=best_precision("cpu"))
    return replace(recipe, loop=loop)


def pretrain(arguments: argparse.Namespace, store: SliceStore, seed: int) -> Path:
    """Train a seed to its end, or go on."""
    recipe, folder = recipe_of(arguments, seed), arguments.folder / f"seed-{seed}"
    course = PretrainingCourse(recipe=recipe, beginning=Beginning.at_random(recipe, store), store=store)
    carry_out(course, folder, clock=time.process_time)
    return folder


def probe(arguments: argparse.Namespace, run: Path, seed: int) -> dict[str, Any]:
    """Probe a seed's backbone beside a random one and places; once."""
    encoder = read_probed(run)
    beside = {
        "pretrained": encoder,
        "random, LayerScale 1": untrained(encoder, seed=seed),
        "place alone": Places(encoder.patch),
    }
    return probed_once(beside, run / "probe.json", arguments.folder, seed=seed)


def read_probed(run: Path, spacing_mm: float = PROBED_MM) -> SliceEncoder:
    """Read a backbone as it is probed."""
    encoder = read_encoder(run)
    assert isinstance(encoder, SliceEncoder)
    return replace(encoder, spec=replace(encoder.spec, spacing_mm=(spacing_mm, spacing_mm, 0.0)))


def labelled_scans(part: str, scans: slice) -> list[dict[str, str]]:
    """Return some labelled scans of a part of OpenKBP."""
    images = sorted((SHARED_DATA / "openkbp-hn-ct" / part).glob("*_ct.nii.gz"))[scans]
    return [{"image": str(image), "label": str(image).replace("_ct.", "_seg.")} for image in images]


def probed_once(
    encoders: Mapping[str, FrozenFeatures],
    path: Path,
    folder: Path,
    *,
    seed: int,
    judged: Sequence[Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """Probe encoders of one patch size side by side on the labelled scans, unless ``path`` says what was found.

    Args:
        encoders: Name -> encoder.
        path: Where what is found is kept.
        folder: For the list and the prepared scans.
        seed: Of the probes.
        judged: Other scans than OpenKBP's validation part.
    """
    spec = next(one.spec for one in encoders.values() if isinstance(one, SliceEncoder))
    settings = {"probed_mm": spec.spacing_mm[0], "probed_slices": PROBED_SLICES}
    if not path.is_file():
        labelled = {
            "training": labelled_scans("train", slice(LEARNT_FROM)),
            "validation": judged or labelled_scans("val", slice(None)),
        }
        names = {**OPENKBP, "6": None, "7": None}
        data = listed(path.with_name(f"{path.stem}-scans.json"), label_mapping=names, **labelled)
        cases = read_probe_cases(data, spec, Cache(folder / "cases"))
        report = probe_segmentation(
            {name: (one, cases.learnt, cases.judged) for name, one in encoders.items()},
            cases.classes,
            ProbeOptions(seed=seed, slices=PROBED_SLICES),
            said=lambda words: print(words, file=sys.stderr, flush=True),
        )
        with replacing(path) as part:
            part.write_text(json.dumps({**settings, **report.as_dict()}, indent=1))
    found: dict[str, Any] = json.loads(path.read_text())
    if {name: found.get(name) for name in settings} != settings:
        raise SystemExit(f"{path} was probed otherwise than with {settings}: remove it, and start again")
    return found


def choose(arguments: argparse.Namespace) -> None:
    """Probe the first seed at several sizes of pixel, on scans of which nothing else is told; write it."""
    sizes: dict[str, Any] = {}
    for spacing_mm in arguments.choose:
        encoder = read_probed(arguments.folder / "seed-0", spacing_mm)
        beside = {"pretrained": encoder, "place alone": Places(encoder.patch)}
        judged = labelled_scans("train", slice(LEARNT_FROM, LEARNT_FROM + CHOSEN_ON))
        path = arguments.folder / f"chosen-{spacing_mm:g}.json"
        found = probed_once(beside, path, arguments.folder, seed=0, judged=judged)
        of_probe: dict[str, Any] = {}
        for one in (one for one in found["scores"] if one["probe"]):
            of_probe.setdefault(one["probe"], {})[one["features"]] = one["mean"]
        for gain in found["gains"]:
            of_probe[gain["probe"]]["gain over place"] = gain
        sizes[f"{spacing_mm:g} mm"] = of_probe
        linear = {name: one["estimate"] for name, one in of_probe["linear"].items()}
        print(f"{spacing_mm:g} mm: " + ", ".join(f"{name} {dice:.3f}" for name, dice in linear.items()))
    write_result("pretraining_pixels", {"judged_on": CHOSEN_ON, "probed_slices": PROBED_SLICES, "sizes": sizes})


def course_of(run: Path) -> dict[str, Any]:
    """Return how a seed's losses and monitors went: at the first validation, and at the last."""
    records = RunFolder(run).metrics()
    judged = [record for record in records if record.get("event") == "validated"]
    steps = [record for record in records if "event" not in record]
    return {
        "steps": max(record["step"] for record in records),
        "trained_min": round(records[-1]["trained_s"] / 60, 2),
        "first": {name: value for record in (*steps[:1], *judged[:1]) for name, value in record.items()},
        "last": {name: value for record in (*steps[-1:], *judged[-1:]) for name, value in record.items()},
    }


def main() -> int:
    """Make, train, probe, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/pretraining_works"), help="for slices, runs and what was measured"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=25.0, help="of one core, for each seed")
    parser.add_argument("--first", type=int, default=0, help="the first seed: several may run beside one another")
    parser.add_argument("--choose", type=float, nargs="+", metavar="MM", help="compare sizes of pixel, and stop")
    parser.add_argument("--report", action="store_true", help="write the result of what is done")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.choose:
        choose(arguments)
        return 0
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    if not arguments.report:
        store = make_store(arguments.folder)
        try:
            for seed in seeds:
                probe(arguments, pretrain(arguments, store, seed), seed)
        except InterruptedRun as interrupted:
            print(interrupted, file=sys.stderr)
            return 6
    report(arguments, [seed for seed in seeds if (arguments.folder / f"seed-{seed}" / "probe.json").is_file()])
    return 0


def report(arguments: argparse.Namespace, seeds: list[int]) -> None:
    """Write what the seeds gave."""
    measured = []
    for seed in seeds:
        run = arguments.folder / f"seed-{seed}"
        probed = probe(arguments, run, seed)
        gains = [gain for gain in probed["gains"] if gain["probe"] == "linear"]
        measured.append(
            {
                "seed": seed,
                "gains": gains,
                "recipe": json.loads((run / "config.json").read_text())["recipe"],
                "is_ahead": all(gain["estimate"] >= TARGET for gain in gains),
                "training": course_of(run),
                "probe": probed,
            }
        )
        print(seed, [(gain["over"], gain["estimate"], gain["low"], gain["high"]) for gain in gains])
    store = SliceStore(arguments.folder / "slices")
    write_result(
        "pretraining_works",
        {
            "commit": commit(),
            "target": TARGET,
            "slices": len(store),
            "scans": len(store.cases),
            "kept_aside": dict(store.excluded),
            "seeds": measured,
        },
    )


if __name__ == "__main__":
    raise SystemExit(main())
