"""Changes: what was added and taken away, by name, whatever ids and layers structures have."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap
from vesalius.inference import changes
from vesalius.inference.changes import Change, changes_between

GRID = Grid((6, 5, 4), np.diag([10.0, 10.0, 10.0, 1.0]))
"""Voxels of a millilitre."""


def labelled(seed: int, names: dict[int, str], overlaps: tuple[str, ...] = ()) -> LabelMap:
    rng, ids = np.random.default_rng(seed), np.array([0, *names], dtype=np.uint8)
    layers = {name: rng.choice(ids, GRID.shape) for name in overlaps}
    return LabelMap(rng.choice(ids, GRID.shape), GRID, names, layers)


@pytest.mark.parametrize("slab", [1, 1 << 23])
def test_they_are_what_comparing_masks_layer_by_layer_gives(slab: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_SLAB_VOXELS", slab)
    before = labelled(0, {1: "liver", 2: "spleen", 3: "aorta"})
    after = labelled(1, {1: "spleen", 2: "liver", 7: "my tumour"}, overlaps=("lesions",))
    found = changes_between(before, after)
    assert list(found) == ["liver", "spleen", "aorta", "my tumour"]
    for name, change in found.items():
        old, new = (
            {
                layer: np.isin(data, [label for label, known in labels.names.items() if known == name])
                for layer, data in {"": labels.data, **labels.overlaps}.items()
            }
            for labels in (before, after)
        )
        nothing = np.zeros(GRID.shape, bool)
        layers = {*old, *new}
        pairs = [(old.get(layer, nothing), new.get(layer, nothing)) for layer in layers]
        counts = [(one.sum(), (other & ~one).sum(), (one & ~other).sum()) for one, other in pairs]
        before_ml, added_ml, removed_ml = (sum(map(int, some)) for some in zip(*counts, strict=True))
        assert change.before_ml == pytest.approx(before_ml)
        assert (change.added_ml, change.removed_ml) == pytest.approx((added_ml, removed_ml))
        assert change.after_ml == pytest.approx(sum(int(other.sum()) for _, other in pairs))


def test_names_may_have_ids_that_a_layer_cannot_hold() -> None:
    names = {1: "liver", 300: "lesion", 70_000: "never drawn"}
    wide = LabelMap(np.full(GRID.shape, 300, np.uint16), GRID, names)
    narrow = LabelMap(np.ones(GRID.shape, np.uint8), GRID, names, {"lesions": wide.data})
    (lesion,) = changes_between(LabelMap(narrow.data, GRID, names), narrow).values()
    assert (lesion.before_ml, lesion.added_ml) == (0, 120)
    assert changes_between(wide, narrow)["lesion"].added_ml == 120, "into another layer"


def test_small_volumes_are_told_by_more_digits() -> None:
    for volumes, words in (
        ((0.0, 0.0333, 0.0), "0.0 -> 0.033 ml (0.033 added, 0.0 taken away)"),
        ((12.3, 0.1, 12.4), "12.3 -> 0.0 ml (0.1 added, 12.4 taken away)"),
        ((0.996, 0.0001, 0.0), "1.0 -> 1.0 ml (under 0.001 added, 0.0 taken away)"),
    ):
        before_ml, added_ml, removed_ml = volumes
        assert str(Change(before_ml=before_ml, added_ml=added_ml, removed_ml=removed_ml)) == words


def test_from_nothing_all_is_added_and_where_no_voxel_changed_there_is_none() -> None:
    labels = labelled(4, {1: "liver", 2: "spleen"})
    change = changes_between(None, labels)["spleen"]
    assert (change.before_ml, change.removed_ml) == (0, 0)
    assert change.added_ml == change.after_ml == pytest.approx(int((labels.data == 2).sum()))
    assert changes_between(labels, labels) == {}
    assert str(change).endswith(" ml " + f"({change.added_ml:.1f} added, 0.0 taken away)")
