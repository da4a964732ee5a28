"""``vesalius evaluate``: results against references, or a model on a data set, by itself or click by click."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.cli.list_options import add_list_options, list_of
from vesalius.cli.named_model import check_clickable
from vesalius.cli.request import Request, number_of_threads, size_in_bytes
from vesalius.errors import UsageError

if TYPE_CHECKING:
    from vesalius.evaluation.benchmark import Evaluation
    from vesalius.evaluation.clicks import ClickProtocol
    from vesalius.evaluation.references import ReferenceCase
    from vesalius.evaluation.scores import ScoringOptions
    from vesalius.evaluation.suites import Suite
    from vesalius.evaluation.summary import Comparison
    from vesalius.inference.segmenter import Segmenter

_MODEL = ("model", "device", "precision", "max_memory", "threads")
_LIST = ("suite", "split", "root", "allow_outside", "channel", "modality")
_DATA_ONLY = (*_MODEL, *_LIST, "clicks", "published", "everything", "unvalidated")
_FILES_ONLY = ("against",)
_HAND = ("start", "new", "aim", "jitter", "seed")
"""What a simulated user does; of the published protocols only the seed counts."""
_NOT_PUBLISHED = ("clicks", "everything", *_HAND[:-1])


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
    group.add_argument(
        "--classes", type=_names, default=(), metavar="A,B", help="default: all that can be compared"
    )
    group.add_argument(
        "--lesions", type=_names, default=(), metavar="A,B", help="classes to count lesion by lesion, too"
    )
    group.add_argument(
        "--tolerance",
        type=float,
        metavar="MM",
        help="within which a surface counts as right; default 2, or the suite's",
    )
    group.add_argument(
        "--match",
        choices=("auto", "names", "ids"),
        default="auto",
        help="classes by the names in the files, or by ids; auto: by names where both have them",
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
    group.add_argument("--model", metavar="NAME|PATH", help=f"default {Request().model}")
    group.add_argument("--device", metavar="D", help="auto, cpu, cuda or mps")
    group.add_argument("--precision", choices=("auto", "fp32", "bf16"), help="default auto")
    group.add_argument("--max-memory", type=size_in_bytes, metavar="8GB", help="resident memory not to exceed")
    group.add_argument("--threads", type=number_of_threads, metavar="N", help="default: as torch chooses")
    group.add_argument("--unvalidated", action="store_true", help="go on outside what the model was made for")


def _add_clicks(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--clicks", type=int, metavar="N", help="how many clicks each structure may get")
    group.add_argument(
        "--start",
        choices=("automatic", "nothing"),
        help="what the user begins with; default automatic",
    )
    group.add_argument(
        "--new",
        action="store_true",
        default=None,
        help="as if the model had no name for anything; needs --start nothing",
    )
    group.add_argument("--aim", choices=("centre", "border"), help="of the largest error; default centre")
    group.add_argument("--jitter", type=float, metavar="MM", help="standard deviation of the hand; default 2")
    group.add_argument(
        "--published",
        choices=("one-click-per-window", "oracle", "iterative"),
        help="VISTA3D's own protocols, which look at the truth: for comparison with its tables only; iterative, on "
        "structures without a name, takes --clicks (default 80)",
    )
    group.add_argument("--seed", type=int, metavar="N", help="of the hand; default 0")


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
    outcome = _of_files(args, options) if args.data is None else _of_model(args, options, suite)
    files = _written(args.out, outcome) if args.out is not None else ()
    _print(outcome, files, as_json=args.json)
    return 0


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What was measured, and what is to be told beside it."""

    evaluation: Evaluation
    about: Mapping[str, Any]
    comparison: Comparison | None = None
    sections: Sequence[str] = ()
    """Further parts of the page."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the JSON object."""


def _check(args: argparse.Namespace) -> None:
    """Refuse a mixture of the two ways to evaluate."""
    has_files, do = args.found is not None, "see `vesalius evaluate --help`"
    if has_files == (args.data is not None) or (has_files and args.truth is None):
        got = "only PRED" if has_files and args.data is None else "both" if has_files else "neither"
        raise UsageError(expected="either PRED REF, or --data LIST with --model", got=got, do=do)
    for name in _DATA_ONLY if has_files else _FILES_ONLY:
        value = getattr(args, name)
        if value is not None and value is not False:
            way = "PRED REF" if has_files else "--data"
            raise UsageError(expected=f"options that go with {way}", got=f"--{name.replace('_', '-')}", do=do)


def _check_clicks(args: argparse.Namespace, suite: Suite | None) -> None:
    """Refuse what would be left out of account where nobody clicks, or clicks are published ones."""
    clicks = args.clicks is not None or (suite is not None and suite.kind == "new")
    names: tuple[str, ...] = _HAND
    way = "an evaluation without --clicks"
    if args.published is not None:
        names, way = _NOT_PUBLISHED, f"--published {args.published}"
        if args.published != "iterative" and suite is not None and suite.kind == "new":
            raise UsageError(
                expected=f"a protocol for structures without a name, as those of {suite.name} are",
                got=f"--published {args.published}, which is about classes that a model names",
                do="take --published iterative, or none for an honest count of clicks",
            )
        if args.published == "iterative":
            names = (*_NOT_PUBLISHED[1:], "seed")  # nothing is drawn, and the clicks are counted
    elif clicks:
        names, way = (), "--clicks"
    given = [f"--{name}" for name in names if getattr(args, name) is not None]
    if args.lesions and (clicks or args.published is not None):
        given.append("--lesions")
    if given:
        do = f"leave {' and '.join(given)} out, or see `vesalius evaluate --help`"
        raise UsageError(expected=f"options that count in {way}", got=", ".join(given), do=do)


