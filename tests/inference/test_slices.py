"""Slice models over volumes: equal to nnU-Net's plain loop, whatever the geometry, and flat in memory."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from inference.slice_model import ARCHITECTURE, blobs, published_labels, published_logits, slice_network, slice_spec
from vesalius.errors import CheckpointError, MemoryBudgetError, UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.planes import Plane
from vesalius.geometry.volume import Volume
from vesalius.inference.segmenter import Progress, Segmenter, SegmentOptions
from vesalius.inference.slice_plan import SlicePlan, slice_flops
from vesalius.inference.slices import slice_logits, slice_sets
from vesalius.interactive.session import Session
from vesalius.models.build import build, optimise_for_inference
from vesalius.models.meddinov3 import MedDino
from vesalius.spec import Depth, MedDinoArchitecture, ModelSpec

SPEC = slice_spec()
PUBLISHED = SegmentOptions(mirror=True, overlap=0.5)


def turned(degrees: float, axis: int) -> np.ndarray:
    """Return a rotation about an axis."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    a, b = (n for n in range(3) if n != axis)
    matrix = np.eye(4)
    matrix[a, a] = matrix[b, b] = cosine
    matrix[a, b], matrix[b, a] = -sine, sine
    return matrix


GRIDS = {
    "the model's own": Grid((16, 16, 5), np.diag([-2.0, -2.0, 3.0, 1.0])),
    "anisotropic, not square, finer": Grid((30, 45, 4), np.diag([1.0, -0.8, 5.0, 1.0])),
    "coarser than the model": Grid((14, 9, 4), np.diag([3.0, 4.0, 2.0, 1.0])),
    "smaller than a window": Grid((10, 13, 4), np.diag([1.0, 2.0, 1.0, 1.0])),
    "oblique": Grid((20, 28, 4), turned(25, 0) @ turned(10, 2) @ np.diag([-1.5, 1.5, 4.0, 1.0])),
    "another order of axes": Grid(
        (4, 25, 30), np.array([[0, 0, -1.6, 0], [0, 1.6, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1.0]])
    ),
}
"""Sizes whose products with the spacing are whole numbers of the model's pixels, as nnU-Net rounds them."""


@pytest.fixture(scope="module")
def network() -> MedDino:
    return slice_network(SPEC)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("options", [SegmentOptions(), PUBLISHED], ids=["ours", "published"])
def test_labels_are_those_of_the_plain_loop_over_slices(
    name: str, options: SegmentOptions, network: MedDino
) -> None:
    spec = SPEC if options.overlap else replace(SPEC, window_size=(32, 32, 1))  # which every slice fits into
    volume = blobs(GRIDS[name])
    reference = published_logits(network, spec, volume, tile=True, mirror=options.mirror)
    expected = published_labels(reference, spec, volume)
    found = Segmenter(network, spec)(volume, options=options)
    assert found.data.shape == volume.grid.shape
    assert np.array_equal(found.grid.affine, volume.grid.affine)
    of_tissue = _slices_with_tissue(volume)
    assert (found.data == expected)[of_tissue].mean() > 0.999
    assert not found.data[~of_tissue].any(), "slices of air are not asked about"
    assert len(np.unique(expected[of_tissue])) > 2, "random weights that say one thing everywhere prove nothing"


def _slices_with_tissue(volume: Volume) -> np.ndarray:
    mask = np.ones(volume.grid.shape, dtype=np.uint8)
    Volume(mask[None], volume.grid).reoriented("PLS").data[..., [0, -1]] = 0  # a view
    return mask.astype(bool)


@pytest.mark.parametrize("size", [(16, 16), (20, 16), (28, 24)])
@pytest.mark.parametrize("mirror", [False, True])
def test_logits_are_those_of_the_plain_loop(size: tuple[int, int], mirror: bool, network: MedDino) -> None:
    volume = blobs(Grid((size[1], size[0], 3), np.diag([-2.0, -2.0, 3.0, 1.0])))
    expected = published_logits(network, SPEC, volume, tile=True, mirror=mirror)
    found = logits_of(network, SPEC, volume, SegmentOptions(mirror=mirror, overlap=0.5))
    difference = (found - expected[..., 1:-1]).abs().max() / expected.abs().max()
    assert difference < 1e-5
    assert expected[..., 1].std() > 1e-2 * expected.abs().max(), "one answer everywhere would prove nothing"


