"""Recipes: everything chosen about a training, as plain data without torch; each states what it differs in.

The stages are VISTA3D's (arXiv:2406.05285; its ``hyper_parameters_stage{1..4}.yaml``): clicks first, with the
encoder; then classes, with all of that frozen; each stage once more on the best data. Rates are parts of a tensor's
own size (``Optimisation.learning_rate``); 0.001 of it is about the 2e-5 of VISTA3D's stages for its full-width
network, whose weights begin near 0.02. Weight decay, AdamW's memory and the cosine to 0 are VISTA3D's.

Deliberate differences of ``STAGE_1`` to ``STAGE_4``, beside those of the task (``vista3d_task``):

- bf16 where VISTA3D computes in fp16 with a scaled loss; a gradient longer than 1 is shortened, so that one window
  of a few voxels of a class cannot undo what others taught.
- What is validated and written is a running average of the weights; VISTA3D has none. One sample a step is noise.
- A window is also asked for two classes that nobody looked for, of which only other structures' voxels are known:
  so a class is told from organs that its own data sets do not label. They count in the mean.
- One of several numbers of rounds of clicks is learnt from, not each of five. Supervoxels change objects in any
  scan that has them; in VISTA3D those of pseudo labels, and of labels in six data sets by name. Objects of such
  scans begin with one to three clicks inside and none to three outside, as all do; VISTA3D's with three and none,
  but for a piece that was taken away.
- People's classes and a model's weigh alike in stages 1 and 3, as in VISTA3D. Its stage 4 multiplies people's by
  how many of a model's there are to one of theirs (``balance_gt``); here no model's answer counts in stage 4.
- A case is drawn as often as another, and four windows in five lie near one of its classes, each as often as
  another; VISTA3D takes two windows from each case of an epoch. So a stage's length is in steps.
- Augmentation (``_AS_PUBLISHED``): shift and scale of intensities are one drift, in HU, before the window cuts them
  off, its shift normal, not even; noise ends at 30 HU, not at 400; voxels are made coarser along each axis in every
  second case, not along all; and no window is smoothed.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from vesalius.engine.settings import LoopSettings, Optimisation, Part
from vesalius.errors import UsageError
from vesalius.spec import VistaArchitecture
from vesalius.training.synthetic import Synthetic
from vesalius.transforms.augment import Augmentation

Loss = Literal["vista3d", "vesalius"]
Preset = Literal["cpu", "gpu", "cluster"]


@dataclass(frozen=True, kw_only=True)
class ClassPrompting:
    """Which classes a window is asked for."""

    present_classes: int = 32
    """At most so many of those that lie in it."""
    absent_classes: int = 4
    """Classes that were looked for and are not in the window: the network learns to answer with nothing."""
    other_classes: int = 2
    """Classes that nobody looked for; only voxels of other structures are known not to be theirs."""

    def __post_init__(self) -> None:
        if self.present_classes < 1 or self.absent_classes < 1 or self.other_classes < 0:
            raise UsageError(
                expected="at least one present and one absent class, so that every window asks for something",
                got=str(self),
                do="change the prompting",
            )


@dataclass(frozen=True, kw_only=True)
class ClickPrompting:
    """Which objects of a window are clicked on, and how often."""

    objects: int = 4
    """At most so many in a window."""
    clicks: int = 3
    """At most so many first clicks of either sign on an object."""
    rounds: int = 5
    """Most rounds of clicks on an object; each after the first lies on the network's own errors. A window learns
    from its last round, whose number is drawn."""
    as_new: float = 0.0
    """Part of the objects that are asked for as structures without a name, so that the network cannot rely on it
    having seen them; VISTA3D does so with those changed by supervoxels only."""
    part: float = 0.1
    """Of the objects where supervoxels are given: part asked for a piece of an organ, or what is left of it."""
    joined: float = 0.1
    """Part asked for an organ with a neighbouring piece."""
    unseen: float = 0.1
    """Part asked for a supervoxel that nothing labelled is in."""
    united: float = 0.1
    """Part asked for a supervoxel with the organs it reaches into."""
    painted: int = 0
    """Lumps at most that are painted into a window without class prompts, and clicked on (``painted_lumps``)."""

    def __post_init__(self) -> None:
        if min(self.objects, self.clicks, self.rounds) < 1 or self.painted < 0:
            raise _refused("at least one object, click and round, and no fewer lumps than none", self)
        kinds = (self.part, self.joined, self.unseen, self.united)
        if min(*kinds, self.as_new) < 0 or sum(kinds) > 1 or self.as_new > 1:
            raise _refused("parts of at least 0 that make up 1 at most", self)


@dataclass(frozen=True, kw_only=True)
class VistaRecipe:
    """How a VISTA3D network learns from class prompts, clicks, or both.

    That it can: one scan by heart in 50 minutes of one core, names first and clicks afterwards, five structures by
    name 0.965 to 1.0, by one click 0.957 to 0.999 (``benchmarks/results/overfit.json``).
    """

    window_size: tuple[int, int, int]
    """Voxels of a window. The spec's own must come last, because instance norm sees the whole window; smaller
    ones before it learn faster."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """How often a window comes from each group of cases, in any unit; none given: each case as often as another."""
    mirror: Mapping[str, float] = field(default_factory=dict)
    """Group -> part of its windows that are mirrored left to right, classes renamed; 0 where not named."""
    synthetic: Synthetic = field(default_factory=Synthetic)
    """How much is learnt from phantoms and painted label maps."""
    novel: tuple[int, ...] = ()
    """Classes kept out of the training, to be clicked on later as if nobody had named them."""
    pseudo_labels: bool = False
    """Whether a model's answers count where people looked for nothing; without, scans that have only these are left
    out."""
    drop_label: float = 0.0
    """Part of the windows without class prompts: only clicked on."""
    drop_point: float = 1.0
    """Part of the others without clicks."""
    batch: int = 1
    """Windows that pass the network together; ``loop.windows`` such samples make a step."""
    loss: Loss = "vesalius"
    """VISTA3D's, or ours, which wakes small structures."""
    recall: float = 0.1
    """Weight of the part of our loss that wakes, on the plateau of the rate; it falls with the rate."""
    prompting: ClassPrompting = field(default_factory=ClassPrompting)
    clicking: ClickPrompting = field(default_factory=ClickPrompting)
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimisation: Optimisation = field(default_factory=Optimisation)
    loop: LoopSettings

    def __post_init__(self) -> None:
        if min(self.window_size) < 1 or self.recall < 0 or min(self.shares.values(), default=0) < 0:
            raise _refused("a window of voxels, and shares and weights of at least 0", self)
        if not all(0 <= part <= 1 for part in (*self.mirror.values(), self.drop_label, self.drop_point)):
            raise _refused("parts in [0, 1]", self)
        if self.shares and set(self.mirror) - set(self.shares):
            raise _refused("mirrored groups that have a share", self.mirror)
        if self.batch < 1:
            raise _refused("at least one window in a sample", self)
        object.__setattr__(self, "shares", dict(self.shares))
        object.__setattr__(self, "mirror", dict(self.mirror))

    @property
    def teaches_clicks(self) -> bool:
        """Whether any window is clicked on."""
        return self.drop_label > 0 or self.drop_point < 1


