"""Locks on files: one process holds one, and the system frees it when that process ends, however it ends."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import errno
from typing import IO

try:
    import fcntl
except ImportError:  # not a POSIX system: processes there are not kept off one another
    fcntl = None  # type: ignore[assignment]

_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
"""What ``errno`` is where a file system has no locks."""


def take_lock(file: IO[bytes] | IO[str] | int) -> bool:
    """Lock an open file until it is closed, without waiting; return whether there are such locks where it lies.

    Whoever opens the file again is kept off too, also in the same process.

    Args:
        file: Open for writing, or its descriptor.

    Returns:
        False where system or file system have none: nobody is kept off, and whoever asked says so.

    Raises:
        BlockingIOError: If somebody holds it.
        OSError: If it cannot be locked for another reason.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True
