"""``vesalius batch``: many scans, the model loaded once, one folder each; a rerun goes on where it stopped.

While one scan is segmented, the next is read and the one before is written; with a stated limit of memory one is
held at a time, since no plan knows of another. A case's folder is complete or absent, and proves what it is the
result of; one bad case never stops the rest. What gives no scan is named.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vesalius.cli import request as requests
from vesalius.cli.cases import Listing, list_cases
from vesalius.cli.failures import BUG, as_typed
from vesalius.cli.named_model import identify_weights
from vesalius.cli.progress import Console, describe
from vesalius.cli.scan import OpenScan, Scan, open_scan, write_scan
from vesalius.cli.scan_folder import LeftOut
from vesalius.cli.summary import Outcome, write_summary
from vesalius.errors import InterruptedRun
from vesalius.io.plain_text import plain_text

if TYPE_CHECKING:
    from vesalius.inference.segmenter import Segmentation, Segmenter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``vesalius batch``."""
    parser.add_argument(
        "scans",
        type=Path,
        metavar="FOLDER|LIST",
        help="a folder of images and of DICOM folders, or a .txt, .csv or .json list of paths",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="OUT",
                        help="gets a folder per scan and summary.csv")  # fmt: skip
    requests.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Segment many scans; the exit code is that of the worst failure, 0 without any."""
    from vesalius.inference.result_folder import disk_errors, locked

    request = requests.request_of(args)
    listing = list_cases(args.scans, leave_out=args.out)
    for one in listing.left_out:
        print(plain_text(f"left out: {one.path}: {one.why}"), file=sys.stderr, flush=True)
    scans = [
        Scan(case.path, args.out / case.name, request, case.series, results=args.out) for case in listing.cases
    ]
    if args.dry_run:
        return _dry_run(request, scans, listing.left_out, as_json=args.json)
    with locked(args.out):
        with disk_errors(args.out):
            args.out.mkdir(exist_ok=True)
        batch = _Batch(request, listing, scans, out=args.out, overwrite=args.overwrite)
        try:
            batch.run()
        except KeyboardInterrupt:
            done = sum(outcome.is_done for outcome in batch.outcomes)
            raise InterruptedRun(
                expected=f"to finish {len(scans)} cases",
                got=f"an interruption after {done}",
                do=f"run the same command again to go on; what is done is kept in {args.out}",
            ) from None
    return _print_outcomes(batch.outcomes, listing.left_out, args.out, as_json=args.json)


class _Batch:
    """The cases of one run, and how far each has come."""

    def __init__(
        self, request: requests.Request, listing: Listing, scans: Sequence[Scan], *, out: Path, overwrite: bool
    ) -> None:
        self.request, self.scans, self.out, self.overwrite = request, scans, out, overwrite
        self.left_out = listing.left_out
        self.outcomes = [Outcome(case=case.name, path=case.path, folder=out / case.name) for case in listing.cases]
        self.weights = identify_weights(request.model)

    @cached_property
    def segmenter(self) -> Segmenter:
        """The model, loaded when the first unfinished case needs it."""
        return self.request.load()

    def run(self) -> None:
        """Bring every case to an outcome; reads ahead and writes behind where memory is not limited."""
        written: Future[None] | None = None
        is_limited = self.request.max_memory is not None
        with _worker() as reader, _worker() as writer:
            opening = reader.submit(self._open, 0)
            for index, outcome in enumerate(self.outcomes):
                opened = self._result_of(opening, outcome)
                more = index + 1 < len(self.scans)
                if more and not is_limited:
                    opening = reader.submit(self._open, index + 1)
                result = self._segment(index, opened) if isinstance(opened, OpenScan) else None
                if written is not None:
                    written.result()
                written = writer.submit(self._finish, outcome, opened, result)
                if more and is_limited:
                    written.result()
                    del opening, opened, result  # nor is it held while the next is read
                    opening = reader.submit(self._open, index + 1)
            if written is not None:
                written.result()

    def _open(self, index: int) -> OpenScan | None:
        """Read a scan; None where its result is already there."""
        from vesalius.inference.result_folder import locked

        scan = self.scans[index]
        with locked(scan.out):
            if scan.is_done(self.weights, overwrite=self.overwrite):
                return None
        return open_scan(scan)

    def _result_of(self, opening: Future[OpenScan | None], outcome: Outcome) -> OpenScan | None:
        try:
            opened = opening.result()
        except Exception as error:  # one bad case never stops the rest
            outcome.fail(as_typed(error))
            return None
        outcome.was_there = opened is None
        return opened

    def _segment(self, index: int, opened: OpenScan) -> Segmentation | None:
        outcome = self.outcomes[index]
        segmenter = self.segmenter  # a model that cannot be loaded stops everything
        try:
            with Console(f"[{index + 1}/{len(self.scans)}] {outcome.case}").closing() as console:
                return segmenter.segment(
                    opened.volume, self.request.classes, options=self.request.options(), progress=console.listener()
                )
        except Exception as error:
            outcome.fail(as_typed(error))
            return None

    def _finish(self, outcome: Outcome, opened: OpenScan | None, result: Segmentation | None) -> None:
        """Write a case's folder and the summary; runs beside the next case."""
        from vesalius.inference.result_folder import locked

        if opened is not None and result is not None:
            try:
                with locked(opened.scan.out):
                    write_scan(opened, result, self.segmenter, self.weights, overwrite=self.overwrite)
            except Exception as error:
                outcome.fail(as_typed(error))
        outcome.close()
        print(plain_text(f"{outcome.case}: {outcome.in_words()}"), file=sys.stderr, flush=True)
        write_summary(self.out, self.outcomes, self.left_out)


