"""Synthetic cases come as often as their share says, and nothing changes without one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.small_case import recipe
from training.small_list import SPEC, write_list, write_tiny
from vesalius.data.cache import Cache
from vesalius.data.case import Case
from vesalius.data.datalists.read import read_list
from vesalius.data.synthetic_cases import SYNTHETIC
from vesalius.engine.settings import LoopSettings
from vesalius.errors import UsageError
from vesalius.training.beginning import Beginning
from vesalius.training.course import Course, task_of
from vesalius.training.mixing import mixed, mixed_shares
from vesalius.training.synthetic import Synthetic

PLAIN = recipe(shares={}, loop=LoopSettings(steps=1, precision="fp32"))
MIXED = replace(PLAIN, synthetic=Synthetic(share=0.25, phantoms=0, paintings=2))


def test_shares_keep_their_proportions() -> None:
    assert mixed_shares({"a": 3.0, "b": 1.0}, share=0.2) == pytest.approx({"a": 0.6, "b": 0.2, SYNTHETIC: 0.2})
    assert mixed_shares({"a": 3.0}, share=1.0) == {"a": 0.0, SYNTHETIC: 1.0}
    for share in (-0.1, 1.1):
        with pytest.raises(UsageError):
            Synthetic(share=share)


def test_windows_of_a_course_come_from_synthetic_cases_as_often_as_was_said(tmp_path: Path) -> None:
    listed = read_list(write_list(tmp_path / "data"))
    beginning = Beginning.of(write_tiny(tmp_path / "tiny"), PLAIN)
    cache, told = Cache(tmp_path / "cache"), list[int]()
    course = Course(recipe=MIXED, beginning=beginning, listed=listed)
    task = task_of(course, cache, on_case=told.append)
    assert told == [1, 2, 3, 4]
    groups: Counter[str] = Counter()
    for seed in range(120):
        (window,) = task.draw(np.random.default_rng(seed)).windows
        groups[window.group] += 1
        assert window.question is not None
        assert set(window.question.class_ids[window.question.annotated].tolist()) == {1}
    assert groups.keys() == {listed.name, SYNTHETIC}
    assert 18 <= groups[SYNTHETIC] <= 43  # 30, and three standard deviations to either side
    assert course.config(cache)["recipe"]["synthetic"] == {"share": 0.25, "phantoms": 0, "paintings": 2}
    plain = replace(course, recipe=PLAIN)
    assert "synthetic" not in plain.config(cache)["recipe"]  # a run begun before there was any goes on
    with pytest.raises(UsageError, match="synthetic"):
        replace(course, listed=replace(listed, name=SYNTHETIC))
    replace(plain, listed=replace(listed, name=SYNTHETIC))


def test_nothing_to_make_anything_of_is_refused(tmp_path: Path) -> None:
    bare = Case("a", "real", np.zeros((4, 4, 4), np.int16), np.zeros((4, 4, 4), np.uint8), frozenset({1}))
    with pytest.raises(UsageError, match="label maps to paint"):
        mixed([bare], MIXED, SPEC, Cache(tmp_path))
