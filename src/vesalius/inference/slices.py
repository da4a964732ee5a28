"""A 2-D model over a volume: slices in, labels on the input's own grid out, one slice finished before the next.

Slices of a plane never overlap, so each is resized, run, brought back to its own pixels, labelled and forgotten:
memory is that of some slices' logits, whatever their number. nnU-Net (2.5.2, which MedDINOv3 runs in) keeps the
logits of the whole volume. Differs from it on purpose: slices are resized linearly as they come, instead of by
splines beforehand; a slice that fits is seen whole (``slice_plan``); reflections are averaged only where asked for,
and only those that the network learnt from; where it learnt that left and right change places in them, so do its
answers. Several planes are averaged as probabilities, which are kept in half precision for every voxel and class.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from vesalius.geometry.grid import Grid
from vesalius.geometry.resample import AxisMap, axis_maps, resample_linear
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.hounsfield import BODY_HU
from vesalius.inference.automatic import BASE_LAYER, Automatic, label_dtype
from vesalius.inference.labelling import Confidence
from vesalius.inference.slice_facts import codes_of, kept_slices, plane_of, reflections
from vesalius.inference.slice_plan import SliceDemand, SlicePlan, SliceView
from vesalius.labels.vocabulary import Target, Vocabulary
from vesalius.models.meddinov3 import MedDino
from vesalius.spec import ModelSpec
from vesalius.transforms.intensity import normalise_hu_

_ROWS_AT_ONCE = 64
"""Rows of a slice whose logits are interpolated together."""


class SliceSet(NamedTuple):
    """Slices that pass the network together, and those of them whose result counts."""

    seen: tuple[int, ...]
    kept: tuple[int, ...]
    """Places in ``seen``."""


@dataclass(frozen=True, eq=False)
class SliceLogits:
    """What the network says of one slice.

    Args:
        number: Of the slice along its plane's last axis.
        logits: Of every class, background first, at the model's spacing; float32.
        maps: Where the slice's own pixels fall on them, along rows and columns.
    """

    number: int
    logits: Float[Tensor, "o h w"]
    maps: tuple[AxisMap, AxisMap]

    def rows(self) -> Iterator[tuple[slice, Float[Tensor, "o y x"]]]:
        """Yield the logits of the slice's own pixels, some rows at a time."""
        down, across = self.maps
        wide = _along(self.logits, across, axis=2)
        for start in range(0, len(down.positions), _ROWS_AT_ONCE):
            rows = slice(start, min(start + _ROWS_AT_ONCE, len(down.positions)))
            yield rows, _along(wide, down.within(rows.start, rows.stop), axis=1)


def segment_slices(
    network: MedDino,
    spec: ModelSpec,
    volume: Volume,
    plan: SlicePlan,
    targets: Sequence[Target],
    *,
    on_window: Callable[[bool], None] = lambda _: None,
) -> Automatic:
    """Segment every target over a volume.

    Every pixel gets the class with the largest logit, background included, and is written where that class was
    asked for: what else is asked for changes no mask.

    Args:
        network: Its weights in the plan's precision.
        spec: Of the network.
        volume: One channel.
        plan: Made for this volume.
        targets: What to segment, as the vocabulary resolved it.
        on_window: Called after each window, with whether it ran.
    """
    labels = np.zeros(volume.grid.shape, dtype=label_dtype(targets), order="F")  # first axis fastest, as NIfTI
    table = _table(network.architecture.num_classes, targets).to(next(network.parameters()).device)
    size = int(table.max()) + 1
    confidence = Confidence(torch.zeros(size, dtype=torch.float64), torch.zeros(size, dtype=torch.int64))
    with torch.inference_mode():
        if len(plan.views) == 1:
            view = plan.views[0]
            target = _oriented(labels, volume.grid, view.codes)
            for found in slice_logits(network, spec, volume, view, plan, on_window=on_window):
                _count(confidence, found.logits.softmax(dim=0), table)
                for rows, logits in found.rows():
                    target[rows, :, found.number] = table[logits.argmax(dim=0)].cpu().numpy()
        else:
            mean, table = _mean_probability(network, spec, volume, plan, on_window), table.cpu()
            for i, probability in enumerate(torch.from_numpy(mean).movedim(1, 0)):  # [o j k]
                shown = probability.float()
                _count(confidence, shown, table)
                labels[i] = table[shown.argmax(dim=0)].numpy()
    means = {target.id: confidence.mean(target.id) for target in targets}
    return Automatic({BASE_LAYER: labels}, {label: mean for label, mean in means.items() if mean is not None})


