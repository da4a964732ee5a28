"""Cases that nobody scanned look as their labels say, say no more than was known, and are made once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.small_list import SPEC
from vesalius.data import synthetic_cases as room
from vesalius.data.cache import Cache
from vesalius.data.case import UNKNOWN, Case
from vesalius.data.synthesis import SynthesisConfig, synthesise
from vesalius.data.synthetic_cases import SYNTHETIC, _phantom_config, grid_of, painted_cases, phantom_cases
from vesalius.geometry.volume import LabelMap, Volume

COARSE = replace(
    SPEC,
    spacing_mm=(12.0, 12.0, 12.0),
    vocabulary=((1, "spleen"), (2, "Liver"), (3, "hepatic tumor"), (4, "parotid gland")),
)
STILL = SynthesisConfig(
    bend_mm=0.0, rotation_degrees=0.0, scaling=0.0, shift_mm=0.0, texture_hu=0.0, noise_hu=(0.0, 0.0)
)


def source(name: str = "a", *, annotated: frozenset[int] = frozenset({1})) -> Case:
    labels = np.zeros((36, 40, 38), np.uint8)
    labels[15:21, 16:21, 15:22] = 1
    labels[15:18, 22:24, 14:24] = UNKNOWN
    image = np.full(labels.shape, -1000, np.int16)
    image[9:27, 10:30] = -100  # fat, in it muscle, in it what is labelled
    image[12:24, 13:27] = 50
    return Case(name, "real", image, labels, annotated)


def whole(layer: object) -> np.ndarray:
    return np.asarray(layer)


@pytest.mark.parametrize("orientation", ["RAS", "PLS", "LPI"])
def test_a_painting_has_the_labels_it_was_painted_from_on_the_model_s_axes(
    orientation: str, tmp_path: Path
) -> None:
    spec = replace(SPEC, orientation=orientation)
    assert grid_of((36, 40, 38), spec).axis_codes == orientation
    (still,) = painted_cases([source()], spec, Cache(tmp_path), count=1, config=STILL)
    labels, image = whole(still.labels), whole(still.image_hu)
    assert (labels == source().labels).all()
    assert still.group == SYNTHETIC
    inside = image[17:19, 18, 17:20]
    assert 20 < inside.mean() < 200  # a liver's
    assert image[0, 0, 0] < -900  # air outside the body, and tissues in it as they were
    assert -130 < image[10, 11].mean() < -60
    assert 20 < image[13, 14].mean() < 90
    assert still.present == (1,)


def test_paintings_differ_keep_what_was_looked_for_and_are_made_once(tmp_path: Path) -> None:
    both = frozenset({1, 3})
    cases = [source("a"), source("b", annotated=both), replace(source("c"), labels=np.zeros((8, 8, 8), np.uint8),
             image_hu=np.zeros((8, 8, 8), np.int16))]  # fmt: skip
    told: list[int] = []
    one = painted_cases(cases, SPEC, Cache(tmp_path), count=3, seed=5, on_case=told.append)
    assert told == [1, 2, 3]
    assert [case.annotated for case in one] == [{1}, both, {1}]  # the third case holds nothing to paint
    assert [case.name for case in one] == ["a, painting 0", "b, painting 1", "a, painting 2"]
    assert UNKNOWN in whole(one[0].labels)
    assert not np.array_equal(whole(one[0].image_hu), whole(one[2].image_hu))
    assert not np.array_equal(whole(one[0].labels), source().labels)  # it is bent
    made = sorted(path.name for path in tmp_path.iterdir())
    again = painted_cases(cases, SPEC, Cache(tmp_path), count=3, seed=5)
    assert sorted(path.name for path in tmp_path.iterdir()) == made
    assert all(np.array_equal(whole(a.image_hu), whole(b.image_hu)) for a, b in zip(one, again, strict=True))
    (other,) = painted_cases(cases, SPEC, Cache(tmp_path), count=1, seed=6)
    assert not np.array_equal(whole(other.image_hu), whole(one[0].image_hu))
    assert painted_cases([cases[2]], SPEC, Cache(tmp_path), count=2) == ()


def test_a_painting_and_a_step_s_first_window_are_drawn_from_other_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams: list[float] = []

    def noted(drawn: LabelMap, *, rng: np.random.Generator, config: SynthesisConfig) -> tuple[Volume, LabelMap]:
        streams.append(rng.random())
        return synthesise(drawn, rng=rng, config=config)

    monkeypatch.setattr(room, "synthesise", noted)
    painted_cases([source()], SPEC, Cache(tmp_path), count=2, seed=5, config=STILL)
    windows = [np.random.default_rng((5, step, 0)).random() for step in range(2)]
    assert len({*streams, *windows}) == 4


def test_a_model_of_mr_gets_any_contrast_and_the_window_of_each_image(tmp_path: Path) -> None:
    spec = replace(SPEC, modality="MR", normalisation="percentiles")
    cases = painted_cases([source()], spec, Cache(tmp_path), count=6)
    means = [whole(case.image_hu)[whole(case.labels) == 1].mean() for case in cases]
    assert max(means) - min(means) > 300  # no liver's
    assert all(case.window is not None and case.window[0] < case.window[1] for case in cases)
    assert phantom_cases(spec, Cache(tmp_path), count=1) == ()


@pytest.mark.parametrize(
    ("spacing_mm", "seen_mm"), [((1.5, 1.5, 3.0), (440, 340, 340)), ((0.45, 0.45, 0.45), (209, 162, 162))]
)
def test_phantoms_of_tiny_voxels_show_less_of_a_body(
    spacing_mm: tuple[float, float, float], seen_mm: tuple[int, int, int]
) -> None:
    config = _phantom_config(replace(SPEC, spacing_mm=spacing_mm), 0, 0)
    assert config.spacing_mm == pytest.approx(spacing_mm)
    assert np.prod(config.shape) < 61e6
    assert np.multiply(config.shape, spacing_mm) == pytest.approx(seen_mm, abs=3)


def test_phantoms_show_what_the_model_names_and_leave_the_rest_unknown(tmp_path: Path) -> None:
    cases = phantom_cases(COARSE, Cache(tmp_path), count=2, seed=3)
    assert [case.annotated for case in cases] == [{1, 2, 3}] * 2  # no phantom has a parotid gland
    abdomen = cases[0]
    labels, image = whole(abdomen.labels), whole(abdomen.image_hu)
    assert {1, 2} <= set(abdomen.present)
    assert set(np.unique(labels)) <= {0, 1, 2, 3, UNKNOWN}
    assert (labels == UNKNOWN).sum() > 500  # bones, muscles and other organs
    assert 30 < np.median(image[labels == 2]) < 160
    # right of the spleen, as in a body
    assert np.argwhere(labels == 2)[:, 0].mean() > np.argwhere(labels == 1)[:, 0].mean()
    assert phantom_cases(replace(COARSE, vocabulary=((1, "my organ"),)), Cache(tmp_path), count=1) == ()
