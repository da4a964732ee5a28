"""Lumps: in the body alone, of all sizes, seen or not, one over another; and what hides behind them is unknown."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from vesalius.prompts.targets import ClickTarget
from vesalius.training.click_sampling import ClickedObject, with_lumps
from vesalius.training.painted_lumps import AIR_BELOW_HU, LARGEST_PART, RADIUS_MM, SMALLEST, paint_lumps

SPACING_MM = (4.0, 4.0, 3.0)


def tissue(seed: int = 0) -> torch.Tensor:
    """A window of soft tissue, with air in its first quarter."""
    image = torch.from_numpy(np.random.default_rng(seed).normal(40, 12, (32, 32, 32)).astype(np.float32))
    image[:8] = -1000.0
    return image


def test_lumps_lie_in_the_body_and_change_nothing_far_from_them() -> None:
    image = tissue()
    seen = 0
    for seed in range(30):
        painted, numbers = paint_lumps(image, SPACING_MM, 2, np.random.default_rng(seed))
        assert torch.equal(image, tissue())
        assert painted.isfinite().all()
        assert (image[numbers > 0] > AIR_BELOW_HU).all()
        assert torch.equal(painted[:8], image[:8]), "air stays air"
        if not (numbers > 0).any():
            continue
        away_mm = ndimage.distance_transform_edt((numbers == 0).numpy(), sampling=SPACING_MM)
        is_changed = (painted != image).numpy()
        assert not is_changed[away_mm > 0.3 * RADIUS_MM[1]].any()
        seen += bool(is_changed.any())
    assert seen > 15


def test_sizes_are_spread_between_the_shortest_and_the_longest() -> None:
    sizes = []
    for seed in range(80):
        image = torch.full((48, 48, 48), 40.0)
        _, numbers = paint_lumps(image, SPACING_MM, 1, np.random.default_rng(seed))
        count = int((numbers == 1).sum())
        if count:
            assert count >= SMALLEST
            sizes.append((count * 48 * 3 / 4 / np.pi) ** (1 / 3))
    longest = min(RADIUS_MM[1], LARGEST_PART * 48 * 3.0)
    assert min(sizes) < 10
    assert 0.7 * longest < max(sizes) < 1.8 * longest
    assert len(sizes) > 60


def test_some_are_brighter_some_darker_and_some_cannot_be_seen() -> None:
    image = torch.full((32, 32, 32), 40.0)
    changes = []
    for seed in range(100):
        painted, numbers = paint_lumps(image, SPACING_MM, 1, np.random.default_rng(seed))
        if (numbers == 1).any():
            changes.append(float((painted - image)[numbers == 1].mean()))
    hidden = sum(change == 0 for change in changes)
    assert 0.08 * len(changes) < hidden < 0.35 * len(changes)
    assert min(changes) < -30
    assert max(changes) > 30


def test_chance_comes_from_the_generator_alone_and_a_window_of_air_gets_none() -> None:
    first, second = (paint_lumps(tissue(), SPACING_MM, 3, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert len(first[1].unique()) > 2
    air = torch.full((16, 16, 16), -1000.0)
    painted, numbers = paint_lumps(air, SPACING_MM, 3, np.random.default_rng(5))
    assert torch.equal(painted, air)
    assert not numbers.any()


@pytest.mark.parametrize("most", [1, 3])
def test_lumps_come_first_without_a_name_and_hide_what_they_cover(most: int) -> None:
    lumps = np.zeros((8, 8, 8), np.int64)
    lumps[:3] = 2
    organ, hidden = np.zeros((2, 8, 8, 8), bool)
    organ[2:6], hidden[1:2] = True, True
    named = ClickTarget(id=1, name="organ", supported=True, special=False, layer=None)
    objects = [ClickedObject(named, mask, np.ones_like(mask)) for mask in (hidden, organ)]
    found = with_lumps(objects, lumps, most=most)
    assert len(found) == min(most, 2), "an object that is covered wholly is not clicked on"
    assert not found[0].target.supported
    assert np.array_equal(found[0].mask, lumps == 2)
    assert found[0].known.all()
    if most > 1:
        assert found[1].target is named
        assert np.array_equal(found[1].mask, organ & (lumps == 0))
        assert np.array_equal(found[1].known, lumps == 0)
