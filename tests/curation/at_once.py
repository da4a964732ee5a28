"""How many of several workers are in one place at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Crowd:
    """Counts who is inside the functions that it wraps.

    Args:
        seconds: How long each stays, so that others come in if they can.
    """

    def __init__(self, seconds: float = 0.1) -> None:
        self.seconds, self.inside, self.visits, self.most = seconds, 0, 0, 0

    def wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.inside += 1
            self.visits += 1
            self.most = max(self.most, self.inside)
            try:
                time.sleep(self.seconds)
                return function(*args, **kwargs)
            finally:
                self.inside -= 1

        return counted


def together(work: Callable[[], Any], *, workers: int = 3) -> list[Any]:
    """Do the same work several times at once, and return what each gave; what one raises is raised."""
    with ThreadPoolExecutor(workers) as pool:
        return [one.result() for one in [pool.submit(work) for _ in range(workers)]]
