"""What a session is given: whether it fits together, and how the header of its journal states it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

import vesalius
from vesalius.checkpoints.identity import expectations_sha256
from vesalius.errors import GeometryError, InputError, UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.segmenter import Segmenter, SegmentOptions

_PLANES_AT_ONCE = 32

_DECIDES = {
    "volume": "the volume",
    "labels": "the labels it began with",
    "model": "the model",
    "weights": "the model's weights",
    "expects": "what the model expects of an image and a click",
    "overlap": "the overlap of automatic windows",
    "compat": "the published pipeline",
}
"""Fields that must be the same for edits to mean the same."""


def check_inputs(volume: Volume, labels: LabelMap | None) -> None:
    """Refuse an image, or labels to begin with, that no session works on.

    Raises:
        InputError: For more than one channel.
        GeometryError: If the labels lie on another grid.
    """
    if volume.data.shape[0] != 1:
        raise InputError(
            expected="an image of one channel",
            got=f"{volume.data.shape[0]} channels",
            do="choose one channel (a phase, an echo)",
        )
    if labels is not None and not labels.grid.is_close(volume.grid):
        raise GeometryError(
            expected=f"labels on the volume's grid of {volume.grid.shape}",
            got=f"labels on a grid of {labels.grid.shape}, whose voxels lie elsewhere",
            do="resample the labels to the volume first",
        )


def identify(
    segmenter: Segmenter, volume: Volume, labels: LabelMap | None, options: SegmentOptions
) -> dict[str, Any]:
    """Return what decides a session's result beside its edits, and what may move the last bit of it."""
    return {
        "volume": array_sha256(volume.data, volume.grid),
        "labels": labels_sha256(labels) if labels else None,
        "model": segmenter.spec.name,
        "weights": weights_sha256(segmenter),
        "expects": expectations_sha256(segmenter.spec),
        "overlap": options.overlap,
        "compat": options.compat,
        "max_memory": options.max_memory,
        "precision": segmenter.precision,
        "device": next(segmenter.network.parameters()).device.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "vesalius": vesalius.__version__,
    }


def check_same(now: Mapping[str, Any], then: Mapping[str, Any]) -> tuple[str, ...]:
    """Compare what a journal was made with and what it is opened with.

    Returns:
        What is different and may move the last bit of a result, in words.

    Raises:
        UsageError: If something is different that makes the edits mean something else.
    """
    for name, what in _DECIDES.items():
        if now[name] != then.get(name):
            raise UsageError(
                expected=f"{what} of the journal: {_short(then.get(name))}",
                got=_short(now[name]),
                do="open the journal with what it was made with",
            )
    others = [name for name in now if name not in _DECIDES]
    return tuple(f"{n} {now[n]}, then {then.get(n)}" for n in others if now[n] != then.get(n))


def array_sha256(array: np.ndarray, grid: Grid) -> str:
    """Hash voxels and where they are, whatever the order of the array in memory."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
    digest.update(grid.affine.tobytes())
    for start in range(0, array.shape[-1], _PLANES_AT_ONCE):  # the last axis slowest, as in NIfTI
        planes = np.asfortranarray(array[..., start : start + _PLANES_AT_ONCE])
        digest.update(planes.T.data)
    return digest.hexdigest()


def labels_sha256(labels: LabelMap) -> str:
    """Hash a label map: every layer, and the names."""
    digest = hashlib.sha256(repr(sorted(labels.names.items())).encode())
    for layer, array in (("", labels.data), *sorted(labels.overlaps.items())):
        digest.update(f"{layer} {array_sha256(array, labels.grid)}\n".encode())
    return digest.hexdigest()


def weights_sha256(segmenter: Segmenter) -> str:
    """Return the hash of the weights file, or of the network's tensors where it came from no file."""
    if segmenter.report is not None:
        return segmenter.report.sha256
    digest = hashlib.sha256()
    for name, tensor in sorted(segmenter.network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 else text
