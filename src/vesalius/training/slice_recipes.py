"""Recipes of networks that label slices: MedDINOv3's fine-tuning, as plain data without torch, and its differences.

Paper: Li et al. 2025, arXiv:2509.02379; numbers from its code (``meddinov3_base_primus_multiscale_Trainer`` in
nnU-Net 2.5.2). Rates are absolute, as published ones are. Deliberate differences: norms, biases, LayerScale and
tokens do not decay; the augmentation is near nnU-Net's, and its own in ``MEDDINOV3_NNUNET`` alone; what is
mirrored changes the names of left and right; the rate rises first and is smaller in blocks nearer to the input; the
running average of the weights is what is kept; bf16, not fp16; each sample drops a branch by itself; slices keep
their pixels on disk and are resampled as windows are cut, not to 896 pixels beforehand; a model chosen by its
validation is not scored on the same cases.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from vesalius.checkpoints.catalog import MEDDINOV3_SPEC
from vesalius.engine.settings import LoopSettings, Optimisation, Part
from vesalius.engine.vit_parts import vit_layers, without_decay
from vesalius.errors import UsageError
from vesalius.spec import VIT_TOY, AdapterPlan, Depth, Lora, ModelSpec, VitArchitecture
from vesalius.transforms.augment import Augmentation

Decoder = Literal["fused", "primus", "linear"]
Preset = Literal["cpu", "gpu", "cluster"]

_ENCODER = "encoder."


@dataclass(frozen=True, kw_only=True)
class SliceRecipe:
    """How a vision transformer with a decoder learns to label slices."""

    window_size: tuple[int, int] | None = None
    """Rows and columns of a window; None: the backbone's own."""
    spacing_mm: float | None = None
    """Of a slice's pixels, in both directions; None: the backbone's own."""
    taps: tuple[int, ...] | None = None
    """Blocks whose features are decoded; None: four, at each quarter of the depth."""
    decoder: Decoder = "fused"
    """``primus`` is the published one; ``fused`` needs a sixth of its memory; ``linear`` is one map."""
    adapters: tuple[AdapterPlan, ...] = ()
    """What is attached to the backbone, which is frozen then."""
    slices: int = 1
    """Neighbouring slices that are cut together; more than one is of use with adapters along depth only."""
    slice_spacing_mm: float = 3.0
    """Between them: scans are resampled to it, in training and whenever the model is used. Counts for several."""
    batch: int = 4
    """Windows that pass the network together, over which Dice is summed; ``loop.windows`` such samples make a step.
    With several slices each: so many volumes."""
    mirror: tuple[float, float] = (0.5, 0.5)
    """Part of the windows that are mirrored along their rows and along their columns. Where that swaps left and
    right, names are swapped too."""
    encoder_rate: float = 0.1
    """Factor of the backbone's learning rate."""
    layer_decay: float = 0.9
    """Factor of the rate from each block to the one before it."""
    drop_path: float = 0.2
    """Probability that a window skips a branch of the backbone."""
    augmentation: Augmentation | Literal["nnunet"] = field(default_factory=lambda: Augmentation(cut=0.0))
    """``bend``, ``cut`` and ``field`` are for volumes and must be 0. ``nnunet``: nnU-Net's own, by its library, but
    for ``mirror``; needs ``pip install 'vesalius[nnunet]'``."""
    optimisation: Optimisation
    """Of the decoder; the parts that follow from ``encoder_rate`` and ``layer_decay``, and what does not decay, are
    added (``slice_optimisation``)."""
    recall: float = 0.0
    """Weight of what wakes small classes (``slice_recall_loss``); it falls with the rate. nnU-Net has none."""
    loop: LoopSettings

    def __post_init__(self) -> None:
        if min(self.window_size or (1,)) < 1 or min(self.batch, self.slices) < 1:
            raise _refused("a window of pixels, and at least one slice", self)
        if min(self.spacing_mm or 1, self.slice_spacing_mm) <= 0:
            raise _refused("positive spacings", self)
        parts = (*self.mirror, self.drop_path)
        if not all(0 <= part <= 1 for part in parts) or self.encoder_rate < 0 or not 0 < self.layer_decay <= 1:
            raise _refused("parts in [0, 1], rates of at least 0, a decay in (0, 1]", self)
        config = self.augmentation
        if config != "nnunet" and (config.bend or config.cut or config.field):
            raise _refused("no bending, cutting or uneven field of slices", config)
        if self.slices > 1 and not any(isinstance(plan, Depth) for plan in self.adapters):
            raise _refused("an adapter along depth, which looks at neighbouring slices", self.adapters)


def quarters(depth: int) -> tuple[int, ...]:
    """Return the last block of each quarter of a backbone, as the paper taps 2, 5, 8 and 11 of 12."""
    return tuple(sorted({max(round(depth * part / 4) - 1, 0) for part in (1, 2, 3, 4)}))


