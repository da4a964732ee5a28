"""Automatic segmentation: the published pipelines voxel for voxel, geometry on every grid, layers, composites."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference

from inference.small_model import Threshold, small_network, small_spec
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import Volume
from vesalius.inference.automatic import BASE_LAYER, Automatic, assign_layers, segment_automatic
from vesalius.inference.pipelines import pipeline
from vesalius.inference.plan import Plan
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.labels.vocabulary import Vocabulary
from vesalius.transforms.preprocess import prepare

SPEC = small_spec()
IDS = [1, 2, 3, 4, 6]


def body(shape: tuple[int, int, int] = (32, 40, 28), spacing: tuple[float, ...] = (2.0, 2.0, 4.0)) -> Volume:
    rng = np.random.default_rng(0)
    data = np.full(shape, -1000, dtype=np.int16)
    inner = tuple(slice(n // 6, n - n // 7) for n in shape)
    i, j, k = np.meshgrid(*[np.linspace(0, 6, n) for n in shape], indexing="ij")
    texture = 300 * np.sin(i) * np.cos(1.3 * j) + 150 * np.sin(2 * k) + rng.normal(0, 20, shape)
    data[inner] = texture[inner].astype(np.int16)
    return Volume(data[None], Grid(shape, np.diag([*spacing, 1.0])), "CT")


def labels_by_monai(compat: str, volume: Volume, segmenter: Segmenter) -> np.ndarray:
    """Run MONAI's sliding window over our network and decide as ``VistaPostTransformd`` does."""
    way = pipeline(compat)
    prepared = prepare(volume, SPEC, way.preprocessing, box=None, dtype=torch.float32)
    with torch.inference_mode():
        logits = sliding_window_inference(
            prepared.image[prepared.content.slices][None, None],
            SPEC.window_size,
            1,
            lambda window: segmenter.network.class_logits(window.contiguous(), torch.tensor(IDS)),
            overlap=way.overlap,
            mode=way.blending,
            padding_mode=way.preprocessing.padding,
        )[0]
    best, column = logits.max(dim=0)
    return torch.where(best > 0, torch.tensor(IDS)[column], 0).numpy()


@pytest.mark.parametrize("compat", ["paper", "bundle-0.5.4", "bundle"])
@pytest.mark.parametrize("shape", [(32, 40, 28), (20, 44, 9)])
@pytest.mark.filterwarnings("ignore:.*multidimensional indexing.*")  # MONAI's own
def test_a_published_pipeline_gives_monai_s_labels(compat: str, shape: tuple[int, int, int]) -> None:
    segmenter = Segmenter(small_network(SPEC), SPEC)
    volume = body(shape, (3.0, 3.0, 3.0))  # the model's spacing: labels are compared on the model's own grid
    ours = segmenter(volume, IDS, options=SegmentOptions(compat=compat)).data
    theirs = labels_by_monai(compat, volume, segmenter)
    way = pipeline(compat)
    prepared = prepare(volume, SPEC, way.preprocessing, box=None, dtype=torch.float32)
    start = np.round(volume.grid.to_voxel(prepared.grid.cropped(prepared.content).affine[:3, 3])).astype(int)
    box = tuple(slice(a, a + n) for a, n in zip(start, theirs.shape, strict=True))
    assert len(np.unique(theirs)) >= 4
    assert (ours[box] == theirs).mean() >= 0.9999


def test_another_pipeline_s_overlap_would_be_noticed() -> None:
    segmenter = Segmenter(small_network(SPEC), SPEC)
    volume = body(spacing=(3.0, 3.0, 3.0))
    paper = segmenter(volume, IDS, options=SegmentOptions(compat="paper")).data
    bundle = segmenter(volume, IDS, options=SegmentOptions(compat="bundle")).data
    assert (paper != bundle).mean() > 0.005


