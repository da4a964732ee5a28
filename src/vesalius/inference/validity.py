"""Whether a volume is one that a model was made for: by its modality, its values, its spacing."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator

from vesalius.errors import InputError, NotValidatedError
from vesalius.geometry.volume import Volume
from vesalius.spec import ModelSpec
from vesalius.transforms.intensity import count_non_finite, not_hounsfield


def check_validity(volume: Volume, spec: ModelSpec, *, unvalidated: bool) -> tuple[str, ...]:
    """Return why a volume lies outside what a model was made for; nothing where it does not.

    Args:
        volume: The image.
        spec: Says what the model was made for.
        unvalidated: Whether to go on outside of that.

    Raises:
        InputError: If a voxel is NaN or infinite: windows that see it would be empty, and nothing would say so.
        NotValidatedError: If it lies outside, and is not to go on.
    """
    bad = count_non_finite(volume.data)
    if bad:
        raise InputError(
            expected="voxels with finite values",
            got=f"{bad} of {volume.data.size} voxels that are NaN or infinite",
            do="replace them by what air is in this image; reading a file does that by itself",
        )
    reasons = tuple(_reasons(volume, spec))
    if reasons and not unvalidated:
        low, high = spec.spacing_range_mm
        raise NotValidatedError(
            expected=f"a {spec.modality} image with voxels of {low:g} to {high:g} mm",
            got="; ".join(reasons),
            do="use a model made for such images, or go on with --unvalidated: the result will be marked",
        )
    return reasons


def _reasons(volume: Volume, spec: ModelSpec) -> Iterator[str]:
    if volume.modality not in ("unknown", spec.modality):
        yield f"a {volume.modality} image"
    elif spec.modality == "CT":
        reason = not_hounsfield(volume.data[0])
        if reason:
            yield f"values that are not Hounsfield units: {reason}"
    low, high = spec.spacing_range_mm
    if min(volume.grid.spacing_mm) < low or max(volume.grid.spacing_mm) > high:
        yield "voxels of " + " x ".join(f"{s:.3g}" for s in volume.grid.spacing_mm) + " mm"
