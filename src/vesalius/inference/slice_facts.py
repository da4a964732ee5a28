"""What the spec of a model of slices says of them: their plane, how turned, how many together, in which mirrors."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from itertools import combinations

from vesalius.errors import CheckpointError
from vesalius.geometry.planes import ORIENTATION, PLANES, Plane
from vesalius.spec import Depth, MedDinoArchitecture, ModelSpec


def plane_of(spec: ModelSpec) -> Plane:
    """Return the plane of the slices that a model learnt from."""
    across = zip(PLANES, ("IS", "AP", "LR"), strict=True)
    return next(plane for plane, letters in across if spec.orientation[2] in letters)


def codes_of(spec: ModelSpec, plane: Plane) -> str:
    """Return how slices of a plane are shown to a model: as its spec says where they are of its own plane."""
    return spec.orientation if plane == plane_of(spec) else ORIENTATION[plane]


def slices_together(spec: ModelSpec) -> int:
    """Return how many neighbouring slices a network looks at together: 1 unless adapters mix them."""
    architecture = spec.architecture
    assert isinstance(architecture, MedDinoArchitecture)
    return spec.window_size[2] if any(isinstance(plan, Depth) for plan in architecture.adapters) else 1


def kept_slices(spec: ModelSpec) -> int:
    """Return of how many of the slices seen together the result is kept: those in the middle, never none."""
    architecture = spec.architecture
    assert isinstance(architecture, MedDinoArchitecture)
    neighbours = max((plan.neighbours for plan in architecture.adapters if isinstance(plan, Depth)), default=1)
    return max(1, slices_together(spec) - 2 * (neighbours // 2))


def reflections(spec: ModelSpec) -> tuple[tuple[int, ...], ...]:
    """Return along which axes of a slice (0 rows, 1 columns) it is mirrored each time, the first time along none.

    Only what a network learnt from: what it says of other reflections has no meaning.
    """
    counts = range(len(spec.mirror_axes) + 1)
    return tuple(axes for count in counts for axes in combinations(spec.mirror_axes, count))


def check_slice_spec(spec: ModelSpec) -> None:
    """Refuse a spec whose class ids are no channels of its network.

    Raises:
        CheckpointError: If one is not.
    """
    assert isinstance(spec.architecture, MedDinoArchitecture)
    channels = spec.architecture.num_classes
    wrong = [label for label, _ in spec.vocabulary if not 0 < label < channels]
    if wrong:
        raise CheckpointError(
            expected=f"class ids from 1 to {channels - 1}, the channels of the logits",
            got=f"ids {wrong} in the vocabulary of {spec.name}",
            do="take the spec.json that came with the weights",
        )
