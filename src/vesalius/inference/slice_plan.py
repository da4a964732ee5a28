"""Slices, bytes and seconds of a 2-D model over a volume, known before the first slice runs.

A slice whose sides are at most half as long again as the model's window is seen whole, in one pass: places are
relative to the image, and pretraining stretched them by up to two. nnU-Net cuts a slice of one pixel more than its
patch into four tiles. Larger slices, and all where an overlap is asked for, are cut into tiles as nnU-Net does.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial

import torch

from vesalius.allowance import available_bytes
from vesalius.errors import MemoryBudgetError, UsageError
from vesalius.geometry.affine import directions
from vesalius.geometry.grid import Grid
from vesalius.geometry.planes import Plane
from vesalius.inference.card import check_card, free_bytes, parted
from vesalius.inference.phases import Phases, forecast_as_dict, gigabytes, largest_phase, peak_of, ways_out
from vesalius.inference.slice_facts import codes_of, kept_slices, plane_of, reflections, slices_together
from vesalius.inference.speed import DTYPES, SECONDS_OF_START, fastest
from vesalius.inference.vit_costs import image_bytes, slice_flops
from vesalius.inference.windows import WindowLayout, spread_starts
from vesalius.precision import Precision
from vesalius.spec import MedDinoArchitecture, ModelSpec

_WHOLE_UP_TO = 1.5
"""Sides of the model's window up to which a side of a slice is not cut."""
_PATCHES_AT_ONCE = {"cpu": 4096, "other": 1 << 15}
"""Patches that pass the network together; small slices are batched up to so many, on a device beside the processor
as far as it has memory for them: how many pass together changes rounding at most."""
_WHERE_THE_NETWORK_IS = ("network", "logits", "interpolation")
"""Parts of a phase that lie on the network's device."""
_LABEL_SECONDS = 4e-9
"""For a pixel and class: interpolation and argmax, measured beside other work."""

Speeds = tuple[float, float]
"""Operations a second of linear maps and of attention."""


@dataclass(frozen=True, kw_only=True)
class SliceView:
    """How the slices of one plane are cut from a volume and shown to the network.

    Args:
        codes: Where rows, columns and the way from slice to slice point, such as ``"PLS"``.
        grid: The volume's, in that orientation; its slices stand along the last axis.
        spacing_mm: Between rows and between columns, as the network sees them.
        pixels: Rows and columns of a slice at the model's spacing.
        layout: Where the windows stand on the padded slices; depth 1.
    """

    codes: str
    grid: Grid
    spacing_mm: tuple[float, float]
    pixels: tuple[int, int]
    layout: WindowLayout

    @property
    def tiles(self) -> int:
        """Windows of one slice."""
        return len(self.layout.starts[0]) * len(self.layout.starts[1])

    @property
    def num_slices(self) -> int:
        """How many slices there are."""
        return self.grid.shape[2]


@dataclass(frozen=True, kw_only=True)
class SlicePlan:
    """What a run over slices will do and need.

    Args:
        views: One for each plane; what several say is averaged.
        mirror: Whether each slice is seen in its reflections too, and what they say averaged.
        precision: In which the network runs.
        gave_way: Whether precision, batch or window is smaller than asked for, to keep to the memory allowed.
        at_once: Images that pass the network together.
        slices: Neighbouring slices that the network looks at together; 1 unless it was made for more.
        num_empty: Windows that hold only air and are skipped.
        num_classes: Classes that are segmented.
        phases: Phase -> part -> bytes of the machine's memory; the peak is the largest phase.
        seconds: Forecast of the whole run.
        card: The same of a card's own memory; nothing where the network is on none.
    """

    views: tuple[SliceView, ...]
    mirror: bool
    precision: Precision
    gave_way: bool
    at_once: int
    slices: int
    num_empty: int
    num_classes: int
    phases: Mapping[str, Mapping[str, int]]
    seconds: float
    card: Phases = field(default_factory=dict)

    @property
    def num_windows(self) -> int:
        """Windows of all slices of all planes."""
        return sum(view.layout.num_windows for view in self.views)

    @property
    def peak_bytes(self) -> int:
        """The resident memory that the run needs at its highest."""
        return peak_of(self.phases)

    def as_dict(self) -> dict[str, object]:
        """Return the plan as what ``--dry-run --json`` prints."""
        return {
            "windows": self.num_windows,
            "empty_windows": self.num_empty,
            "planes": [
                {
                    "orientation": view.codes,
                    "slices": view.num_slices,
                    "pixels": list(view.pixels),
                    "window_size": list(view.layout.window_size[:2]),
                    "windows_of_a_slice": view.tiles,
                }
                for view in self.views
            ],
            "mirror": self.mirror,
            "precision": self.precision,
            "gave_way_to_memory": self.gave_way,
            "images_at_once": self.at_once,
            "slices_together": self.slices,
            "classes": self.num_classes,
            **forecast_as_dict(self.phases, self.seconds, card=self.card),
        }


