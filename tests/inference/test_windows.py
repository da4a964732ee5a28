"""Windows: every voxel is covered, blending changes nothing that is the same in every window."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers.utils import _get_scan_interval
from torch.utils._python_dispatch import TorchDispatchMode

from vesalius.inference.windows import (
    WindowLayout,
    blended_features,
    clamped_starts,
    rolling_axis,
    spread_starts,
)

SHAPE, WINDOW = (37, 24, 50), (16, 24, 16)


def layout_along(axis: int, blending: str = "partition") -> WindowLayout:
    starts = tuple(spread_starts(n, w, 0.25) for n, w in zip(SHAPE, WINDOW, strict=True))
    return WindowLayout(shape=SHAPE, window_size=WINDOW, starts=starts, axis=axis, blending=blending)


def collect(blocks, layout: WindowLayout, width: int) -> torch.Tensor:
    """Put blocks together again, checking that each begins with the last plane of the one before."""
    whole = torch.zeros(*(layout.shape[a] for a in layout.order), width)
    done = 0
    for number, block in enumerate(blocks):
        first = done - (number > 0)
        if number:
            assert torch.equal(whole[first], block[0].float())
        whole[first : first + len(block)] = block
        done = first + len(block)
    assert done == layout.shape[layout.axis]
    return whole


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_pointwise_network_is_reproduced_in_every_voxel(axis: int) -> None:
    image = torch.rand(SHAPE)
    layout = layout_along(axis)
    blocks = blended_features(
        lambda w: torch.cat([w, 2 * w, -w], dim=1), image, layout, width=3, dtype=torch.float32
    )
    expected = torch.stack([image, 2 * image, -image], dim=-1).permute(*layout.order, 3)
    torch.testing.assert_close(collect(blocks, layout, 3), expected)


def test_a_shifted_window_would_be_noticed() -> None:
    image = torch.rand(SHAPE)
    layout = layout_along(2)
    blocks = blended_features(lambda w: w.roll(1, dims=-1), image, layout, width=1, dtype=torch.float32)
    expected = image[..., None].permute(*layout.order, 3)
    assert (collect(blocks, layout, 1) - expected).abs().max() > 0.1


def test_every_rolling_axis_gives_the_same_features() -> None:
    image = torch.rand(SHAPE)

    def sees_its_window(window: torch.Tensor) -> torch.Tensor:
        return window - window.mean()

    results = []
    for axis in range(3):
        layout = layout_along(axis)
        whole = collect(blended_features(sees_its_window, image, layout, width=1, dtype=torch.float32), layout, 1)
        results.append(whole[..., 0].permute(*(layout.order.index(a) for a in range(3))))
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(results[0], results[2])


def test_partition_weights_add_up_to_one_in_every_voxel() -> None:
    layout = layout_along(2)
    total = torch.zeros(SHAPE)
    for _, _, corners in layout.rows():
        for corner in corners:
            total[tuple(slice(a, a + n) for a, n in zip(corner, WINDOW, strict=True))] += layout.weights(corner)
    torch.testing.assert_close(total, torch.ones(SHAPE))


def test_spared_windows_count_as_zero_and_are_reported() -> None:
    image = torch.zeros(SHAPE)
    image[:, :, :20] = 1.0
    layout, heard = layout_along(2), []
    blocks = blended_features(
        lambda w: w + 1,
        image,
        layout,
        width=1,
        dtype=torch.float32,
        is_empty=lambda w: bool(w.max() <= 0),
        on_window=heard.append,
    )
    whole = collect(blocks, layout, 1)
    assert len(heard) == layout.num_windows
    assert 0 < sum(heard) < layout.num_windows
    assert whole[-1].abs().max() == 0
    assert whole[0].min() > 1.9


class LargestMade(TorchDispatchMode):
    """Remembers how many numbers the largest new tensor held."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {a.untyped_storage().data_ptr() for a in args if isinstance(a, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.untyped_storage().data_ptr() not in given:
            self.numbers = max(self.numbers, result.numel())
        return result


