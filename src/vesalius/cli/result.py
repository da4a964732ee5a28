"""What is said of a result folder at the end of a run: an object, or a few lines."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vesalius.io.plain_text import plain_text


def print_result(out: Path, *, is_done: bool, as_json: bool) -> None:
    """Print what is in a result folder: an object, or a few lines with the report's place in the last."""
    run = json.loads((out / "run.json").read_text())
    labels = json.loads((out / "labels.json").read_text())
    if as_json:
        print(json.dumps(_as_object(out, run, labels, is_done=is_done), indent=2))
        return
    if is_done:
        print(plain_text(f"{out} already holds the result of this input and command; --overwrite makes it anew"))
    found = [finding for finding in labels["classes"] if finding["voxels"]]
    print(f"{len(found)} of {len(labels['classes'])} structures found in {run['duration_s']:.1f} s")
    for line in _change_lines(run):
        print(plain_text(line))
    for warning in labels["warnings"]:
        print(f"look at this: {warning}", file=sys.stderr)
    print(plain_text(f"{out / 'report.html'}"))


def _change_lines(run: dict[str, Any]) -> Iterator[str]:
    """Yield what a correction changed, structure by structure; of an automatic result nothing."""
    if "changes" not in run:
        return
    from vesalius.inference.changes import Change

    for name, change in run["changes"].items():
        known = {key: float(change[key]) for key in ("before_ml", "added_ml", "removed_ml")}
        yield f"{name}: {Change(**known)}"
    if not run["changes"]:
        yield "no voxel changed"


def _as_object(out: Path, run: dict[str, Any], labels: dict[str, Any], *, is_done: bool) -> dict[str, Any]:
    kept = ("files", "model", "unvalidated", "seconds", "duration_s", "peak_bytes")
    return {
        "out": str(out),
        "status": "already done" if is_done else "done",
        **{key: run[key] for key in kept},
        **({"changes": run["changes"]} if "changes" in run else {}),
        "classes": labels["classes"],
        "warnings": labels["warnings"],
    }