def _refused(expected: str, got: object) -> UsageError:
    return UsageError(expected=expected, got=str(got), do="change the recipe")


AUTOMATIC = ("automatic_decoder.*", "class_head.*")
"""What class prompts teach beside the encoder."""
INTERACTIVE = ("point_decoder.*", "point_head.*")
"""What clicks teach beside the encoder."""


def frozen(*names: str) -> tuple[Part, ...]:
    """Return parts of a network that do not learn, by patterns of their names."""
    return tuple(Part(names=name, rate=0.0) for name in names)


_AS_PUBLISHED = Augmentation(
    keep_sharp=0.8,
    degrees=0.0,
    scale=(0.8, 1.2),
    stretch=0.0,
    cut=0.0,
    low_resolution=0.2,
    coarseness=(1.0, 3.3),
    noise=0.2,
    drift=0.2,
    drift_factor=(0.9, 1.1),
    drift_hu=116.0,
)
"""Near VISTA3D's: zoom, coarser voxels (down to 0.3 of the sampling), noise and drift of one window in five each;
no turning, no mirroring. Its shift is even within a tenth of a window of 2017 HU: a standard deviation of 116."""

STAGE_1 = VistaRecipe(
    window_size=(128, 128, 128),
    pseudo_labels=True,
    drop_label=1.0,
    drop_point=0.0,
    loss="vista3d",
    augmentation=_AS_PUBLISHED,
    optimisation=Optimisation(
        learning_rate=1e-3,
        weight_decay=1e-5,
        betas=(0.9, 0.999),
        warm_up=0.0,
        plateau=0.0,
        floor=0.0,
        parts=frozen(*AUTOMATIC),
    ),
    loop=LoopSettings(steps=300_000),
)
"""Clicks on every data set, pseudo labels and supervoxels included: encoder, click decoder and point head learn.

Command: ``vesalius train stage-1 --data LIST --run DIR --preset gpu``. Time: a step on one window with four objects
and five rounds, full width, takes 79 s of one core and 10.2 GB (``step_vs_monai.json`` in ``benchmarks/results``),
44 s of two (``step_vs_monai_2_threads.json``); on a card it was not measured. VISTA3D gives 300 epochs on 32 GB
cards and neither a number of cards nor hours. Score: not measured at full width. All four stages on the built-in
model's network from nothing, 15 minutes of a core together, two seeds: five structures of the head by name 0.51 in
16 scans, after five clicks more 0.63 in 8 of them; five clicks from nothing 0.49, which is 0.08 less than balls
around the same clicks (``stages.json`` in ``benchmarks/results``, with intervals).
"""

