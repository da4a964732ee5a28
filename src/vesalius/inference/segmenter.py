"""Segmenter: a volume and what is asked for -> labels on the volume's own grid."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from vesalius.checkpoints.default_model import DEFAULT_MODEL
from vesalius.checkpoints.load import LoadReport, load_segmentation_model
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.automatic import BASE_LAYER, Automatic
from vesalius.inference.confidence import predicted_dice
from vesalius.inference.device import choose_device
from vesalius.inference.machine import require_right_convolutions
from vesalius.inference.networks import Network, Networks
from vesalius.inference.plan import Plan
from vesalius.inference.review import measure
from vesalius.inference.runs import make_run, prepare_windows
from vesalius.inference.segmentation import Clock, Progress, Segmentation, SegmentOptions
from vesalius.inference.slice_facts import check_slice_spec
from vesalius.inference.slice_plan import SlicePlan
from vesalius.inference.speed import DTYPES
from vesalius.inference.tidy import Removed, keep_largest_pieces
from vesalius.inference.upright import as_upright, put_back, upright_grid
from vesalius.inference.validity import check_validity
from vesalius.labels.vocabulary import Target, Vocabulary
from vesalius.models.meddinov3 import MedDino
from vesalius.models.promptable import Promptable
from vesalius.precision import Precision, best_precision
from vesalius.spec import ModelSpec
from vesalius.transforms.preprocess import Prepared, Preprocessing, prepare

__all__ = ["Progress", "SegmentOptions", "Segmentation", "Segmenter", "load"]


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
        network: Network,
        spec: ModelSpec,
        *,
        report: LoadReport | None = None,
        reload: Callable[[Precision], Network] | None = None,
    ) -> None:
        if isinstance(network, MedDino):
            check_slice_spec(spec)
        self._networks = Networks(held=network.eval(), reload=reload)
        self.spec = spec
        self.report = report
        self.vocabulary = Vocabulary.of(spec.vocabulary, everything=spec.everything)

    @property
    def network(self) -> Promptable:
        """The network, of a model that takes class prompts or clicks.

        Raises:
            CheckpointError: If it labels slices.
        """
        network = self._networks.held
        if isinstance(network, MedDino):
            _ = self.spec.vista  # says so
        assert not isinstance(network, MedDino)
        return network

    @property
    def precision(self) -> Precision:
        """The precision the network runs in."""
        return self._networks.precision

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
        _, grid, found = self._found(volume, targets, options, Clock(progress=Progress()))
        return self._labels(volume, targets, options, found, grid)[0]

    def plan(
        self, volume: Volume, classes: Sequence[str | int] = (), *, options: SegmentOptions | None = None
    ) -> Plan | SlicePlan:
        """Say what ``segment`` would do with the same arguments, and what it would need; runs no window."""
        options = options or SegmentOptions()
        targets = self.vocabulary.resolve(classes)
        self.check(volume, options)
        return make_run(self._networks, self.spec, volume=volume, targets=targets, options=options).plan

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
        clock = Clock(progress=progress)
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
                dice=self.spec.dice,
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
        self, volume: Volume, targets: Sequence[Target], options: SegmentOptions, clock: Clock
    ) -> tuple[Plan | SlicePlan, Grid, Automatic]:
        """Return what was planned, and what the network found, with the grid that it lies on."""
        with clock.phase("preparing"):
            run = make_run(self._networks, self.spec, volume=volume, targets=targets, options=options)
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
        layers = {name: put_back(array, made_on=grid, grid=volume.grid) for name, array in found.layers.items()}
        names = {target.id: target.name for target in targets}
        return LabelMap(layers.pop(BASE_LAYER), volume.grid, names, layers, volume.source), removed

    def check(self, volume: Volume, options: SegmentOptions) -> tuple[str, ...]:
        """Return why a volume lies outside what the model was made for.

        Raises:
            InputError: If a voxel is NaN or infinite: windows that see it would be empty, and nothing would say so.
            NotValidatedError: If it does, and ``options`` do not say to go on.
        """
        return check_validity(volume, self.spec, unvalidated=options.unvalidated)

    def prepare(self, volume: Volume, targets: Sequence[Target], options: SegmentOptions) -> tuple[Prepared, Plan]:
        """Return the image the network sees and the plan of the run, checked before the image is made.

        Raises:
            CheckpointError: If it labels slices.
        """
        _ = self.network  # says so
        return prepare_windows(self._networks, self.spec, volume=volume, targets=targets, options=options)

    def network_for(self, plan: Plan) -> Promptable:
        """Return the network that sees an image of ``prepare``, in the precision that its plan chose.

        Where that is not ours, one is loaded for this run alone.

        Raises:
            CheckpointError: If it labels slices.
        """
        _ = self.network  # says so
        network = self._networks.in_precision(plan.precision)
        assert not isinstance(network, MedDino)
        return network

    def prepare_whole(self, volume: Volume) -> Prepared:
        """Return the image the network sees of the whole volume: a click may lie where no body was found."""
        dtype = DTYPES[self.precision]
        return prepare(as_upright(volume), self.spec, Preprocessing(crop="none"), box=None, dtype=dtype)

    def whole_grid(self, grid: Grid) -> Grid:
        """Return where ``prepare_whole`` puts the voxels of a volume on ``grid``, before it pads them."""
        return upright_grid(grid).reoriented(self.spec.orientation).respaced(self.spec.spacing_mm)


def load(
    source: str | Path = DEFAULT_MODEL,
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

    def network_in(other: Precision) -> Network:
        return load_segmentation_model(source, dtype=DTYPES[other], device=place).network

    loaded = load_segmentation_model(source, dtype=DTYPES[chosen], device=place)
    reload = network_in if precision == "auto" else None
    return Segmenter(loaded.network, loaded.spec, report=loaded.report, reload=reload)
