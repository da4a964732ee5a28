"""Class prompts over a whole volume: windows in, labels on the input's own grid out."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from vesalius.errors import is_out_of_memory
from vesalius.geometry.boxes import Box
from vesalius.geometry.grid import SHORT_BY, Grid
from vesalius.geometry.resample import AxisMap, axis_maps
from vesalius.geometry.volume import LabelMap
from vesalius.hounsfield import BODY_HU
from vesalius.inference.labelling import Confidence, LabelMaker, Layer
from vesalius.inference.pipelines import Pipeline
from vesalius.inference.plan import Plan
from vesalius.inference.windows import blended_features
from vesalius.labels.vocabulary import Target, Vocabulary
from vesalius.models.layers.planes import workspace
from vesalius.models.layers.winograd import direct_sums
from vesalius.models.promptable import Promptable
from vesalius.spec import ModelSpec
from vesalius.transforms.preprocess import Prepared

_logger = logging.getLogger(__name__)

BASE_LAYER = "labels"


@dataclass(frozen=True, eq=False)
class Automatic:
    """What automatic segmentation gives.

    Args:
        layers: Layer name -> label ids on the input's grid; ``BASE_LAYER`` is always there.
        confidence: Label id -> mean probability over its voxels.
    """

    layers: Mapping[str, Integer[np.ndarray, "i j k"]]
    confidence: Mapping[int, float]


def segment_automatic(
    network: Promptable,
    spec: ModelSpec,
    prepared: Prepared,
    plan: Plan,
    targets: Sequence[Target],
    *,
    grid: Grid,
    pipeline: Pipeline,
    on_window: Callable[[bool], None] = lambda _: None,
) -> Automatic:
    """Segment every target over a prepared volume.

    Where memory runs out while several windows run at once, all run once more, one at a time: slower, and no voxel
    changes, since each still computes with as many threads.

    Args:
        network: Its weights in the plan's precision.
        spec: Of the network.
        prepared: The image the network sees.
        plan: Made for this volume.
        targets: What to segment, as the vocabulary resolved it.
        grid: The input's own grid, on which labels are wanted; aligned with the model's after reorienting.
        pipeline: Ours, or a published one.
        on_window: Called after each window, with whether it ran.
    """
    tell = _Once(on_window)

    def run(chosen: Plan) -> Automatic:
        return _segment(network, spec, prepared, chosen, targets, grid=grid, pipeline=pipeline, on_window=tell)

    try:
        return run(plan)
    except (MemoryError, RuntimeError, OSError) as error:
        if plan.at_once == 1 or not is_out_of_memory(error):
            raise
    gc.collect()  # outside the handler: what failed holds its memory as long as the error is there
    _logger.warning("memory ran out with %d windows at once: all run again, one at a time", plan.at_once)
    tell.begin_again()
    return run(replace(plan, at_once=1))


class _Once:
    """Tells of each window once, also where windows run again."""

    def __init__(self, tell: Callable[[bool], None]) -> None:
        self._tell = tell
        self._told = self._heard = 0

    def __call__(self, has_run: bool) -> None:
        self._heard += 1
        if self._heard > self._told:
            self._told = self._heard
            self._tell(has_run)

    def begin_again(self) -> None:
        self._heard = 0


def _segment(
    network: Promptable,
    spec: ModelSpec,
    prepared: Prepared,
    plan: Plan,
    targets: Sequence[Target],
    *,
    grid: Grid,
    pipeline: Pipeline,
    on_window: Callable[[bool], None],
) -> Automatic:
    wanted = grid if pipeline.interpolate else prepared.grid
    layers, dtype = assign_layers(spec, targets), label_dtype(targets)
    arrays = {
        name: np.zeros(wanted.shape, dtype=dtype, order="F") for name in layers
    }  # first axis fastest, as NIfTI
    views = {name: _oriented(array, wanted, spec.orientation) for name, array in arrays.items()}
    maker = _label_maker(network, layers, views, wanted.reoriented(spec.orientation), prepared=prepared, plan=plan)
    air = scaled_air(spec)
    device = next(network.parameters()).device
    blocks = blended_features(
        lambda window: network.mapped_features(window.to(device)),
        prepared.image,
        plan.layout,
        width=spec.vista.width,
        dtype=plan.accumulate,
        device=device,
        at_once=plan.at_once,
        threads_each=plan.threads_each,
        is_empty=(lambda window: bool(window.max() <= air)) if pipeline.spare_air else (lambda _: False),
        on_window=on_window,
    )
    with torch.inference_mode(), workspace(), direct_sums() if pipeline.direct_sums else nullcontext():
        for block in blocks:
            maker.feed(block)
    if not pipeline.interpolate:
        arrays = {name: _copied_to(array, prepared, grid, spec) for name, array in arrays.items()}
    return Automatic(arrays, _means(maker.confidence, targets))


def scaled_air(spec: ModelSpec) -> float:
    """Return what ``BODY_HU`` looks like to the network; where numbers have no unit, only black counts as air."""
    if spec.normalisation == "percentiles":
        return 0.0
    low, high = spec.window_hu
    return (BODY_HU - low) / (high - low)


def count_empty(prepared: Prepared, plan: Plan, spec: ModelSpec) -> int:
    """Count the windows that hold nothing denser than air."""
    air, size = scaled_air(spec), plan.layout.window_size
    corners = (corner for _, _, windows in plan.layout.rows() for corner in windows)
    return sum(
        bool(prepared.image[tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))].max() <= air)
        for corner in corners
    )


def assign_layers(spec: ModelSpec, targets: Sequence[Target]) -> dict[str, tuple[Target, ...]]:
    """Say which layer each target is written to: the base, or one for structures that lie inside others.

    The base is always there; where everything asked for lies in one layer, that layer is the base.
    """
    vocabulary = Vocabulary.of(spec.vocabulary)
    homes = [vocabulary.overlap_layer(target.members[0]) or BASE_LAYER for target in targets]
    if len(set(homes)) == 1:
        return {BASE_LAYER: tuple(targets)}
    return {
        name: tuple(target for target, home in zip(targets, homes, strict=True) if home == name)
        for name in dict.fromkeys([BASE_LAYER, *homes])
    }


def label_dtype(targets: Sequence[Target]) -> np.dtype:
    """Return uint8 where every label fits, uint16 otherwise."""
    return np.dtype(np.uint8 if max((target.id for target in targets), default=0) <= 255 else np.uint16)


def _label_maker(
    network: Promptable,
    targets: Mapping[str, tuple[Target, ...]],
    views: Mapping[str, np.ndarray],
    grid: Grid,
    *,
    prepared: Prepared,
    plan: Plan,
) -> LabelMaker:
    """Build the maker that writes into ``views`` of ``grid``, both in the model's orientation."""
    maps = axis_maps(prepared.grid, grid)
    covered = tuple(_covered(axis, prepared.content, a) for a, axis in enumerate(maps))
    order = plan.layout.order
    layers = [
        Layer(
            class_vectors=_class_vectors(network, [m for target in of_layer for m in target.members]),
            labels=torch.tensor(
                [t.id for t in of_layer for _ in t.members], device=next(network.parameters()).device
            ),
            target=views[name][covered].transpose(order),
        )
        for name, of_layer in targets.items()
        if of_layer
    ]
    i, j, k = (maps[a].within(covered[a].start, covered[a].stop) for a in order)
    return LabelMaker(maps=(i, j, k), layers=layers, content=prepared.content.transposed(order))