@contextmanager
def _worker() -> Iterator[ThreadPoolExecutor]:
    """Give a thread that, on the way out, ends what it is at and begins nothing more."""
    pool = ThreadPoolExecutor(1)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _dry_run(
    request: requests.Request, scans: Sequence[Scan], left_out: Sequence[LeftOut], *, as_json: bool
) -> int:
    """Print the plan of every case that can be read."""
    segmenter = request.load()
    plans: dict[str, object] = {}
    code = 0
    for scan in scans:
        try:
            plan = segmenter.plan(open_scan(scan).volume, request.classes, options=request.options())
            plans[scan.out.name] = plan.as_dict()
            words = describe(plan)
        except Exception as error:
            failure = as_typed(error)
            plans[scan.out.name] = {"error": failure.as_dict()}
            words, code = f"failed: {failure.got}", max(code, failure.exit_code)
        if not as_json:
            print(plain_text(f"{scan.out.name}: {words}"))
    if as_json:
        print(json.dumps({"plans": plans, "left_out": _as_plain(left_out)}, indent=2))
    return code


def _print_outcomes(outcomes: Sequence[Outcome], left_out: Sequence[LeftOut], out: Path, *, as_json: bool) -> int:
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    there = sum(outcome.was_there for outcome in outcomes)
    if as_json:
        content = {
            "out": str(out),
            "cases": len(outcomes),
            "done": len(outcomes) - len(failed) - there,
            "already_done": there,
            "failed": [{"case": o.case, "error": o.error.as_dict()} for o in failed if o.error],
            "left_out": _as_plain(left_out),
            "summary": str(out / "summary.csv"),
        }
        print(json.dumps(content, indent=2))
    else:
        print(f"{len(outcomes) - len(failed)} of {len(outcomes)} cases done, {there} of them before; "
              f"{len(failed)} failed; {len(left_out)} folders and files left out")  # fmt: skip
        print(out / "summary.csv")
    codes = {outcome.error.exit_code for outcome in failed if outcome.error}
    return BUG if BUG in codes else max(codes, default=0)


def _as_plain(left_out: Sequence[LeftOut]) -> list[dict[str, str]]:
    return [{"path": str(one.path), "why": one.why} for one in left_out]