class Anywhere(Threshold):
    """Sees its class everywhere, most likely where the image is bright."""

    def class_vectors(self, class_ids: torch.Tensor) -> torch.Tensor:
        return super().class_vectors(class_ids).abs()


def test_probability_is_of_the_image_and_not_of_what_fills_it_up_to_a_window() -> None:
    spec = small_spec(vocabulary=((1, "liver"),), everything=(1,))
    segmenter, volume = Segmenter(Anywhere(spec.architecture), spec), body((12, 30, 14), (3.0, 3.0, 3.0))
    prepared, _ = segmenter.prepare(volume, segmenter.vocabulary.resolve([]), SegmentOptions())
    inside = torch.sigmoid(prepared.image[prepared.content.slices] + 0.7).mean()
    assert abs(inside - torch.sigmoid(prepared.image + 0.7).mean()) > 1e-2
    assert segmenter.segment(volume).probability[1] == pytest.approx(float(inside), abs=1e-5)


@pytest.mark.parametrize(
    "codes", ["".join(c) for p in itertools.permutations(["RL", "AP", "SI"]) for c in itertools.product(*p)][::7]
)
def test_the_axis_order_of_the_file_changes_no_label(codes: str) -> None:
    segmenter = Segmenter(small_network(SPEC), SPEC)
    volume = body((26, 33, 21))
    expected = segmenter(volume, IDS)
    turned = segmenter(volume.reoriented(codes), IDS)
    assert turned.grid.axis_codes == codes
    assert turned.data.shape == volume.reoriented(codes).data.shape[1:]
    assert np.array_equal(turned.reoriented("RAS").data, expected.data)


def test_a_network_that_marks_bright_voxels_marks_them_where_they_are() -> None:
    spec = small_spec(vocabulary=((1, "liver"),), everything=(1,))
    volume = body((30, 41, 23), (1.7, 2.2, 3.9))
    blob = np.zeros(volume.data.shape[1:], dtype=bool)
    blob[8:19, 10:30, 6:15] = True
    data = np.where(blob, 900, -200).astype(np.int16)
    segmenter = Segmenter(Threshold(spec.architecture), spec)
    found = segmenter(Volume(data[None], volume.grid, "CT"), [1]).mask("liver")
    apart = np.argwhere(found).mean(0) - np.argwhere(blob).mean(0)
    assert np.abs(apart).max() < 0.1
    assert abs(found.sum() / blob.sum() - 1) < 0.1


@pytest.mark.parametrize("length", [157, 158, 159, 160])
def test_the_outermost_voxels_of_a_scan_are_labelled_though_the_model_s_grid_is_a_little_shorter(
    length: int,
) -> None:
    spec = small_spec(vocabulary=((1, "liver"),), everything=(1,))
    data = np.full((1, 8, 8, length), 900, dtype=np.int16)
    data[:, :2] = -1000
    volume = Volume(
        data, Grid((8, 8, length), np.diag([3.0, 3.0, 0.5, 1.0])), "CT"
    )  # 78.5 mm are 26 voxels of 3 mm
    found = Segmenter(Threshold(spec.architecture), spec)(volume, [1]).data
    assert (found[4:] == 1).all()


def test_structures_inside_others_get_a_layer_of_their_own() -> None:
    vocabulary = Vocabulary.of(SPEC.vocabulary)
    layers = assign_layers(SPEC, vocabulary.resolve(["liver", "hepatic tumor", "spleen"]))
    assert [t.name for t in layers["labels"]] == ["liver", "spleen"]
    assert [[t.name for t in ts] for name, ts in layers.items() if name != "labels"] == [["hepatic tumor"]]


def test_a_structure_asked_for_alone_is_in_the_base_layer() -> None:
    layers = assign_layers(SPEC, Vocabulary.of(SPEC.vocabulary).resolve(["hepatic tumor"]))
    assert list(layers) == ["labels"]