@dataclass(frozen=True, kw_only=True)
class SliceDemand:
    """What is asked of a plan.

    Args:
        spec: The model.
        grid: The volume's own, or what it is resampled to first; labels are made on it.
        planes: In which to cut it; none is the model's own.
        mirror: Whether to average the reflections that the model learnt from.
        overlap: Of tiles, asked for by the user, who gets tiles of the model's window then; None leaves it to us.
        num_classes: Classes to segment.
        label_bytes: Bytes of a label.
        resident_bytes: What the process holds already, input and network included.
        empty: Slices of each plane known to hold only air, by plane's number.
        resampled_bytes: What the image takes once it is on ``grid``, beside the one that is held.
        fallback_bytes: What the network takes in the precision it may fall to, beside the one that is held.
        device: That the network is on.
    """

    spec: ModelSpec
    grid: Grid
    planes: tuple[Plane, ...] = ()
    mirror: bool = False
    overlap: float | None = None
    num_classes: int
    label_bytes: int
    resident_bytes: int
    empty: tuple[int, ...] = ()
    resampled_bytes: int = 0
    fallback_bytes: int = 0
    device: str = "cpu"

    @property
    def takes_slices_as_they_are(self) -> bool:
        """Whether rows and columns of the slices stand at right angles, however the slices are shifted."""
        for plane in self.planes or (plane_of(self.spec),):
            rows, columns, _ = directions(self.grid.reoriented(codes_of(self.spec, plane)).affine).T
            if abs(float(rows @ columns)) > 1e-3:
                return False
        return True

    @property
    def flips(self) -> int:
        """How often each slice is seen: once, or as it is and in its reflections."""
        return len(reflections(self.spec)) if self.mirror else 1

    @property
    def architecture(self) -> MedDinoArchitecture:
        """Of the network."""
        assert isinstance(self.spec.architecture, MedDinoArchitecture)
        return self.spec.architecture


