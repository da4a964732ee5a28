"""pydicom without its remarks on odd values, which may quote what identifies a patient."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pydicom


class _Quiet:
    """Counts who needs silence: settings are the process's, and a batch reads one scan while it writes another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._undo = ExitStack()

    def begin(self) -> None:
        with self._lock:
            if self._users == 0:
                settings, log = pydicom.config.settings, logging.getLogger("pydicom")
                self._undo.callback(setattr, settings, "reading_validation_mode", settings.reading_validation_mode)
                self._undo.callback(log.setLevel, log.level)
                self._undo.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                settings.reading_validation_mode = pydicom.config.IGNORE
                log.setLevel(logging.CRITICAL)
            self._users += 1

    def end(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._undo.close()


_QUIET = _Quiet()


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence pydicom's remarks on odd values while files are read: they may quote what identifies a patient.

    The first of several threads begins the silence and the last one ends it.
    """
    _QUIET.begin()
    try:
        yield
    finally:
        _QUIET.end()
