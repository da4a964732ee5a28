"""Recipes: everything chosen about learning a backbone without labels, as plain data without torch.

The stages are MedDINOv3's (arXiv:2509.02379): DINO, iBOT and KoLeo on slices; Gram anchoring, which its author
found unnecessary on CT; then the same at high resolution. Its code and configuration were never published, so the
numbers are those that can be pinned down (code of FlexiCT by the same author, checkpoint names, threads), and
DINOv3's where nothing can. Rates are absolute, as published ones are: ``4 sqrt(batch / 1024)`` times what a recipe
states.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from vesalius.checkpoints.catalog import MEDDINOV3_SPEC
from vesalius.engine.settings import LoopSettings, Optimisation, Part
from vesalius.engine.vit_parts import stem_of, vit_layers, without_decay
from vesalius.errors import UsageError
from vesalius.pretraining.settings import (
    Cropping,
    Dino,
    Distortion,
    Gram,
    HeadSettings,
    Ibot,
    Koleo,
    Masking,
    Resolution,
    TeacherSettings,
)
from vesalius.spec import VIT_BASE, VIT_LARGE, VIT_SMALL, ModelSpec, VitArchitecture

Preset = Literal["toy", "small", "base", "large"]
PRESETS: tuple[Preset, ...] = ("toy", "small", "base", "large")

HEADS = ("class_head.*", "patch_head.*")
"""What a student has beside its backbone."""
_BACKBONE = "backbone."


@dataclass(frozen=True, kw_only=True)
class PretrainingRecipe:
    """How a backbone learns from slices alone."""

    architecture: VitArchitecture = VIT_BASE
    """Of the backbone, where it begins at random; one that is given keeps its own."""
    batch: int = 64
    """Slices of a sample, of which ``loop.windows`` make a step; each process needs one at least. The teacher's
    targets are balanced over a step's (Sinkhorn-Knopp), class tokens are told apart within a sample (KoLeo)."""
    resolutions: tuple[Resolution, ...] = (Resolution(),)
    """Sizes of the views; every sample draws one."""
    cropping: Cropping = field(default_factory=Cropping)
    distortion: Distortion = field(default_factory=Distortion)
    masking: Masking = field(default_factory=Masking)
    class_head: HeadSettings = field(default_factory=HeadSettings)
    patch_head: HeadSettings = field(default_factory=HeadSettings)
    dino: Dino = field(default_factory=Dino)
    ibot: Ibot = field(default_factory=Ibot)
    koleo: Koleo = field(default_factory=Koleo)
    gram: Gram | None = None
    """Hold patches to an earlier teacher, which must then be given. None: no Gram anchoring."""
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    drop_path: float = 0.2
    """Probability that a student's view skips a branch."""
    rescale: float = 2.0
    """Largest factor by which the places of a student's patches are stretched or shrunk."""
    layer_decay: float = 0.9
    """Factor of the rate from each block to the one before it."""
    stem_rate: float = 0.2
    """Factor of the patch embedding's rate, beside that."""
    optimisation: Optimisation
    """Rates and schedules; ``learning_rate`` is that of 1024 slices a step divided by 4. The parts that follow from
    ``layer_decay`` and ``stem_rate``, and what has no weight decay, are added (``optimisation_of``)."""
    loop: LoopSettings

    def __post_init__(self) -> None:
        if self.batch < 2:
            raise _refused("at least two slices in a sample, to be told apart", self.batch)
        if self.koleo.group is not None and self.koleo.group > self.batch:
            raise _refused(f"groups within a sample of {self.batch} slices, for koleo to compare", self.koleo.group)
        if not self.resolutions:
            raise _refused("at least one resolution", self.resolutions)
        if not 0 <= self.drop_path < 1 or self.rescale < 1 or not 0 < self.layer_decay <= 1 or self.stem_rate < 0:
            raise _refused("a drop_path in [0, 1), a rescale of at least 1, decays in (0, 1]", self)

    @property
    def slices_a_step(self) -> int:
        """Slices that one step sees, over all processes."""
        return self.batch * self.loop.windows


