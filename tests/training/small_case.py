"""Small partly labelled cases: a bright and a dark ball in noise, of which each case has one drawn.

They are called spleen and stomach, which are known to lie apart.
"""

from __future__ import annotations

import numpy as np

from vesalius.data.case import Case
from vesalius.engine.settings import LoopSettings, Optimisation
from vesalius.spec import ModelSpec, VistaArchitecture
from vesalius.training.recipes import ClassPrompting, VistaRecipe
from vesalius.transforms.augment import Augmentation

SPEC = ModelSpec(
    name="balls",
    architecture=VistaArchitecture(width=8, blocks_down=(1, 1), num_embeddings=8, point_branch=False),
    window_size=(16, 16, 16),
    window_hu=(-200.0, 200.0),
    vocabulary=((1, "spleen"), (2, "stomach"), (3, "left femur"), (4, "right femur"), (5, "bladder")),
)
CLICK_SPEC = ModelSpec(
    name="clicked balls",
    architecture=VistaArchitecture(
        width=8, blocks_down=(1, 1), num_embeddings=8, last_supported=7, special_classes=(6,)
    ),
    window_size=(16, 16, 16),
    window_hu=(-200.0, 200.0),
    vocabulary=(
        (1, "spleen"),
        (2, "stomach"),
        (3, "left femur"),
        (4, "right femur"),
        (5, "liver"),
        (6, "hepatic tumor"),
    ),
)
GENTLE = Augmentation(
    keep_sharp=0.7, degrees=5.0, scale=(0.95, 1.05), cut=0.0, low_resolution=0.0, noise=0.0, drift=0.0
)


def balls(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hounsfield units and the whole truth (1 bright, 2 dark) on 24³ voxels."""
    rng = np.random.default_rng(seed)
    i, j, k = np.ogrid[:24, :24, :24]
    truth = np.zeros((24, 24, 24), np.uint8)
    centres = ((8, 8, 8 + seed % 3), (15, 16, 15 - seed % 3))
    for label, (ci, cj, ck) in enumerate(centres, start=1):
        truth[(i - ci) ** 2 + (j - cj) ** 2 + (k - ck) ** 2 < 18] = label
    values = np.array([0.0, 160.0, -110.0])[truth] + rng.normal(0, 10, truth.shape)
    return values.astype(np.int16), truth


def case_with(label: int, seed: int) -> Case:
    """A case that shows both balls, and of which only one was drawn."""
    image, truth = balls(seed)
    labels = np.where(truth == label, truth, 0).astype(np.uint8)
    return Case(f"ball-{label}-{seed}", "balls", image, labels, frozenset((label, 5)))


def recipe(**changes: object) -> VistaRecipe:
    fields: dict[str, object] = {
        "window_size": (16, 16, 16),
        "shares": {"balls": 1.0},
        "prompting": ClassPrompting(absent_classes=1, other_classes=1),
        "augmentation": GENTLE,
        "optimisation": Optimisation(learning_rate=0.05, ema_decay=0.9),
        "loop": LoopSettings(steps=6, precision="fp32", log_every=1),
    }
    return VistaRecipe(**{**fields, **changes})  # type: ignore[arg-type]
