"""A job over the cases of a list: each case's folder complete or not there, whoever is stopped or killed meanwhile.

Several processes may work on one store: each takes the cases that no other has in hand, and comes back at the end
to those that another had, so that what a killed one left is made after all. They all end with the same last case:
what is written of the whole store is written by one at a time (``alone``). A case that cannot be done is noted
and does not stop the rest; a full disk, a missing package or a model that cannot be loaded does.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from vesalius.data.cache import Cache, key_of
from vesalius.data.datalists.record import DataList, ListedCase
from vesalius.errors import InputError, InterruptedRun, MemoryBudgetError, UsageError, VesaliusError
from vesalius.io.atomic import disk_errors

State = Literal["made", "there", "failed"]
Key = Callable[[ListedCase], str]
"""From a case to the name of its folder: a hash of everything that the content depends on."""
Make = Callable[[ListedCase, Path], None]
"""Fills a case's folder."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a case.

    Args:
        case: Which.
        state: Made now, there before, or failed.
        folder: Its folder in the store; None where it failed.
        error: Why it failed.
    """

    case: ListedCase
    state: State
    folder: Path | None = None
    error: VesaliusError | None = None


def carry_out(
    cases: Sequence[ListedCase],
    store: Cache,
    *,
    key: Key,
    make: Make,
    on_case: Callable[[Outcome], None] = lambda _: None,
) -> tuple[Outcome, ...]:
    """Make the folder of every case that has none, and say what became of each, in their order.

    Args:
        cases: Of a list.
        store: Where the folders lie.
        key: Names a case's folder.
        make: Fills it.
        on_case: Told of each case as soon as it is known what became of it.

    Raises:
        InterruptedRun: If somebody stopped it; what was done is kept.
        VesaliusError: For what is no single case's fault.
    """
    done: dict[int, Outcome] = {}
    try:
        for number, outcome in _outcomes(cases, store, key=key, make=make):
            done[number] = outcome
            on_case(outcome)
    except KeyboardInterrupt:
        raise InterruptedRun(
            expected=f"to finish {len(cases)} cases",
            got=f"an interruption after {len(done)}",
            do="run the same command with --resume to go on; what is done is kept",
        ) from None
    return tuple(done[number] for number in range(len(cases)))


def _outcomes(cases: Sequence[ListedCase], store: Cache, *, key: Key, make: Make) -> Iterator[tuple[int, Outcome]]:
    """Yield outcomes as they come: first of the cases that nobody has in hand, then, waiting, of the others."""
    busy = []
    for number, case in enumerate(cases):
        outcome = _outcome(case, store, key=key, make=make, wait=False)
        if outcome is None:
            busy.append((number, case))
        else:
            yield number, outcome
    for number, case in busy:
        outcome = _outcome(case, store, key=key, make=make, wait=True)
        assert outcome is not None
        yield number, outcome


def _outcome(case: ListedCase, store: Cache, *, key: Key, make: Make, wait: bool) -> Outcome | None:
    """Bring one case to an outcome; None where another process has it in hand and is not waited for."""
    made_here = False

    def fill(folder: Path) -> None:
        nonlocal made_here
        made_here = True
        make(case, folder)

    try:
        name = key(case)
        folder = store.ensure(name, fill) if wait else store.attempt(name, fill)
    except (InputError, MemoryBudgetError) as error:
        return Outcome(case=case, state="failed", error=error)
    return None if folder is None else Outcome(case=case, state="made" if made_here else "there", folder=folder)


@contextmanager
def alone(store: Path) -> Iterator[None]:
    """Wait until no other process writes what is written of a whole store, such as its list, and keep others off.

    Raises:
        DiskError: If the store cannot be written.
    """
    lock = FileLock(store / ".results.lock")
    with disk_errors(f"to write into the store {store}"):
        store.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def refuse_begun(store: Path, *, resume: bool) -> None:
    """Refuse a store in which a job has begun, unless it is to go on.

    Raises:
        UsageError: If there is something in it.
    """
    if not resume and store.is_dir() and any(store.iterdir()):
        raise UsageError(
            expected=f"a new folder, or to be told to resume {store}",
            got="a folder with something in it",
            do="add --resume, or name another folder",
        )


def exit_code_of(outcomes: Sequence[Outcome]) -> int:
    """Return the exit code of a job: that of its worst failure, 0 without any."""
    return max((outcome.error.exit_code for outcome in outcomes if outcome.error), default=0)


def folder_name(case: ListedCase, facts: Mapping[str, Any]) -> str:
    """Return the name of a case's folder: its own, and a hash of all that the content depends on."""
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '_', case.name)[:80]}-{key_of(facts)[:16]}"


def training_cases(listed: DataList) -> tuple[ListedCase, ...]:
    """Return the cases of a list that are for training.

    Raises:
        UsageError: If there are none.
    """
    cases = listed.split("training")
    if not cases:
        raise UsageError(
            expected=f"training scans in {listed.path.name}", got="none", do="put some under `training`"
        )
    return cases
