"""From any exception to three lines, an object for ``--json``, and an exit code."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import errno
import json
import sys
import traceback

from vesalius.errors import (
    DiskError,
    InputError,
    InterruptedRun,
    MemoryBudgetError,
    VesaliusError,
    is_out_of_memory,
)
from vesalius.io.plain_text import plain_text

BUG = 1
"""Exit code of an exception that no user can cause."""

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG)


def as_typed(error: BaseException) -> VesaliusError:
    """Return an exception as an error of ours; what nobody foresaw becomes a plain ``VesaliusError``, our bug."""
    if isinstance(error, VesaliusError):
        return error
    if isinstance(error, KeyboardInterrupt | BrokenPipeError):
        return InterruptedRun(
            expected="to run to the end",
            got="an interruption",
            do="run the same command again; no half-written result was left",
        )
    if is_out_of_memory(error):
        got = _first_line(error) or "the system refused more"
        is_card = type(error).__name__ == "OutOfMemoryError" or "cuda" in got.lower()
        of_card = "close what else runs on the card, use --device cpu or --precision bf16, or crop the scan"
        of_machine = "close other programs, set --max-memory, use --precision bf16, or crop the scan (--dry-run)"
        return MemoryBudgetError(
            expected="enough memory for the run",
            got=got,
            do=of_card if is_card else of_machine,  # --max-memory limits the machine's memory alone
        )
    if isinstance(error, OSError) and error.errno in _DISK:
        return DiskError(
            expected="to write to the disk",
            got=error.strerror or str(error),
            do="free some space or name another folder with -o",
        )
    if isinstance(error, PermissionError):
        return InputError(
            expected=f"to be allowed to use {error.filename or 'every file named'}",
            got=error.strerror or str(error),
            do="ask whoever owns it, or name another",
        )
    return VesaliusError(
        expected="the program to know what to do",
        got=f"{type(error).__name__}: {_first_line(error)}",
        do="this is a bug of ours: please report it, with what the same command prints with --debug",
    )


def report(error: BaseException, *, as_json: bool, debug: bool) -> int:
    """Print an error where it belongs and return the exit code.

    Args:
        error: Any exception.
        as_json: Also one object on stdout.
        debug: Also the stack trace.
    """
    typed = as_typed(error)
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if as_json and not isinstance(error, BrokenPipeError):
        print(json.dumps({"error": typed.as_dict()}, indent=2), flush=True)
    text = f"vesalius: {typed.got}; {typed.do}" if typed.exit_code == BUG else str(typed)
    print(*map(plain_text, text.split("\n")), sep="\n", file=sys.stderr)
    return typed.exit_code


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