def logits_of(network: MedDino, spec: ModelSpec, volume: Volume, options: SegmentOptions) -> Tensor:
    segmenter = Segmenter(network, spec)
    plan = segmenter.plan(volume, options=options)
    with torch.inference_mode():
        return torch.stack([one.logits for one in slice_logits(network, spec, volume, plan.views[0], plan)], dim=-1)


def test_a_slice_of_up_to_one_and_a_half_windows_is_seen_whole_and_a_larger_one_in_tiles(network: MedDino) -> None:
    segmenter = Segmenter(network, SPEC)
    for side, tiles in ((16, 1), (17, 1), (24, 1), (25, 4), (40, 9)):
        plan = segmenter.plan(blobs(Grid((side, side, 3), np.diag([-2.0, -2.0, 3.0, 1.0]))))
        assert plan.views[0].tiles == tiles, side
        assert (plan.num_windows, plan.num_empty) == (3 * tiles, 2 * tiles)
    asked = segmenter.plan(blobs(Grid((17, 16, 3), np.diag([-2.0, -2.0, 3.0, 1.0]))), options=PUBLISHED)
    assert asked.views[0].tiles == 2, "an overlap asked for means tiles of the model's window"


def test_a_slice_smaller_than_the_window_lies_in_its_middle_and_around_it_is_what_the_spec_says() -> None:
    spec = slice_spec(outside_hu=-600.0)
    network, seen = slice_network(spec), []
    network.register_forward_hook(lambda _module, inputs, _logits: seen.append(inputs[0]))
    Segmenter(network, spec)(blobs(Grid((10, 12, 3), np.diag([-2.0, -2.0, 3.0, 1.0]))))
    outside = torch.full((16, 16), True)
    outside[2:14, 3:13] = False
    is_filled = torch.isclose(seen[0][0, 0], torch.tensor((-600.0 - 65) / 178))
    assert torch.equal(is_filled, outside)


@pytest.mark.parametrize("codes", ["RAS", "LPI", "SRA", "AIL"])
def test_however_a_volume_is_stored_its_labels_are_the_same(codes: str, network: MedDino) -> None:
    volume = blobs(GRIDS["anisotropic, not square, finer"])
    stored = Volume(np.ascontiguousarray(volume.reoriented(codes).data), volume.grid.reoriented(codes), "CT")
    segmenter = Segmenter(network, SPEC)
    expected, found = segmenter(volume), segmenter(stored)
    assert np.array_equal(found.reoriented(volume.grid.axis_codes).data, expected.data)


@pytest.mark.parametrize("axis", [0, 1])
def test_with_reflections_a_mirrored_body_has_mirrored_labels_and_without_it_has_not(
    axis: int, network: MedDino
) -> None:
    volume = blobs(GRIDS["the model's own"])
    mirrored = Volume(np.ascontiguousarray(np.flip(volume.data, 1 + axis)), volume.grid, "CT")
    segmenter = Segmenter(network, SPEC)
    mean, plain = SegmentOptions(mirror=True), SegmentOptions()
    same = np.flip(segmenter(mirrored, options=mean).data, axis) == segmenter(volume, options=mean).data
    assert same.mean() > 0.999
    assert (np.flip(segmenter(mirrored, options=plain).data, axis) == segmenter(volume).data).mean() < 0.95


class Sided(MedDino):
    """Knows a kidney by its brightness and its side by its columns, and remembers how many images it saw.

    What it says of a slice mirrored from left to right is what it says of the slice, mirrored, with names swapped.
    """

    def forward(self, images: Tensor, *, slices: int = 1, generator: torch.Generator | None = None) -> Tensor:
        self.images = getattr(self, "images", 0) + len(images)
        bright, rest = images[:, 0], torch.zeros_like(images[:, 0])
        side = torch.linspace(-1, 1, images.shape[3]).expand_as(bright)
        return torch.stack([rest, bright + side, bright - side, rest - 9], dim=1)


SIDED = slice_spec(
    vocabulary=((1, "left kidney"), (2, "right kidney"), (3, "aorta")),
    mirror_swaps_sides=True,
    window_size=(32, 32, 1),
)


