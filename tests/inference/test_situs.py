"""What lies where no body has it is pointed out: exchanged sides, and never in a person who is whole."""

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
    return [warning for warning in measure_labels(volume, labels).warnings if " lies " in warning]


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
