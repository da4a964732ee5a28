"""VISTA3D's heads on a backbone: what such a network of volumes expects of images, and what it names."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vesalius.data.datalists.joint_classes import joint_classes, joint_modality
from vesalius.data.datalists.record import DataList
from vesalius.errors import UsageError
from vesalius.spec import ModelSpec, PromptedVitArchitecture, VitArchitecture
from vesalius.training.recipes import VistaRecipe, in_multiples
from vesalius.training.slice_recipes import quarters


def on_backbone(
    spec: ModelSpec, lists: Sequence[DataList], recipe: VistaRecipe, *, spacing_mm: float | None = None
) -> ModelSpec:
    """Return the spec of a network that takes names and clicks, as a backbone sees images and lists name things.

    Voxels are cubes; windows are the recipe's, in whole patches; only what the recipe teaches has a branch. Numbers
    of MR have no unit: percentiles of each image stand for the ends of the window.

    Args:
        spec: Of the backbone.
        lists: Say what the structures are called, together (``joint_classes``).
        recipe: Says the window.
        spacing_mm: Side of the voxels; None: that of the backbone's pixels. MedDINOv3's are 0.45 mm wide, because
            slices are enlarged to 896 pixels: of such cubes a trunk has 900 along each side.

    Raises:
        UsageError: If the backbone normalises slice by slice, which no window of a volume can follow; if a list
            does not name its structures, or lists contradict each other.
    """
    backbone = spec.architecture
    assert isinstance(backbone, VitArchitecture)
    pairs, stated = joint_classes(lists), joint_modality(lists)
    side_mm = spec.spacing_mm[0] if spacing_mm is None else spacing_mm
    modality = spec.modality if stated == "unknown" else stated
    return replace(
        spec,
        version="1",
        architecture=PromptedVitArchitecture(
            encoder=backbone,
            taps=quarters(backbone.depth),
            mean_std=_mean_std(spec),
            num_embeddings=len(pairs) + 1,
            last_supported=len(pairs),
            special_classes=(),
            class_branch=recipe.drop_label < 1,
            point_branch=recipe.teaches_clicks,
        ),
        modality=modality,
        spacing_mm=(side_mm, side_mm, side_mm),
        normalisation="percentiles" if modality == "MR" else "window",
        window_size=in_multiples(recipe, backbone.patch_size).window_size,
        vocabulary=pairs,
        everything=tuple(label for label, _ in pairs),
    )


def _mean_std(spec: ModelSpec) -> tuple[float, float]:
    """Return what a backbone wants taken from intensities in 0..1, and what they are to be divided by."""
    if spec.normalisation == "window":
        return (0.0, 1.0)
    if spec.normalisation == "fixed":
        (low, high), (mean, deviation) = spec.window_hu, spec.mean_std_hu
        return ((mean - low) / (high - low), deviation / (high - low))
    raise UsageError(
        expected="a backbone that sees a fixed window of Hounsfield units",
        got=f"{spec.name}, which is shown each slice by its own {spec.normalisation}",
        do="label its slices (a meddinov3 recipe), or begin with another backbone",
    )
