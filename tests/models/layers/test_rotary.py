"""Rotary positions: the angles of the official code, their augmentation, and what turning keeps."""

from __future__ import annotations

import pytest
import torch

from vesalius.errors import UsageError
from vesalius.models.layers.rotary import RotaryAugmentation, patch_places, periods, rotate, rotation


def test_the_angles_are_those_of_the_official_code() -> None:
    # Run with the official code in float32: 2 x 3 patches, heads of 64 channels, base 100.
    sines, cosines = rotation(patch_places((2, 3)), 64, 100.0)
    assert sines.shape == cosines.shape == (6, 64)
    wanted = torch.tensor([0.0, -0.70734, -0.98088, -0.96989, -0.83792, -0.67796])
    torch.testing.assert_close(sines[0, :6], wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(sines[0, 16:19], torch.tensor([0.86603, -0.00044, -0.70758]), atol=1e-5, rtol=0)
    assert torch.equal(sines[:, :32], sines[:, 32:])
    torch.testing.assert_close(sines**2 + cosines**2, torch.ones(6, 64))


def test_the_periods_are_those_of_the_official_code() -> None:
    found = periods(64, 100.0)
    torch.testing.assert_close(found[[0, 1, 2, 15]], torch.tensor([1.0, 1.33352, 1.77828, 74.98942]))
    assert found.dtype == torch.float32


def test_places_run_from_side_to_side_whatever_the_size() -> None:
    assert patch_places((1, 1)).tolist() == [[0.0, 0.0]]
    assert patch_places((2, 2)).tolist() == [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]
    assert patch_places((40, 7)).abs().max() < 1


def test_turning_keeps_lengths_and_sees_only_differences_of_places() -> None:
    two = torch.tensor([[-0.4, 0.1], [0.2, 0.3]])
    tokens = torch.randn(1, 2, 2, 16, generator=torch.Generator().manual_seed(0)).repeat(1, 1, 2, 1)
    turned = rotate(tokens, rotation(torch.cat([two, two + 0.25]), 16, 100.0))
    torch.testing.assert_close(turned.norm(dim=-1), tokens.norm(dim=-1))
    products, before = turned @ turned.transpose(2, 3), tokens @ tokens.transpose(2, 3)
    torch.testing.assert_close(products[:, :, 0, 1], products[:, :, 2, 3], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(products[:, :, 0, 1], before[:, :, 0, 1], rtol=1e-2)


def test_tokens_without_a_place_stay() -> None:
    tokens = torch.randn(2, 1, 9, 8, generator=torch.Generator().manual_seed(0))
    turned = rotate(tokens, rotation(patch_places((2, 3)), 8, 100.0))
    assert torch.equal(turned[:, :, :3], tokens[:, :, :3])
    assert not torch.isclose(turned[:, :, 3:], tokens[:, :, 3:]).all(dim=-1).any()


def test_half_precision_is_turned_in_float32() -> None:
    tokens = torch.randn(1, 1, 3136, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    by = rotation(patch_places((56, 56)), 64, 100.0)
    turned = rotate(tokens, by)
    assert turned.dtype == torch.bfloat16
    assert torch.equal(turned, rotate(tokens.float(), by).bfloat16())


def test_nothing_varies_unless_asked() -> None:
    places = patch_places((3, 5))
    assert torch.equal(RotaryAugmentation()(places), places)


@pytest.mark.parametrize(
    ("augmentation", "axes_move_together", "centre_stays"),
    [
        (RotaryAugmentation(shift=0.5), False, False),
        (RotaryAugmentation(jitter=1.5), False, True),
        (RotaryAugmentation(rescale=2.0), True, True),
    ],
    ids=["shift", "jitter", "rescale"],
)
def test_each_augmentation_varies_what_it_says(
    augmentation: RotaryAugmentation, axes_move_together: bool, centre_stays: bool
) -> None:
    places = patch_places((3, 3))
    generator = torch.Generator().manual_seed(3)
    drawn = torch.stack([augmentation(places, generator) for _ in range(150)])  # [draws t 2]
    assert torch.equal(drawn[:, 4], torch.zeros(150, 2)) == centre_stays
    if centre_stays:
        factors = drawn[:, 8] / places[8]
        largest = max(augmentation.jitter, augmentation.rescale)
        assert torch.allclose(factors[:, 0], factors[:, 1]) == axes_move_together
        assert (factors.min() >= 1 / largest - 1e-6) & (factors.max() <= largest + 1e-6)
        assert abs(factors.log().mean()) < 0.2 * factors.log().abs().max()
        assert factors.max() > 0.9 * largest
    else:
        shifts = drawn[:, 0] - places[0]
        torch.testing.assert_close(drawn - places, shifts[:, None].expand(-1, 9, -1), atol=1e-6, rtol=1e-5)
        assert 0.45 < shifts.abs().max() <= 0.5
        assert not torch.allclose(shifts[:, 0], shifts[:, 1])


def test_draws_come_from_the_generator() -> None:
    augmentation, places = RotaryAugmentation(shift=0.1, jitter=1.1, rescale=2.0), patch_places((2, 2))
    first, second = (augmentation(places, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, augmentation(places, torch.Generator().manual_seed(6)))


@pytest.mark.parametrize("wrong", [{"shift": -1.0}, {"jitter": 0.5}, {"rescale": 0.0}])
def test_factors_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        RotaryAugmentation(**wrong)
