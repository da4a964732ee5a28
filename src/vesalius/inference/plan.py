"""Windows, bytes and seconds of a run, known before the first window runs."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch

from vesalius.allowance import available_bytes
from vesalius.errors import MemoryBudgetError
from vesalius.geometry.boxes import Triple
from vesalius.geometry.grid import Grid
from vesalius.inference.card import check_card, parted
from vesalius.inference.phases import Phases, forecast_as_dict, gigabytes, largest_phase, peak_of, ways_out
from vesalius.inference.pipelines import Pipeline
from vesalius.inference.speed import DTYPES, SECONDS_OF_START, measure_flops_per_second, window_flops
from vesalius.inference.vit_costs import as_slices, image_bytes
from vesalius.inference.windows import WindowLayout, rolling_axis
from vesalius.models.layers.winograd import winograd_serves
from vesalius.precision import Precision
from vesalius.spec import ModelSpec, PromptArchitecture, PromptedVitArchitecture, VistaArchitecture

_ACTIVATIONS = 3.0
"""Peak memory of one window's pass on a processor, in feature maps of its finest level; 2.5 were measured with
the full width at 128³ (benchmarks/big_scan.py holds the forecast against the whole run)."""
_ACTIVATIONS_ELSEWHERE = 5.0
"""The same where planes are not worked on a few at a time (``planes.streams``); counted on torch's ``meta`` device
with the full width at 128³, no card was at hand."""
_MOST_AT_ONCE = 4
"""More windows at once would cost more memory than a laptop spares; where there are more threads they share them.
How many threads compute a window changes its rounding, so it depends on their number alone, not on free memory."""
_EFFICIENCY = {"winograd": 1.1, "direct": 0.75}
"""Speed of a whole pass as part of the speed of a direct convolution: Winograd's halves the multiplications.
1.2 was measured with the full width on one quiet core, 1.0 beside other work; 0.75 is an estimate for processors
with tiles for bf16, none of which was at hand."""
_LABEL_SECONDS_PER_VOXEL = 6e-8
_LABEL_BYTES_PER_ROW = 4 * (1 << 15)
_WHERE_THE_NETWORK_IS = ("slab", "network", "interpolation")
"""Parts of a phase that lie on the network's device."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do and need.

    Args:
        layout: The windows on the padded model grid.
        grid: Where that grid is.
        precision: In which the network runs.
        accumulate: In which features are blended.
        gave_way: Whether either is coarser than asked for, to keep to the memory allowed.
        at_once: Windows that run at the same time.
        threads_each: Threads that each of them computes with; None where they run on no processor's threads.
        num_empty: Windows that hold only air and are skipped.
        num_classes: Classes that are segmented.
        phases: Phase -> part -> bytes of the machine's memory; the peak is the largest phase.
        seconds: Forecast of the whole run.
        card: The same of a card's own memory; nothing where the network is on none.
    """

    layout: WindowLayout
    grid: Grid
    precision: Precision
    accumulate: torch.dtype
    gave_way: bool
    at_once: int
    threads_each: int | None
    num_empty: int
    num_classes: int
    phases: Mapping[str, Mapping[str, int]]
    seconds: float
    card: Phases = field(default_factory=dict)

    @property
    def num_windows(self) -> int:
        """How many windows there are."""
        return self.layout.num_windows

    @property
    def peak_bytes(self) -> int:
        """The resident memory that the run needs at its highest."""
        return peak_of(self.phases)

    def as_dict(self) -> dict[str, object]:
        """Return the plan as what ``--dry-run --json`` prints."""
        return {
            "windows": self.num_windows,
            "empty_windows": self.num_empty,
            "window_size": list(self.layout.window_size),
            "model_grid": list(self.layout.shape),
            "model_spacing_mm": [round(s, 4) for s in self.grid.spacing_mm],
            "precision": self.precision,
            "accumulate": str(self.accumulate).removeprefix("torch."),
            "gave_way_to_memory": self.gave_way,
            "windows_at_once": self.at_once,
            "classes": self.num_classes,
            **forecast_as_dict(self.phases, self.seconds, card=self.card),
        }


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What is asked of a plan.

    Args:
        spec: The model.
        pipeline: How windows are placed and blended.
        grid: The padded model grid.
        target: The input's own grid, on which labels are wanted.
        num_classes: Classes to segment.
        num_layers: Label arrays to write (the base and one for each overlap layer).
        label_bytes: Bytes of a label.
        resident_bytes: What the process holds already, input and network included.
        num_empty: Windows known to hold only air.
        overlap: Asked for by the user; None leaves it to the pipeline, then to the model.
        fallback_bytes: What the network takes in the precision it may fall to, beside the one that is held.
        threads: Threads that torch computes with where windows run on the processor; None elsewhere.
        device: That the network is on.
    """

    spec: ModelSpec
    pipeline: Pipeline
    grid: Grid
    target: Grid
    num_classes: int
    num_layers: int
    label_bytes: int
    resident_bytes: int
    num_empty: int = 0
    overlap: float | None = None
    threads: int | None = None
    fallback_bytes: int = 0
    device: str = "cpu"