def make_slice_plan(
    demand: SliceDemand,
    *,
    precision: Precision,
    fallback: Precision | None = None,
    max_bytes: int | None = None,
    speeds: Callable[[int, Precision], Speeds] | None = None,
) -> SlicePlan:
    """Choose how many images pass together, and in which precision, so that the run fits; say what it will need.

    Args:
        demand: What is to be done.
        precision: In which the network runs.
        fallback: In which it may run instead, to keep to ``max_bytes``.
        max_bytes: Resident memory not to exceed; the batch gives way to it first, then whole slices to tiles, then
            ``precision`` to ``fallback``. None is what the machine has free, for which nothing gives way.
        speeds: Measures the processor, for a width of tokens; the default times two products of matrices.

    Raises:
        UsageError: If a plane is named twice, or reflections are asked of a network that learnt from none.
        MemoryBudgetError: If even the smallest plan does not fit, or what it puts on a card is not free there.
    """
    if len(set(demand.planes)) < len(demand.planes):
        raise UsageError(expected="each plane once", got=", ".join(demand.planes), do="leave one out")
    if demand.mirror and demand.flips == 1:
        raise UsageError(
            expected="a model that learnt from mirrored slices, for reflections",
            got=f"{demand.spec.name}, whose spec names no `mirror_axes`",
            do="leave out --mirror, or train with mirroring; to an older model's spec.json add what its recipe did",
        )
    limit = max_bytes if max_bytes is not None else available_bytes() + demand.resident_bytes
    measure = speeds or measure_speeds
    plans: list[SlicePlan] = []
    for chosen, whole, batched in _ways(precision, fallback, gives_way=max_bytes is not None):
        held = demand.resident_bytes + (demand.fallback_bytes if chosen != precision else 0)
        asked = replace(demand, resident_bytes=held)
        views = tuple(_view(asked, plane, whole=whole) for plane in asked.planes or (plane_of(asked.spec),))
        at_once = _images_at_once(asked, views, chosen) if batched else slices_together(asked.spec)
        speed = measure(demand.architecture.encoder.width, chosen)
        plan = replace(_plan(asked, views, chosen, at_once, speed), gave_way=bool(plans))
        if plan.peak_bytes <= limit:
            check_card(plan.card, demand.device, plan.precision)
            return plan
        plans.append(plan)
    smallest = min(plans, key=lambda plan: plan.peak_bytes)
    raise MemoryBudgetError(
        expected=f"at most {gigabytes(limit)} of memory",
        got=f"a run that needs {gigabytes(smallest.peak_bytes)} ({largest_phase(smallest.phases)})",
        do=ways_out(smallest.precision, *(("name one plane",) if len(demand.planes) > 1 else ())),
    )


def _ways(
    precision: Precision, fallback: Precision | None, *, gives_way: bool
) -> Iterator[tuple[Precision, bool, bool]]:
    """Yield what to try, best first: precision, whether slices are seen whole, whether they are batched."""
    yield precision, True, True
    if gives_way:  # what happens to be free must not decide a result
        for chosen in dict.fromkeys(way for way in (precision, fallback) if way is not None):
            yield from ((chosen, whole, False) for whole in (True, False))