def optimisation_of(recipe: PretrainingRecipe, architecture: VitArchitecture) -> Optimisation:
    """Return a recipe's rates as they are for a backbone of some depth and a batch of the recipe's size.

    Layer by layer ``layer_decay ** (depth + 1 - layer)``, tokens and patch embedding being layer 0; no weight decay
    of biases, norms, LayerScale and tokens; whole backbone and each head clipped by itself.
    """
    own = recipe.optimisation
    return replace(
        own,
        learning_rate=own.learning_rate * 4 * math.sqrt(recipe.slices_a_step / 1024),
        parts=(
            *own.parts,
            *vit_layers(architecture, prefix=_BACKBONE, decay=recipe.layer_decay),
            Part(names=stem_of(_BACKBONE), rate=recipe.stem_rate),
            *without_decay(architecture, prefix=_BACKBONE),
        ),
        clip_apart=HEADS,
    )


def spec_of(recipe: PretrainingRecipe, name: str) -> ModelSpec:
    """Return what a backbone that begins at random expects of an image: MedDINOv3's constants."""
    return replace(
        MEDDINOV3_SPEC,
        name=name,
        version="1",
        architecture=recipe.architecture,
        window_size=window_size_of(recipe, recipe.architecture),
        licence="",
        provenance="",
        citation="",
    )


def window_size_of(recipe: PretrainingRecipe, architecture: VitArchitecture) -> tuple[int, int, int]:
    """Return the size at which a backbone learns: that of the largest global views, in whole patches of its own."""
    size, multiple = max(resolution.global_size for resolution in recipe.resolutions), architecture.size_multiple
    side = math.ceil(size / multiple) * multiple
    return side, side, 1


STAGE_1 = PretrainingRecipe(
    distortion=Distortion(drift=0.5),
    optimisation=Optimisation(
        learning_rate=2e-4,
        size=1.0,
        weight_decay=0.04,
        betas=(0.9, 0.999),
        clip_norm=3.0,
        warm_up=0.05,
        plateau=1.0,
        ema_decay=0.994,
        ema_decay_end=0.994,
        waiting={"*_head.prototypes.*": 0.01},
    ),
    loop=LoopSettings(steps=40_000, windows=8, log_every=50, validate_every=1_000, save_every_s=900.0),
)
"""DINO, iBOT and KoLeo on 512 slices a step, two global views of 256 pixels and eight local ones of 112.

Command: ``torchrun --nproc-per-node 8 -m -- vesalius pretrain stage-1 --data STORE --run DIR --preset base --start
dinov3-b --keep-every 10000``. Time and score: not measured. MedDINOv3 took some 22,000 steps of 512 slices, cards
and hours unknown.
"""

STAGE_2 = replace(
    STAGE_1,
    resolutions=(Resolution(gram_size=512),),
    gram=Gram(),
    optimisation=replace(
        STAGE_1.optimisation, learning_rate=2e-4 / 3, ema_decay=0.999, ema_decay_end=0.999, waiting=None
    ),
    teacher=TeacherSettings(temperature=(0.07, 0.07)),
    loop=replace(STAGE_1.loop, steps=10_000),
)
"""Optional: patches are held to an earlier teacher, that of 20,000 to 40,000 steps into stage 1, at twice the size.

Command: as stage 1, with ``stage-2 --start STAGE_1_RUN --gram STAGE_1_RUN/at-20000``. Time and score: not measured.
MedDINOv3's author saw no patches fade on CT, and so no need of it.
"""

STAGE_3 = replace(
    STAGE_2,
    resolutions=(
        Resolution(global_size=384, local_size=112, gram_size=512, share=0.3),
        Resolution(global_size=512, local_size=112, gram_size=768, share=0.3),
        Resolution(global_size=512, local_size=144, gram_size=768, share=0.3),
        Resolution(global_size=512, local_size=168, gram_size=768, share=0.05),
        Resolution(global_size=512, local_size=224, gram_size=768, share=0.05),
    ),
    dino=Dino(local_weight=0.5),
    gram=Gram(weight=1.5),
    optimisation=replace(STAGE_2.optimisation, learning_rate=2e-5),
    loop=replace(STAGE_1.loop, steps=5_000),
)
"""High resolution: batches of five sizes, patches held to a fixed teacher. The released MedDINOv3 is after 5,000.

Command: as stage 2, with ``stage-3``. Time and score: not measured.
"""

