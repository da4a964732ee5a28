"""``vesalius curate``: jobs over a list of scans that write files: slices, supervoxels, pseudo labels."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.checkpoints.default_model import DEFAULT_MODEL
from vesalius.cli.list_options import add_list_options, list_of
from vesalius.cli.request import OF_MODEL, add_computing, request_of
from vesalius.cli.words import choices_of, names

if TYPE_CHECKING:
    from vesalius.curation.jobs import Outcome

CHANGES = ("noise", "zoom", "mirror")
"""What can be done to a scan before the model is asked again; those of ``curation.reliability``, without torch."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the jobs and their options."""
    jobs = parser.add_subparsers(dest="job", required=True, metavar="slices|supervoxels|pseudo-labels")
    _add_slices(jobs.add_parser("slices", help="CT slices to pretrain on, without any of what is kept aside"))
    _add_supervoxels(
        jobs.add_parser("supervoxels", help="parts of scans without names, by a frozen encoder; a list with them")
    )
    _add_pseudo_labels(
        jobs.add_parser("pseudo-labels", help="a model's answers, as far as they are reliable; a list with them")
    )


def _add_job(job: argparse.ArgumentParser) -> None:
    """Add what all jobs have."""
    job.add_argument("--data", type=Path, required=True, metavar="LIST", help="see `vesalius dataset check`")
    add_list_options(job)
    job.add_argument("-o", "--out", type=Path, required=True, metavar="STORE", help="the folder to fill")
    job.add_argument("--resume", action="store_true", help="go on in STORE; several processes may, at once")
    job.add_argument("--json", action="store_true", help="one JSON object on stdout, progress on stderr")


def _add_slices(job: argparse.ArgumentParser) -> None:
    _add_job(job)
    job.add_argument(
        "--exclude",
        type=Path,
        action="append",
        default=[],
        metavar="LIST",
        help="no scan of this list may be in STORE, by whatever name; may be given several times. LIST's own "
        "validation and test scans are always kept aside",
    )
    job.add_argument("--plane", choices=("axial", "coronal", "sagittal"), default="axial", help="default: axial")
    job.add_argument(
        "--spacing",
        type=_spacing,
        default=1.5,
        metavar="MM",
        help="of pixels; `native` keeps the scanner's; default: 1.5",
    )


def _add_supervoxels(job: argparse.ArgumentParser) -> None:
    _add_job(job)
    job.add_argument(
        "--model", default=DEFAULT_MODEL, metavar="NAME|PATH", help="its encoder; default: %(default)s"
    )
    job.add_argument("--segments", type=int, default=400, metavar="N", help="parts of a scan; default: %(default)s")
    job.add_argument(
        "--spacing", type=float, default=1.5, metavar="MM", help="of the voxels divided; default: %(default)s"
    )
    job.add_argument(
        "--device", default="cpu", metavar="D", help="of the encoder: cpu, cuda, mps or auto; default: %(default)s"
    )


def _add_pseudo_labels(job: argparse.ArgumentParser) -> None:
    _add_job(job)
    job.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME|PATH", help="default: %(default)s")
    job.add_argument("--classes", type=names, default=(), metavar="A,B", help="default: all that it names")
    job.add_argument(
        "--changes",
        type=choices_of(CHANGES),
        default=("noise", "zoom"),
        metavar="A,B",
        help="what is done to a scan before the model is asked again: noise, zoom, mirror; default: noise,zoom",
    )
    job.add_argument(
        "--agreement", type=float, default=0.85, metavar="DICE", help="least, with each; default: %(default)s"
    )
    add_computing(job)
    job.add_argument("--unvalidated", action="store_true", help="go on outside what the model was made for")


def run(args: argparse.Namespace) -> int:
    """Carry out a job; return the exit code: that of the worst failure, 0 without any."""
    return {"slices": _slices, "supervoxels": _supervoxels, "pseudo-labels": _pseudo_labels}[args.job](args)


