"""Vesalius: from a folder of CT or MR slices to a segmentation you trust.

The public names are loaded when first used, so that importing the package costs nothing.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "ClassPrompt": "vesalius.prompts.types",
    "LabelMap": "vesalius.geometry.volume",
    "PointPrompt": "vesalius.prompts.types",
    "Segmenter": "vesalius.inference.segmenter",
    "Session": "vesalius.interactive.session",
    "Volume": "vesalius.geometry.volume",
    "load": "vesalius.inference.segmenter",
    "read": "vesalius.io.formats",
    "write": "vesalius.io.formats",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - computed from the one table


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vesalius' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