@pytest.mark.parametrize("planes", [(), ("coronal",)])
def test_left_and_right_change_places_in_reflections_as_the_network_learnt(planes: tuple[Plane, ...]) -> None:
    segmenter, volume = Segmenter(Sided(ARCHITECTURE), SIDED), blobs(Grid((16, 17, 6), np.diag([-2.0, -2, 3, 1])))
    plain, mean = (segmenter(volume, options=SegmentOptions(mirror=way, planes=planes)) for way in (False, True))
    assert {1, 2} <= set(np.unique(plain.data))
    assert np.array_equal(mean.data, plain.data)
    never = Segmenter(Sided(ARCHITECTURE), replace(SIDED, mirror_swaps_sides=False))
    assert not np.array_equal(never(volume, options=SegmentOptions(mirror=True, planes=planes)).data, plain.data)


def test_only_reflections_that_were_learnt_are_seen_and_the_forecast_counts_them() -> None:
    volume, seconds, images = blobs(Grid((16, 16, 6), np.diag([-2.0, -2.0, 3.0, 1.0]))), {}, {}
    for axes in ((), (0,), (1,), (0, 1)):
        network = Sided(ARCHITECTURE)
        segmenter, options = Segmenter(network, replace(SIDED, mirror_axes=axes)), SegmentOptions(mirror=bool(axes))
        seconds[axes] = segmenter.plan(volume, options=options).seconds
        segmenter(volume, options=options)
        images[axes] = network.images
    assert images == {(): 4, (0,): 8, (1,): 8, (0, 1): 16}, "two slices of six are air"
    passes = {axes: (seconds[axes] - seconds[()]) for axes in seconds}
    assert passes[(0, 1)] == pytest.approx(3 * passes[(0,)]) == pytest.approx(3 * passes[(1,)])
    assert passes[(0,)] > 0


def test_batches_change_nothing_but_rounding(network: MedDino) -> None:
    volume = blobs(Grid((16, 16, 9), np.diag([-2.0, -2.0, 3.0, 1.0])))
    segmenter = Segmenter(network, SPEC)
    plan = segmenter.plan(volume, options=SegmentOptions(mirror=True))
    assert plan.at_once > 4 * 7
    with torch.inference_mode():
        several, one, less = (
            torch.stack([s.logits for s in slice_logits(network, SPEC, volume, plan.views[0], part)])
            for part in (plan, replace(plan, at_once=4), replace(plan, at_once=1))
        )
    assert (several - one).abs().max() < 1e-4
    assert (several - less).abs().max() < 1e-4


def test_asking_for_less_changes_no_mask_and_synonyms_and_ids_are_names(network: MedDino) -> None:
    volume = blobs(GRIDS["the model's own"])
    segmenter = Segmenter(network, SPEC)
    everything = segmenter(volume)
    alone = segmenter(volume, ["spleen"])
    assert np.array_equal(alone.data == 2, everything.data == 2)
    assert set(np.unique(alone.data)) == {0, 2}


def test_other_planes_and_their_mean(network: MedDino) -> None:
    volume = blobs(Grid((16, 18, 20), np.diag([2.0, 2.0, 2.0, 1.0])))
    segmenter = Segmenter(network, SPEC)
    axial, coronal = (segmenter.segment(volume, options=SegmentOptions(planes=(p,))) for p in ("axial", "coronal"))
    assert np.array_equal(axial.labels.data, segmenter(volume).data)
    turned_spec = replace(SPEC, orientation="ILP")
    assert np.array_equal(coronal.labels.data, Segmenter(network, turned_spec)(volume).data)
    three = SegmentOptions(planes=("axial", "coronal", "sagittal"))
    found = segmenter.segment(volume, options=three)
    expected = np.zeros((4, *volume.grid.shape))
    for codes in ("PLS", "ILP", "IPL"):
        logits = logits_of(network, replace(SPEC, orientation=codes), volume, SegmentOptions())
        kept = _slices_with_tissue(volume) if codes == "PLS" else np.ones(volume.grid.shape, dtype=bool)
        probability = Volume(np.zeros((4, *volume.grid.shape)), volume.grid)
        view = probability.reoriented(codes).data
        if codes == "PLS":
            view[0] = 1
            view[..., 1:-1] = logits.softmax(dim=0).numpy()
        else:
            view[:] = logits.softmax(dim=0).numpy()
        assert kept.any()
        expected += probability.data / 3
    assert (found.labels.data == expected.argmax(axis=0)).mean() > 0.995  # half precision
    assert found.plan.num_windows == 20 + 18 + 16
    assert "planes" in found.plan.phases["windows"]


