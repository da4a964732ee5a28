"""``vesalius refine``: replay clicks on a result, or on nothing, without a browser; the folder is ``segment``'s."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from vesalius.cli import request as requests
from vesalius.cli.named_model import check_clickable, identify_weights
from vesalius.cli.progress import Console, describe_bytes, number_of
from vesalius.cli.result import print_result
from vesalius.cli.scan import Scan, add_dicom_source, check_dicom_options, facts_of, open_scan, result_options
from vesalius.errors import FileFormatError, UsageError

if TYPE_CHECKING:
    from vesalius.geometry.volume import LabelMap, Volume
    from vesalius.inference.click_plan import ClickPlan
    from vesalius.inference.segmenter import Segmentation, Segmenter
    from vesalius.interactive.session import Session
    from vesalius.labels.findings import Finding
    from vesalius.prompts.types import PointPrompt

_CLICKS, _JOURNAL = "clicks.json", "session.jsonl"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``vesalius refine``."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help="NIfTI, NRRD or MHA; a folder or zip of DICOM")
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="L",
        help="what to correct: a label file, or the folder of a result with all its layers; default: nothing",
    )
    parser.add_argument(
        "--clicks",
        type=Path,
        required=True,
        metavar="FILE",
        help="clicks.json, or a point list of 3D Slicer (.mrk.json) labelled liver, liver- or new:lesion, say",
    )
    parser.add_argument("--target", metavar="NAME", help="what fiducials belong to whose labels do not say it")
    parser.add_argument("-o", "--out", type=Path, metavar="OUT", help="the folder of the result; made by the run")
    requests.add_arguments(parser, automatic=False)
    add_dicom_source(parser)


def run(args: argparse.Namespace) -> int:
    """Replay the clicks and print where the result is."""
    if args.out is None and not args.dry_run:
        raise UsageError(expected="a folder for the result", got="none", do="add -o OUT")
    request = requests.request_of(args)
    given = {"--labels": args.labels, "--clicks": args.clicks, "--target": args.target}
    more = {flag: value for flag, value in given.items() if value is not None}
    out = args.out or Path("OUT")
    scan = Scan(args.image, out, request, args.series, args.source, command="refine", more=more)
    check_dicom_options(scan)
    weights = identify_weights(request.model)
    check_clickable(request.model)
    clicks = read_prompts(args.clicks, default_target=args.target)
    if args.dry_run:
        return _dry_run(scan, clicks, as_json=args.json)
    from vesalius.inference.result_folder import locked

    assert scan.sha256  # a missing input is noticed before anything is made
    with locked(scan.out):
        is_done = scan.is_done(weights, overwrite=args.overwrite)
        if not is_done:
            _refine(scan, clicks, weights, overwrite=args.overwrite)
    print_result(scan.out, is_done=is_done, as_json=args.json)
    return 0


def read_prompts(path: Path, *, default_target: str | None) -> list[PointPrompt]:
    """Read clicks from ``clicks.json`` or from a point list of 3D Slicer.

    Args:
        path: The file; one that ends in ``.mrk.json`` is Slicer's.
        default_target: What fiducials belong to whose labels do not say it.

    Raises:
        FileFormatError: If it is neither, or holds no click.
        UsageError: If a default target is given for ``clicks.json``, where every click has its own.
    """
    from vesalius.io.markups import read_fiducials
    from vesalius.prompts.click_files import click_of_fiducial, read_clicks

    if path.name.lower().endswith(".mrk.json"):
        points = read_fiducials(path)
        clicks = [click_of_fiducial(point.label, point.ras_mm, default_target=default_target) for point in points]
    elif default_target is not None:
        raise UsageError(
            expected="--target only with a point list of 3D Slicer (.mrk.json)",
            got=f"--target {default_target} with {path.name}, whose clicks name their targets",
            do="leave it out",
        )
    else:
        clicks = read_clicks(path)
    if not clicks:
        raise FileFormatError(expected="at least one click", got=f"{path.name} without any", do="add a click")
    return clicks


def _refine(scan: Scan, clicks: Sequence[PointPrompt], weights: Mapping[str, str], *, overwrite: bool) -> None:
    from vesalius.inference.changes import changes_between
    from vesalius.inference.result_files import write_result
    from vesalius.inference.result_folder import staged
    from vesalius.prompts.click_files import write_clicks

    segmenter = scan.request.load()
    with Console().closing() as console:
        console.phase("reading")  # before a folder is made: what fails here is no fault of the disk written to
        opened = open_scan(scan)
        earlier = _earlier(scan, opened.volume)
        with staged(scan.out, overwrite=overwrite) as folder:
            result = _replayed(
                scan, clicks, segmenter, opened.volume, earlier, journal=folder / _JOURNAL, say=console.phase
            )
            console.phase("writing")
            write_clicks(folder / _CLICKS, clicks)
            facts = facts_of(opened, segmenter, weights)
            changes = {
                name: dataclasses.asdict(one)
                for name, one in changes_between(earlier.labels, result.labels).items()
            }
            dice = facts.model["dice"].items()  # measured of names alone
            unchanged = {name: value for name, value in dice if name not in changes}
            facts = dataclasses.replace(
                facts,
                model={**facts.model, "dice": unchanged},
                more={"clicks": _counted(clicks), "changes": changes},
                has_clicks=True,
            )
            options = result_options(scan.request)
            write_result(folder, opened.volume, result, facts, options=options, like=opened.like)


@dataclasses.dataclass(frozen=True)
class _Earlier:
    """What is corrected; nothing, where clicks begin with nothing."""

    labels: LabelMap | None = None
    findings: Sequence[Finding] = ()


def _earlier(scan: Scan, volume: Volume) -> _Earlier:
    """Read what is corrected, all of it before anybody clicks."""
    from vesalius.inference.result_labels import read_earlier_findings, read_earlier_labels

    place = scan.more.get("--labels")
    if not isinstance(place, Path):
        return _Earlier()
    return _Earlier(read_earlier_labels(place, volume), read_earlier_findings(place))


def _replayed(
    scan: Scan,
    clicks: Sequence[PointPrompt],
    segmenter: Segmenter,
    volume: Volume,
    earlier: _Earlier,
    *,
    journal: Path,
    say: Callable[[str], None],
) -> Segmentation:
    """Do what a user would, and measure what came of it."""
    from vesalius.inference.review import measure_labels
    from vesalius.inference.segmenter import Segmentation

    say("clicks")
    started = time.perf_counter()
    labels = _accepted(scan, clicks, segmenter, volume, earlier.labels, journal=journal)
    say("measuring")
    predicted = time.perf_counter()
    findings = measure_labels(volume, labels, earlier=earlier.findings)
    return Segmentation(
        labels=labels,
        findings=findings,
        plan=None,
        seconds={"clicks": predicted - started, "measuring": time.perf_counter() - predicted},
        probability={},
        unvalidated=segmenter.check(volume, scan.request.options()),
    )


def _accepted(
    scan: Scan,
    clicks: Sequence[PointPrompt],
    segmenter: Segmenter,
    volume: Volume,
    earlier: LabelMap | None,
    *,
    journal: Path,
) -> LabelMap:
    """Give all clicks, look once, accept; what the session remembers is let go with it."""
    session, _ = _open_session(scan, clicks, segmenter, volume, earlier, journal=journal)
    with closing(session):
        for click in clicks:
            session.add(click)
        session.predict()
        return session.accept()


def _open_session(
    scan: Scan,
    clicks: Sequence[PointPrompt],
    segmenter: Segmenter,
    volume: Volume,
    labels: LabelMap | None,
    *,
    journal: Path | None,
) -> tuple[Session, ClickPlan]:
    """Open a session that keeps to the memory allowed, and say what the clicks will need in it."""
    from vesalius.inference.click_plan import plan_clicks
    from vesalius.interactive.features import CACHE_BYTES
    from vesalius.interactive.session import Session

    options = scan.request.options()
    segmenter.check(volume, options)  # first: what is refused anyway needs no plan
    plan = plan_clicks(
        segmenter, volume, clicks, labels=labels, most_cache_bytes=CACHE_BYTES, max_bytes=options.max_memory
    )
    session = Session(
        segmenter, volume, labels=labels, journal=journal, cache_bytes=plan.cache_bytes, options=options
    )
    return session, plan


def _counted(clicks: Sequence[PointPrompt]) -> dict[str, dict[str, int]]:
    """Return target -> how many clicks are positive and negative."""
    counts = Counter((click.target, click.positive) for click in clicks)
    names = dict.fromkeys(click.target for click in clicks)
    return {name: {"positive": counts[name, True], "negative": counts[name, False]} for name in names}


def _dry_run(scan: Scan, clicks: Sequence[PointPrompt], *, as_json: bool) -> int:
    """Check everything that can be without a prediction, and say what would be done and what it would need."""
    segmenter = scan.request.load()
    volume = open_scan(scan).volume
    session, plan = _open_session(scan, clicks, segmenter, volume, _earlier(scan, volume).labels, journal=None)
    for click in clicks:
        session.add(click)
    counted = _counted(clicks)
    if as_json:
        asked = {"clicks": counted, "structures": list(session.pending)}
        print(json.dumps({"plan": {**asked, **plan.as_dict()}}, indent=2))
        return 0
    for name, count in counted.items():
        print(f"{name}: {count['positive']} positive and {count['negative']} negative clicks")
    print(_described(plan))
    print(*describe_bytes(plan.phases), sep="\n")
    return 0


def _described(plan: ClickPlan) -> str:
    """Say a plan in one line."""
    again = f", {plan.passes} passes: too little memory for all of them" if plan.passes > len(plan.windows) else ""
    size = " x ".join(map(str, plan.window_size))
    return (
        f"{number_of(len(plan.windows), 'window')} of {size}{again}, {plan.precision}, "
        f"at most {plan.peak_bytes / 1e9:.1f} GB, about {plan.seconds:.0f} s: a forecast"
    )