@pytest.mark.parametrize("overlap", [0.25, 0.75])
def test_beside_the_slab_nothing_larger_than_a_window_is_made(overlap: float) -> None:
    shape, window = (160, 8, 24), (16, 8, 16)
    starts = tuple(spread_starts(n, w, overlap) for n, w in zip(shape, window, strict=True))
    layout = WindowLayout(shape=shape, window_size=window, starts=starts, axis=2)
    image = torch.rand(shape)
    blocks = blended_features(lambda w: w, image, layout, width=1, dtype=torch.float32)
    whole = [next(blocks).numpy().copy()]  # with which the slab was made
    with LargestMade() as made:
        whole += [block[1:].numpy().copy() for block in blocks]
    np.testing.assert_allclose(np.concatenate(whole)[..., 0], image.permute(layout.order), rtol=1e-5)
    assert made.numbers <= 16 * 8 * 16


@pytest.mark.parametrize("at_once", [2, 3])
def test_windows_that_run_at_once_are_blended_as_if_one_by_one(at_once: int) -> None:
    image, layout, threads = torch.rand(SHAPE), layout_along(2), torch.get_num_threads()
    delays = itertools.cycle([0.004, 0.0, 0.001])  # so that they end in another order than they began
    running, most = [], []

    def sees_its_window(window: torch.Tensor) -> torch.Tensor:
        running.append(window)
        most.append(len(running))
        time.sleep(next(delays))
        running.pop()
        return window - window.mean()

    def blended(count: int) -> torch.Tensor:
        blocks = blended_features(
            sees_its_window, image, layout, width=1, dtype=torch.float32, at_once=count, threads_each=1
        )
        return collect(blocks, layout, 1)

    expected = blended(1)
    assert max(most) == 1
    most.clear()
    assert torch.equal(blended(at_once), expected)
    assert 1 < max(most) <= at_once
    assert torch.get_num_threads() == threads


def test_a_window_that_fails_beside_others_fails_the_run() -> None:
    count = itertools.count()

    def fails_later(window: torch.Tensor) -> torch.Tensor:
        if next(count) == 3:
            raise ZeroDivisionError
        return window

    layout = layout_along(2)
    blocks = blended_features(fails_later, torch.rand(SHAPE), layout, width=1, dtype=torch.float32, at_once=2)
    with pytest.raises(ZeroDivisionError):
        collect(blocks, layout, 1)


def test_a_run_given_up_runs_no_further_windows() -> None:
    ran = []
    layout = layout_along(2)
    blocks = blended_features(
        lambda window: ran.append(1) or window,
        torch.rand(SHAPE),
        layout,
        width=1,
        dtype=torch.float32,
        at_once=2,
        threads_each=1,
    )
    next(blocks)
    blocks.close()
    done = len(ran)
    time.sleep(0.02)
    assert len(ran) == done < layout.num_windows


@given(length=st.integers(1, 400), side=st.integers(4, 64), overlap=st.floats(0, 0.9))
@settings(deadline=None, max_examples=200)
def test_starts_cover_the_axis_with_the_overlap_asked_for(length: int, side: int, overlap: float) -> None:
    starts = spread_starts(length, side, overlap)
    assert starts[0] == 0
    assert starts[-1] == max(length - side, 0)
    steps = [b - a for a, b in itertools.pairwise(starts)]
    assert all(0 < step <= side * (1 - overlap) + 1 for step in steps)


@given(shape=st.tuples(*[st.integers(16, 120)] * 3), overlap=st.sampled_from([0.0, 0.25, 0.5, 0.625]))
@settings(deadline=None, max_examples=100)
def test_clamped_starts_are_those_of_monai(shape: tuple[int, int, int], overlap: float) -> None:
    roi = (16, 16, 16)
    interval = _get_scan_interval(shape, roi, 3, (overlap,) * 3)
    theirs = {tuple(s.start for s in patch) for patch in dense_patch_slices(shape, roi, interval)}
    i, j, k = (clamped_starts(n, 16, overlap) for n in shape)
    assert theirs == {(a, b, c) for a in i for b in j for c in k}


def test_gaussian_weights_are_those_of_monai() -> None:
    layout = layout_along(0, "gaussian")
    theirs = compute_importance_map(WINDOW, mode="gaussian", sigma_scale=0.125)
    floor = max(float(theirs.min()), 1e-3)
    torch.testing.assert_close(layout.weights((0, 0, 0)), theirs.clamp(min=floor).float(), rtol=1e-5, atol=1e-7)


def test_the_slab_rolls_along_the_longest_axis() -> None:
    assert rolling_axis((10, 30, 20)) == 1
    assert rolling_axis((30, 30, 30)) == 2