def place_windows(spec: ModelSpec, pipeline: Pipeline, shape: Triple, overlap: float | None) -> WindowLayout:
    """Place the windows of a padded model grid.

    Args:
        spec: Says window size, and overlap where nobody else does.
        pipeline: Says placement and blending.
        shape: Of the padded grid.
        overlap: Asked for by the user, or None.
    """
    share = next(o for o in (overlap, pipeline.overlap, spec.overlap) if o is not None)
    i, j, k = (pipeline.place(n, side, share) for n, side in zip(shape, spec.window_size, strict=True))
    return WindowLayout(
        shape=shape,
        window_size=spec.window_size,
        starts=(i, j, k),
        axis=rolling_axis(shape),
        blending=pipeline.blending,
    )


def make_plan(
    demand: Demand,
    *,
    precision: Precision,
    fallback: Precision | None = None,
    max_bytes: int | None = None,
    machine_bytes: int | None = None,
    flops_per_second: Callable[[PromptArchitecture, Precision], float] | None = None,
) -> Plan:
    """Choose in what the network runs and features are accumulated so that the run fits; say what it will need.

    Args:
        demand: What is to be done.
        precision: In which the network runs.
        fallback: In which it may run instead, to keep to ``max_bytes``.
        max_bytes: Resident memory not to exceed; fp32 features give way to fp16 to keep to it, then ``precision``
            to ``fallback``. None is what the machine has free, for which nothing gives way.
        machine_bytes: Resident memory that the machine had for this process when ``demand.resident_bytes`` were
            counted: what is made since then counts there and in the plan, and not twice. None asks it now.
        flops_per_second: Measures the processor; the default times one convolution.

    Raises:
        MemoryBudgetError: If even the smallest plan does not fit, or what it puts on a card is not free there.
    """
    limit = max_bytes if max_bytes is not None else machine_bytes
    if limit is None:
        limit = available_bytes() + demand.resident_bytes
    ways = [(precision, torch.float16 if precision == "bf16" else torch.float32)]
    if max_bytes is not None:  # what happens to be free must not decide a result
        ways += [(chosen, torch.float16) for chosen in (precision, fallback) if chosen is not None]
    layout = place_windows(demand.spec, demand.pipeline, demand.grid.shape, demand.overlap)
    speed_of = flops_per_second or measure_flops_per_second
    most_at_once = _most_at_once(demand.threads or 1)
    plans = []
    for way in dict.fromkeys(ways):
        speed = speed_of(demand.spec.vista, way[0])
        for at_once in range(most_at_once, 0, -1):
            held = demand.resident_bytes + (demand.fallback_bytes if way[0] != precision else 0)
            asked = replace(demand, resident_bytes=held)
            plan = _plan(asked, layout, *way, speed, gave_way=way != ways[0], at_once=at_once)
            if plan.peak_bytes <= limit:
                check_card(plan.card, demand.device, plan.precision)
                return plan
            plans.append(plan)
    smallest = min(plans, key=lambda plan: plan.peak_bytes)
    parts = f"labels on {demand.target.shape}, {largest_phase(smallest.phases)}"
    raise MemoryBudgetError(
        expected=f"at most {gigabytes(limit)} of memory",
        got=f"a run that needs {gigabytes(smallest.peak_bytes)} ({parts})",
        do=ways_out(smallest.precision),
    )