def filled_side(length: int, side: int, multiple: int) -> int:
    """Return as how long a side of a slice is shown, filled up with air: in whole patches, and at least a window's.

    Args:
        length: Pixels of the slice's side, at the model's spacing.
        side: Of a window.
        multiple: Of a patch (``size_multiple``).
    """
    return max(side, -(-length // multiple) * multiple)


def _view(demand: SliceDemand, plane: Plane, *, whole: bool) -> SliceView:
    spec = demand.spec
    codes = codes_of(spec, plane)
    grid = demand.grid.reoriented(codes)
    spacing_mm = spec.spacing_mm[0], spec.spacing_mm[1]
    rows, columns, _ = grid.respaced((*spacing_mm, 0.0)).shape
    multiple = demand.architecture.size_multiple
    share = spec.overlap if demand.overlap is None else demand.overlap
    shape, window, starts = [], [], []
    for length, side in zip((rows, columns), spec.window_size[:2], strict=True):
        padded = filled_side(length, side, multiple)
        is_whole = whole and demand.overlap is None and padded <= _WHOLE_UP_TO * side
        shape.append(padded)
        window.append(padded if is_whole else side)
        starts.append((0,) if is_whole else spread_starts(padded, side, share))
    layout = WindowLayout(
        shape=(shape[0], shape[1], grid.shape[2]),
        window_size=(window[0], window[1], 1),
        starts=(starts[0], starts[1], tuple(range(grid.shape[2]))),
        axis=2,
        blending="partition",
    )
    return SliceView(codes=codes, grid=grid, spacing_mm=spacing_mm, pixels=(rows, columns), layout=layout)


def _images_at_once(demand: SliceDemand, views: Sequence[SliceView], precision: Precision) -> int:
    """Return how many images pass together: by their size, the device and its memory, whole sets of neighbours."""
    patch, is_cpu = demand.architecture.encoder.patch_size, demand.device == "cpu"
    patches = max(math.prod(view.layout.window_size[:2]) // patch**2 for view in views)
    wanted = _PATCHES_AT_ONCE["cpu" if is_cpu else "other"] // patches
    together = slices_together(demand.spec)
    images = max(view.num_slices for view in views) * demand.flips * together
    sets = max(1, min(wanted, images) // together)
    if is_cpu:
        return sets * together

    def needed(at_once: int) -> int:
        parts = _phases(demand, views, precision, at_once)["windows"]
        return sum(parts[part] for part in _WHERE_THE_NETWORK_IS)

    free = free_bytes(demand.device)
    return together * next((count for count in range(sets, 1, -1) if needed(count * together) <= free), 1)


def _plan(
    demand: SliceDemand, views: tuple[SliceView, ...], precision: Precision, at_once: int, speed: Speeds
) -> SlicePlan:
    passes = demand.flips * _repeats(demand.spec)
    empty = demand.empty or (0,) * len(views)
    here, on_card = parted(_phases(demand, views, precision, at_once), demand.device, _WHERE_THE_NETWORK_IS)
    seconds = SECONDS_OF_START
    for view, spared in zip(views, empty, strict=True):
        maps, attention = slice_flops(demand.architecture, (view.layout.window_size[0], view.layout.window_size[1]))
        running = (view.num_slices - spared) * view.tiles * passes
        seconds += running * (maps / speed[0] + attention / speed[1])
        seconds += (
            _LABEL_SECONDS
            * demand.architecture.num_classes
            * (view.grid.num_voxels + math.prod(view.pixels) * view.num_slices)
        )
    return SlicePlan(
        views=views,
        mirror=demand.mirror,
        precision=precision,
        gave_way=False,
        at_once=at_once,
        slices=slices_together(demand.spec),
        num_empty=sum(spared * view.tiles for view, spared in zip(views, empty, strict=True)),
        num_classes=demand.num_classes,
        phases=here,
        card=on_card,
        seconds=seconds,
    )


def _repeats(spec: ModelSpec) -> float:
    """Return how often a slice passes the network because its neighbours need it."""
    return slices_together(spec) / kept_slices(spec)


def _phases(
    demand: SliceDemand, views: Sequence[SliceView], precision: Precision, at_once: int
) -> dict[str, dict[str, int]]:
    itemsize, classes = DTYPES[precision].itemsize, demand.architecture.num_classes
    voxels = demand.grid.num_voxels
    largest = max(views, key=lambda view: math.prod(view.layout.shape[:2]))
    kept = max(1, at_once // demand.flips)
    native, padded = math.prod(largest.grid.shape[:2]), math.prod(largest.layout.shape[:2])
    window, is_cpu = largest.layout.window_size[:2], demand.device == "cpu"
    network = image_bytes(demand.architecture, window, at_once, itemsize, depth_first=is_cpu)
    averaged = 2 * classes * voxels if len(views) > 1 else 0
    held = {"held already": demand.resident_bytes, "labels": voxels * demand.label_bytes}
    return {
        "windows": {
            **held,
            **({"resampled image": demand.resampled_bytes} if demand.resampled_bytes else {}),
            "slices": 4 * kept * (3 * native + 2 * padded),
            "network": network,
            "logits": 4 * classes * padded * (kept + 2),
            "interpolation": 4 * classes * (native + largest.grid.shape[0] * largest.pixels[1]) + 8 * native,
            **({"planes": averaged} if averaged else {}),
        },
        "measuring": {**held, "components": 5 * voxels},
    }


@cache
def measure_speeds(width: int, precision: Precision) -> Speeds:
    """Time a linear map and attention of tokens of some width, for a fraction of a second; once a process."""
    dtype, tokens = DTYPES[precision], 1024
    rows, kernel = torch.randn(tokens, width).to(dtype), torch.randn(4 * width, width).to(dtype)
    heads = torch.randn(1, max(1, width // 64), tokens, 64).to(dtype)
    maps = fastest(partial(torch.nn.functional.linear, rows, kernel))
    attention = fastest(partial(torch.nn.functional.scaled_dot_product_attention, heads, heads, heads))
    return 8 * tokens * width**2 / maps, 4 * tokens**2 * heads.shape[1] * 64 / attention
