"""Runs over a volume, made ready: what will be done and needed is known, and nothing is computed yet."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from vesalius.allowance import available_bytes, resident_bytes
from vesalius.errors import UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import Volume
from vesalius.inference.automatic import Automatic, assign_layers, count_empty, label_dtype, segment_automatic
from vesalius.inference.networks import Networks
from vesalius.inference.pipelines import pipeline
from vesalius.inference.plan import Demand, Plan, make_plan
from vesalius.inference.segmentation import SegmentOptions
from vesalius.inference.slice_plan import SliceDemand, SlicePlan, make_slice_plan
from vesalius.inference.slice_spacing import as_learnt, learnt_grid
from vesalius.inference.slices import count_air, segment_slices
from vesalius.inference.speed import DTYPES
from vesalius.inference.upright import as_upright, upright_grid
from vesalius.labels.vocabulary import Target
from vesalius.models.meddinov3 import MedDino
from vesalius.spec import ModelSpec
from vesalius.transforms.preprocess import Prepared, body_box, margin_box, model_grid, padded_grid, prepare


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that is ready to go.

    Args:
        grid: On which labels are made: the volume's own, or upright where that is tilted.
        plan: What it will need.
        start: Runs it; is told what hears of each window.
    """

    grid: Grid
    plan: Plan | SlicePlan
    start: Callable[[Callable[[bool], None]], Automatic]


def make_run(
    networks: Networks, spec: ModelSpec, *, volume: Volume, targets: Sequence[Target], options: SegmentOptions
) -> Run:
    """Make the run over a volume ready: windows of a network of prompts, or slices.

    Args:
        networks: What is to run.
        spec: What it expects and names.
        volume: The image, which was checked.
        targets: What to segment.
        options: How.

    Raises:
        UsageError: If the options are those of the other kind of network.
        MemoryBudgetError: If no plan fits the memory.
    """
    way = _slice_run if isinstance(networks.held, MedDino) else _window_run
    return way(networks, spec, volume, targets, options)


def prepare_windows(
    networks: Networks, spec: ModelSpec, *, volume: Volume, targets: Sequence[Target], options: SegmentOptions
) -> tuple[Prepared, Plan]:
    """Return the image a network of prompts sees and the plan of its run, checked before the image is made.

    Arguments and errors as of ``make_run``; the volume stands upright.
    """
    way = pipeline(options.compat)
    box = None
    if way.preprocessing.crop == "body":
        found = body_box(volume)
        box = margin_box(found, volume.grid) if found else None
    _, grid = model_grid(volume, spec, way.preprocessing, box)
    demand = Demand(  # before the image is made, which a plan counts beside what is held
        spec=spec,
        pipeline=way,
        grid=padded_grid(grid.reoriented(spec.orientation), spec.window_size),
        target=volume.grid,
        num_classes=sum(len(target.members) for target in targets),
        num_layers=len(assign_layers(spec, targets)),
        label_bytes=label_dtype(targets).itemsize,
        resident_bytes=resident_bytes(),
        overlap=options.overlap,
        fallback_bytes=networks.half_bytes,
        threads=torch.get_num_threads() if networks.device.type == "cpu" else None,
        device=str(networks.device),
    )
    machine_bytes = available_bytes() + demand.resident_bytes  # as long as there is no image, which plans count
    plan_of = partial(make_plan, max_bytes=options.max_memory, machine_bytes=machine_bytes)
    first = plan_of(demand, precision=networks.precision, fallback=networks.fallback)
    chosen = first.precision
    prepared = prepare(volume, spec, way.preprocessing, box=box, dtype=DTYPES[chosen])
    held = demand.resident_bytes + (networks.half_bytes if chosen != networks.precision else 0)
    demand = replace(demand, grid=prepared.grid, resident_bytes=held)
    plan = plan_of(demand, precision=chosen)
    if way.spare_air:
        demand = replace(demand, num_empty=count_empty(prepared, plan, spec))
        plan = plan_of(demand, precision=chosen)
    return prepared, replace(plan, gave_way=plan.gave_way or first.gave_way)


def _window_run(
    networks: Networks, spec: ModelSpec, volume: Volume, targets: Sequence[Target], options: SegmentOptions
) -> Run:
    if options.mirror or options.planes:
        raise UsageError(
            expected="a model of slices for reflections and planes",
            got=f"{spec.name}, which sees whole volumes",
            do="leave out --mirror and --planes",
        )
    upright = as_upright(volume)
    prepared, plan = prepare_windows(networks, spec, volume=upright, targets=targets, options=options)

    def start(on_window: Callable[[bool], None]) -> Automatic:
        network, way = networks.in_precision(plan.precision), pipeline(options.compat)
        assert not isinstance(network, MedDino)
        return segment_automatic(
            network, spec, prepared, plan, targets, grid=upright.grid, pipeline=way, on_window=on_window
        )

    return Run(grid=upright.grid, plan=plan, start=start)


def _slice_run(
    networks: Networks, spec: ModelSpec, volume: Volume, targets: Sequence[Target], options: SegmentOptions
) -> Run:
    """Return the run over slices; those of a tilted scan are taken as they are if rows meet columns upright."""
    if options.compat is not None:
        raise UsageError(
            expected="a model that takes class prompts, whose published pipelines compat means",
            got=f"compat {options.compat!r} with {spec.name}, which labels slices",
            do="leave out --compat; --mirror --overlap 0.5 does what nnU-Net does",
        )
    demand = SliceDemand(
        spec=spec,
        grid=learnt_grid(volume.grid, spec, options.planes),
        planes=options.planes,
        mirror=options.mirror,
        overlap=options.overlap,
        num_classes=sum(len(target.members) for target in targets),
        label_bytes=label_dtype(targets).itemsize,
        resident_bytes=resident_bytes(),
        fallback_bytes=networks.half_bytes,
        device=str(networks.device),
    )
    is_slanted = not demand.takes_slices_as_they_are
    if is_slanted:
        demand = replace(demand, grid=upright_grid(demand.grid))
    resampled = 0 if demand.grid is volume.grid else 4 * demand.grid.num_voxels
    demand = replace(demand, empty=count_air(volume, demand), resampled_bytes=resampled)
    plan = make_slice_plan(
        demand, precision=networks.precision, fallback=networks.fallback, max_bytes=options.max_memory
    )

    def start(on_window: Callable[[bool], None]) -> Automatic:
        network = networks.in_precision(plan.precision)
        assert isinstance(network, MedDino)
        shown = as_learnt(volume, spec, options.planes)
        shown = as_upright(shown) if is_slanted else shown
        return segment_slices(network, spec, shown, plan, targets, on_window=on_window)

    return Run(grid=demand.grid, plan=plan, start=start)
