"""The model inside the package: it is whole, says what it was measured on, and finds organs where they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

import vesalius
from vesalius.checkpoints.catalog import BUILTIN
from vesalius.checkpoints.load import load_model
from vesalius.data.phantom import PhantomConfig, make_phantom
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.segmenter import Segmenter
from vesalius.labels.vista3d import STRUCTURES
from vesalius.spec import ModelSpec

FOLDER = BUILTIN / "vesalius-small"
KEPT = Path(__file__).with_name("labels_of_phantom.npz")
FIVE = ("brainstem", "spinal cord", "left parotid gland", "right parotid gland", "mandible")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    loaded = load_model(FOLDER)
    return Segmenter(loaded.network, loaded.spec)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return ModelSpec.from_json((FOLDER / "spec.json").read_text())


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_weights_are_sixteen_bit_and_light_enough_for_the_wheel() -> None:
    assert (FOLDER / "model.safetensors").stat().st_size <= 16_000_000
    with safe_open(FOLDER / "model.safetensors", framework="pt") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - not a mapping
    assert kinds == {"F16"}


def test_every_weight_is_finite_and_none_was_left_at_its_start(segmenter: Segmenter) -> None:
    state = segmenter.network.state_dict()
    assert all(bool(tensor.isfinite().all()) for tensor in state.values())
    norms = [tensor for name, tensor in state.items() if "norm" in name and name.endswith("weight")]
    assert norms
    assert all(bool((tensor != 1).any()) for tensor in norms)


def test_its_vocabulary_uses_the_names_of_the_table(spec: ModelSpec) -> None:
    known = {structure.name for structure in STRUCTURES}
    own = {name for _, name in spec.vocabulary}
    extra = {
        "brainstem",
        "mandible",
        "larynx",
        "left parotid gland",
        "right parotid gland",
        "left lung",
        "right lung",
    }
    assert extra <= own
    assert own <= known | extra
    assert max(label for label, _ in spec.vocabulary) < spec.architecture.num_embeddings


def test_everything_offers_only_classes_above_one_half_on_development_cases(spec: ModelSpec) -> None:
    means = {name: entry["mean"] for part in ("torso", "head-neck") for name, entry in summary(part).items()}
    assert {label for label, name in spec.names.items() if means.get(name, 0) >= 0.5} == {*spec.everything} != set()


def test_the_card_names_every_class_and_every_measured_number(spec: ModelSpec) -> None:
    card = (FOLDER / "MODEL_CARD.md").read_text()
    assert all(name in card for _, name in spec.vocabulary)
    assert all(f"{value:.3f}" in card for value in spec.dice.values())
    for word in ("Licence", "human", "silver", "synthetic", "example_ct", "OpenKBP", "CC BY 4.0"):
        assert word in card


def summary(part: str, *, alone: bool = False) -> dict[str, Any]:
    """What the benchmark measured on one kind of cases: class -> mean and number of cases."""
    path = Path(__file__).parents[1] / "benchmarks" / "results" / "built_in_model.json"
    results = json.loads(path.read_text())
    means: dict[str, Any] = (results["by name"] if alone else results)[part]["summary"]
    return means


def test_the_numbers_of_the_spec_are_those_of_the_benchmark(spec: ModelSpec) -> None:
    head = summary("head-neck")
    assert head["mean of the five"]["n"] == 16
    for name in FIVE:
        assert spec.dice[name] == pytest.approx(head[name]["mean"], abs=5e-4)


def test_of_the_trunk_the_spec_states_what_a_scan_gave_that_was_not_trained_on(spec: ModelSpec) -> None:
    offered = {spec.names[label] for label in spec.everything}
    unseen = {name: entry["mean"] for name, entry in summary("example").items() if name in offered}
    for name in unseen.keys() - summary("head-neck").keys():
        assert spec.dice[name] == pytest.approx(unseen[name], abs=5.01e-4)
    assert "never trained on" in spec.dice_source


def test_of_what_is_offered_only_when_named_the_spec_states_what_it_gives_that_is_asked_for_alone(
    spec: ModelSpec,
) -> None:
    alone = summary("example", alone=True) | summary("head-neck", alone=True)
    assert alone.keys() == {name for label, name in spec.vocabulary if label not in spec.everything}
    for name, entry in alone.items():
        assert spec.dice[name] == pytest.approx(entry["mean"], abs=5.01e-4)
    assert "asked for alone" in spec.dice_source


@pytest.fixture(scope="module")
def found(segmenter: Segmenter) -> tuple[LabelMap, LabelMap]:
    config = PhantomConfig(
        shape=(104, 80, 120), spacing_mm=(4.0, 4.0, 3.5), seed=91, region="abdomen", overlaps=False
    )  # slices of 3.5 mm are painted once, thicker ones three times
    volume, truth = make_phantom(config)
    return segmenter(volume, ["liver", "left lung", "right lung", "brainstem"]), truth


def _lobes(truth: LabelMap, side: str) -> np.ndarray:
    names = [name for name in truth.names.values() if name.startswith(f"{side} lung ")]
    return np.logical_or.reduce([truth.mask(name) for name in names])


def test_it_finds_the_liver_and_the_lungs_of_a_torso_it_has_not_seen(found: tuple[LabelMap, LabelMap]) -> None:
    labels, truth = found
    assert _dice(labels.mask("liver"), truth.mask("liver")) > 0.7
    assert _dice(labels.mask("left lung"), _lobes(truth, "left")) > 0.7
    assert _dice(labels.mask("right lung"), _lobes(truth, "right")) > 0.7


def test_each_lung_is_on_its_side(found: tuple[LabelMap, LabelMap]) -> None:
    labels, truth = found
    for side, other in (("left", "right"), ("right", "left")):
        mask = labels.mask(f"{side} lung")
        assert not (mask & _lobes(truth, other)).sum() > 0.01 * mask.sum()


def test_its_labels_are_those_of_the_version_that_was_measured(found: tuple[LabelMap, LabelMap]) -> None:
    """Another torch, numpy or processor may move a voxel, and no more: else the card's numbers are another model's.

    Where the model itself changes, ``labels_of_phantom`` is written anew from ``labels.data``, as here.
    """
    labels, _ = found
    with np.load(KEPT) as kept:
        names, before = dict(enumerate(kept["names"].tolist())), kept["labels"]
    for label, name in names.items():
        if name and (before == label).any():
            assert _dice(labels.mask(name), before == label) > 0.99, name
    assert {name for name in names.values() if name} == set(labels.names.values())


def test_no_brainstem_in_an_abdomen(found: tuple[LabelMap, LabelMap]) -> None:
    labels, _ = found
    assert labels.mask("brainstem").mean() < 1e-4


def test_it_is_what_load_gives_by_default() -> None:
    assert vesalius.load().spec.name == "vesalius-small"


@pytest.mark.slow
def test_head_and_neck_development_cases_keep_their_score(segmenter: Segmenter, shared_data: Path) -> None:
    ids = {"brainstem": 1, "spinal cord": 2, "right parotid gland": 3, "left parotid gland": 4, "mandible": 5}
    means = []
    for path in sorted((shared_data / "openkbp-hn-ct" / "val").glob("*_ct.nii.gz"))[:4]:
        drawn = vesalius.read(path.with_name(path.name.replace("_ct", "_seg"))).data[0]
        labels = segmenter(vesalius.read(path), list(ids))
        means.append(np.mean([_dice(labels.mask(name), drawn == label) for name, label in ids.items()]))
    assert np.mean(means) >= 0.65


@pytest.mark.slow
def test_sides_of_a_real_scan_are_the_sides_drawn(segmenter: Segmenter, shared_data: Path) -> None:
    path = sorted((shared_data / "openkbp-hn-ct" / "val").glob("*_ct.nii.gz"))[0]
    drawn = vesalius.read(path.with_name(path.name.replace("_ct", "_seg"))).data[0]
    volume = vesalius.read(path)
    both = ["left parotid gland", "right parotid gland"]
    labels = segmenter(volume, both)
    assert _dice(labels.mask(both[0]), drawn == 4) > 3 * _dice(labels.mask(both[0]), drawn == 3)
    mirrored = segmenter(Volume(volume.data[:, ::-1], volume.grid, volume.modality), both)
    assert _dice(mirrored.mask(both[0]), (drawn == 3)[::-1]) > 3 * _dice(mirrored.mask(both[0]), (drawn == 4)[::-1])
