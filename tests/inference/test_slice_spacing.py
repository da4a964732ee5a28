"""Slices of a network that looks along them: as far apart as it learnt, however a scan was made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from inference.slice_model import ARCHITECTURE, slice_spec
from vesalius.errors import MemoryBudgetError, UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.planes import Plane
from vesalius.geometry.volume import Volume
from vesalius.inference import slice_spacing, upright
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.inference.slice_spacing import as_learnt
from vesalius.models.meddinov3 import MedDino
from vesalius.spec import Depth

DEEP = replace(ARCHITECTURE, adapters=(Depth(width=4, neighbours=3),))
SPEC = slice_spec(architecture=DEEP, spacing_mm=(2.0, 2.0, 3.0), window_size=(16, 16, 4), mirror_axes=())
UNTOLD = replace(SPEC, spacing_mm=(2.0, 2.0, 0.0))


class BeforeBright(MedDino):
    """Says 1 where the next slice of those it is shown is bright."""

    def forward(self, images: Tensor, *, slices: int = 1, generator: torch.Generator | None = None) -> Tensor:
        volumes = images[:, 0].unflatten(0, (-1, slices))
        following = torch.cat([volumes[:, 1:], volumes[:, -1:]], dim=1).flatten(0, 1)
        rest = torch.zeros_like(following)
        return torch.stack([rest, following, rest - 9, rest - 9], dim=1)


def scan(*, repeat: int = 1, codes: str = "LPS") -> Volume:
    """Slices 3 mm thick, bright or dim, or each of them cut into some thinner ones."""
    bright = np.array([0, 1, 1, 0, 1, 0, 0, 1, 0, 1], bool)
    data = np.broadcast_to(np.where(bright, 300, 0), (16, 16, 10)).repeat(repeat, axis=2).astype(np.int16)
    volume = Volume(data[None], Grid(data.shape, np.diag([-2.0, -2.0, 3 / repeat, 1.0])), "CT")
    return Volume(np.ascontiguousarray(volume.reoriented(codes).data), volume.grid.reoriented(codes), "CT")


@pytest.mark.parametrize("codes", ["LPS", "SRA", "AIL"])
def test_a_scan_of_thinner_slices_is_labelled_as_one_of_those_that_were_learnt(codes: str) -> None:
    options = SegmentOptions(unvalidated=True)
    thick, thin = scan(), scan(repeat=3, codes=codes)
    network = BeforeBright(DEEP)
    expected = Segmenter(network, SPEC)(thick, options=options).data
    assert {0, 1} == set(np.unique(expected))
    found = Segmenter(network, SPEC)(thin, options=options)
    assert found.data.shape == thin.grid.shape
    assert np.array_equal(found.reoriented("LPS").data, expected.repeat(3, axis=2))
    as_they_are = Segmenter(network, UNTOLD)(thin, options=options).reoriented("LPS").data
    assert (as_they_are != expected.repeat(3, axis=2)).mean() > 0.1, "the next millimetre is another neighbour"


def test_slices_as_far_apart_as_was_learnt_or_of_a_network_that_does_not_say_stay_where_they_are() -> None:
    thick, thin = scan(), scan(repeat=3)
    assert as_learnt(thick, SPEC) is thick
    assert as_learnt(thin, UNTOLD) is thin
    assert as_learnt(thin, replace(SPEC, architecture=ARCHITECTURE, window_size=(16, 16, 1))) is thin
    assert as_learnt(thin, SPEC).grid.shape == thick.grid.shape


class Everywhere(MedDino):
    """Says 1 of every pixel."""

    def forward(self, images: Tensor, *, slices: int = 1, generator: torch.Generator | None = None) -> Tensor:
        return (
            torch.tensor([0.0, 1, 0, 0])[None, :, None, None]
            .expand(-1, -1, *images.shape[2:])
            .repeat(len(images), 1, 1, 1)
        )


@pytest.mark.parametrize("count", [8, 14, 22])
def test_the_outermost_slices_are_labelled_where_slices_of_the_learnt_distance_do_not_reach_their_ends(
    count: int,
) -> None:
    thin = Grid((16, 16, count), np.diag([-2.0, -2.0, 0.5, 1.0]))
    volume = Volume(np.full((1, *thin.shape), 300, np.int16), thin, "CT")
    found = Segmenter(Everywhere(DEEP), SPEC)(volume, options=SegmentOptions(unvalidated=True)).data
    assert [k for k in range(count) if not (found[..., k] == 1).all()] == []


@pytest.mark.parametrize(("plane", "shape"), [("axial", (16, 16, 10)), ("coronal", (16, 11, 30))])
def test_it_is_resampled_along_the_plane_that_is_cut(plane: Plane, shape: tuple[int, int, int]) -> None:
    assert as_learnt(scan(repeat=3), SPEC, (plane,)).grid.shape == shape


def test_the_plan_counts_the_resampled_image_and_refuses_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object) -> None:
        raise AssertionError("interpolated")

    monkeypatch.setattr(slice_spacing, "resample_linear", no)
    monkeypatch.setattr(upright, "resample_points", no)
    model, options = Segmenter(BeforeBright(DEEP), SPEC), SegmentOptions(unvalidated=True)
    plan = model.plan(scan(repeat=3), options=options)
    assert plan.phases["windows"]["resampled image"] == 4 * 16 * 16 * 10
    assert "resampled image" not in model.plan(scan(), options=options).phases["windows"]
    with pytest.raises(MemoryBudgetError):
        model.segment(scan(repeat=3), options=replace(options, max_memory=1000))


def test_several_planes_at_once_are_refused() -> None:
    with pytest.raises(UsageError, match="slices 3 mm apart"):
        as_learnt(scan(), SPEC, ("axial", "coronal"))
