"""Segmenter: a volume and what is asked for -> labels on the volume's own grid."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from vesalius.allowance import available_bytes
from vesalius.checkpoints.load import LoadReport, load_segmentation_model
from vesalius.errors import InputError, NotValidatedError, UsageError
from vesalius.geometry.affine import directions
from vesalius.geometry.grid import Grid
from vesalius.geometry.planes import Plane
from vesalius.geometry.resample import is_orthogonal, resample_points
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.automatic import (
    BASE_LAYER,
    Automatic,
    assign_layers,
    count_empty,
    label_dtype,
    segment_automatic,
)
from vesalius.inference.confidence import predicted_dice
from vesalius.inference.device import choose_device
from vesalius.inference.machine import require_right_convolutions
from vesalius.inference.pipelines import Compat, Pipeline, pipeline
from vesalius.inference.plan import DTYPES, Demand, Plan, Precision, best_precision, make_plan, resident_bytes
from vesalius.inference.review import measure
from vesalius.inference.slice_plan import SliceDemand, SlicePlan, check_slice_spec, make_slice_plan
from vesalius.inference.slice_spacing import as_learnt, learnt_grid
from vesalius.inference.slices import count_air, segment_slices
from vesalius.inference.tidy import Removed, keep_largest_pieces
from vesalius.labels.findings import Findings
from vesalius.labels.vocabulary import Target, Vocabulary
from vesalius.models.meddinov3 import MedDino
from vesalius.models.promptable import Promptable
from vesalius.spec import ModelSpec
from vesalius.transforms.intensity import count_non_finite, not_hounsfield
from vesalius.transforms.preprocess import (
    Prepared,
    Preprocessing,
    body_box,
    margin_box,
    model_grid,
    padded_grid,
    prepare,
)


@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    """How to segment, beside what."""

    overlap: float | None = None
    """Part of a window shared with its neighbour; None leaves it to the model."""
    max_memory: int | None = None
    """Resident bytes not to exceed; None is what the machine has free."""
    compat: Compat | None = None
    """Run a published pipeline exactly instead of ours."""
    unvalidated: bool = False
    """Go on outside the modality and spacing the model was made for; the result says so."""
    mirror: bool = False
    """Of a model of slices: average what it says of each slice and of the reflections that it learnt from."""
    planes: tuple[Plane, ...] = ()
    """Of a model of slices: in which planes to cut the volume; several are averaged, none is the model's own."""

    def __post_init__(self) -> None:
        if self.overlap is not None and not 0 <= self.overlap < 1:
            raise UsageError(expected="an overlap in [0, 1)", got=str(self.overlap), do="0.25 is usual")
        if self.overlap is not None and self.compat is not None:
            raise UsageError(
                expected="either an overlap or a published pipeline",
                got=f"overlap {self.overlap} with compat {self.compat!r}, which fixes its own",
                do="leave one of the two out",
            )


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """A result and how it came about.

    Args:
        labels: On the volume's own grid.
        findings: What was found, and what to look at.
        plan: What was forecast; None where no whole scan was segmented, as after clicks.
        seconds: Phase -> seconds it took.
        probability: Label id -> mean probability over its voxels in the model's grid, from which confidence is
            predicted; those of pieces that were taken away afterwards count too.
        unvalidated: Why the result lies outside what the model was made for; empty where it does not.
    """

    labels: LabelMap
    findings: Findings
    plan: Plan | SlicePlan | None
    seconds: Mapping[str, float]
    probability: Mapping[int, float]
    unvalidated: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Hears how a run goes; every part may be left out."""

    on_phase: Callable[[str], None] = lambda _: None
    """A phase begins: preparing, windows, measuring."""
    on_plan: Callable[[Plan | SlicePlan], None] = lambda _: None
    """The plan is made."""
    on_window: Callable[[bool], None] = lambda _: None
    """A window is done; whether it ran or was spared."""


@dataclass(kw_only=True)
class _Clock:
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.progress.on_phase(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


@dataclass(kw_only=True)
class _Run:
    """A run that is ready to go.

    Args:
        grid: On which labels are made: the volume's own, or upright where that is tilted.
        plan: What it will need.
        start: Runs it; is told what hears of each window.
    """

    grid: Grid
    plan: Plan | SlicePlan
    start: Callable[[Callable[[bool], None]], Automatic]


class Segmenter:
    """A network and its spec, ready to segment volumes.

    Args:
        network: Of prompts or of slices; on its device, in the precision it is to run in.
        spec: What it expects and names.
        report: What was loaded, where it was.
        reload: Gives the same network in another precision, where the plan may choose one to fit the memory
            allowed.

    Example:
        >>> segmenter = vesalius.load("vesalius-small")  # doctest: +SKIP
        >>> organs = segmenter(vesalius.read("ct/"), ["liver", "spleen"])  # doctest: +SKIP
    """

    def __init__(
        self,
        network: Promptable | MedDino,
        spec: ModelSpec,
        *,
        report: LoadReport | None = None,
        reload: Callable[[Precision], Promptable | MedDino] | None = None,
    ) -> None:
        if isinstance(network, MedDino):
            check_slice_spec(spec)
        self._network = network.eval()
        self.spec = spec
        self.report = report
        self._reload = reload
        self.vocabulary = Vocabulary.of(spec.vocabulary, everything=spec.everything)

    @property
    def network(self) -> Promptable:
        """The network, of a model that takes class prompts or clicks.

        Raises:
            CheckpointError: If it labels slices.
        """
        if isinstance(self._network, MedDino):
            _ = self.spec.vista  # says so
        assert not isinstance(self._network, MedDino)
        return self._network

    @property
    def precision(self) -> Precision:
        """The precision the network runs in."""
        maps = (m for m in self._network.encoder.modules() if isinstance(m, nn.Conv2d | nn.Conv3d))
        dtype = next(maps).weight.dtype
        return next(name for name, kind in DTYPES.items() if kind == dtype)

    def __call__(
        self, volume: Volume, classes: Sequence[str | int] = (), *, options: SegmentOptions | None = None
    ) -> LabelMap:
        """Segment a volume; what was found is measured by ``segment`` alone.

        Args:
            volume: The image.
            classes: Names, synonyms, ids or groups; none means everything the model names.
            options: How.

        Returns:
            Labels on the volume's own grid.

        Raises:
            UnknownClassError: For a class the model does not have.
            InputError: For an image with voxels that are NaN or infinite.
            NotValidatedError: For an image the model was not made for.
            MemoryBudgetError: If no plan fits the memory.
        """
        options, targets = options or SegmentOptions(), self.vocabulary.resolve(classes)
        self.check(volume, options)
        _, grid, found = self._found(volume, targets, options, _Clock(progress=Progress()))
        return self._labels(volume, targets, options, found, grid)[0]

    def plan(
        self, volume: Volume, classes: Sequence[str | int] = (), *, options: SegmentOptions | None = None
    ) -> Plan | SlicePlan:
        """Say what ``segment`` would do with the same arguments, and what it would need; runs no window."""
        options = options or SegmentOptions()
        targets = self.vocabulary.resolve(classes)
        self.check(volume, options)
        return self._ready(volume, targets, options).plan

    def segment(
        self,
        volume: Volume,
        classes: Sequence[str | int] = (),
        *,
        options: SegmentOptions | None = None,
        progress: Progress | None = None,
    ) -> Segmentation:
        """Segment a volume and say what was found; arguments and errors as ``__call__``."""
        options, progress = options or SegmentOptions(), progress or Progress()
        targets = self.vocabulary.resolve(classes)
        unvalidated = self.check(volume, options)
        clock = _Clock(progress=progress)
        plan, grid, found = self._found(volume, targets, options, clock)
        with clock.phase("measuring"):
            labels, removed = self._labels(volume, targets, options, found, grid)
            findings = measure(
                volume,
                labels,
                targets,
                self.vocabulary,
                confidence=lambda finding: predicted_dice(
                    self.spec.confidence, finding, found.confidence.get(finding.class_id)
                ),
                removed=removed,
            )
        return Segmentation(
            labels=labels,
            findings=findings,
            plan=plan,
            seconds=clock.seconds,
            probability=found.confidence,
            unvalidated=unvalidated,
        )

    def _found(
        self, volume: Volume, targets: Sequence[Target], options: SegmentOptions, clock: _Clock
    ) -> tuple[Plan | SlicePlan, Grid, Automatic]:
        """Return what was planned, and what the network found, with the grid that it lies on."""
        with clock.phase("preparing"):
            run = self._ready(volume, targets, options)
            clock.progress.on_plan(run.plan)
        with clock.phase("windows"):
            found = run.start(clock.progress.on_window)
        return run.plan, run.grid, found

    def _labels(
        self, volume: Volume, targets: Sequence[Target], options: SegmentOptions, found: Automatic, grid: Grid
    ) -> tuple[LabelMap, dict[int, Removed]]:
        """Return what was found on the volume's own grid, and the pieces taken away from it, in place."""
        removed: dict[int, Removed] = {}
        if options.compat is None and self.spec.single_piece:
            voxel_ml = grid.voxel_volume_ml
            for array in found.layers.values():
                removed |= keep_largest_pieces(array, self.spec.single_piece, voxel_ml=voxel_ml)
        layers = {name: _tilted(array, grid, volume.grid) for name, array in found.layers.items()}
        names = {target.id: target.name for target in targets}
        return LabelMap(layers.pop(BASE_LAYER), volume.grid, names, layers, volume.source), removed

    def check(self, volume: Volume, options: SegmentOptions) -> tuple[str, ...]:
        """Return why a volume lies outside what the model was made for.

        Raises:
            InputError: If a voxel is NaN or infinite: windows that see it would be empty, and nothing would say so.
            NotValidatedError: If it does, and ``options`` do not say to go on.
        """
        bad = count_non_finite(volume.data)
        if bad:
            raise InputError(
                expected="voxels with finite values",
                got=f"{bad} of {volume.data.size} voxels that are NaN or infinite",
                do="replace them by what air is in this image; reading a file does that by itself",
            )
        reasons = tuple(self._reasons(volume))
        if reasons and not options.unvalidated:
            low, high = self.spec.spacing_range_mm
            raise NotValidatedError(
                expected=f"a {self.spec.modality} image with voxels of {low:g} to {high:g} mm",
                got="; ".join(reasons),
                do="use a model made for such images, or go on with --unvalidated: the result will be marked",
            )
        return reasons

    def _reasons(self, volume: Volume) -> Iterator[str]:
        if volume.modality not in ("unknown", self.spec.modality):
            yield f"a {volume.modality} image"
        elif self.spec.modality == "CT":
            reason = not_hounsfield(volume.data[0])
            if reason:
                yield f"values that are not Hounsfield units: {reason}"
        low, high = self.spec.spacing_range_mm
        if min(volume.grid.spacing_mm) < low or max(volume.grid.spacing_mm) > high:
            yield "voxels of " + " x ".join(f"{s:.3g}" for s in volume.grid.spacing_mm) + " mm"

    def _ready(self, volume: Volume, targets: Sequence[Target], options: SegmentOptions) -> _Run:
        """Return the run over a volume: windows of a network of prompts, or slices."""
        if isinstance(self._network, MedDino):
            return self._slice_run(volume, targets, options)
        if options.mirror or options.planes:
            raise UsageError(
                expected="a model of slices for reflections and planes",
                got=f"{self.spec.name}, which sees whole volumes",
                do="leave out --mirror and --planes",
            )
        upright = _upright(volume)
        prepared, plan = self.prepare(upright, targets, options)

        def start(on_window: Callable[[bool], None]) -> Automatic:
            network, way = self.network_for(plan), pipeline(options.compat)
            return segment_automatic(
                network, self.spec, prepared, plan, targets, grid=upright.grid, pipeline=way, on_window=on_window
            )

        return _Run(grid=upright.grid, plan=plan, start=start)

    def _slice_run(self, volume: Volume, targets: Sequence[Target], options: SegmentOptions) -> _Run:
        """Return the run over slices; those of a tilted scan are taken as they are if rows meet columns upright."""
        if options.compat is not None:
            raise UsageError(
                expected="a model that takes class prompts, whose published pipelines compat means",
                got=f"compat {options.compat!r} with {self.spec.name}, which labels slices",
                do="leave out --compat; --mirror --overlap 0.5 does what nnU-Net does",
            )
        demand = SliceDemand(
            spec=self.spec,
            grid=learnt_grid(volume.grid, self.spec, options.planes),
            planes=options.planes,
            mirror=options.mirror,
            overlap=options.overlap,
            num_classes=sum(len(target.members) for target in targets),
            label_bytes=label_dtype(targets).itemsize,
            resident_bytes=resident_bytes(),
            fallback_bytes=self._half_bytes,
            device=str(next(self._network.parameters()).device),
        )
        is_slanted = not demand.takes_slices_as_they_are
        if is_slanted:
            demand = replace(demand, grid=_upright_grid(demand.grid))
        resampled = 0 if demand.grid is volume.grid else 4 * demand.grid.num_voxels
        demand = replace(demand, empty=count_air(volume, demand), resampled_bytes=resampled)
        smaller: Precision | None = "bf16" if self._reload and self.precision == "fp32" else None
        plan = make_slice_plan(demand, precision=self.precision, fallback=smaller, max_bytes=options.max_memory)

        def start(on_window: Callable[[bool], None]) -> Automatic:
            network = self._network_in(plan.precision)
            assert isinstance(network, MedDino)
            shown = as_learnt(volume, self.spec, options.planes)
            shown = _upright(shown) if is_slanted else shown
            return segment_slices(network, self.spec, shown, plan, targets, on_window=on_window)

        return _Run(grid=demand.grid, plan=plan, start=start)

    def prepare(self, volume: Volume, targets: Sequence[Target], options: SegmentOptions) -> tuple[Prepared, Plan]:
        """Return the image the network sees and the plan of the run, checked before the image is made."""
        way = pipeline(options.compat)
        box = None
        if way.preprocessing.crop == "body":
            found = body_box(volume)
            box = margin_box(found, volume.grid) if found else None
        _, grid = model_grid(volume, self.spec, way.preprocessing, box)
        expected = padded_grid(grid.reoriented(self.spec.orientation), self.spec.window_size)
        smaller: Precision | None = "bf16" if self._reload and self.precision == "fp32" else None
        demand = self._demand(volume, expected, targets, options, way)
        machine_bytes = available_bytes() + demand.resident_bytes  # as long as there is no image, which plans count
        plan_of = partial(make_plan, max_bytes=options.max_memory, machine_bytes=machine_bytes)
        first = plan_of(demand, precision=self.precision, fallback=smaller)
        chosen = first.precision
        prepared = prepare(volume, self.spec, way.preprocessing, box=box, dtype=DTYPES[chosen])
        held = demand.resident_bytes + (self._half_bytes if chosen != self.precision else 0)
        demand = replace(demand, grid=prepared.grid, resident_bytes=held)
        plan = plan_of(demand, precision=chosen)
        if way.spare_air:
            demand = replace(demand, num_empty=count_empty(prepared, plan, self.spec))
            plan = plan_of(demand, precision=chosen)
        return prepared, replace(plan, gave_way=plan.gave_way or first.gave_way)

    def network_for(self, plan: Plan) -> Promptable:
        """Return the network that sees an image of ``prepare``, in the precision that its plan chose.

        Where that is not ours, one is loaded for this run alone.

        Raises:
            CheckpointError: If it labels slices.
        """
        _ = self.network  # says so
        network = self._network_in(plan.precision)
        assert not isinstance(network, MedDino)
        return network

    def prepare_whole(self, volume: Volume) -> Prepared:
        """Return the image the network sees of the whole volume: a click may lie where no body was found."""
        dtype = DTYPES[self.precision]
        return prepare(_upright(volume), self.spec, Preprocessing(crop="none"), box=None, dtype=dtype)

    def whole_grid(self, grid: Grid) -> Grid:
        """Return where ``prepare_whole`` puts the voxels of a volume on ``grid``, before it pads them."""
        return _upright_grid(grid).reoriented(self.spec.orientation).respaced(self.spec.spacing_mm)

    @property
    def _half_bytes(self) -> int:
        """What the network takes in bf16, beside ours."""
        return sum(2 * weight.numel() for weight in self._network.parameters())

    def _network_in(self, precision: Precision) -> Promptable | MedDino:
        """Return the network in a precision: its own, or one loaded for this run alone; others may use ours."""
        if precision == self.precision or self._reload is None:
            return self._network
        return self._reload(precision).eval()

    def _demand(
        self, volume: Volume, grid: Grid, targets: Sequence[Target], options: SegmentOptions, way: Pipeline
    ) -> Demand:
        """Return what is asked of a plan; made before the image is, which a plan counts beside what is held."""
        device = next(self.network.parameters()).device
        return Demand(
            spec=self.spec,
            pipeline=way,
            grid=grid,
            target=volume.grid,
            num_classes=sum(len(target.members) for target in targets),
            num_layers=len(assign_layers(self.spec, targets)),
            label_bytes=label_dtype(targets).itemsize,
            resident_bytes=resident_bytes(),
            overlap=options.overlap,
            fallback_bytes=self._half_bytes,
            threads=torch.get_num_threads() if device.type == "cpu" else None,
            device=str(device),
        )


