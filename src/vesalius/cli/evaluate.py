"""``vesalius evaluate``: results against references, or a model on a data set, by itself or click by click."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vesalius.checkpoints.default_model import DEFAULT_MODEL
from vesalius.cli.evaluate_model import evaluate_list
from vesalius.cli.list_options import add_list_options
from vesalius.cli.measured import Measured, say
from vesalius.cli.request import OF_MODEL, add_computing
from vesalius.cli.words import names
from vesalius.errors import UsageError

if TYPE_CHECKING:
    from vesalius.evaluation.scores import ScoringOptions
    from vesalius.evaluation.suites import Suite

_LIST = ("suite", "split", "root", "allow_outside", "channel", "modality")
_DATA_ONLY = (*OF_MODEL, *_LIST, "clicks", "published", "everything")
_FILES_ONLY = ("against",)
_USER = ("start", "new", "aim", "jitter")
"""What a simulated user does, beside the seed of his hand."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``vesalius evaluate``."""
    parser.add_argument(
        "found",
        nargs="?",
        type=Path,
        metavar="PRED",
        help="what was found: a label file, a result folder, or a folder of them",
    )
    parser.add_argument(
        "truth",
        nargs="?",
        type=Path,
        metavar="REF",
        help="the reference: a label file, or a folder with files of the same names",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="OUT",
        help="gets report.html, evaluation.json, classes.csv, scores.csv; new, empty, or of an earlier evaluation",
    )
    _add_measuring(parser.add_argument_group("what is measured"))
    _add_model(parser.add_argument_group("a model on a data set, instead of PRED REF"))
    _add_clicks(parser.add_argument_group("with --data: click by click, by a simulated user in a real session"))
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, progress on stderr")


