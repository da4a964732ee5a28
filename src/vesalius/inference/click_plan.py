"""Windows, bytes and seconds of clicks on one volume, known before the first; and what is left to remember with.

A click needs the image, the labels and one pass of the network. Whatever more is allowed goes to the memory of what
the network has said, which changes time alone: so a limit is kept to without changing a voxel.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vesalius.allowance import available_bytes, resident_bytes
from vesalius.errors import MemoryBudgetError, UnknownClassError, UsageError
from vesalius.geometry.boxes import Box, Triple, enclosing_box
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.automatic import BASE_LAYER
from vesalius.inference.phases import forecast_as_dict, gigabytes, largest_phase, peak_of, ways_out
from vesalius.inference.plan import pass_bytes, pass_seconds
from vesalius.inference.points import clicks_on_model_grid, window_starts
from vesalius.inference.segmenter import Segmenter
from vesalius.inference.speed import DTYPES, SECONDS_OF_START, measure_flops_per_second
from vesalius.inference.upright import upright_bytes
from vesalius.precision import Precision
from vesalius.prompts.targets import resolve_target
from vesalius.prompts.types import PointPrompt
from vesalius.spec import PromptArchitecture
from vesalius.transforms.preprocess import content_box, padded_grid

_LOGITS_SHARE = 5
"""Of what a session may remember with, a fifth is for logits and the rest for image maps."""

_HEAD_OF_PASS = 0.1
"""Time in which the head answers about one object in one window, of the pass that makes the window's image map;
0.095 was measured with the full width in bf16 (benchmarks/clicks_vs_monai.py, later clicks against the first)."""


_EXTENT_BYTES = 68
"""For a voxel of the box around an object's windows, while its extent is found: 49 to 64 were measured for
distances, weights and bins, with 2 to 20 clicks in boxes of 64 to 128 voxels a side; 4 are the image in fp32."""


@dataclass(frozen=True, kw_only=True)
class ClickPlan:
    """What the clicks on one volume will need: a forecast.

    Args:
        windows: First voxels of the windows around the clicks, on the padded model grid.
        window_size: Voxels of each.
        model_grid: Voxels of the padded model grid.
        precision: In which the network runs.
        passes: Of the network: one for each window; one for each window and object, where fewer image maps can be
            remembered than there are windows. None for what has no name, where the model does not trust them.
        answers: Of the head: one for each object in each window that holds a click of it.
        cache_bytes: For the session to remember with.
        phases: Phase -> part -> bytes; the peak is the largest phase.
        seconds: Of it all, measuring and writing aside.
    """

    windows: tuple[Triple, ...]
    window_size: Triple
    model_grid: Triple
    precision: Precision
    passes: int
    answers: int
    cache_bytes: int
    phases: Mapping[str, Mapping[str, int]]
    seconds: float

    @property
    def peak_bytes(self) -> int:
        """The resident memory that is needed at its highest."""
        return peak_of(self.phases)

    def as_dict(self) -> dict[str, object]:
        """Return the plan as what ``--dry-run --json`` prints."""
        return {
            "windows": len(self.windows),
            "window_size": list(self.window_size),
            "model_grid": list(self.model_grid),
            "precision": self.precision,
            "passes": self.passes,
            "answers": self.answers,
            "cache_bytes": self.cache_bytes,
            **forecast_as_dict(self.phases, self.seconds),
        }


def bytes_for_maps(cache_bytes: int) -> int:
    """Return how much of what a session may remember with is for image maps; the rest is for logits."""
    return cache_bytes - cache_bytes // _LOGITS_SHARE


def plan_clicks(
    segmenter: Segmenter,
    volume: Volume,
    clicks: Sequence[PointPrompt],
    *,
    labels: LabelMap | None,
    most_cache_bytes: int,
    max_bytes: int | None = None,
    flops_per_second: Callable[[PromptArchitecture, Precision], float] | None = None,
) -> ClickPlan:
    """Say what clicks that are all predicted at once will need, and share out the memory allowed.

    Args:
        segmenter: The network and its spec; in memory, as the volume and the labels are.
        volume: The image.
        clicks: On it. Those of one structure must name it in one way: other spellings count as other structures.
        labels: What is corrected; None is nothing.
        most_cache_bytes: To remember with, where memory is no question.
        max_bytes: Resident memory not to exceed; None is what the machine has free.
        flops_per_second: Measures the processor; the default times one convolution.

    Raises:
        MemoryBudgetError: If image, labels and one window's pass do not fit.
        UsageError: If a click lies outside the volume.
    """
    spec, precision, held = segmenter.spec, segmenter.precision, resident_bytes()
    limit = max_bytes if max_bytes is not None else available_bytes() + held
    grid = segmenter.whole_grid(volume.grid)
    model_grid = padded_grid(grid, spec.window_size)
    content = content_box(grid, spec.window_size)
    objects = _objects(clicks, volume.grid, model_grid=model_grid, content=content)
    windows, seen_in = _windows(list(objects.values()), model_grid.shape, spec.window_size)
    by_extent = [of for name, of in zip(objects, seen_in, strict=True) if _has_extent(segmenter, name)]
    heard = [of for name, of in zip(objects, seen_in, strict=True) if not _is_silent(segmenter, name)]
    needed = _phases(
        segmenter, volume, labels, model_grid, objects=seen_in, by_extent=by_extent, asks=bool(heard), held=held
    )
    least = peak_of(needed)
    if least > limit:
        raise MemoryBudgetError(
            expected=f"at most {gigabytes(limit)} of memory",
            got=f"clicks that need {gigabytes(least)} (labels on {volume.grid.shape}, {largest_phase(needed)})",
            do=ways_out(precision),
        )
    cache_bytes = min(most_cache_bytes, limit - sum(needed["clicks"].values()))
    voxels, answers = math.prod(spec.window_size), sum(len(of_object) for of_object in heard)
    maps = len({start for of_object in heard for start in of_object})
    one_map = voxels // 8 * spec.vista.width * DTYPES[precision].itemsize
    fit = maps * one_map <= bytes_for_maps(cache_bytes)
    remembered = min(cache_bytes, maps * one_map + answers * voxels * 4)
    passes = maps if fit else answers
    each = 0.0
    if heard:
        speed = (flops_per_second or measure_flops_per_second)(spec.vista, precision)
        each = pass_seconds(spec, precision, speed, direct_sums=False)
    return ClickPlan(
        windows=windows,
        window_size=spec.window_size,
        model_grid=model_grid.shape,
        precision=precision,
        passes=passes,
        answers=answers,
        cache_bytes=cache_bytes,
        phases={**needed, "clicks": {**needed["clicks"], "remembered": remembered}},
        seconds=SECONDS_OF_START + (passes + answers * _HEAD_OF_PASS) * each,
    )


def _has_extent(segmenter: Segmenter, target: str) -> bool:
    """Say whether clicks on a target tell its extent: it has no name in the model, and the spec wants it so."""
    if segmenter.spec.unnamed_trust is None:
        return False
    try:
        return not resolve_target(target, segmenter.vocabulary, segmenter.spec.vista, {}).supported
    except (UnknownClassError, UsageError):  # of the labels that are corrected, or made of several
        return True


def _is_silent(segmenter: Segmenter, target: str) -> bool:
    """Say whether the network is not asked about a target."""
    return segmenter.spec.unnamed_trust == 0 and _has_extent(segmenter, target)


def _objects(
    clicks: Sequence[PointPrompt], grid: Grid, *, model_grid: Grid, content: Box
) -> dict[str, Float[np.ndarray, "_ 3"]]:
    """Return target -> its clicks in voxels of the padded grid."""
    places: dict[str, list[Sequence[float]]] = {}
    for click in clicks:
        places.setdefault(click.target, []).append(click.point_ijk(grid))
    return {
        target: clicks_on_model_grid(np.asarray(points), grid=grid, model_grid=model_grid, content=content)
        for target, points in places.items()
    }


def _windows(
    objects: Sequence[Float[np.ndarray, "_ 3"]], shape: Triple, window_size: Triple
) -> tuple[tuple[Triple, ...], list[tuple[Triple, ...]]]:
    """Return the windows of all clicks, and of each object those in which its clicks are seen first."""

    def needed(points: np.ndarray, *taken: Triple) -> tuple[Triple, ...]:
        return window_starts(points, shape=shape, window_size=window_size, taken=taken)

    windows = needed(np.concatenate(list(objects)))
    seen_in = [
        tuple(dict.fromkeys(next(start for start in windows if not needed(point[None], start)) for point in points))
        for points in objects
    ]
    return windows, seen_in


def _phases(
    segmenter: Segmenter,
    volume: Volume,
    labels: LabelMap | None,
    model_grid: Grid,
    *,
    objects: Sequence[Sequence[Triple]],
    by_extent: Sequence[Sequence[Triple]],
    asks: bool,
    held: int,
) -> dict[str, dict[str, int]]:
    """Return what is needed with nothing remembered: phase -> part -> bytes.

    Objects are their windows; ``by_extent`` are those whose extent is found, and ``asks`` whether the network is
    asked about any.
    """
    spec, precision, voxels = segmenter.spec, segmenter.precision, volume.grid.num_voxels
    image = model_grid.num_voxels * DTYPES[precision].itemsize
    upright = upright_bytes(volume.grid)
    shown = _shown_bytes(segmenter, labels, voxels, num_objects=len(objects))
    reach = max(_reach(windows, spec.window_size) for windows in objects)
    logits = max(len(windows) for windows in objects) * math.prod(spec.window_size) * 4
    blended = reach * 8 if max(len(windows) for windows in objects) > 1 else 0
    changed = min(1.0, reach / model_grid.num_voxels) * voxels * 7  # proposal, change, numbered components
    head = logits + blended + int(changed) + voxels  # the earlier mask is whole
    is_cpu = next(segmenter.network.parameters()).device.type == "cpu"
    network = pass_bytes(spec, precision, 1, direct_sums=False, streams=is_cpu)
    # that pass is done when answers come, but its memory is given back late
    extent = _EXTENT_BYTES * max((_reach(windows, spec.window_size) for windows in by_extent), default=0)
    always = {"held already": held, "labels": shown}
    return {
        "preparing": {
            **always,
            "image": 4 * model_grid.num_voxels + image,
            **({"upright": upright} if upright else {}),
        },
        "clicks": {
            **always,
            "image": image,
            **({"network": network} if asks else {}),
            "answers": head,
            **({"extent": extent} if extent else {}),
        },
        "measuring": {**always, "components": 5 * voxels},
    }


def _shown_bytes(segmenter: Segmenter, labels: LabelMap | None, voxels: int, *, num_objects: int) -> int:
    """Return the bytes of the labels shown, and of their copy in the end; each object may begin a layer."""
    there = {BASE_LAYER, *(labels.overlaps if labels else {})}
    others = {structure.layer for structure in segmenter.vocabulary.structures} - there - {None}
    num_layers = len(there) + min(num_objects, len(others) + 1)  # 1: of structures without a name in the model
    itemsize = labels.data.dtype.itemsize if labels else 1
    return 2 * num_layers * voxels * itemsize


def _reach(windows: Sequence[Triple], size: Triple) -> int:
    """Return the voxels of the smallest box around the windows of one object."""
    boxes = (Box(start, (start[0] + size[0], start[1] + size[1], start[2] + size[2])) for start in windows)
    around = enclosing_box(boxes)
    return math.prod(around.shape) if around else 0
