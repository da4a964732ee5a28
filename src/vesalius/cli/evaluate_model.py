"""``vesalius evaluate --data``: a model on a list, by itself, click by click, or by a published protocol."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vesalius.cli.list_options import list_of
from vesalius.cli.measured import Measured, say
from vesalius.cli.named_model import check_clickable
from vesalius.cli.request import OF_MODEL, request_of

if TYPE_CHECKING:
    from vesalius.evaluation.clicks import ClickProtocol
    from vesalius.evaluation.references import ReferenceCase
    from vesalius.evaluation.scores import ScoringOptions
    from vesalius.evaluation.suites import Suite
    from vesalius.inference.segmenter import Segmenter, SegmentOptions


@dataclass(frozen=True, kw_only=True)
class _Bench:
    """A model, what it is measured on, and how."""

    segmenter: Segmenter
    references: Iterable[ReferenceCase]
    options: ScoringOptions
    how: SegmentOptions
    about: Mapping[str, Any]


def evaluate_list(args: argparse.Namespace, options: ScoringOptions, suite: Suite | None) -> Measured:
    """Measure the model that was named on the list that was.

    Args:
        args: What was typed.
        options: How to measure.
        suite: Says what the list's ids mean.

    Raises:
        InputError: If the list or a file of it is refused.
        ModelError: If the model is, or has no click branch where somebody clicks.
        UsageError: If what was typed does not fit the list.
    """
    from vesalius.evaluation.references import labelled, read_references

    listed = list_of(args, args.data, suite=suite)
    split, cases = labelled(listed, args.split or (suite.split if suite else None))
    protocol = _protocol(args, suite)
    request = request_of(args, OF_MODEL)
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
    bench = _Bench(segmenter=segmenter, references=references, options=options, how=request.options(), about=about)
    if args.published == "iterative":
        return _iterative(args, bench)
    if args.published is not None:
        return _by_windows(args, bench)
    if protocol is not None:
        return _by_clicks(args, bench, protocol)
    return _automatic(args, bench)


def _automatic(args: argparse.Namespace, bench: _Bench) -> Measured:
    from vesalius.evaluation.benchmark import evaluate_model

    evaluation = evaluate_model(
        bench.segmenter,
        bench.references,
        options=bench.options,
        everything=bool(args.everything),
        how=bench.how,
        on_case=say,
    )
    return Measured(evaluation=evaluation, about=bench.about)


def _by_clicks(args: argparse.Namespace, bench: _Bench, protocol: ClickProtocol) -> Measured:
    """Let a simulated user click in a real session; what is compared is the beginning and the end."""
    from vesalius.evaluation import click_summary
    from vesalius.evaluation.clicks import evaluate_clicks

    result = evaluate_clicks(
        bench.segmenter,
        bench.references,
        protocol,
        options=bench.options,
        everything=bool(args.everything),
        how=bench.how,
        on_structure=say,
    )
    before, after = (click_summary.evaluation_after(result, n, bench.options) for n in (0, protocol.clicks))
    return Measured(
        evaluation=after,
        about={**bench.about, "tables": f"after {protocol.clicks} clicks a structure; gained: over the beginning"},
        comparison=after.compared_with(before),
        sections=click_summary.click_sections(result),
        more={"clicks": click_summary.clicks_as_dict(result)},
    )


def _by_windows(args: argparse.Namespace, bench: _Bench) -> Measured:
    from vesalius.evaluation.window_protocols import evaluate_by_windows

    evaluation = evaluate_by_windows(
        bench.segmenter,
        bench.references,
        args.published,
        options=bench.options,
        how=bench.how,
        seed=args.seed or 0,
        on_case=say,
    )
    said = f"{args.published}: clicks are taken from the truth, window by window; no user can do that"
    return Measured(evaluation=evaluation, about={**bench.about, "protocol": said})


def _iterative(args: argparse.Namespace, bench: _Bench) -> Measured:
    from vesalius.evaluation.iterative_protocol import CLICKS, evaluate_iteratively

    result = evaluate_iteratively(
        bench.segmenter,
        bench.references,
        clicks=CLICKS if args.clicks is None else args.clicks,
        options=bench.options,
        how=bench.how,
        on_structure=say,
    )
    said = (
        f"iterative: the best mask of up to {result.clicks} clicks by the truth, which empties slices without it; "
        "no user can do that"
    )
    return Measured(
        evaluation=result.evaluation(),
        about={**bench.about, "protocol": said},
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
