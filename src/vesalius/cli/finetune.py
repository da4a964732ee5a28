"""``vesalius finetune``: a model and a few labelled cases -> a model of what they show, and whether that helped."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from vesalius.checkpoints.default_model import DEFAULT_MODEL
from vesalius.cli.list_options import add_list_options, list_of
from vesalius.cli.request import (
    add_sharding,
    add_training_precision,
    threads_of,
    training_precision,
)
from vesalius.cli.slice_training import add_augmentation, add_window, finetune_slices, is_of_slices
from vesalius.cli.words import names, number_of_threads
from vesalius.errors import UsageError
from vesalius.training.finetune import FinetuneOptions

if TYPE_CHECKING:
    from vesalius.data.datalists.record import DataList


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``vesalius finetune``."""
    usual = FinetuneOptions()
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, metavar="NAME|PATH", help="to begin with; default: %(default)s"
    )
    parser.add_argument("--data", type=Path, required=True, metavar="LIST", help="see `vesalius dataset check`")
    parser.add_argument(
        "--suite", metavar="NAME", help="a paper's benchmark (vista3d-word-few-shot): what ids mean"
    )
    parser.add_argument(
        "--cases", type=int, metavar="N", help="learn from the first N labelled training cases of LIST alone"
    )
    add_list_options(parser, folds=True)
    parser.add_argument("--run", type=Path, required=True, dest="folder", metavar="DIR", help="will be a model")
    parser.add_argument("--resume", action="store_true", help="go on where the run in DIR stopped, if there is one")
    parser.add_argument("--dry-run", action="store_true", help="print the plan (time from a few steps) and stop")
    what = parser.add_argument_group("what is learnt")
    what.add_argument(
        "--new", type=names, default=(), metavar="A,B", help="names that are new, though they look like known ones"
    )
    what.add_argument(
        "--like", type=_pairs, default={}, metavar="NEW=KNOWN,..", help="begin a new class as a known one"
    )
    what.add_argument("--keep-names", action="store_true", help="also name what the model knew; it may forget it")
    what.add_argument("--freeze", choices=("encoder", "none"), default=usual.freeze, help="default: %(default)s")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--minutes", type=float, default=usual.minutes, metavar="M", help="of all trainings; default: %(default)g"
    )
    how.add_argument("--steps", type=int, metavar="N", help="of each training instead")
    how.add_argument(
        "--folds",
        type=int,
        metavar="N",
        help="of a cross-validation; 0: none; default: the list's, or 3 from 4 patients on",
    )
    how.add_argument(
        "--patience",
        type=int,
        metavar="N",
        help=f"validations in vain; default: {usual.patience}; models of volumes only",
    )
    how.add_argument(
        "--preset",
        choices=("cpu", "gpu", "cluster"),
        default="cpu",
        help="default: %(default)s; cluster: models of slices only",
    )
    how.add_argument("--spacing", type=float, metavar="MM", help="of a slice's pixels; models of slices only")
    add_window(how)
    add_augmentation(how)
    how.add_argument("--seed", type=int, default=usual.seed, metavar="N", help="default: %(default)s")
    how.add_argument(
        "--cache", type=Path, metavar="DIR", help="of prepared cases; default: cache in the run folder"
    )
    how.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or mps")
    add_training_precision(how)
    how.add_argument("--threads", type=number_of_threads, metavar="N", help="samples worked on at once")
    add_sharding(how)


def run(args: argparse.Namespace) -> int:
    """Say the plan, train, and say whether it helped; DIR is then a model: ``vesalius segment --model DIR``.

    Raises:
        UsageError: If several processes shall share the training of a model of volumes, or it is told what only
            models of slices can be.
    """
    from vesalius.data.cache import Cache
    from vesalius.inference.device import device_to_train_on
    from vesalius.training.course import refuse_existing
    from vesalius.training.finetune import (
        PLAN,
        Resources,
        Schedule,
        begin,
        benefits_of,
        keep_plan,
        kept_plan,
        measure,
        plan_lines,
        record_of,
        schedule_of,
        state_dice,
        train_all,
        train_folds,
        write_record,
    )

    logging.getLogger("vesalius").setLevel(logging.INFO)
    options = options_of(args)
    if is_of_slices(args.model):
        refuse_existing(args.folder, resume=args.resume)
        finetune_slices(args, _listed(args))
        return 0
    _refuse_slices_only(args)
    refuse_existing(args.folder, resume=args.resume, mark=PLAN)
    device = device_to_train_on(args.device)
    cache, workers = Cache(args.cache or args.folder / "cache"), threads_of(args.threads)
    resources = Resources(cache=cache, device=device, workers=workers)
    tuning = begin(args.model, _listed(args), options, precision=training_precision(args))
    schedule = kept_plan(args.folder, Schedule)
    if schedule is not None:
        _say(f"the plan of {args.folder} stands; what is typed of steps and minutes changes nothing")
    else:
        schedule = schedule_of(tuning, measure(tuning, resources), options)
    for line in plan_lines(tuning, schedule):
        print(line, flush=True)
    if args.dry_run:
        return 0
    keep_plan(args.folder, schedule)
    curves = train_folds(tuning, schedule, args.folder, resources, on_training=_say)
    steps = train_all(tuning, schedule, options, args.folder, resources, curves=curves, on_training=_say)
    benefits = benefits_of(tuning, args.model, args.folder, curves, device=device, on_measuring=_say)
    for benefit in benefits:
        print(benefit.words())
    state_dice(args.folder, benefits)
    record = record_of(tuning, schedule, curves=curves, steps=steps, benefits=benefits)
    print(write_record(args.folder, record).parent)
    return 0


def _refuse_slices_only(args: argparse.Namespace) -> None:
    """Refuse, of a model of volumes, what is meant for several processes, spacing, window and augmentation."""
    from vesalius.inference.device import processes

    alone, fitted = "which one process fine-tunes", "whose voxels and windows are fitted to the list's scans"
    for asked, word, why, do in (
        (processes() > 1, "torchrun", alone, "leave torchrun out, or use `vesalius train`"),
        (args.shard, "--shard", alone, "leave --shard and torchrun out, or use `vesalius train`"),
        (args.preset == "cluster", "--preset cluster", alone, "use --preset gpu, or `vesalius train`"),
        (args.spacing is not None, "--spacing", fitted, "leave --spacing out"),
        (args.window is not None, "--window-size", fitted, "leave --window-size out"),
        (args.augmentation is not None, "--augmentation", "which have one", "leave --augmentation out"),
    ):
        if asked:
            raise UsageError(
                expected=f"a backbone or a model of slices with {word}",
                got=f"{args.model}, of volumes, {why}",
                do=do,
            )


def options_of(args: argparse.Namespace) -> FinetuneOptions:
    """Return what was typed as options."""
    typed = {field.name: getattr(args, field.name) for field in fields(FinetuneOptions) if field.name in vars(args)}
    if args.patience is None:
        del typed["patience"]
    return FinetuneOptions(**typed)


def _listed(args: argparse.Namespace) -> DataList:
    """Read the list as the suite says, with as many training cases as were asked for."""
    from vesalius.evaluation.suites import suite

    listed = list_of(args, args.data, suite=None if args.suite is None else suite(args.suite))
    return listed if args.cases is None else listed.with_first(args.cases)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _pairs(text: str) -> dict[str, str]:
    pairs = [pair.split("=") for pair in text.split(",") if pair.strip()]
    if not pairs or not all(len(pair) == 2 and all(map(str.strip, pair)) for pair in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not NEW=KNOWN")
    return {new.strip(): known.strip() for new, known in pairs}