RECIPES: Mapping[str, PretrainingRecipe] = {"stage-1": STAGE_1, "stage-2": STAGE_2, "stage-3": STAGE_3}
"""Name -> recipe."""


def for_preset(recipe: PretrainingRecipe, preset: Preset) -> PretrainingRecipe:
    """Return a recipe for a backbone of some size.

    Args:
        recipe: Any stage.
        preset: ``toy`` learns on one core in minutes; ``small``, ``base`` and ``large`` are DINOv3's ViT-S, B and
            L, for cards of 24, 40 and 80 GB; those numbers are reckoned, not measured.
    """
    match preset:
        case "toy":
            return _toy(recipe)
        case "small":
            return replace(recipe, architecture=VIT_SMALL, batch=64, drop_path=0.1)
        case "base":
            return replace(recipe, architecture=VIT_BASE, batch=64)
        case "large":
            return replace(recipe, architecture=VIT_LARGE, batch=32, drop_path=0.3, loop=_shared_by(recipe, 16))


def _shared_by(recipe: PretrainingRecipe, windows: int) -> LoopSettings:
    return replace(recipe.loop, windows=windows)


TOY = VitArchitecture(in_channels=1, patch_size=8, width=128, depth=4, heads=4, layer_scale=1.0)
"""Begins with a LayerScale of 1, so that its blocks act from the first step: a toy has no time to wake them."""


def _toy(recipe: PretrainingRecipe) -> PretrainingRecipe:
    """Return a recipe that one core can bear in some minutes: 16 slices a step, small views of the body alone.

    A batch of so few is balanced over few prototypes, as long as a unit vector at the start, by a sharp teacher
    that follows soon: a softer teacher and its student go flat together. Temperature, rates and decay were chosen
    on smaller toys yet, in trials that no file holds; ``benchmarks/pretraining_works.py`` shows that the choice
    learns, not that it is the best.
    """
    resolutions = tuple(
        replace(
            one,
            global_size=_shrunk(one.global_size),
            local_size=_shrunk(one.local_size),
            gram_size=None if one.gram_size is None else _shrunk(one.gram_size),
        )
        for one in recipe.resolutions
    )
    own = recipe.optimisation
    return replace(
        recipe,
        architecture=TOY,
        batch=16,
        resolutions=resolutions,
        cropping=replace(
            recipe.cropping, local_views=3, global_area=(0.2, 0.7), local_area=(0.04, 0.15), within_body=True
        ),
        class_head=HeadSettings(prototypes=64, hidden=384, bottleneck=64, spread=0.125),
        patch_head=HeadSettings(prototypes=128, hidden=384, bottleneck=64, spread=0.125),
        ibot=replace(recipe.ibot, weight=2.0),
        teacher=TeacherSettings(temperature=(0.01, 0.01)),
        drop_path=0.0,
        layer_decay=1.0,
        stem_rate=1.0,
        optimisation=replace(
            own, learning_rate=5 * own.learning_rate, plateau=0.3, ema_decay=0.95, ema_decay_end=0.995, waiting=None
        ),
        loop=replace(recipe.loop, steps=1500, windows=1, log_every=20, validate_every=250, save_every_s=60.0),
    )


def _shrunk(size: int) -> int:
    """Return a size for the toy: three eighths of the published one, in whole patches."""
    return max(TOY.patch_size, round(size * 3 / 8 / TOY.patch_size) * TOY.patch_size)


def _refused(expected: str, got: object) -> UsageError:
    return UsageError(expected=expected, got=str(got), do="change the recipe of the pretraining")
