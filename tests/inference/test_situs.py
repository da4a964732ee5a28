"""What lies where no body has it is pointed out: exchanged sides, wrong order; never in a person who is whole."""

from __future__ import annotations

import numpy as np
import pytest

from vesalius.data.phantom import PhantomConfig, make_phantom
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.review import measure_labels

PHANTOM, LABELS = make_phantom(PhantomConfig(shape=(44, 36, 48), seed=3, overlaps=False))
IDS = {name: label for label, name in LABELS.names.items()}
MIRRORED = np.diag([-1.0, 1.0, 1.0, 1.0])


def named(*names: str) -> LabelMap:
    """The phantom's labels of these names alone."""
    kept = {IDS[name]: name for name in names}
    return LabelMap(np.where(np.isin(LABELS.data, list(kept)), LABELS.data, 0), LABELS.grid, kept)


def mirrored(labels: LabelMap, modality: str = "unknown") -> tuple[Volume, LabelMap]:
    """The phantom and labels of it in a file that exchanges left and right."""
    grid = Grid(labels.grid.shape, MIRRORED @ labels.grid.affine)
    return Volume(PHANTOM.data, grid, modality), LabelMap(labels.data, grid, labels.names)


def said(volume: Volume, labels: LabelMap) -> list[str]:
    return [w for w in measure_labels(volume, labels).warnings if " lies " in w or "order" in w]


def test_a_whole_person_has_everything_in_its_place() -> None:
    assert said(PHANTOM, LABELS) == []
    assert said(PHANTOM, named("liver")) == said(PHANTOM, named("spleen")) == []


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_liver_and_spleen_on_each_other_s_side_are_pointed_out(modality: str) -> None:
    sentence = "liver lies to the left of spleen: is the scan mirrored, or the situs inverted?"
    assert said(*mirrored(named("liver", "spleen"), modality)) == [sentence]


@pytest.mark.parametrize(("organ", "side"), [("liver", "left"), ("spleen", "right")])
def test_one_of_them_alone_is_compared_with_the_body_s_middle_where_values_show_it(organ: str, side: str) -> None:
    sentence = f"{organ} lies on the {side} side of the body: is the scan mirrored, or the situs inverted?"
    assert said(*mirrored(named(organ))) == [sentence]
    assert said(*mirrored(named(organ), "MR")) == []


def test_a_spot_taken_for_a_liver_says_nothing() -> None:
    volume, labels = mirrored(named("liver"))
    spot = np.zeros_like(labels.data)
    spot[tuple(np.argwhere(labels.data)[0])] = IDS["liver"]
    assert said(volume, LabelMap(spot, labels.grid, labels.names)) == []


@pytest.mark.parametrize("organ", ["liver", "spleen"])
def test_a_scan_cut_to_one_organ_says_nothing(organ: str) -> None:
    labels = named(organ)
    columns = np.flatnonzero(labels.data.any((1, 2)))
    cut = slice(int(columns[0]), int(columns[-1]) + 1)
    grid = Grid((cut.stop - cut.start, *labels.grid.shape[1:]), labels.grid.affine)  # elsewhere, both alike
    assert said(Volume(PHANTOM.data[:, cut], grid), LabelMap(labels.data[cut], grid, labels.names)) == []


def exchanged(*pairs: tuple[str, str]) -> dict[int, str]:
    """The phantom's names, those of each pair exchanged."""
    other = {**dict(pairs), **{b: a for a, b in pairs}}
    return {label: other.get(name, name) for label, name in LABELS.names.items()}


def test_vertebrae_and_ribs_out_of_order_are_pointed_out_in_one_sentence() -> None:
    names = exchanged(("vertebrae L2", "vertebrae L3"), ("left rib 5", "left rib 6"))
    (sentence,) = said(PHANTOM, LabelMap(LABELS.data, LABELS.grid, names))
    wrong = "vertebrae L3 above vertebrae L2, left rib 6 above left rib 5"
    assert sentence == f"out of order from head to foot: {wrong}; look whether they are named rightly"


def test_the_order_of_what_the_edge_of_the_scan_cuts_says_nothing() -> None:
    top, bottom = (np.argwhere(LABELS.data == IDS[f"vertebrae {level}"])[:, 2] for level in ("L2", "L3"))
    height = slice(int(bottom.min()) + 1, int(top.max()))
    grid = Grid((*LABELS.grid.shape[:2], height.stop - height.start), LABELS.grid.affine)  # elsewhere, both alike
    labels = LabelMap(LABELS.data[..., height], grid, exchanged(("vertebrae L2", "vertebrae L3")))
    assert labels.mask("vertebrae L2").any()
    assert labels.mask("vertebrae L3").any()
    assert said(Volume(PHANTOM.data[..., height], grid, "CT"), labels) == []