def _add_measuring(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--classes", type=names, default=(), metavar="A,B", help="default: all that can be compared")
    group.add_argument(
        "--lesions", type=names, default=(), metavar="A,B", help="classes to count lesion by lesion, too"
    )
    group.add_argument(
        "--tolerance",
        type=float,
        metavar="MM",
        help="within which a surface counts as right; default: 2, or the suite's",
    )
    group.add_argument(
        "--match",
        choices=("auto", "names", "ids"),
        default="auto",
        help="classes by the names in the files, or by ids; auto: by names, by ids where no file has any",
    )
    group.add_argument(
        "--against",
        type=Path,
        metavar="PRED",
        help="another result of the same cases: what does PRED gain over it?",
    )


def _add_model(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--data", type=Path, metavar="LIST", help="a MONAI or MSD list, an nnU-Net or TotalSegmentator folder, ..."
    )
    group.add_argument("--suite", metavar="NAME", help="a paper's benchmark (vista3d-msd09): what LIST's ids mean")
    group.add_argument(
        "--split",
        choices=("training", "validation", "test", "all"),
        help="default: the suite's, or the first of test, validation and training that has labels",
    )
    add_list_options(group)
    group.add_argument(
        "--everything",
        action="store_true",
        default=None,
        help="ask for all that the model names, not only for what REF holds",
    )
    group.add_argument("--model", metavar="NAME|PATH", help=f"default: {DEFAULT_MODEL}")
    add_computing(group)
    group.add_argument("--unvalidated", action="store_true", help="go on outside what the model was made for")


def _add_clicks(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--clicks", type=int, metavar="N", help="how many clicks each structure may get")
    group.add_argument(
        "--start",
        choices=("automatic", "nothing"),
        help="what the user begins with; default: automatic",
    )
    group.add_argument(
        "--new",
        action="store_true",
        default=None,
        help="as if the model had no name for anything; needs --start nothing",
    )
    group.add_argument("--aim", choices=("centre", "border"), help="of the largest error; default: centre")
    group.add_argument("--jitter", type=float, metavar="MM", help="standard deviation of the hand; default: 2")
    group.add_argument(
        "--published",
        choices=("one-click-per-window", "oracle", "iterative"),
        help="VISTA3D's own protocols, which look at the truth: for comparison with its tables only; iterative, on "
        "structures without a name, takes --clicks; default: 80 of them",
    )
    group.add_argument("--seed", type=int, metavar="N", help="of the hand; default: 0")


def run(args: argparse.Namespace) -> int:
    """Measure, write what was asked for, and print the table."""
    from vesalius.evaluation.report_folder import check_report_folder
    from vesalius.evaluation.scores import ScoringOptions
    from vesalius.evaluation.suites import suite as suite_of

    _check(args)
    if args.out is not None:
        check_report_folder(args.out)
    suite = None if args.suite is None else suite_of(args.suite)
    _check_clicks(args, suite)
    tolerance_mm = (suite and suite.tolerance_mm) or ScoringOptions.tolerance_mm
    options = ScoringOptions(
        tolerance_mm=tolerance_mm if args.tolerance is None else args.tolerance,
        match=args.match,
        classes=args.classes,
        lesions=args.lesions,
    )
    measured = _of_files(args, options) if args.data is None else evaluate_list(args, options, suite)
    files = measured.write(args.out) if args.out is not None else ()
    measured.print(files, as_json=args.json)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse a mixture of the two ways to evaluate."""
    has_files, do = args.found is not None, "see `vesalius evaluate --help`"
    given = {"PRED": args.found, "REF": args.truth, "--data": args.data}
    words = [word for word, value in given.items() if value is not None]
    if words not in (["PRED", "REF"], ["--data"]):
        got = " and ".join(words) or "neither"
        raise UsageError(expected="either PRED REF, or --data LIST with --model", got=got, do=do)
    for name in _DATA_ONLY if has_files else _FILES_ONLY:
        value = getattr(args, name)
        if value is not None and value is not False:
            way = "PRED REF" if has_files else "--data"
            raise UsageError(expected=f"options that go with {way}", got=f"--{name.replace('_', '-')}", do=do)


def _check_clicks(args: argparse.Namespace, suite: Suite | None) -> None:
    """Refuse what would be left out of account where nobody clicks, or clicks are published ones."""
    of_new = suite is not None and suite.kind == "new"
    if suite is not None and of_new and args.published not in (None, "iterative"):
        raise UsageError(
            expected=f"a protocol for structures without a name, as those of {suite.name} are",
            got=f"--published {args.published}, which is about classes that a model names",
            do="take --published iterative, or none for an honest count of clicks",
        )
    way, names = _uncounted(args.published, is_clicked=of_new or args.clicks is not None)
    given = [f"--{name}" for name in names if getattr(args, name) not in (None, ())]
    if given:
        do = f"leave {' and '.join(given)} out, or see `vesalius evaluate --help`"
        raise UsageError(expected=f"options that count in {way}", got=", ".join(given), do=do)


def _uncounted(published: str | None, *, is_clicked: bool) -> tuple[str, Sequence[str]]:
    """Return how a model is evaluated, in words, and which options count for nothing then."""
    if published is None:
        return ("--clicks", ("lesions",)) if is_clicked else ("an evaluation without --clicks", (*_USER, "seed"))
    if published == "iterative":  # its clicks are counted, and nothing is drawn
        return "--published iterative", ("everything", *_USER, "seed", "lesions")
    return f"--published {published}", ("clicks", "everything", *_USER, "lesions")


def _of_files(args: argparse.Namespace, options: ScoringOptions) -> Measured:
    from vesalius.evaluation.benchmark import evaluate_files
    from vesalius.evaluation.label_files import pair_files

    evaluation = evaluate_files(pair_files(args.found, args.truth), options, on_case=say)
    about = {"results": str(args.found), "reference": str(args.truth)}
    if args.against is None:
        return Measured(evaluation=evaluation, about=about)
    other = evaluate_files(pair_files(args.against, args.truth), options, on_case=say)
    about["against"] = str(args.against)
    return Measured(evaluation=evaluation, about=about, comparison=evaluation.compared_with(other))
