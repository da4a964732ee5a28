"""How many threads one thread computes with, without changing it for the others."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import threading

import torch

_lock = threading.Lock()


def compute_with(threads: int) -> None:
    """Let the calling thread compute with so many threads, and leave what new threads begin with as it was.

    ``torch.set_num_threads`` changes both: two pools at work at once would take the number of the other's workers
    for the user's, and "restore" it for good. So another thread says the old number again, and ends.

    Args:
        threads: At least 1. To be called by a new thread, as the initializer of a pool.
    """
    with _lock:
        everywhere = torch.get_num_threads()  # a new thread begins with what counts everywhere
        torch.set_num_threads(threads)
        again = threading.Thread(target=torch.set_num_threads, args=(everywhere,))
        again.start()
        again.join()