def test_what_was_said_of_a_slice_is_forgotten_before_the_next_ones(network: MedDino) -> None:
    segmenter, said = Segmenter(network, SPEC), []
    alive = []

    def remember(_module: object, _inputs: object, logits: Tensor) -> None:
        alive.append(sum(one() is not None for one in said))
        said.append(weakref.ref(logits))

    handle = network.register_forward_hook(remember)
    volume = blobs(Grid((64, 64, 12), np.diag([-2.0, -2.0, 3.0, 1.0])))
    segmenter(volume, options=SegmentOptions(overlap=0.0))
    handle.remove()
    assert len(said) >= 10
    assert max(alive) <= 1
    spec = replace(SPEC, window_size=(64, 64, 1))  # of which 16 pass together
    grids = [Grid((64, 64, n), np.diag([-2.0, -2.0, 3.0, 1.0])) for n in (20, 40)]
    plans = [Segmenter(network, spec).plan(blobs(grid)) for grid in grids]
    grows = {"labels", "held already"}
    few, many = ({k: v for k, v in plan.phases["windows"].items() if k not in grows} for plan in plans)
    assert few == many


def test_what_was_said_of_a_reflection_is_forgotten_before_the_next_one(network: MedDino) -> None:
    segmenter, said, alive = Segmenter(network, SPEC), [], []

    def remember(_module: object, _inputs: object, logits: Tensor) -> None:
        alive.append(sum(one() is not None for one in said))
        said.append(weakref.ref(logits))

    volume = blobs(Grid((16, 16, 3), np.diag([-2.0, -2.0, 3.0, 1.0])))
    plan = segmenter.plan(volume, options=SegmentOptions(mirror=True))
    handle = network.register_forward_hook(remember)
    with torch.inference_mode():
        for _ in slice_logits(network, SPEC, volume, plan.views[0], replace(plan, at_once=1)):
            pass
    handle.remove()
    assert alive == [0, 0, 0, 0]


class Counting(MedDino):
    """Says of every pixel how bright the slice and its neighbours are, and remembers what it saw."""

    def forward(self, images: Tensor, *, slices: int = 1, generator: torch.Generator | None = None) -> Tensor:
        self.seen = [*getattr(self, "seen", []), (len(images), slices)]
        sums = torch.nn.functional.conv1d(images.mean(dim=(1, 2, 3))[None, None], torch.ones(1, 1, 3), padding=1)
        return sums[0, 0][:, None, None, None].expand(-1, 4, *images.shape[2:])


@pytest.mark.parametrize(("count", "together"), [(3, 3), (3, 7), (9, 3), (12, 5)])
def test_slices_that_need_their_neighbours_see_them(count: int, together: int) -> None:
    architecture = replace(ARCHITECTURE, adapters=(Depth(width=4, neighbours=3),))
    spec = slice_spec(architecture=architecture, window_size=(16, 16, together), modality="MR")
    network = Counting(architecture)
    rng = np.random.default_rng(0)
    data = np.broadcast_to(rng.normal(0, 100, count), (16, 16, count)).copy()
    volume = Volume(data[None], Grid((16, 16, count), np.diag([-2.0, -2.0, 3.0, 1.0])), "MR")
    found = logits_of(network, spec, volume, SegmentOptions())[0, 0, 0]
    shown = torch.from_numpy((data[0, 0] - 65) / 178).float()
    expected = torch.nn.functional.conv1d(shown[None, None], torch.ones(1, 1, 3), padding=1)[0, 0]
    torch.testing.assert_close(found, expected)
    assert all(slices == min(together, count) and images % slices == 0 for images, slices in network.seen)


def test_every_slice_is_kept_once() -> None:
    architecture = replace(ARCHITECTURE, adapters=(Depth(width=4, neighbours=5),))
    spec = slice_spec(architecture=architecture, window_size=(16, 16, 5))
    plan = Segmenter(slice_network(spec), spec).plan(blobs(Grid((16, 16, 8), np.diag([2.0, 2.0, 2.0, 1.0]))))
    sets = list(slice_sets(8, plan, spec, air=(3,)))
    assert [n for some in sets for n in (some.seen[place] for place in some.kept)] == [0, 1, 2, 4, 5, 6, 7]
    assert sets[3].seen == (2, 3, 4, 5, 6), "air is seen as a neighbour"


