"""What a spec says of slices: planes, how they are turned, neighbours, reflections, and ids that are channels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inference.slice_model import ARCHITECTURE, slice_spec
from vesalius.errors import CheckpointError
from vesalius.geometry.planes import ORIENTATION, PLANES, Plane
from vesalius.inference.slice_facts import (
    check_slice_spec,
    codes_of,
    kept_slices,
    plane_of,
    reflections,
    slices_together,
)
from vesalius.spec import Depth

SPEC = slice_spec()


@pytest.mark.parametrize(
    ("orientation", "plane"), [("PLS", "axial"), ("LPI", "axial"), ("SLA", "coronal"), ("IAR", "sagittal")]
)
def test_a_model_s_own_plane_is_shown_as_its_spec_says_and_others_as_usual(orientation: str, plane: Plane) -> None:
    spec = replace(SPEC, orientation=orientation)
    assert plane_of(spec) == plane
    assert codes_of(spec, plane) == orientation
    for other in set(PLANES) - {plane}:
        assert codes_of(spec, other) == ORIENTATION[other]


@pytest.mark.parametrize(
    ("mirrored", "expected"), [((), ((),)), ((1,), ((), (1,))), ((0, 1), ((), (0,), (1,), (0, 1)))]
)
def test_a_slice_is_mirrored_only_as_the_network_learnt_and_first_seen_as_it_is(
    mirrored: tuple[int, ...], expected: tuple[tuple[int, ...], ...]
) -> None:
    assert reflections(replace(SPEC, mirror_axes=mirrored)) == expected


@pytest.mark.parametrize(
    ("neighbours", "window", "kept"), [((), 1, 1), ((3,), 4, 2), ((5,), 8, 4), ((3, 5), 8, 4), ((5,), 2, 1)]
)
def test_of_slices_seen_together_those_with_all_their_neighbours_are_kept(
    neighbours: tuple[int, ...], window: int, kept: int
) -> None:
    adapters = tuple(Depth(width=4, neighbours=n) for n in neighbours)
    spec = replace(
        SPEC, architecture=replace(ARCHITECTURE, adapters=adapters), window_size=(*SPEC.window_size[:2], window)
    )
    assert (slices_together(spec), kept_slices(spec)) == (window, kept)


def test_ids_that_are_no_channels_are_refused() -> None:
    check_slice_spec(SPEC)
    with pytest.raises(CheckpointError, match=r"ids \[9\]"):
        check_slice_spec(replace(SPEC, vocabulary=((1, "liver"), (9, "heart")), everything=()))