def load(
    source: str | Path = "vesalius-small",
    *,
    precision: Precision | Literal["auto"] = "auto",
    device: str = "auto",
) -> Segmenter:
    """Load a model by name, folder or file.

    Args:
        source: ``"vesalius-small"`` (inside the package), ``"vista3d"``, a run folder, a file, or a hub name.
        precision: ``auto`` is bf16 where the processor multiplies it in hardware, fp32 elsewhere; where fp32 does
            not fit a stated ``max_memory``, the plan chooses bf16 there too.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        ModelError: If the weights are refused.
        UsageError: If the device is not there, or its 3-D convolution is wrong.
    """
    place = choose_device(device)
    chosen = best_precision(place) if precision == "auto" else precision

    if place != "cpu":
        require_right_convolutions(place, chosen)

    def network_in(other: Precision) -> Promptable | MedDino:
        return load_segmentation_model(source, dtype=DTYPES[other], device=place).network

    loaded = load_segmentation_model(source, dtype=DTYPES[chosen], device=place)
    reload = network_in if precision == "auto" else None
    return Segmenter(loaded.network, loaded.spec, report=loaded.report, reload=reload)


def upright_bytes(grid: Grid) -> int:
    """Return what the copy takes in which a tilted volume is shown upright; 0 where it stands so by itself."""
    upright = _upright_grid(grid)
    return 0 if upright is grid else 4 * upright.num_voxels


