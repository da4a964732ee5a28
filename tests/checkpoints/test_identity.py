"""What a model is known by changes with what decides its masks, and not with what a spec may say one day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from vesalius.checkpoints.identity import expectations_sha256
from vesalius.spec import ModelSpec, VistaArchitecture

SPEC = ModelSpec(name="small", architecture=VistaArchitecture(width=8), vocabulary=((1, "liver"),))


@dataclass(frozen=True, kw_only=True)
class LaterSpec(ModelSpec):
    """A spec of a later version, with more to say."""

    depth_mm: float | None = None
    weights: Mapping[str, float] = field(default_factory=dict)


def later(**more: Any) -> LaterSpec:
    return LaterSpec(name="small", architecture=VistaArchitecture(width=8), vocabulary=((1, "liver"),), **more)


def test_a_new_field_changes_no_hash_until_it_says_something() -> None:
    assert expectations_sha256(later()) == expectations_sha256(SPEC)
    assert expectations_sha256(later(depth_mm=3.0)) != expectations_sha256(SPEC)
    assert expectations_sha256(later(weights={"liver": 1.0})) != expectations_sha256(SPEC)


@pytest.mark.parametrize(
    "change",
    [
        {"spacing_mm": (1.0, 1.0, 1.0)},
        {"modality": "MR"},
        {"vocabulary": ((1, "spleen"),)},
        {"architecture": VistaArchitecture(width=16)},
        {"click_reach_mm": 30.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_decides_masks_changes_the_hash(change: dict[str, Any]) -> None:
    assert expectations_sha256(replace(SPEC, **change)) != expectations_sha256(SPEC)


def test_what_was_measured_and_who_made_it_do_not() -> None:
    told = replace(SPEC, name="other", version="2", dice={"liver": 0.9}, licence="MIT", provenance="here")
    assert expectations_sha256(told) == expectations_sha256(SPEC)
