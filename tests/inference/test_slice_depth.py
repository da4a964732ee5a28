"""The short form of ``benchmarks/slice_depth.py``: what the next slice decides is learnt by adapters alone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from vesalius.checkpoints.load import load_encoder, load_slice_model

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def slice_depth() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("slice_depth", BENCHMARKS / "slice_depth.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["slice_depth"] = module  # where its dataclasses look themselves up
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


@pytest.mark.slow
def test_a_frozen_backbone_needs_adapters_along_depth_for_labels_that_the_next_slice_decides(
    slice_depth: ModuleType, tmp_path: Path
) -> None:
    data, found = slice_depth.write_data(tmp_path, seed=1), {}
    drawn = load_encoder(data[0]).network.state_dict()
    for name, steps in (("decoder alone", 100), ("depth, neighbours shown", 200)):
        recipe = slice_depth.recipes(steps=steps, seed=1)[name]
        segmenter = slice_depth.learn(recipe, data, tmp_path / name)
        learnt = load_slice_model(tmp_path / name).network.encoder.state_dict()
        assert all(bool(learnt[part].equal(tensor)) for part, tensor in drawn.items()), "the backbone stays"
        found[name] = slice_depth.measure(segmenter, seed=1, count=4)
    assert segmenter.spec.spacing_mm == slice_depth.SPACING_MM
    assert found["decoder alone"]["rods"] > 0.9, "the rods are found"
    assert found["decoder alone"]["mean"] < 0.65, "and their names guessed"
    assert found["depth, neighbours shown"]["mean"] > 0.85


def test_rods_are_called_by_the_next_slice_and_by_nothing_in_their_own(slice_depth: ModuleType) -> None:
    brightness: dict[int, list[float]] = {1: [], 2: []}
    following: dict[int, list[float]] = {1: [], 2: []}
    for seed in range(20):
        image, labels = slice_depth.phantom(seed)
        for label in (1, 2):
            for k in range(slice_depth.COUNT - 1):
                rod = labels[..., k] == label
                if rod.any():
                    brightness[label].append(image[..., k][rod].mean())
                    following[label].append(image[..., k + 1][rod].mean())
    own = [sum(values) / len(values) for values in brightness.values()]
    after = [sum(values) / len(values) for values in following.values()]
    assert abs(own[0] - own[1]) < 15, "a rod's own brightness says nothing of its name"
    assert after[0] - after[1] > 100
