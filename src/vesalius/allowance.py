"""What this process may use of the machine, and has used: memory and cores, as control groups let it have them.

Linux limits containers and the jobs of SLURM and systemd by control groups, version 2 or 1. A process stands in one
(``/proc/self/cgroup`` names it) below others, and the limit of each counts; in a container the folder that is named
may lie outside, and what is mounted is its own.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

_NAMED_IN = Path("/proc/self/cgroup")
_MOUNTED_AT = Path("/sys/fs/cgroup")

_MEMORY_2 = ("memory.max", "memory.current", "inactive_file")
_MEMORY_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
"""Files of a control group's limit and use, and the name of its idle file pages in ``memory.stat``."""


def available_bytes(*, named_in: Path = _NAMED_IN, mounted_at: Path = _MOUNTED_AT) -> int:
    """Return the memory that can be used without swapping: the system's, or what a control group leaves of it.

    Args:
        named_in: Where Linux says in which control groups this process stands.
        mounted_at: Where it says what they may use and do use.
    """
    free = [int(psutil.virtual_memory().available)]
    for controller, files in ((None, _MEMORY_2), ("memory", _MEMORY_1)):
        for folder in _groups(controller, named_in, mounted_at):
            left = _left_of(folder, *files)
            free += [] if left is None else [left]
    return max(0, min(free))


def usable_cores(*, named_in: Path = _NAMED_IN, mounted_at: Path = _MOUNTED_AT) -> int:
    """Return how many cores this process may keep busy: where it may run, or its share of time where that is less.

    A part of a core counts as one: with one thread less, that part would stay idle.

    Args:
        named_in: As in ``available_bytes``.
        mounted_at: As in ``available_bytes``.
    """
    cores = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    for controller, files in ((None, ("cpu.max",)), ("cpu", ("cpu.cfs_quota_us", "cpu.cfs_period_us"))):
        for folder in _groups(controller, named_in, mounted_at):
            quota = _quota_of(folder, files)
            cores += [] if quota is None else [max(1, math.ceil(quota))]
    return min(cores)


def _groups(controller: str | None, named_in: Path, mounted_at: Path) -> Iterator[Path]:
    """Yield the folders of this process's control group and of all above it.

    Args:
        controller: Of version 1, in whose folder they lie; None means version 2.
        named_in: As in ``available_bytes``. Its lines are ``number:controllers:/path``; version 2 names none.
        mounted_at: As in ``available_bytes``.
    """
    try:
        lines = [line.split(":", 2) for line in named_in.read_text().splitlines() if line.count(":") >= 2]
    except OSError:  # another system
        lines = []
    root = mounted_at / controller if controller else mounted_at
    for _, controllers, path in lines:
        parts = Path(path.lstrip("/")).parts
        is_mounted = ".." not in parts  # else it lies beside the part of the tree that can be seen from here
        if is_mounted and (controller or "") in controllers.split(","):
            yield from (root.joinpath(*parts[:depth]) for depth in range(len(parts), 0, -1))
    yield root


def _left_of(folder: Path, limit: str, used: str, idle: str) -> int | None:
    """Return what is left of a control group's limit; None where it has none.

    Pages of files that were not used lately count as used there, but give way before anything is refused.
    """
    try:
        lines = (line.partition(" ") for line in (folder / "memory.stat").read_text().splitlines())
        given_back = sum(int(value) for name, _, value in lines if name == idle)
        return int((folder / limit).read_text()) - int((folder / used).read_text()) + given_back
    except (OSError, ValueError):  # no such files, or a limit of "max"
        return None


def _quota_of(folder: Path, files: tuple[str, ...]) -> float | None:
    """Return the cores' worth of time that a control group has; None where it is not limited.

    Args:
        folder: Of the control group.
        files: That hold microseconds of processor time, and of the period for which they are given.
    """
    try:
        time, period = (int(word) for name in files for word in (folder / name).read_text().split())
    except (OSError, ValueError):  # no such files, or "max"
        return None
    return time / period if time > 0 and period > 0 else None  # version 1 says -1 for no limit


def peak_resident_bytes() -> int:
    """Return the most memory this process has held, as the operating system counted it."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # noqa: PLC0415 - POSIX only

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def resident_bytes() -> int:
    """Return the resident memory of this process now."""
    return int(psutil.Process(os.getpid()).memory_info().rss)