def test_a_tilted_gantry_s_slices_are_taken_as_they_are(network: MedDino) -> None:
    sheared = np.diag([-2.0, -2.0, 3.0, 1.0])
    sheared[1, 2] = 0.9
    straight = blobs(GRIDS["the model's own"])
    tilted = Volume(straight.data, Grid(straight.grid.shape, sheared), "CT")
    segmenter = Segmenter(network, SPEC)
    assert np.array_equal(segmenter(tilted).data, segmenter(straight).data)
    across = segmenter(tilted, options=SegmentOptions(planes=("sagittal",)))
    assert across.data.shape == tilted.grid.shape


def test_the_run_keeps_to_its_plan(network: MedDino) -> None:
    volume, heard = blobs(Grid((40, 16, 4), np.diag([-2.0, -2.0, 3.0, 1.0]))), []
    segmenter = Segmenter(network, SPEC)
    plan = segmenter.plan(volume)
    result = segmenter.segment(volume, progress=Progress(on_window=heard.append))
    assert result.plan.as_dict() | {"seconds": 0, "peak_bytes": 0, "bytes": 0} == plan.as_dict() | {
        "seconds": 0,
        "peak_bytes": 0,
        "bytes": 0,
    }
    assert (len(heard), heard.count(False)) == (plan.num_windows, plan.num_empty)
    assert set(result.probability) <= {1, 2, 3}
    assert all(0.25 < mean < 1 for mean in result.probability.values())


def test_batches_then_whole_slices_give_way_to_a_stated_limit_and_less_is_refused(
    network: MedDino, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vesalius.inference.runs.resident_bytes", lambda: 10**8)
    segmenter, volume = Segmenter(network, SPEC), blobs(Grid((24, 24, 4), np.diag([-2.0, -2.0, 3.0, 1.0])))

    def plan(limit: int | None) -> SlicePlan:
        return segmenter.plan(volume, options=SegmentOptions(max_memory=limit))

    roomy = plan(10**10)
    single = plan(roomy.peak_bytes - 1)
    tiled = plan(single.peak_bytes - 1)
    assert [p.gave_way for p in (plan(None), roomy, single, tiled)] == [False, False, True, True]
    assert (roomy.at_once > 1, single.at_once, tiled.at_once) == (True, 1, 1)
    assert [p.views[0].tiles for p in (roomy, single, tiled)] == [1, 1, 4]
    with pytest.raises(MemoryBudgetError, match="--max-memory"):
        plan(tiled.peak_bytes - 1)


@pytest.mark.parametrize("decoder", ["primus", "fused", "linear"])
@pytest.mark.parametrize("taps", [(0,), (0, 1)])
def test_flops_are_those_that_torch_counts(decoder: str, taps: tuple[int, ...]) -> None:
    architecture = replace(ARCHITECTURE, decoder=decoder, taps=taps)
    with torch.device("meta"):
        network, image = build(architecture).eval(), torch.empty(1, 1, 16, 24)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    assert sum(slice_flops(architecture, (16, 24))) == counter.get_total_flops()


def test_flops_of_the_published_network_are_those_of_its_specification() -> None:
    published = MedDinoArchitecture(decoder="primus", num_classes=16)
    assert sum(slice_flops(published, (896, 896))) == pytest.approx(2e9 * (450.5 + 239.2), rel=0.01)


def test_bf16_says_nearly_the_same(network: MedDino) -> None:
    volume = blobs(GRIDS["the model's own"])
    half = optimise_for_inference(slice_network(SPEC), dtype=torch.bfloat16)
    segmenter = Segmenter(half, SPEC)
    assert segmenter.precision == "bf16"
    same = segmenter(volume).data == Segmenter(network, SPEC)(volume).data
    assert 0.9 < same.mean() < 1, "another precision is another rounding, near ties"


def test_what_is_of_the_other_kind_of_model_is_refused(network: MedDino) -> None:
    volume, segmenter = blobs(GRIDS["the model's own"]), Segmenter(network, SPEC)
    with pytest.raises(UsageError, match="compat"):
        segmenter(volume, options=SegmentOptions(compat="paper"))
    with pytest.raises(UsageError, match="learnt from mirrored slices"):
        Segmenter(network, replace(SPEC, mirror_axes=()))(volume, options=SegmentOptions(mirror=True))
    with pytest.raises(UsageError, match="each plane once"):
        segmenter(volume, options=SegmentOptions(planes=("axial", "axial")))
    with pytest.raises(CheckpointError, match="labels slices"):
        Session(segmenter, volume)
    with pytest.raises(CheckpointError, match="channels"):
        Segmenter(network, replace(SPEC, vocabulary=((9, "heart"),), everything=()))