def _of_files(args: argparse.Namespace, options: ScoringOptions) -> _Outcome:
    from vesalius.evaluation.benchmark import evaluate_files
    from vesalius.evaluation.label_files import pair_files

    evaluation = evaluate_files(pair_files(args.found, args.truth), options, on_case=_say)
    about = {"results": str(args.found), "reference": str(args.truth)}
    if args.against is None:
        return _Outcome(evaluation=evaluation, about=about)
    other = evaluate_files(pair_files(args.against, args.truth), options, on_case=_say)
    about["against"] = str(args.against)
    return _Outcome(evaluation=evaluation, about=about, comparison=evaluation.compared_with(other))


def _of_model(args: argparse.Namespace, options: ScoringOptions, suite: Suite | None) -> _Outcome:
    from vesalius.evaluation.benchmark import evaluate_model
    from vesalius.evaluation.references import labelled, read_references

    listed = list_of(args, args.data, suite=suite)
    split, cases = labelled(listed, args.split or (suite.split if suite else None))
    protocol = _protocol(args, suite)
    asked = {name: getattr(args, name) for name in _MODEL if getattr(args, name) is not None}
    request = Request(**asked, unvalidated=args.unvalidated)
    if protocol is not None or args.published is not None:
        check_clickable(request.model)
    segmenter = request.load()
    about = {
        "data": f"{listed.name}, {split}, {len(cases)} cases",
        "model": f"{segmenter.spec.name} {segmenter.spec.version}",
        "precision": segmenter.precision,
    }
    if suite is not None:
        about |= {"suite": f"{suite.title}: {suite.paper}", "beware": "; ".join(suite.remarks(len(cases)))}
    references = read_references(listed, cases, segmenter.vocabulary)
    if args.published == "iterative":
        return _iterative(args, segmenter, references, options, about)
    if args.published is not None:
        from vesalius.evaluation.window_protocols import evaluate_by_windows

        evaluation = evaluate_by_windows(
            segmenter,
            references,
            args.published,
            options=options,
            how=request.options(),
            seed=args.seed or 0,
            on_case=_say,
        )
        said = f"{args.published}: clicks are taken from the truth, window by window; no user can do that"
        return _Outcome(evaluation=evaluation, about=about | {"protocol": said})
    how: dict[str, Any] = {"options": options, "everything": bool(args.everything), "how": request.options()}
    if protocol is None:
        return _Outcome(evaluation=evaluate_model(segmenter, references, on_case=_say, **how), about=about)
    from vesalius.evaluation import click_summary
    from vesalius.evaluation.clicks import evaluate_clicks

    result = evaluate_clicks(segmenter, references, protocol, on_structure=_say, **how)
    before, after = (click_summary.evaluation_after(result, n, options) for n in (0, protocol.clicks))
    return _Outcome(
        evaluation=after,
        about=about | {"tables": f"after {protocol.clicks} clicks a structure; gained: over the beginning"},
        comparison=after.compared_with(before),
        sections=click_summary.click_sections(result),
        more={"clicks": click_summary.clicks_as_dict(result)},
    )


def _iterative(
    args: argparse.Namespace,
    segmenter: Segmenter,
    references: Iterable[ReferenceCase],
    options: ScoringOptions,
    about: Mapping[str, Any],
) -> _Outcome:
    from vesalius.evaluation.iterative_protocol import CLICKS, evaluate_iteratively
    from vesalius.inference.segmenter import SegmentOptions

    result = evaluate_iteratively(
        segmenter,
        references,
        clicks=CLICKS if args.clicks is None else args.clicks,
        options=options,
        how=SegmentOptions(max_memory=args.max_memory, unvalidated=bool(args.unvalidated)),
        on_structure=_say,
    )
    said = (
        f"iterative: the best mask of up to {result.clicks} clicks by the truth, which empties slices without it; "
        "no user can do that"
    )
    return _Outcome(
        evaluation=result.evaluation(),
        about={**about, "protocol": said},
        sections=[result.section()],
        more={"iterative": result.as_dict()},
    )


def _protocol(args: argparse.Namespace, suite: Suite | None) -> ClickProtocol | None:
    """Return what a simulated user does; None where there is none. Suites of new structures are all clicks."""
    from vesalius.evaluation.clicks import ClickProtocol

    is_new = suite is not None and suite.kind == "new"
    if args.published is not None or (args.clicks is None and not is_new):
        return None
    start = "nothing" if is_new else args.start
    said = {"clicks": args.clicks, "start": start, "style": args.aim, "jitter_mm": args.jitter, "seed": args.seed}
    return ClickProtocol(
        new=is_new or bool(args.new), **{name: one for name, one in said.items() if one is not None}
    )


def _written(out: Path, outcome: _Outcome) -> tuple[Path, ...]:
    from vesalius.evaluation.report import write_report

    return write_report(
        out,
        outcome.evaluation,
        about=outcome.about,
        comparison=outcome.comparison,
        sections=outcome.sections,
        more=outcome.more,
    )


def _print(outcome: _Outcome, files: Sequence[Path], *, as_json: bool) -> None:
    from vesalius.evaluation.report import as_record, as_text, notes

    if as_json:
        record = as_record(outcome.evaluation, about=outcome.about, comparison=outcome.comparison)
        print(json.dumps(record | dict(outcome.more), indent=2))
        return
    print(as_text(outcome.evaluation, outcome.comparison))
    for note in (*notes(outcome.evaluation), outcome.about.get("beware")):
        if note:
            print(note, file=sys.stderr)
    for file in files[:1]:
        print(file)


def _say(case: str) -> None:
    print(case, file=sys.stderr, flush=True)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("no class is named")
    return names