def _upright(volume: Volume) -> Volume:
    """Return a volume whose axes stand at right angles: the same, or resampled where a gantry was tilted."""
    grid = _upright_grid(volume.grid)
    if grid is volume.grid:
        return volume
    data = resample_points(volume.data[0], volume.grid, grid, outside=float(volume.data.min()))
    return Volume(data[None], grid, volume.modality, volume.source)


def _upright_grid(grid: Grid) -> Grid:
    """Return the grid of ``_upright``: the same where it stands at right angles.

    Axes along which slices are shifted against one another get half the spacing, so that copying labels back to
    the tilted slices moves no border by more than a quarter of a voxel.
    """
    if is_orthogonal(grid):
        return grid
    unit = directions(grid.affine)
    slanted = np.abs(unit.T @ unit - np.eye(3)).max(axis=0) > 1e-3
    upright = grid.upright()
    i, j, k = upright.spacing_mm
    return upright.respaced((i / (1 + slanted[0]), j / (1 + slanted[1]), k))


def _tilted(labels: np.ndarray, upright: Grid, grid: Grid) -> np.ndarray:
    """Return labels made on an upright or respaced grid on the input's own; the same array where that is it.

    Those grids cover the input's, but for up to a quarter of a voxel at either end (``SHORT_BY``): its outermost
    slices may lie there, and take what is nearest.
    """
    return labels if upright is grid else resample_points(labels, upright, grid, nearest=True, outside=None)
