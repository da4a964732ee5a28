"""``vesalius probe``: what frozen features hold, by k-NN and a linear map, beside random ones and chance."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.cli.request import threads_of
from vesalius.cli.words import number_of_threads

if TYPE_CHECKING:
    from vesalius.evaluation.frozen_features import AnyEncoder
    from vesalius.evaluation.probes import ProbeOptions, ProbeReport

UNTRAINED = "the same, at random"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``vesalius probe``."""
    parser.add_argument(
        "--model", required=True, metavar="NAME|PATH", help="a backbone, or a model with an encoder"
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="LIST", help="a list of labelled scans, or a .npz of images"
    )
    parser.add_argument(
        "--root", type=Path, metavar="FOLDER", help="where the list's paths begin; default: its own"
    )
    parser.add_argument("--allow-outside", action="store_true", help="let paths and links leave that folder")
    parser.add_argument("--split", choices=("validation", "test"), default="validation", help="what to judge on")
    parser.add_argument("--cases", type=int, metavar="N", help="learn from so many cases at most")
    parser.add_argument("--slices", type=int, metavar="N", help="of a case, evenly spaced; default: 24")
    parser.add_argument("--spacing", type=float, metavar="MM", help="of a slice's pixels; default: the model's")
    parser.add_argument("--taps", type=_numbers, metavar="N,N", help="blocks, from 0; default: the last")
    parser.add_argument("--alone", action="store_true", help="without random features and places beside it")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="of prepared cases; default: none is kept")
    parser.add_argument("--threads", type=number_of_threads, metavar="N", help="of torch")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="also write the numbers as JSON")
    parser.add_argument("--json", action="store_true", help="print them as JSON")


def run(args: argparse.Namespace) -> int:
    """Probe, and print a table."""
    import torch

    from vesalius.evaluation.frozen_features import read_encoder
    from vesalius.evaluation.probe_report import as_text
    from vesalius.evaluation.probes import ProbeOptions
    from vesalius.io.atomic import replacing

    torch.set_num_threads(threads_of(args.threads))
    encoder = read_encoder(args.model, taps=args.taps)
    if args.spacing:
        third = encoder.spec.spacing_mm[2]
        encoder = replace(encoder, spec=replace(encoder.spec, spacing_mm=(args.spacing, args.spacing, third)))
    options = ProbeOptions(seed=args.seed, **({} if args.slices is None else {"slices": args.slices}))
    about: dict[str, Any] = {"model": args.model, "data": str(args.data), "split": args.split}
    probe = _of_images if args.data.suffix == ".npz" else _of_cases
    report = probe(args, encoder, options, about)
    record = json.dumps({**about, **report.as_dict()}, indent=2)
    if args.out:
        with replacing(args.out) as part:
            part.write_text(record + "\n", encoding="utf-8")
    print(record if args.json else as_text(report))
    return 0


def _of_cases(
    args: argparse.Namespace, encoder: AnyEncoder, options: ProbeOptions, about: dict[str, Any]
) -> ProbeReport:
    from vesalius.data.cache import Cache
    from vesalius.data.datalists.read import read_list
    from vesalius.evaluation.frozen_features import FrozenFeatures, Places, untrained
    from vesalius.evaluation.probe_data import read_probe_cases
    from vesalius.evaluation.probes import probe_segmentation

    with ExitStack() as stack:
        folder = args.cache or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        listed = read_list(args.data, root=args.root, allow_outside=args.allow_outside)
        cases = read_probe_cases(listed, encoder.spec, Cache(folder), split=args.split, most=args.cases)
        about |= {"learnt_from": [case.name for case in cases.learnt], "left_out": list(cases.left_out)}
        if cases.left_out:
            _say(f"not looked for in every case, so background here: {', '.join(cases.left_out)}")
        encoders: dict[str, FrozenFeatures] = {encoder.spec.name: encoder}
        if not args.alone:
            encoders |= {UNTRAINED: untrained(encoder, seed=args.seed), "the place alone": Places(encoder.patch)}
        asked = {name: (features, cases.learnt, cases.judged) for name, features in encoders.items()}
        return probe_segmentation(asked, cases.classes, options, said=_say)


def _of_images(
    args: argparse.Namespace, encoder: AnyEncoder, options: ProbeOptions, about: dict[str, Any]
) -> ProbeReport:
    from vesalius.evaluation.frozen_features import ImageFeatures, Thumbnail, untrained
    from vesalius.evaluation.probe_data import as_hounsfield, read_probe_images
    from vesalius.evaluation.probes import probe_images

    images = read_probe_images(args.data, split=args.split, most=args.cases)
    learnt, judged = ((as_hounsfield(part[0], encoder.spec), part[1]) for part in (images.learnt, images.judged))
    about |= {"learnt_from": len(learnt[0])}
    encoders: dict[str, ImageFeatures] = {encoder.spec.name: encoder}
    if not args.alone:
        encoders |= {UNTRAINED: untrained(encoder, seed=args.seed), "a thumbnail": Thumbnail()}
    return probe_images(encoders, learnt, judged, images.classes, options, said=_say)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"numbers of blocks such as 2,5,8,11, not {text!r}") from None


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
