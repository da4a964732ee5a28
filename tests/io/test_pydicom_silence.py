"""Silence while DICOM is read belongs to the process: several threads share it, and it ends with the last."""

from __future__ import annotations

import logging
import threading
import warnings

import pydicom

from vesalius.io.pydicom_silence import quiet_pydicom


def _state() -> tuple[object, ...]:
    return pydicom.config.settings.reading_validation_mode, logging.getLogger("pydicom").level, warnings.filters[:]


def test_silence_lasts_as_long_as_any_thread_needs_it_and_no_longer() -> None:
    before, seen = _state(), []
    other_is_in, first_is_out = threading.Event(), threading.Event()

    def other() -> None:
        with quiet_pydicom():
            other_is_in.set()
            first_is_out.wait(10)
            seen.append(pydicom.config.settings.reading_validation_mode)

    thread = threading.Thread(target=other)
    with quiet_pydicom():
        thread.start()
        assert other_is_in.wait(10)
    first_is_out.set()
    thread.join()
    assert seen == [pydicom.config.IGNORE]
    assert _state() == before