STAGE_2 = replace(
    STAGE_1,
    pseudo_labels=False,
    clicking=replace(STAGE_1.clicking, part=0.0, joined=0.0, unseen=0.0, united=0.0),
)
"""Clicks on data sets labelled by people, without pseudo labels and without supervoxels (as the paper says; its
configuration keeps the latter).

Command: as stage 1, with ``stage-2`` and the first stage's weights. Time: a step is stage 1's. Score: not measured
by itself; that of all four on the small network is told with ``STAGE_1``.
"""

STAGE_3 = replace(
    STAGE_1,
    drop_label=0.0,
    drop_point=1.0,
    optimisation=replace(STAGE_1.optimisation, parts=frozen("encoder.*", *INTERACTIVE)),
    loop=replace(STAGE_1.loop, steps=200_000),
)
"""Class prompts on every data set, pseudo labels included: automatic decoder and class head learn, all that clicks
taught is frozen.

Command: as stage 1, with ``stage-3`` and the second stage's weights. Time: a step on one window asked for 36
classes, full width, takes 32 s of one core and 4.4 GB, 0.53 of MONAI's time and 0.57 of its memory
(``step_vs_monai.json`` in ``benchmarks/results``), 17 s of two cores (``step_vs_monai_2_threads.json``). Score: not
measured at full width. Stages 1 and 3 alone on the small network, in the minutes of four: 0.59 by name, after five
clicks more 0.68 (``stages.json``; more of it is told with ``STAGE_1``).
"""

STAGE_4 = replace(STAGE_3, pseudo_labels=False, loop=replace(STAGE_3.loop, steps=100_000))
"""Class prompts on data sets labelled by people, and on synthetic ones where ``--synthetic`` says how much.

Command: as stage 1, with ``stage-4`` and the third stage's weights. Time: a step is stage 3's. Score: not measured
at full width. All four on the small network end with 0.51 by name with painted scans and 0.52 without: no
difference that 16 scans show (``stages.json``; more of it is told with ``STAGE_1``).
"""