def _class_vectors(network: Promptable, ids: Sequence[int]) -> Float[Tensor, "o d"]:
    with torch.inference_mode():
        return network.class_vectors(torch.tensor(ids, device=next(network.parameters()).device)).float()


def _covered(axis: AxisMap, content: Box, a: int) -> slice:
    """Return the target indices that lie on the content of the model grid; beyond it there is background.

    A whole number of the model's voxels may be up to half a voxel shorter than what it stands for, a quarter at
    either end (``Grid.respaced``): the input's outermost voxels lie there, and belong to the content all the same.
    """
    first, last = content.start[a] - 0.5 - SHORT_BY, content.stop[a] - 0.5 + SHORT_BY
    inside = (axis.positions >= first) & (axis.positions <= last)
    hits = np.flatnonzero(inside)
    return slice(int(hits[0]), int(hits[-1]) + 1) if len(hits) else slice(0, 0)


def _oriented(array: np.ndarray, grid: Grid, codes: str) -> np.ndarray:
    return LabelMap(array, grid, {}).reoriented(codes).data


def _copied_to(array: np.ndarray, prepared: Prepared, grid: Grid, spec: ModelSpec) -> np.ndarray:
    """Copy labels on the model grid to the nearest voxels of the input, as the published pipelines do."""
    content = array[prepared.content.slices]
    source = prepared.grid.cropped(prepared.content)
    maps = axis_maps(source, grid.reoriented(spec.orientation))
    result = np.zeros(grid.shape, dtype=array.dtype, order="F")
    nearest, inside = [], []
    for axis in maps:
        within = (axis.positions > -1.0) & (axis.positions < axis.length)
        nearest.append(axis.nearest().numpy()[within])
        inside.append(np.flatnonzero(within))
    _oriented(result, grid, spec.orientation)[np.ix_(*inside)] = content[np.ix_(*nearest)]
    return result


def _means(confidence: Sequence[Confidence], targets: Sequence[Target]) -> dict[int, float]:
    means = ((t.id, c.mean(t.id)) for t in targets for c in confidence if t.id < len(c.voxels))
    return {label: mean for label, mean in means if mean is not None}