def _slices(args: argparse.Namespace) -> int:
    from vesalius.curation.slice_factory import SliceSettings
    from vesalius.curation.slices import curate_slices
    from vesalius.data.datalists.read import read_list
    from vesalius.data.slices import SliceStore

    found = curate_slices(
        list_of(args, args.data),
        args.out,
        settings=SliceSettings(plane=args.plane, spacing_mm=args.spacing),
        excluded=[read_list(path, allow_outside=args.allow_outside, modality="CT") for path in args.exclude],
        resume=args.resume,
        on_case=_say,
    )
    store = SliceStore(args.out)
    refused = [refusal.as_dict() for refusal in found.refused]
    if not args.json:
        for one in refused:
            print(
                f"refused {one['group']}/{one['case']}: its slice {one['slice']} shows slice "
                f"{one['shows_slice']} of {one['shows']} (likeness {one['likeness']:.3f})"
            )
    facts = {"slices": len(store), "scans": len(store.cases), "refused": refused, "excluded": store.excluded}
    words = f"{len(store)} slices of {len(store.cases)} scans in {args.out}, {len(refused)} scans refused"
    return _print(found.outcomes, facts, words, as_json=args.json)


def _supervoxels(args: argparse.Namespace) -> int:
    from vesalius.checkpoints.content import file_sha256
    from vesalius.checkpoints.load import find_weights_of, load_any
    from vesalius.curation.supervoxels import SupervoxelSettings, curate_supervoxels
    from vesalius.inference.device import choose_device

    settings = SupervoxelSettings(segments=args.segments, spacing_mm=args.spacing)
    outcomes, path = curate_supervoxels(
        list_of(args, args.data),
        args.out,
        load_any(args.model, device=choose_device(args.device)),
        model_sha256=file_sha256(find_weights_of(args.model)),
        settings=settings,
        resume=args.resume,
        on_case=_say,
    )
    return _print(outcomes, {"list": str(path)}, str(path), as_json=args.json)


def _pseudo_labels(args: argparse.Namespace) -> int:
    from vesalius.checkpoints.content import file_sha256
    from vesalius.checkpoints.load import find_weights_of
    from vesalius.curation.pseudo_labels import curate_pseudo_labels
    from vesalius.curation.reliability import ReliabilitySettings

    request = request_of(args, OF_MODEL)
    found = curate_pseudo_labels(
        list_of(args, args.data),
        args.out,
        request.load(),
        model_sha256=file_sha256(find_weights_of(args.model)),
        classes=args.classes,
        settings=ReliabilitySettings(changes=args.changes, least_agreement=args.agreement),
        options=request.options(),
        resume=args.resume,
        on_case=_say,
    )
    kept = sum(one["kept"] for some in found.decisions.values() for one in some)
    structures = sum(map(len, found.decisions.values()))
    facts = {"list": str(found.listed), "decisions": str(found.table), "kept": kept, "structures": structures}
    words = f"{kept} of {structures} structures kept; why not the others: {found.table}\n{found.listed}"
    return _print(found.outcomes, facts, words, as_json=args.json)


def _print(outcomes: Sequence[Outcome], facts: Mapping[str, Any], words: str, *, as_json: bool) -> int:
    """Print what came of a job, and return its exit code."""
    from vesalius.curation.jobs import exit_code_of

    failed = [outcome for outcome in outcomes if outcome.error is not None]
    states = {state: sum(one.state == state for one in outcomes) for state in ("made", "there", "failed")}
    if as_json:
        failures = [{"case": one.case.name, "error": one.error.as_dict()} for one in failed if one.error]
        print(json.dumps({**states, "failures": failures, **facts}, indent=2))
    else:
        print(f"{states['made']} scans done, {states['there']} before, {states['failed']} failed")
        print(words)
    return exit_code_of(outcomes)


def _say(outcome: Outcome) -> None:
    """Say on stderr what became of a scan."""
    words = {"made": "done", "there": "there already"}.get(outcome.state, "failed")
    why = f": {outcome.error.got}; {outcome.error.do}" if outcome.error else ""
    print(f"{outcome.case.name}: {words}{why}", file=sys.stderr, flush=True)


def _spacing(text: str) -> float | None:
    if text == "native":
        return None
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("a positive number of millimetres, or native")
    return value