FINETUNE = replace(
    STAGE_4,
    drop_label=0.25,
    drop_point=0.25,
    loss="vesalius",
    augmentation=Augmentation(),
    optimisation=Optimisation(learning_rate=2.5e-3, plateau=0.04),
    loop=LoopSettings(steps=2_000, validate_every=200, patience=5),
)
"""Classes that the network knows, from a few cases that look as it knows them; by class prompts and by clicks, the
whole network learning. The rate is VISTA3D's (5e-5 of its ``train_finetune.py``).

Command: ``vesalius finetune --model M --data LIST --run DIR``. Time: its minutes, 30 where none are typed. Score:
not measured; what was is ``FINETUNE_FAR``.
"""

FINETUNE_FAR = replace(FINETUNE, optimisation=replace(FINETUNE.optimisation, learning_rate=0.03))
"""New classes, another modality or other voxels: little fits yet, so the network has to move. Of 0.006, 0.015 and
0.03 the highest rate was best in a trial (one case of MR of the hippocampus, 30 steps from the built-in CT model, 8
others to measure on), of which no file was kept. So it is for narrow networks (``finetune_recipe``).

Command: the same; ``vesalius finetune`` chooses. Time: its minutes. Score: two minutes of a core, in bf16, from the
built-in model's first edition, on MR of the hippocampus, five support sets, 40 others: Dice 0.766 from one case and
0.797 from three; the same from scratch 0.735 and 0.759, copied labels 0.637 and 0.664
(``benchmarks/results/few_shot.json``).
"""


def finetune_recipe(width: int, *, is_far: bool) -> VistaRecipe:
    """Return how a network learns from a few cases.

    ``FINETUNE_FAR`` was measured with the built-in network, a third as wide as VISTA3D's, and with no other. One
    as wide as VISTA3D's keeps the published rate, whatever it learns: 5e-5 is what VISTA3D was fine-tuned with on
    CT of mice as well, on voxels and structures as far from its training as any, and is all that anybody measured
    with such weights.

    Args:
        width: Of the network.
        is_far: Whether the cases look otherwise than what it learnt from, or show what it does not know.
    """
    return FINETUNE_FAR if is_far and width < VistaArchitecture().width else FINETUNE


def for_machine(recipe: VistaRecipe, preset: Preset) -> VistaRecipe:
    """Return a recipe as a machine can bear it.

    Args:
        recipe: Any.
        preset: ``cpu``: two cores and 16 GB, so windows of at most 64 voxels a side, few prompts and one window a
            core. ``gpu``: one card of 24 GB and more. ``cluster``: many, 64 windows a step over all of them.
    """
    if preset == "cpu":
        side_i, side_j, side_k = (min(side, 64) for side in recipe.window_size)
        return replace(
            recipe,
            window_size=(side_i, side_j, side_k),
            batch=1,
            prompting=replace(recipe.prompting, present_classes=min(recipe.prompting.present_classes, 16)),
            clicking=replace(recipe.clicking, objects=min(recipe.clicking.objects, 4)),
            loop=replace(recipe.loop, windows=2),
        )
    return replace(recipe, loop=replace(recipe.loop, windows=64 if preset == "cluster" else 2))


