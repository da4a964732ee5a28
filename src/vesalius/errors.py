"""The errors a user can cause, as one tree: what was expected, what came, what to do.

::

    VesaliusError                     exit code
    ├── UsageError                    2   the command or the call is wrong
    │   ├── UnknownClassError             a structure the vocabulary does not have
    │   ├── LockedStructureError          an edit of what the user locked
    │   ├── StaleRevisionError            an edit made on a state that has moved on
    │   └── MissingExtraError             an optional package is not installed
    ├── InputError                    3   an image or label file is refused
    │   ├── FileFormatError               not the format it claims, truncated, or no format we read
    │   ├── GeometryError                 voxels cannot be placed in space
    │   ├── DicomSeriesError              a folder of DICOM files that is not one sound series
    │   ├── UnsafeFileError               a file built to exhaust or escape (bombs, path traversal)
    │   └── NotValidatedError             outside the modality, region or spacing a model was made for
    ├── ModelError                    4   a model or its weights are refused
    │   ├── UnknownModelError             no such model
    │   ├── CheckpointError               weights that do not fit, or are damaged
    │   ├── UnsafeCheckpointError         weights that would execute code
    │   ├── NoHeadError                   a backbone that cannot segment before fine-tuning
    │   └── HubError                      a download that failed or did not match its hash
    ├── ResourceError                 5   not enough of the machine
    │   ├── MemoryBudgetError             no plan fits the memory allowed
    │   └── DiskError                     a file could not be written
    └── InterruptedRun                6   stopped by the user; what was done is kept
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import errno
import sys

_OUT_OF_MEMORY = ("not enough memory", "out of memory", "can't allocate memory", "cannot allocate memory")


class VesaliusError(Exception):
    """An error a user can cause, in three parts.

    Args:
        expected: What would have been right.
        got: What came instead.
        do: What to do about it.
    """

    exit_code = 1

    def __init__(self, *, expected: str, got: str, do: str) -> None:
        super().__init__(expected, got, do)
        self.expected = expected
        self.got = got
        self.do = do

    def __str__(self) -> str:
        return f"expected: {self.expected}\ngot:      {self.got}\ndo:       {self.do}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.expected, self.got, self.do)

    def as_dict(self) -> dict[str, str]:
        """Return the error as the JSON object that ``--json`` prints."""
        return {"code": type(self).__name__, "expected": self.expected, "got": self.got, "do": self.do}


def _rebuild(kind: type[VesaliusError], expected: str, got: str, do: str) -> VesaliusError:
    return kind(expected=expected, got=got, do=do)


class UsageError(VesaliusError):
    """The command or the call is wrong."""

    exit_code = 2


class UnknownClassError(UsageError):
    """A structure the vocabulary does not have."""


class LockedStructureError(UsageError):
    """An edit of what the user locked."""


class StaleRevisionError(UsageError):
    """An edit made on a state that has moved on."""


class MissingExtraError(UsageError):
    """An optional package is not installed."""


def install_line(extra: str) -> str:
    """Return the line that installs an extra beside this very program, be it from an index or a checkout."""
    return f"{sys.executable or 'python'} -m pip install 'vesalius[{extra}]'"


class InputError(VesaliusError):
    """An image or label file is refused."""

    exit_code = 3


class FileFormatError(InputError):
    """Not the format it claims, truncated, or no format we read."""


class GeometryError(InputError):
    """Voxels cannot be placed in space."""


class DicomSeriesError(InputError):
    """A folder of DICOM files that is not one sound series."""


class UnsafeFileError(InputError):
    """A file built to exhaust or to escape."""


class NotValidatedError(InputError):
    """Outside the modality, region or spacing a model was made for."""


class ModelError(VesaliusError):
    """A model or its weights are refused."""

    exit_code = 4


class UnknownModelError(ModelError):
    """No such model."""


class CheckpointError(ModelError):
    """Weights that do not fit, or are damaged."""


class UnsafeCheckpointError(ModelError):
    """Weights that would execute code."""


class NoHeadError(ModelError):
    """A backbone that cannot segment before fine-tuning."""


class HubError(ModelError):
    """A download that failed or did not match its hash."""


class ResourceError(VesaliusError):
    """Not enough of the machine."""

    exit_code = 5


class MemoryBudgetError(ResourceError):
    """No plan fits the memory allowed."""


class DiskError(ResourceError):
    """A file could not be written."""


class InterruptedRun(VesaliusError):  # noqa: N818 - an interruption is not an error of anyone's
    """Stopped by the user; what was done is kept."""

    exit_code = 6


def is_out_of_memory(error: BaseException) -> bool:
    """Know Python's, torch's and the system's ways to say so, without importing torch."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)