def slice_logits(
    network: MedDino,
    spec: ModelSpec,
    volume: Volume,
    view: SliceView,
    plan: SlicePlan,
    *,
    on_window: Callable[[bool], None] = lambda _: None,
) -> Iterator[SliceLogits]:
    """Yield what a network says of the slices of one plane, in their order; slices of air are left out.

    Args:
        network: Its weights in the plan's precision.
        spec: Of the network.
        volume: One channel.
        view: The plane.
        plan: Says how many images pass together, and whether they are mirrored.
        on_window: Called after each window, with whether it ran.
    """
    data = volume.reoriented(view.codes).data[0]
    device = next(network.parameters()).device
    native, shown = _slice_grids(view)
    down, across, _ = axis_maps(shown, native)
    air = air_slices(data, spec)
    for _ in range(len(air) * view.tiles):
        on_window(False)
    for some in slice_sets(view.num_slices, plan, spec, air=air):
        images = _images(data, some.seen, spec, view).to(device)
        for number, logits in _answers(network, spec, images, view, plan=plan, some=some):
            rows, columns = view.pixels
            top, left = _margins(view)
            content = logits[:, top : top + rows, left : left + columns]
            for _ in range(view.tiles):
                on_window(True)
            yield SliceLogits(number, content, (down, across))