def test_the_liver_keeps_its_voxels_when_its_tumour_is_asked_for_too() -> None:
    segmenter = Segmenter(small_network(SPEC), SPEC)
    alone = segmenter(body(), ["liver"])
    both = segmenter(body(), ["liver", "hepatic tumor"])
    assert np.array_equal(alone.mask("liver"), both.data == 1)
    assert both.mask("hepatic tumor").any()


def test_a_composite_is_the_union_of_its_parts() -> None:
    segmenter = Segmenter(small_network(SPEC), SPEC)
    parts = segmenter(body(), ["kidneys"])
    whole = segmenter(body(), ["kidney"])
    assert set(whole.names.values()) == {"kidney"}
    assert np.array_equal(whole.data > 0, parts.data > 0)
    assert set(np.unique(parts.data)) == {0, 3, 4}


def test_the_same_input_gives_the_same_labels_twice() -> None:
    segmenter = Segmenter(small_network(SPEC), SPEC)
    assert np.array_equal(segmenter(body()).data, segmenter(body()).data)


def test_windows_of_air_are_spared_without_changing_a_label() -> None:
    volume = body((60, 60, 60), (3.0, 3.0, 3.0))
    data = volume.data.copy()
    data[0, 20:] = -1000
    data[0, 55:, 55:, 55:] = 100
    segmenter = Segmenter(small_network(SPEC), SPEC)
    result = segmenter.segment(Volume(data, volume.grid, "CT"), IDS)
    assert result.plan.num_empty > 0
    air = np.zeros(data.shape[1:], dtype=bool)
    air[44:52, :34, :34] = True
    assert not result.labels.data[air].any()


FULL = (
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
)


@pytest.mark.parametrize("error", FULL, ids=lambda error: type(error).__name__)
def test_where_memory_runs_out_windows_run_again_one_at_a_time_and_give_the_same(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    segmenter, volume, options = Segmenter(small_network(SPEC), SPEC), body(), SegmentOptions()
    targets = segmenter.vocabulary.resolve(IDS)
    prepared, plan = segmenter.prepare(volume, targets, options)
    several = replace(plan, at_once=2, threads_each=1)
    mapped, calls, told, failing = segmenter.network.mapped_features, [], [], {4}

    def network(window: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) in failing:
            raise error
        return mapped(window)

    def found(chosen: Plan) -> Automatic:
        calls.clear()
        told.clear()
        return segment_automatic(
            segmenter.network, SPEC, prepared, chosen, targets,
            grid=volume.grid, pipeline=pipeline(None), on_window=told.append,
        )  # fmt: skip

    expected = found(several)
    assert len(np.unique(expected.layers[BASE_LAYER])) > 3
    monkeypatch.setattr(segmenter.network, "mapped_features", network)
    again = found(several)
    assert all(np.array_equal(again.layers[name], expected.layers[name]) for name in expected.layers)
    assert again.confidence == expected.confidence
    assert len(calls) > plan.num_windows - plan.num_empty == sum(told)
    assert len(told) == plan.num_windows
    assert "one at a time" in caplog.text
    with pytest.raises(type(error)):
        found(replace(several, at_once=1))
    failing |= set(range(4, 99))
    with pytest.raises(type(error)):
        found(several)


def test_another_error_of_a_window_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, volume, calls = Segmenter(small_network(SPEC), SPEC), body(), []

    def wrong(window: torch.Tensor) -> torch.Tensor:
        calls.append(window)
        raise RuntimeError("shape mismatch")

    targets = segmenter.vocabulary.resolve(IDS)
    prepared, plan = segmenter.prepare(volume, targets, SegmentOptions())
    monkeypatch.setattr(segmenter.network, "mapped_features", wrong)
    with pytest.raises(RuntimeError, match="shape"):
        segment_automatic(
            segmenter.network, SPEC, prepared, replace(plan, at_once=2, threads_each=1), targets,
            grid=volume.grid, pipeline=pipeline(None),
        )  # fmt: skip
    assert len(calls) <= 3