def _most_at_once(threads: int) -> int:
    """Return how many windows may run at once so that most of the threads have work."""
    return max(range(min(threads, _MOST_AT_ONCE), 0, -1), key=lambda count: (count > 1, count * (threads // count)))


def _plan(
    demand: Demand,
    layout: WindowLayout,
    precision: Precision,
    accumulate: torch.dtype,
    speed: float,
    *,
    gave_way: bool,
    at_once: int,
) -> Plan:
    voxels = demand.target.num_voxels
    windows = layout.num_windows - demand.num_empty
    each = pass_seconds(demand.spec, precision, speed, direct_sums=demand.pipeline.direct_sums)
    threads = demand.threads or 1
    idle = threads / (at_once * (threads // _most_at_once(threads)))  # 1 where all threads have work
    here, on_card = parted(
        _phases(demand, layout, precision, accumulate, at_once), demand.device, _WHERE_THE_NETWORK_IS
    )
    per_class = voxels * _LABEL_SECONDS_PER_VOXEL * (1 + demand.num_classes / 60)
    return Plan(
        layout=layout,
        grid=demand.grid,
        precision=precision,
        accumulate=accumulate,
        gave_way=gave_way,
        at_once=at_once,
        threads_each=demand.threads and demand.threads // _most_at_once(demand.threads),
        num_empty=demand.num_empty,
        num_classes=demand.num_classes,
        phases=here,
        card=on_card,
        seconds=SECONDS_OF_START + idle * windows * each + per_class,
    )


def _phases(
    demand: Demand, layout: WindowLayout, precision: Precision, accumulate: torch.dtype, at_once: int
) -> dict[str, dict[str, int]]:
    width = demand.spec.vista.width
    model_voxels = demand.grid.num_voxels
    labels = demand.target.num_voxels * demand.label_bytes * demand.num_layers
    image = model_voxels * DTYPES[precision].itemsize
    thickness, *plane = layout.slab_shape
    plane_voxels = math.prod(plane)
    slab = (thickness + 1) * plane_voxels * width * accumulate.itemsize
    network = pass_bytes(
        demand.spec,
        precision,
        at_once,
        direct_sums=demand.pipeline.direct_sums,
        waiting=demand.threads is not None,
        streams=demand.device == "cpu",
    )
    planes_of_target = demand.target.num_voxels * thickness / demand.grid.shape[layout.axis]
    labelling = int(plane_voxels * thickness * 8 + planes_of_target * 14) + 8 * _LABEL_BYTES_PER_ROW * (
        width + demand.num_classes
    )
    held = {"held already": demand.resident_bytes, "labels": labels}
    going_on = network if demand.threads else 0  # the next windows run while labels are made
    return {
        "preparing": {"held already": demand.resident_bytes, "image": 4 * model_voxels + image},
        "windows": {**held, "image": image, "slab": slab, "network": network},
        "labelling": {**held, "image": image, "slab": slab, "interpolation": labelling, "network": going_on},
        "measuring": {**held, "components": 5 * demand.target.num_voxels},
    }


def _kernel_bytes(architecture: VistaArchitecture, window_size: Triple, itemsize: int) -> int:
    """Return what Winograd's kernels take, which the first window leaves to the others: twice their weights."""
    total, top = 0, len(architecture.blocks_down) - 1
    for level, blocks in enumerate(architecture.blocks_down):
        width = architecture.width << level
        if math.prod(window_size) >> 3 * level >= 4 * width:  # as ``winograd_pays``
            convolutions = 2 * blocks + 2 * (level < top) + 4 * (level == 0)
            total += 6 * 9 * width**2 * convolutions * itemsize
    return total


def pass_bytes(
    spec: ModelSpec,
    precision: Precision,
    at_once: int,
    *,
    direct_sums: bool,
    waiting: bool = False,
    streams: bool = True,
) -> int:
    """Return the peak memory of windows that pass through the network at the same time, its weights aside.

    Args:
        spec: The model.
        precision: In which it runs.
        at_once: Windows that run at the same time.
        direct_sums: Whether convolutions are summed directly.
        waiting: Whether one more result waits while they run, as where windows run in threads of their own.
        streams: Whether planes are worked on a few at a time, as on a processor (``planes.streams``).
    """
    itemsize, architecture = DTYPES[precision].itemsize, spec.vista
    activation = math.prod(spec.window_size) * architecture.width * itemsize
    each = _ACTIVATIONS if streams else _ACTIVATIONS_ELSEWHERE
    maps = int(activation * (each * at_once + waiting))
    if isinstance(architecture, PromptedVitArchitecture):
        *window, slices = spec.window_size
        return maps + at_once * image_bytes(as_slices(architecture), window, slices, itemsize, depth_first=streams)
    saves = streams and winograd_serves(DTYPES[precision]) and not direct_sums
    return maps + (_kernel_bytes(architecture, spec.window_size, itemsize) if saves else 0)


def pass_seconds(spec: ModelSpec, precision: Precision, speed: float, *, direct_sums: bool) -> float:
    """Return how long one window's pass takes, by the speed of a direct convolution in operations a second."""
    saves = winograd_serves(DTYPES[precision]) and not direct_sums
    efficiency = _EFFICIENCY["winograd" if saves else "direct"]
    return window_flops(spec.vista, spec.window_size) / (speed * efficiency)
