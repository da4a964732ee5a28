"""Clicks: they lie where they say, as many as MONAI's sampler would give, and later ones lie on the errors."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.small_case import CLICK_SPEC
from vesalius.data.case import UNKNOWN
from vesalius.geometry.boxes import Box
from vesalius.prompts.encode import encode_clicks
from vesalius.training.click_sampling import (
    ClickedObject,
    click_targets,
    clicks_on_errors,
    first_clicks,
    joined,
    objects_in,
)
from vesalius.training.overlaps import Overlaps
from vesalius.training.recipes import ClickPrompting

OVERLAPS = Overlaps.of(CLICK_SPEC.vocabulary)
TARGETS = click_targets(CLICK_SPEC, OVERLAPS)


def ball(side: int = 26, radius: float = 6, centre: float = 12) -> np.ndarray:
    i, j, k = np.ogrid[:side, :side, :side]
    return np.asarray((i - centre) ** 2 + (j - centre) ** 2 + (k - centre) ** 2 < radius**2)


def clicked(mask: np.ndarray, label: int = 1) -> ClickedObject:
    return ClickedObject(TARGETS[label], mask, np.ones_like(mask))


def at(mask: np.ndarray, points: np.ndarray) -> list[bool]:
    return mask[tuple(points.astype(int).T)].tolist()


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_first_clicks_lie_on_the_side_they_say(seed: int, most: int) -> None:
    mask = ball()
    clicks = first_clicks(clicked(mask), ClickPrompting(clicks=most), np.random.default_rng(seed))
    assert at(mask, clicks.points_ijk) == clicks.positive.tolist()
    assert 1 <= clicks.positive.sum() <= most
    assert (~clicks.positive).sum() <= most


@pytest.mark.parametrize("most", [1, 3, 5, 20])
def test_numbers_of_first_clicks_are_monai_s(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are given the same two normal numbers; MONAI draws them once for the window, this for each object."""
    from monai.apps.vista3d.sampler import sample_prompt_pairs

    mask = ball()
    for seed in range(20):
        drawn = iter(np.random.default_rng(seed).normal(0, 1, 2).tolist())
        monkeypatch.setattr(random, "gauss", lambda mu, sigma, drawn=drawn: mu + sigma * next(drawn))
        labels = torch.from_numpy(mask.astype(np.int64))[None, None]
        _, _, official, _ = sample_prompt_pairs(labels, [1], max_point=most, drop_label_prob=0, drop_point_prob=0)
        ours = first_clicks(clicked(mask), ClickPrompting(clicks=most), np.random.default_rng(seed))
        assert ours.positive.sum() == (official == 1).sum()
        assert (~ours.positive).sum() == (official == 0).sum()


def test_special_classes_and_new_objects_get_the_labels_the_point_head_knows() -> None:
    from monai.apps.vista3d.sampler import sample_prompt_pairs

    mask, window = ball(), Box((0, 0, 0), (26, 26, 26))
    rng = np.random.default_rng(3)
    special, plain = (
        first_clicks(clicked(mask, label), ClickPrompting(clicks=9), np.random.default_rng(1)) for label in (6, 1)
    )
    new = first_clicks(clicked(mask, 6).as_new(), ClickPrompting(clicks=9), rng)
    encoded = encode_clicks([special, plain, new], window)
    assert set(encoded.point_labels[0].tolist()) - {-1} <= {2, 3}
    assert set(encoded.point_labels[1].tolist()) - {-1} <= {0, 1}
    assert set(encoded.point_labels[2].tolist()) - {-1} <= {0, 1}
    assert encoded.supported.tolist() == [True, True, False]
    labels = torch.from_numpy(mask.astype(np.int64))[None, None] * 26  # VISTA3D's hepatic tumour
    _, _, official, _ = sample_prompt_pairs(labels, [26], drop_label_prob=0, drop_point_prob=0)
    assert set(official.flatten().tolist()) <= {2, 3}


def test_a_changed_object_is_clicked_on_where_it_was_changed() -> None:
    mask = ball()
    piece, gone = mask.copy(), mask.copy()
    piece[13:], gone[:13] = False, False
    for seed in range(10):
        one = replace(clicked(piece), also=piece & (np.indices(mask.shape)[0] < 9), beside=gone)
        clicks = first_clicks(one, ClickPrompting(clicks=1), np.random.default_rng(seed))
        assert at(one.mask, clicks.points_ijk) == clicks.positive.tolist()
        assert any(at(one.also & one.mask, clicks.points_ijk[clicks.positive]))
        assert any(at(gone, clicks.points_ijk[~clicks.positive]))


def test_later_clicks_lie_on_what_was_missed_and_on_what_was_too_much() -> None:
    mask = ball()
    for seed in range(20):
        predicted = ball(centre=16)
        added = clicks_on_errors(clicked(mask), predicted, np.random.default_rng(seed))
        assert added.positive.tolist() == [True, False]
        assert at(mask & ~predicted, added.points_ijk[:1]) == [True]
        assert at(predicted & ~mask, added.points_ijk[1:]) == [True]


def test_without_an_error_nothing_is_added_and_a_thin_one_is_clicked_on() -> None:
    mask = ball()
    rng = np.random.default_rng(0)
    assert len(clicks_on_errors(clicked(mask), mask, rng)) == 0
    thin = mask.copy()
    thin[12] = False  # one plane was missed
    added = clicks_on_errors(clicked(mask), thin, rng)
    assert added.positive.tolist() == [True]
    assert added.points_ijk[0, 0] == 12


def test_nothing_is_clicked_where_it_is_not_known() -> None:
    mask = ball()
    unknown = np.zeros_like(mask)
    unknown[:, :, 14:] = True
    one = replace(clicked(mask & ~unknown), known=~unknown)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        first = first_clicks(one, ClickPrompting(clicks=9), rng)
        later = clicks_on_errors(one, ~mask, rng)
        assert not any(at(unknown, joined(first, later).points_ijk))


def test_objects_are_classes_that_were_looked_for_up_to_a_number_and_merge_by_name() -> None:
    labels = torch.zeros(8, 8, 8, dtype=torch.uint8)
    for place, label in enumerate((1, 2, 3, 6, UNKNOWN)):
        labels[place] = label
    objects = objects_in(
        labels, frozenset((1, 2, 4, 5, 6)), OVERLAPS, TARGETS, most=9, rng=np.random.default_rng(0)
    )
    found = {one.target.id: one for one in objects}
    assert set(found) == {1, 2, 5, 6}  # 3 was not looked for, 4 does not lie there; 5 includes 6
    assert found[5].mask[3].all()
    assert not found[1].known[4].any()
    assert found[1].known[:4].all()
    some = [
        objects_in(labels, frozenset((1, 2)), OVERLAPS, TARGETS, most=1, rng=np.random.default_rng(n))
        for n in range(20)
    ]
    assert {one.target.id for (one,) in some} == {1, 2}
