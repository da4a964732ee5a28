"""What a segmentation is told, and how its time is told: options that exclude each other, phases that end."""

from __future__ import annotations

import pytest

from vesalius.errors import UsageError
from vesalius.inference.segmentation import Clock, Progress, SegmentOptions


def test_an_overlap_and_a_published_pipeline_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="compat"):
        SegmentOptions(overlap=0.5, compat="paper")


@pytest.mark.parametrize("overlap", [-0.1, 1.0])
def test_an_overlap_of_nothing_or_of_a_whole_window_is_refused(overlap: float) -> None:
    with pytest.raises(UsageError, match="overlap in"):
        SegmentOptions(overlap=overlap)


def test_a_phase_is_told_when_it_begins_and_timed_when_it_ends() -> None:
    heard: list[str] = []
    clock = Clock(progress=Progress(on_phase=heard.append))
    with clock.phase("preparing"):
        assert (heard, clock.seconds) == (["preparing"], {})
    with pytest.raises(MemoryError), clock.phase("windows"):
        raise MemoryError
    assert heard == ["preparing", "windows"]
    assert list(clock.seconds) == ["preparing"]
