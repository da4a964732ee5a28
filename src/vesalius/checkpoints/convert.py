"""Foreign weights into ours, once: ``model.safetensors`` and ``spec.json``, or back into an official layout."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import torch

from vesalius.checkpoints.formats.vista3d_official import to_official
from vesalius.checkpoints.load import find_weights_of
from vesalius.checkpoints.probe import GOLDEN_FILE, write_golden
from vesalius.checkpoints.safetensors import write_model, write_tensors
from vesalius.checkpoints.store import MODEL_FILE, SPEC_FILE
from vesalius.checkpoints.weights import LoadReport, open_weights
from vesalius.errors import CheckpointError, DiskError, UsageError
from vesalius.spec import VistaArchitecture

Layout = Literal["vesalius", "monai", "research"]


def convert_model(
    source: str | Path,
    folder: Path,
    *,
    layout: Layout = "vesalius",
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
) -> LoadReport:
    """Write a model that ``load_model`` reads into a folder.

    Args:
        source: A catalog name, a model folder, or a weights file of any format we read.
        folder: Where it goes; made if absent.
        layout: ``vesalius`` for our names, with the spec and today's answers beside; the others for official code.
        dtype: Type to store floating tensors in; by default as they are.
        overwrite: Replace a model that is there.

    Returns:
        What was loaded, dropped and missed.

    Raises:
        UsageError: If a model is there already.
        NoHeadError: If a backbone is to be written in official code's layout.
        CheckpointError, UnsafeCheckpointError: If the source is refused.
        DiskError: If the folder cannot be written.
    """
    path = find_weights_of(source)
    target = folder / MODEL_FILE
    if target.exists() and (not overwrite or target.samefile(path)):
        raise UsageError(
            expected=f"a folder without a model at {folder}",
            got=f"{MODEL_FILE} is there",
            do="name another folder" if target.samefile(path) else "name another folder, or add --overwrite",
        )
    weights = open_weights(path)
    state = weights.read()
    if layout == "vesalius":
        origin = f"{weights.spec.provenance}; converted from {path.name} ({weights.report.format})"
        spec = dataclasses.replace(weights.spec, provenance=origin.removeprefix("; "))
        write_model(folder, state, spec, dtype=dtype)
        (folder / GOLDEN_FILE).unlink(missing_ok=True)  # of a model that was replaced
        write_golden(folder)
    else:
        weights.spec.require_head(source)  # a backbone has no such layout
        heads = weights.spec.vista.point_heads
        if weights.spec.vista.point_branch and heads != VistaArchitecture().point_heads:
            raise CheckpointError(
                expected=f"a point head of {VistaArchitecture().point_heads} attention heads, as official code has",
                got=f"one of {heads}: the tensors would fit, and their answers would be others",
                do="convert it to our own layout",
            )
        replaces = target.exists() and not target.parent.samefile(path.parent)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_tensors(target, to_official(state, layout), metadata={"format": "pt"}, dtype=dtype)
            for beside in (SPEC_FILE, GOLDEN_FILE) if replaces else ():  # of the old model; they would rule the new
                (folder / beside).unlink(missing_ok=True)
        except OSError as error:
            raise DiskError(expected=f"to write into {folder}", got=str(error), do="name another folder") from None
    return weights.report