def in_multiples(recipe: VistaRecipe, multiple: int) -> VistaRecipe:
    """Return a recipe whose windows a network can see: sides shortened to multiples, to one at least."""
    i, j, k = (max(side // multiple, 1) * multiple for side in recipe.window_size)
    return replace(recipe, window_size=(i, j, k))


VESALIUS_SMALL_BEGIN = VistaRecipe(
    window_size=(48, 48, 48),
    shares={"head-neck": 0.55, "abdomen": 0.16, "chest": 0.08, "atlas": 0.09, "phantom": 0.1, "limb": 0.02},
    mirror={"head-neck": 0.5, "limb": 0.5, "abdomen": 0.25, "chest": 0.25, "atlas": 0.25, "phantom": 0.25},
    augmentation=Augmentation(bend=0.3),
    loop=LoopSettings(minutes=47.0),
)
"""The built-in model's first stage: small windows, of which one core learns from one a second.

Torsos are mirrored more seldom than heads and limbs: a mirrored torso has its liver on the left.

Command and data: ``benchmarks/built_in_model`` of the repository. Time: its minutes, on any machine. Score: not
meant to be used alone.
"""

VESALIUS_SMALL = replace(
    VESALIUS_SMALL_BEGIN,
    window_size=(64, 64, 64),
    shares={"head-neck": 0.42, "abdomen": 0.3, "chest": 0.08, "atlas": 0.08, "phantom": 0.1, "limb": 0.02},
    optimisation=replace(VESALIUS_SMALL_BEGIN.optimisation, learning_rate=0.006, warm_up=0.01, plateau=0.01),
    loop=replace(VESALIUS_SMALL_BEGIN.loop, minutes=19.0),
)
"""The second stage, from the average of the first: the spec's own window, more torsos, a rate that only falls.

Command and data: as before it. Time: its minutes. Score: not measured with this recipe yet. The first edition's
weights came from one run with these windows and shares, changed on the way under a single schedule: five structures
of the head in 16 scans 0.764 (0.753 to 0.776), the liver of two others 0.91 and 0.75 (``built_in_model.json`` of
commit 7aaf55e).
"""

VESALIUS_SMALL_CLICKS_BEGIN = replace(
    VESALIUS_SMALL_BEGIN,
    window_size=(32, 32, 32),
    drop_label=1.0,
    drop_point=0.0,
    shares={"head-neck": 0.42, "abdomen": 0.26, "chest": 0.12, "atlas": 0.08, "phantom": 0.12},
    mirror={"head-neck": 0.5, "abdomen": 0.25, "chest": 0.25, "atlas": 0.25, "phantom": 0.25},
    clicking=ClickPrompting(objects=6, rounds=3, as_new=0.3),
    optimisation=Optimisation(
        plateau=0.6,
        floor=0.3,
        parts=(*frozen("encoder.*", *AUTOMATIC, "point_decoder.*"), Part(names="point_head.*", rate=2.0)),
    ),
    loop=LoopSettings(minutes=14.0, windows=2),
)
"""The click branch, learnt beside a finished automatic one: encoder, automatic decoder and class head are frozen,
so what class prompts find does not change by a bit. The click decoder begins as a copy of the automatic one, the
head as ``click_start`` says. Here the head alone learns, on windows of an eighth of the spec's, which cost little.

Command and data: as before it. Time: its minutes. Score: not meant to be used alone.
"""

VESALIUS_SMALL_CLICKS_MIDDLE = replace(
    VESALIUS_SMALL_CLICKS_BEGIN,
    window_size=(48, 48, 48),
    optimisation=replace(
        VESALIUS_SMALL_CLICKS_BEGIN.optimisation,
        learning_rate=0.01,
        warm_up=0.01,
        plateau=0.5,
        parts=(*frozen("encoder.*", *AUTOMATIC), Part(names="point_head.*", rate=1.5)),
    ),
    loop=replace(VESALIUS_SMALL_CLICKS_BEGIN.loop, minutes=18.0),
)
"""The click branch's second stage, from the average of its first: larger windows, and its decoder learns too.

Command and data: as before it. Time: its minutes. Score: not meant to be used alone.
"""

VESALIUS_SMALL_CLICKS = replace(
    VESALIUS_SMALL_CLICKS_MIDDLE,
    window_size=VESALIUS_SMALL.window_size,
    optimisation=replace(
        VESALIUS_SMALL_CLICKS_MIDDLE.optimisation, learning_rate=0.006, warm_up=0.01, plateau=0.01, floor=0.01
    ),
    loop=replace(VESALIUS_SMALL_CLICKS_MIDDLE.loop, minutes=22.0),
)
"""The click branch's last stage, from the average of its second: the spec's own window, a rate that only falls.

Command and data: as before it. Time: its minutes. Score: seven structures of the head in 16 scans 0.718 by name,
0.784 after five clicks more; from nothing 0.731, balls around the same clicks 0.570 (``built_in_model_clicks.json``
of commit 7aaf55e, the first edition's).
"""

VESALIUS_SMALL_STAGE_1 = replace(
    STAGE_1,
    window_size=VESALIUS_SMALL_BEGIN.window_size,
    shares={**VESALIUS_SMALL_CLICKS.shares, "limb": 0.04},
    mirror={**VESALIUS_SMALL_CLICKS.mirror, "limb": 0.5},
    loss="vesalius",
    clicking=replace(STAGE_1.clicking, objects=6, rounds=3, as_new=0.3),
    augmentation=VESALIUS_SMALL_BEGIN.augmentation,
    optimisation=Optimisation(
        learning_rate=0.006,
        warm_up=0.02,
        plateau=0.4,
        floor=0.1,
        parts=(*frozen(*AUTOMATIC), Part(names="encoder.*", rate=0.25)),
    ),
    loop=LoopSettings(minutes=24.0, windows=2),
)
"""The built-in model's second edition, by VISTA3D's four stages. The first begins with the weights of the first
edition, as VISTA3D's own configurations begin with a finished model: clicks on everything, supervoxels and pseudo
labels included; encoder and click branch learn.

Command and data: as before it. Time: its minutes. Score: not meant to be used alone: class prompts follow the
encoder in stage 3 only.
"""

VESALIUS_SMALL_STAGE_2 = replace(
    VESALIUS_SMALL_STAGE_1,
    window_size=VESALIUS_SMALL.window_size,
    pseudo_labels=False,
    clicking=replace(VESALIUS_SMALL_STAGE_1.clicking, part=0.0, joined=0.0, unseen=0.0, united=0.0),
    optimisation=replace(
        VESALIUS_SMALL_STAGE_1.optimisation, learning_rate=0.006, warm_up=0.01, plateau=0.01, floor=0.01
    ),
    loop=replace(VESALIUS_SMALL_STAGE_1.loop, minutes=56.0),
)
"""Stage 2: clicks without pseudo labels and supervoxels, on the spec's own window, with a rate that only falls.

Command and data: as before it. Time: its minutes. Score: not meant to be used alone.
"""

VESALIUS_SMALL_STAGE_3 = replace(
    VESALIUS_SMALL_STAGE_1,
    window_size=VESALIUS_SMALL.window_size,
    drop_label=0.0,
    drop_point=1.0,
    shares={**VESALIUS_SMALL.shares, "head-neck": 0.36, "abdomen": 0.36},
    mirror=VESALIUS_SMALL.mirror,
    optimisation=replace(
        VESALIUS_SMALL_STAGE_1.optimisation, learning_rate=0.008, parts=frozen("encoder.*", *INTERACTIVE)
    ),
    loop=replace(VESALIUS_SMALL_STAGE_1.loop, minutes=34.0),
)
"""Stage 3: class prompts, pseudo labels included, on the spec's own window, as the decoder learnt before; encoder
and click branch are frozen. More abdomens than before: a first try had lost a stomach, by a label that ends where
swallowed contrast begins.

Command and data: as before it. Time: its minutes. Score: not meant to be used alone.
"""

VESALIUS_SMALL_STAGE_4 = replace(
    VESALIUS_SMALL_STAGE_3,
    pseudo_labels=False,
    optimisation=replace(
        VESALIUS_SMALL_STAGE_3.optimisation, learning_rate=0.006, warm_up=0.01, plateau=0.01, floor=0.01
    ),
    loop=replace(VESALIUS_SMALL_STAGE_3.loop, minutes=34.0),
)
"""Stage 4: class prompts without pseudo labels, with a rate that only falls.

Command and data: as before it. Time: its minutes. Score: five structures of the head in 16 scans 0.766 by name,
0.805 after five clicks more, 0.752 from nothing; the liver of two torsos 0.91 and 0.86
(``benchmarks/results/built_in_model.json``, ``built_in_model_clicks.json``). These are the weights inside the
package; more is in the ``MODEL_CARD.md`` of ``vesalius-small``.
"""
