"""``vesalius segment``: a scan -> labels, volumes, a picture and a report."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from vesalius.cli import request as requests
from vesalius.cli.named_model import identify_weights
from vesalius.cli.progress import Console, describe, describe_bytes
from vesalius.cli.result import print_result
from vesalius.cli.scan import Scan, add_dicom_source, check_dicom_options, open_scan, write_scan
from vesalius.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``vesalius segment``."""
    parser.add_argument("input", type=Path, metavar="INPUT", help="NIfTI, NRRD or MHA; a folder or zip of DICOM")
    parser.add_argument("-o", "--out", type=Path, metavar="OUT", help="the folder of the result; made by the run")
    requests.add_arguments(parser)
    add_dicom_source(parser)


def run(args: argparse.Namespace) -> int:
    """Segment one scan and print where the result is."""
    request = requests.request_of(args)
    if args.out is None and not args.dry_run:
        raise UsageError(expected="a folder for the result", got="none", do="add -o OUT")
    scan = Scan(args.input, args.out or Path("OUT"), request, args.series, args.source)
    check_dicom_options(scan)
    if args.dry_run:
        return _dry_run(scan, as_json=args.json)
    from vesalius.inference.result_folder import locked

    weights = identify_weights(request.model)
    assert scan.sha256  # a missing input is noticed before anything is made
    with locked(scan.out):
        is_done = scan.is_done(weights, overwrite=args.overwrite)
        if not is_done:
            _segment(scan, weights, overwrite=args.overwrite)
    print_result(scan.out, is_done=is_done, as_json=args.json)
    return 0


def _segment(scan: Scan, weights: Mapping[str, str], *, overwrite: bool) -> None:
    segmenter = scan.request.load()
    with Console().closing() as console:
        console.phase("reading")
        opened = open_scan(scan)
        result = segmenter.segment(
            opened.volume, scan.request.classes, options=scan.request.options(), progress=console.listener()
        )
        console.phase("writing")
        write_scan(opened, result, segmenter, weights, overwrite=overwrite)


def _dry_run(scan: Scan, *, as_json: bool) -> int:
    segmenter = scan.request.load()
    opened = open_scan(scan)
    plan = segmenter.plan(opened.volume, scan.request.classes, options=scan.request.options())
    if as_json:
        print(json.dumps({"plan": plan.as_dict()}, indent=2))
        return 0
    print(describe(plan))
    on_card = {f"{phase}, on the card": parts for phase, parts in plan.card.items()}
    print(*describe_bytes({**plan.phases, **on_card}), sep="\n")
    return 0
