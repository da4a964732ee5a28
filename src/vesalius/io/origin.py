"""Origin: who made a label map, which a file that travels alone must say itself."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Who made a label map, as far as it is known.

    Args:
        model: Name of the model; empty where it is not known.
        version: Its version.
        is_unvalidated: Whether the model was used outside what it was made for.
        has_clicks: Whether a person corrected it.
    """

    model: str = ""
    version: str = ""
    is_unvalidated: bool = False
    has_clicks: bool = False

    @property
    def mark(self) -> str:
        """A line of at most 64 ASCII characters for files whose labels are not validated; else nothing."""
        return "UNVALIDATED, outside what the model was made for" if self.is_unvalidated else ""
