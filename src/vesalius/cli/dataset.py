"""``vesalius dataset``: what is wrong with a data set before anything is learnt from it, and what it is like."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.cli.list_options import add_list_options, list_of
from vesalius.errors import InputError

if TYPE_CHECKING:
    from vesalius.data.check import Report
    from vesalius.data.datalists.record import DataList
    from vesalius.data.fingerprint import Fingerprint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the two actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="check|fingerprint")
    check = actions.add_parser(
        "check", help="files, geometry, labels, copies and leaks, sides, Hounsfield units; exit 3 if one is wrong"
    )
    fingerprint = actions.add_parser(
        "fingerprint", help="spacings, shapes, intensities inside labels, volumes, as JSON"
    )
    for action in (check, fingerprint):
        action.add_argument(
            "path",
            type=Path,
            metavar="PATH",
            help="a MONAI or MSD list, an nnU-Net or TotalSegmentator folder, or images and labels in folders",
        )
        add_list_options(action)
    check.add_argument("--json", action="store_true", help="one JSON object on stdout, progress on stderr")
    fingerprint.add_argument("-o", "--out", type=Path, metavar="FILE", help="write the JSON here, not to stdout")


def run(args: argparse.Namespace) -> int:
    """Carry out one action; return the exit code."""
    return {"check": _check, "fingerprint": _fingerprint}[args.action](args)


def _check(args: argparse.Namespace) -> int:
    """Print every problem; 0 where nothing is wrong, 3 where something is."""
    from vesalius.data.check import check_list

    listed = list_of(args, args.path, strict=False)
    report = check_list(listed, on_case=_progress(len(listed.cases)))
    if args.json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        print("\n".join(_lines(report, listed)))
    return InputError.exit_code if report.wrong else 0


def _fingerprint(args: argparse.Namespace) -> int:
    from vesalius.data.fingerprint import fingerprint
    from vesalius.io.atomic import replacing

    listed = list_of(args, args.path)
    found = fingerprint(listed, on_case=_progress(sum(case.split != "test" for case in listed.cases)))
    if args.out is None:
        print(found.to_json())
        return 0
    with replacing(args.out) as part:
        part.write_text(found.to_json() + "\n", encoding="utf-8")
    print("\n".join(_summary(found)))
    return 0


def _progress(total: int) -> Any:
    """Return what is told how many cases are done: a bar on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    bar = tqdm(total=total, unit="case", leave=False, disable=not sys.stderr.isatty())

    def on_case(done: int) -> None:
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return on_case


def _lines(report: Report, listed: DataList) -> Iterator[str]:
    """Lay out a report: what it is about, a line and an advice for each problem, and the verdict."""
    splits = {split: len(listed.split(split)) for split in ("training", "validation", "test")}
    counts = ", ".join(f"{count} {split}" for split, count in splits.items() if count)
    yield f"{report.list}: {report.format} list of {report.cases} cases ({counts}), {report.labelled} labelled"
    for problem in report.problems:
        mark = "WRONG" if problem.is_wrong else "look "
        yield f"{mark} {problem.kind:<9} {problem.case or 'the list'}: {problem.found}"
        yield f"      do: {problem.do}"
    looks = len(report.problems) - report.wrong
    yield f"{report.wrong} wrong, {looks} worth a look" if report.problems else "nothing is wrong"


def _summary(found: Fingerprint) -> Iterator[str]:
    spacing = " x ".join(f"{axis.median:.3g}" for axis in found.spacing_mm)
    shape = " x ".join(f"{axis.median:.0f}" for axis in found.shape)
    yield f"{found.list}: {found.cases} cases, {found.labelled} labelled; median {shape} voxels of {spacing} mm"
    for label, one in found.classes.items():
        volume, intensity = one.volume_ml, one.intensity
        yield (
            f"{label:>5}  {one.name or '-':<24} in {one.cases} cases, {volume.median:.3g} ml "
            f"({volume.min:.3g} to {volume.max:.3g}), intensity {intensity.mean:.4g} +- {intensity.sd:.3g}"
        )