def slice_sets(count: int, plan: SlicePlan, spec: ModelSpec, *, air: Sequence[int] = ()) -> Iterator[SliceSet]:
    """Say which slices pass the network together.

    Args:
        count: Slices of the volume.
        plan: Says how many images pass together, and how many slices belong together.
        spec: Says how many neighbours the network looks at.
        air: Slices whose result is not wanted.
    """
    wanted = sorted(set(range(count)) - set(air))
    if plan.slices == 1:
        step = max(1, plan.at_once // (len(reflections(spec)) if plan.mirror else 1))
        for first in range(0, len(wanted), step):
            seen = tuple(wanted[first : first + step])
            yield SliceSet(seen, tuple(range(len(seen))))
        return
    together, step = min(plan.slices, count), kept_slices(spec)
    for first in range(0, count, step):
        start = min(max(0, first - (plan.slices - step) // 2), count - together)
        kept = tuple(n - start for n in wanted if first <= n < first + step)
        if kept:
            yield SliceSet(tuple(range(start, start + together)), kept)


def air_slices(data: Num[np.ndarray, "i j k"], spec: ModelSpec) -> tuple[int, ...]:
    """Return the slices, along the last axis, of a CT that hold nothing denser than air."""
    if spec.modality != "CT":
        return ()
    return tuple(k for k in range(data.shape[2]) if float(data[:, :, k].max()) <= BODY_HU)


def count_air(volume: Volume, demand: SliceDemand) -> tuple[int, ...]:
    """Count, for each plane asked for, the slices that hold nothing denser than air.

    Of a volume that is to be resampled the same part of its slices is taken to be so afterwards: a forecast.
    """
    counts = []
    for codes in (codes_of(demand.spec, plane) for plane in demand.planes or (plane_of(demand.spec),)):
        view = volume.reoriented(codes)
        slices, wanted = view.grid.shape[2], demand.grid.reoriented(codes).shape[2]
        counts.append(len(air_slices(view.data[0], demand.spec)) * wanted // slices)
    return tuple(counts)


def _images(
    data: Num[np.ndarray, "i j k"], numbers: Sequence[int], spec: ModelSpec, view: SliceView
) -> Float[Tensor, "b 1 h w"]:
    """Return slices as the network sees them: resized, filled up on both sides, normalised."""
    native, shown = _slice_grids(view, len(numbers))
    image = resample_linear(data[:, :, list(numbers)], native, shown)  # [h w b]
    (height, width), (rows, columns) = view.layout.shape[:2], view.pixels
    top, left = _margins(view)
    sides = (left, width - columns - left, top, height - rows - top)
    filled = torch.nn.functional.pad(image.permute(2, 0, 1), sides, value=spec.outside_hu)
    return normalise_hu_(filled.permute(1, 2, 0), spec).permute(2, 0, 1)[:, None]


def _answers(
    network: MedDino,
    spec: ModelSpec,
    images: Float[Tensor, "b 1 h w"],
    view: SliceView,
    *,
    plan: SlicePlan,
    some: SliceSet,
) -> Iterator[tuple[int, Float[Tensor, "o h w"]]]:
    """Yield number and logits of the padded slices that are kept, blended from their windows."""
    layout, total = view.layout, torch.zeros(0)
    height, width, _ = layout.window_size
    kept = list(some.kept)
    for y in layout.starts[0]:
        for x in layout.starts[1]:
            window = images[:, :, y : y + height, x : x + width]
            logits = _seen(network, spec, window, plan)[kept]
            if view.tiles == 1:
                total = logits
                continue
            if not len(total):
                total = logits.new_zeros(len(kept), logits.shape[1], *layout.shape[:2])
            weights = layout.weights((y, x, 0))[:, :, 0].to(logits)
            total[:, :, y : y + height, x : x + width].addcmul_(logits, weights)
    for place, logits in zip(kept, total, strict=True):
        yield some.seen[place], logits


def _seen(
    network: MedDino, spec: ModelSpec, window: Float[Tensor, "b 1 h w"], plan: SlicePlan
) -> Float[Tensor, "b o h w"]:
    """Return what the network says of a window, or the mean over its reflections, in float32."""
    flips = reflections(spec) if plan.mirror else ((),)
    images = torch.cat([_flipped(window, axes) for axes in flips])
    together = len(window) if plan.slices > 1 else 1
    most = max(together, plan.at_once // together * together)
    if len(flips) == 1 and len(images) <= most:
        alone: Tensor = network(images, slices=together).float()
        return alone
    classes = network.architecture.num_classes
    total = torch.zeros(len(window), classes, *window.shape[2:], device=window.device)
    sides = _other_sides(spec, classes).to(window.device)

    def add(answers: Float[Tensor, "n o h w"], first: int) -> None:
        for number, answer in enumerate(answers, start=first):
            axes = flips[number // len(window)]
            seen = answer[sides] if _swaps_sides(spec, axes) else answer
            total[number % len(window)] += seen.flip([axis + 1 for axis in axes])

    for first in range(0, len(images), most):
        add(network(images[first : first + most], slices=together).float(), first)  # forgotten before the next
    return total.div_(len(flips))


def _flipped(images: Float[Tensor, "b c h w"], axes: Sequence[int]) -> Float[Tensor, "b c h w"]:
    return images.flip([axis + 2 for axis in axes])


def _swaps_sides(spec: ModelSpec, axes: Sequence[int]) -> bool:
    """Say whether the network learnt that left and right change places in this reflection.

    The axes are those of the slices it learnt from, also where it is shown another plane.
    """
    return spec.mirror_swaps_sides and any(spec.orientation[axis] in "LR" for axis in axes)


def _other_sides(spec: ModelSpec, count: int) -> Int[Tensor, " o"]:
    """Return for every channel that of the same structure on the other side, or itself where there is none."""
    vocabulary, channels = Vocabulary.of(spec.vocabulary), torch.arange(count)
    for label in spec.names:
        partner = vocabulary.left_right_partner(label)
        if partner in spec.names:
            channels[label] = partner
    return channels


def _mean_probability(
    network: MedDino, spec: ModelSpec, volume: Volume, plan: SlicePlan, on_window: Callable[[bool], None]
) -> Float[np.ndarray, "o i j k"]:
    """Return the probabilities of every voxel and class, averaged over planes; in half precision."""
    mean = np.zeros((network.architecture.num_classes, *volume.grid.shape), dtype=np.float16)
    share = np.float16(1 / len(plan.views))
    for view in plan.views:
        targets = Volume(mean, volume.grid).reoriented(view.codes).data  # a view
        is_air = set(range(view.num_slices))
        for found in slice_logits(network, spec, volume, view, plan, on_window=on_window):
            is_air.discard(found.number)
            for rows, logits in found.rows():
                for target, probability in zip(targets, logits.softmax(dim=0).cpu().numpy(), strict=True):
                    target[rows, :, found.number] += share * probability.astype(np.float16)
        for number in is_air:
            targets[0][:, :, number] += share
    return mean


def _slice_grids(view: SliceView, count: int = 1) -> tuple[Grid, Grid]:
    """Return some slices' own grid, and the same at the model's spacing, both upright in a space of their own.

    A slice is flat, so how it lies in the body does not matter here.
    """
    height, width = view.grid.shape[:2]
    native = Grid((height, width, count), np.diag([*view.grid.spacing_mm[:2], 1.0, 1.0]))
    return native, native.respaced((*view.spacing_mm, 0.0))  # 0: slices stay where they are


def _margins(view: SliceView) -> tuple[int, int]:
    """Return how many rows and columns are filled up before a slice."""
    (height, width), (rows, columns) = view.layout.shape[:2], view.pixels
    return (height - rows) // 2, (width - columns) // 2


def _along(logits: Float[Tensor, "o h w"], axis_map: AxisMap, *, axis: int) -> Float[Tensor, "o y x"]:
    """Interpolate logits linearly along one axis."""
    lower, weight = (part.to(logits.device) for part in axis_map.neighbours())
    upper = (lower + 1).clamp_(max=logits.shape[axis] - 1)
    shape = (1, -1, 1) if axis == 1 else (1, 1, -1)
    return logits.index_select(axis, lower).lerp_(logits.index_select(axis, upper), weight.view(shape))


def _table(channels: int, targets: Sequence[Target]) -> Int[Tensor, " o"]:
    """Return the label that each channel of the logits is written as; 0 where it was not asked for."""
    table = torch.zeros(channels, dtype=torch.int32)
    for target in targets:
        for member in target.members:
            table[member] = target.id
    return table


def _oriented(array: np.ndarray, grid: Grid, codes: str) -> np.ndarray:
    return LabelMap(array, grid, {}).reoriented(codes).data


def _count(confidence: Confidence, probability: Float[Tensor, "o y x"], table: Int[Tensor, " o"]) -> None:
    """Add the probability of the winning class of every pixel to that of its label."""
    best, winner = probability.max(dim=0)
    labels = table[winner].flatten().long()
    found = labels > 0
    labels, best = labels[found].cpu(), best.flatten()[found].cpu().double()
    confidence.voxels += torch.bincount(labels, minlength=len(confidence.voxels))
    confidence.probability += torch.bincount(labels, weights=best, minlength=len(confidence.voxels))