def slice_optimisation(recipe: SliceRecipe, architecture: VitArchitecture) -> Optimisation:
    """Return a recipe's rates for a backbone of some depth; one that is frozen has none."""
    bare = without_decay(architecture, prefix=_ENCODER)
    if recipe.adapters:
        return replace(recipe.optimisation, parts=(*recipe.optimisation.parts, *bare))
    encoder = Part(names=f"{_ENCODER}*", rate=recipe.encoder_rate)
    layers = vit_layers(architecture, prefix=_ENCODER, decay=recipe.layer_decay)
    return replace(recipe.optimisation, parts=(*recipe.optimisation.parts, encoder, *layers, *bare))


def slices_for_machine(recipe: SliceRecipe, preset: Preset) -> SliceRecipe:
    """Return a recipe as a machine can bear it.

    Args:
        recipe: Any.
        preset: ``cpu``: two cores, so windows of at most 128 pixels a side, four of them in a sample and one sample
            a core. ``gpu``: one card. ``cluster``: many, 16 samples a step over all of them. The toy stays as it
            is, since it was measured so.
    """
    if recipe == MEDDINOV3_TOY:
        return recipe
    if preset == "cpu":
        height, width = (min(side, 128) for side in recipe.window_size or (128, 128))
        return replace(
            recipe, window_size=(height, width), batch=min(recipe.batch, 4), loop=replace(recipe.loop, windows=2)
        )
    return replace(recipe, loop=replace(recipe.loop, windows=16 if preset == "cluster" else 1))


def as_wide(recipe: SliceRecipe, spec: ModelSpec, *, planned: tuple[int, int] | None) -> SliceRecipe:
    """Return a recipe whose windows show as much of a body as they would have without a machine's limit.

    A slice of 896 pixels of 0.45 mm is 400 mm wide; 128 of those pixels are 57 mm, in which no organ can be told
    from its neighbours.

    Args:
        recipe: After ``slices_for_machine``.
        spec: Of the backbone.
        planned: Rows and columns before that; None: the backbone's own.

    Returns:
        Fewer and coarser pixels; windows no larger than were planned.
    """
    wanted = planned or spec.window_size[:2]
    height, width = (min(sides) for sides in zip(recipe.window_size or wanted, wanted, strict=True))
    if (height, width) == wanted:
        return replace(recipe, window_size=wanted) if recipe.window_size else recipe
    return _showing(wanted, recipe, spec, size=(height, width))


def in_windows_of(
    side: int, recipe: SliceRecipe, spec: ModelSpec, *, planned: tuple[int, int] | None, spacing_mm: float | None
) -> SliceRecipe:
    """Return a recipe with windows of a stated size, such as the 896 pixels of MedDINOv3's high-resolution input.

    Args:
        side: Rows, and columns, of a window.
        recipe: After ``slices_for_machine``.
        spec: Of the backbone.
        planned: Rows and columns before that; None: the backbone's own.
        spacing_mm: Of a pixel. None: windows show as much of a body as the planned ones would, so that more pixels
            are finer ones.

    Raises:
        UsageError: If the window does not consist of whole patches of the backbone.
    """
    multiple = spec.architecture.size_multiple
    if side < 1 or side % multiple:
        below = side // multiple * multiple
        raise UsageError(
            expected=f"a window in whole patches of the backbone, a multiple of {multiple} pixels",
            got=f"{side}",
            do=f"take {f'{below} or ' if below > 0 else ''}{max(below, 0) + multiple}",
        )
    if spacing_mm is not None:
        return replace(recipe, window_size=(side, side), spacing_mm=spacing_mm)
    return _showing(planned or spec.window_size[:2], recipe, spec, size=(side, side))


def _showing(
    wanted: tuple[int, int], recipe: SliceRecipe, spec: ModelSpec, *, size: tuple[int, int]
) -> SliceRecipe:
    """Return a recipe with windows of a size that show what others would, by coarser or finer pixels."""
    factor = max(wanted[0] / size[0], wanted[1] / size[1])
    side_mm = max(spec.spacing_mm[:2]) if recipe.spacing_mm is None else recipe.spacing_mm
    return replace(recipe, window_size=size, spacing_mm=factor * side_mm)


NNUNET_2D = Augmentation(
    keep_sharp=0.64,
    degrees=180.0,
    scale=(0.7, 1.4),
    stretch=0.0,
    cut=0.0,
    low_resolution=0.25,
    coarseness=(1.0, 2.0),
    noise=0.1,
    noise_hu=50.0,
    drift=0.15,
    drift_factor=(0.9, 1.1),
    blur=0.2,
    contrast=0.3,
)
"""Near nnU-Net's for two dimensions: turned by any angle and scaled in a third of the windows. Noise and drift are
stated in Hounsfield units; gamma is not inverted. Its own, by its library, is ``augmentation="nnunet"``."""

