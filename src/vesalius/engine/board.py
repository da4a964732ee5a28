"""Board: what is logged, once more as events that TensorBoard shows.

Written by tensorboardX, which needs protobuf and nothing else that is not here already; TensorBoard itself, which
brings a web server and gRPC, is only needed where the events are looked at.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from vesalius.errors import MissingExtraError, install_line


class Board:
    """Writes events into a folder; to be closed.

    Args:
        folder: Where they go. What another writer has left there is kept up to the step of the first record.

    Raises:
        MissingExtraError: If tensorboardX is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._make_writer = importlib.import_module("tensorboardX").SummaryWriter
        except ImportError:
            raise MissingExtraError(
                expected="tensorboardX, to write events for TensorBoard",
                got="a Python without it",
                do=f"{install_line('train')}, or train without --tensorboard; metrics.jsonl has it all",
            ) from None
        self._folder = folder
        self._writer: Any = None

    def write(self, record: Mapping[str, object]) -> None:
        """Write every number of a record, which has a ``step``."""
        step = int(str(record["step"]))
        if self._writer is None:  # later steps of an earlier process, which are done again, are hidden
            self._writer = self._make_writer(
                str(self._folder), purge_step=step + 1, filename_suffix=f".{os.getpid()}.{step}"
            )
        kind = "validation" if record.get("event") == "validated" else "training"
        for name, value in record.items():
            if isinstance(value, float):
                self._writer.add_scalar(f"{kind}/{name}", value, step)

    def show(self, name: str, step: int, picture: UInt8[np.ndarray, "height width 3"]) -> None:
        """Write a picture, after the first record."""
        self._writer.add_image(f"validation/{name}", picture, step, dataformats="HWC")

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
