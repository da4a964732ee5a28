"""Two processes of one machine that make a team: forked, so that what is imported is imported once."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable


def in_two(work: Callable[[int], None]) -> tuple[int, ...]:
    """Run ``work`` with the rank, in two processes that ``team.joined`` joins, and return their exit codes.

    For a process of its own that runs no threads yet, not for pytest's: it is forked.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    pids = []
    for rank in range(2):
        pid = os.fork()
        if pid == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            work(rank)
            os._exit(0)
        pids.append(pid)
    return tuple(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)