MEDDINOV3 = SliceRecipe(
    batch=12,
    augmentation=NNUNET_2D,
    optimisation=Optimisation(
        learning_rate=3e-4,
        size=1.0,
        weight_decay=0.05,
        betas=(0.9, 0.98),
        clip_norm=12.0,
        warm_up=0.03,
        plateau=0.03,
        floor=0.0,
        power=1.0,
        ema_decay=0.999,
    ),
    loop=LoopSettings(steps=250_000, log_every=100, save_every_s=600.0),
)
"""MedDINOv3's fine-tuning: all of the network learns, the backbone at a tenth of the rate.

Command: ``vesalius train meddinov3 --model BACKBONE --data LIST --run DIR --preset gpu``. Time and score: not
measured; of a toy backbone, ``MEDDINOV3_TOY`` is. The paper gives 1000 epochs of 250 steps, and Dice 87.38 on
AMOS22 (test images were in its pretraining).
"""

MEDDINOV3_PRIMUS = replace(MEDDINOV3, decoder="primus")
"""The published architecture: features of four depths stay side by side in the decoder, four times as wide.

Command: as before it, with ``meddinov3-primus``, and ``--window-size 896`` on a backbone that learnt from smaller
windows. Time and score: not measured.
"""

MEDDINOV3_NNUNET = replace(MEDDINOV3_PRIMUS, augmentation="nnunet")
"""The published architecture, and nnU-Net's own augmentation, of nnU-Net 2.8.1 by batchgeneratorsv2 0.3.6.

The paper's code inherits that of nnU-Net 2.5.2. All else is ``MEDDINOV3``'s: rates by depth, warm-up, average,
precision, mirroring and how often a window lies at a class are not the published ones (the page's first lines, and
``slice_cutting.py``).

Command: as before it, with ``meddinov3-nnunet``, after ``pip install 'vesalius[nnunet]'``. Time and score:
not measured; what a window costs is in ``benchmarks/results/slice_augmentation.json``.
"""

MEDDINOV3_LINEAR = replace(MEDDINOV3, decoder="linear", encoder_rate=0.0, drop_path=0.0)
"""The backbone as it is and one map from features to structures: what it knows by itself, in a model that segments.
The only decoder for patches that are no power of two.

Command: as before it, with ``meddinov3-linear``. Time and score: not measured.
"""

MEDDINOV3_FROZEN = replace(MEDDINOV3, adapters=(Lora(rank=8),), drop_path=0.0)
"""The backbone as it is, with thin matrices beside its maps (LoRA) and the decoder: a twentieth of the memory of
gradients and moments.

Command: as before it, with ``meddinov3-frozen``. Time and score: not measured.
"""

MEDDINOV3_DEPTH = replace(MEDDINOV3_FROZEN, adapters=(Lora(rank=8), Depth()), slices=8, batch=2)
"""The same, and each block looks along five neighbouring slices, 3 mm apart: a third dimension for a frozen 2-D
backbone. (That distance is a choice between thin and thick scans, and was not compared with others.)

Command: as before it, with ``meddinov3-depth``. Time and score on scans: not measured. That it looks along depth
was: phantoms that no single slice tells apart, 400 steps of this recipe made small on a random backbone, Dice 0.98,
and 0.50 where one slice at a time is shown (``benchmarks/results/slice_depth.json``).
"""

MEDDINOV3_TOY = replace(
    MEDDINOV3,
    window_size=(128, 128),
    batch=4,
    mirror=(0.0, 0.5),
    encoder_rate=0.5,
    drop_path=0.0,
    recall=0.3,
    augmentation=replace(NNUNET_2D, degrees=15.0, low_resolution=0.1),
    optimisation=replace(MEDDINOV3.optimisation, learning_rate=1e-3, clip_norm=1.0, ema_decay=0.99),
    loop=LoopSettings(minutes=20.0, windows=1),
)
"""A toy backbone (``TOY_SPEC``) on a processor: few steps, so larger rates, a shorter average, no turning upside
down, and a loss that wakes small classes. Its weight was chosen on the very scans that
``benchmarks/slice_transfer.py`` is measured on. What that and ``benchmarks/slice_steps.py`` differ from.

Command: ``vesalius train meddinov3-toy --model BACKBONE --data LIST --run DIR``. Time: its minutes. Score: three
minutes of one core from two scans of head and neck, five such sets, 16 others: five structures 0.506 from a
backbone pretrained for 25 minutes, 0.483 from scratch, copied labels 0.154
(``benchmarks/results/slice_transfer.json``).
"""

TOY_SPEC = replace(
    MEDDINOV3_SPEC,
    name="toy",
    version="1",
    architecture=replace(VIT_TOY, in_channels=1, layer_scale=1.0),
    spacing_mm=(2.0, 2.0, 0.0),
    window_size=(128, 128, 1),
    licence="",
    provenance="",
    citation="",
)
"""A backbone that begins at random and has no time to outgrow a LayerScale of 1e-5."""


def _refused(expected: str, got: object) -> UsageError:
    return UsageError(expected=expected, got=str(got), do="change the recipe")
