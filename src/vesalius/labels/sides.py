"""Single organs whose side is nearly certain: on the other one, the scan is mirrored or the situs inverted."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Literal

SIDE_OF: dict[str, Literal["left", "right"]] = {"liver": "right", "spleen": "left"}
"""Name -> side of the body."""
