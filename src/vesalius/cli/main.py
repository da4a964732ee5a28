"""``vesalius``: finds the command, runs it, and turns whatever goes wrong into three lines and an exit code.

Only the module of the command that was typed is imported, and none imports torch before it runs.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import difflib
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import vesalius
from vesalius.cli.failures import report
from vesalius.errors import UsageError

COMMANDS: Mapping[str, str] = {
    "segment": "a scan -> labels, volumes, a picture and a report",
    "refine": "replay clicks on a result, or on nothing",
    "batch": "many scans, one folder each; a rerun goes on where it stopped",
    "series": "what a folder of DICOM holds, and which series would be used",
    "evaluate": "results against references, or a model on a data set: how good, and how sure",
    "probe": "frozen features of a model: k-NN and linear, beside random ones and chance",
    "dataset": "a data set: check it before learning from it, or take its fingerprint",
    "curate": "from a list of scans: slices to pretrain on, supervoxels, pseudo labels; goes on with --resume",
    "train": "a recipe, from a list of cases to a model; goes on with --resume",
    "finetune": "a model and a few labelled cases -> a model of what they show, and whether that helped",
    "pretrain": "a recipe, from a store of slices without labels to a backbone; goes on with --resume",
    "models": "the models: list, info, pull, convert, verify",
    "phantom": "a synthetic torso with labels, as DICOM or NIfTI",
    "doctor": "this machine: what will be slow and why, and whether torch adds up; exit 1 if not",
}
"""Command -> what it does; its module in this folder has the same name."""

_EPILOG = """\
exit codes: 0 done, 2 usage, 3 input refused, 4 model or weights refused, 5 out of memory or disk, 6 interrupted,
1 a bug of ours"""


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors of ours, and that knows flags by their whole names only."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **{**settings, "allow_abbrev": False})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuse what a command does not know with that command's usage; argparse would with that of all."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown

    def error(self, message: str) -> NoReturn:
        raise UsageError(
            expected=self.format_usage().removeprefix("usage: ").strip(), got=message, do=_help_of(self)
        )


def _help_of(parser: argparse.ArgumentParser) -> str:
    return f"see `{parser.prog} --help`"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The words after ``vesalius``; by default those that were typed.

    Returns:
        The exit code: 0 done, 2 usage, 3 input refused, 4 model refused, 5 out of memory or disk, 6 interrupted,
        1 our bug.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with _terminated_like_interrupted():
            args = _parse(words)
            logging.basicConfig(format="vesalius: %(message)s", level=logging.WARNING)
            code: int = args.run(args)
            sys.stdout.flush()
            return code
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, BrokenPipeError):  # whoever read our output went away; keep the interpreter quiet
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return report(error, as_json="--json" in words, debug="--debug" in words)


def _parse(words: Sequence[str]) -> argparse.Namespace:
    typed = next((word for word in words if not word.startswith("-")), None)
    if typed is not None and typed not in COMMANDS:
        raise _unknown_command(typed)
    parser = make_parser(typed)
    args = parser.parse_args(words)
    if args.command is None:
        parser.error("no command")
    return args


def make_parser(typed: str | None) -> argparse.ArgumentParser:
    """Return the parser of all commands, with the arguments of the one that was typed; imports only its module."""
    parser = _Parser(prog="vesalius", description=vesalius.__doc__.splitlines()[0], epilog=_EPILOG)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--version", action="version", version=f"vesalius {vesalius.__version__}")
    parser.add_argument("--debug", action="store_true", help="with an error, print the stack trace")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=_sentence(summary))
        if name == typed:
            command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
            module = importlib.import_module(f"vesalius.cli.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


def _sentence(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}."


def _unknown_command(typed: str) -> UsageError:
    alike = difflib.get_close_matches(typed, COMMANDS, n=1)
    return UsageError(
        expected=f"a command: {', '.join(COMMANDS)}",
        got=repr(typed),
        do=f"did you mean `vesalius {alike[0]}`?" if alike else "see `vesalius --help`",
    )


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end a run as Ctrl-C does: tidily, with exit code 6."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        names = []
    before: dict[signal.Signals, Any] = {}
    for name in names:
        number = signal.Signals[name]
        if signal.getsignal(number) is signal.SIG_DFL:  # what someone chose to ignore (nohup) stays ignored
            before[number] = signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
