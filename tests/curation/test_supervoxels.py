"""Supervoxels follow what features tell apart, go on through slabs, leave air out, and reach training."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from curation.at_once import Crowd, together
from curation.encoders import SPECS
from curation.scans import with_data, write_json, write_scan
from vesalius.checkpoints.load import load_any
from vesalius.checkpoints.safetensors import write_model
from vesalius.curation import supervoxels
from vesalius.curation.dense_features import FeatureMap
from vesalius.curation.supervoxels import (
    SupervoxelSettings,
    continued,
    curate_supervoxels,
    divided,
    outer_air,
    slabs,
    supervoxels_of,
)
from vesalius.data.cache import Cache
from vesalius.data.datalists.read import read_list
from vesalius.data.prepare import prepare_list
from vesalius.errors import InputError, UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.io.formats import read_labels, write
from vesalius.models.build import build
from vesalius.spec import ModelSpec, VistaArchitecture

SETTINGS = SupervoxelSettings(segments=24, channels=4, spacing_mm=4.0, sigma=0.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    torch.manual_seed(0)
    spec = SPECS["slices"]
    folder = tmp_path_factory.mktemp("vit")
    write_model(folder, build(spec.architecture).state_dict(), spec)
    return load_any(folder)


def halves() -> FeatureMap:
    data = torch.zeros(2, 12, 12, 24)
    data[0, 6:] = 8.0
    data[1, :, :, 12:] = 8.0
    return FeatureMap(data.half(), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("slab_voxels", [1 << 21, 12 * 12 * 10])
def test_no_part_crosses_what_features_tell_apart(slab_voxels: int) -> None:
    settings = SupervoxelSettings(segments=60, channels=2, sigma=0.0, slab_voxels=slab_voxels)
    found = divided([halves()], (12, 12, 24), settings)
    assert found.min() >= 1
    for number in np.unique(found):
        i, _, k = np.nonzero(found == number)
        assert len({*(i >= 6)}) == 1
        assert len({*(k >= 12)}) == 1


def test_slabs_cover_everything_and_share_slices() -> None:
    for depth in (1, 9, 40, 41, 100):
        found = list(slabs((10, 10, depth), 2000))
        assert found[0][0] == 0
        assert found[-1][1] == depth
        assert all(before[1] - after[0] == 4 for before, after in pairwise(found))
        assert all(stop - start <= 20 for start, stop in found)


def test_a_part_goes_on_under_its_number_and_others_get_new_ones() -> None:
    before = np.zeros((4, 4, 2), np.uint16)
    before[:2] = 7
    before[2:] = 9
    found = np.ones((4, 4, 5), np.int32)
    found[2:, :, :2] = 2
    found[:, :, 3:] = 3
    numbers, used = continued(found, before, 9)
    assert used == 10
    assert set(np.unique(numbers[:2, :, :2])) == {7}
    assert set(np.unique(numbers[2:, :, :2])) == {9}
    assert set(np.unique(numbers[:, :, 3:])) == {10}
    halved = np.ones((4, 4, 5), np.int32)  # lies in two parts alike: it goes on neither
    assert continued(halved, before, 9)[0].max() == 10


def test_outer_air_takes_thin_things_in_and_leaves_lungs() -> None:
    scan = np.full((40, 40, 12), -1000)
    scan[8:32, 8:32] = 40
    scan[14:20, 14:20, 3:9] = -850  # a lung
    scan[36, 4:36] = -200  # a sheet
    air = outer_air(scan)
    assert air[2, 2, 5]
    assert air[36, 20, 5]
    assert not air[8:32, 8:32].any()
    assert not outer_air(np.zeros((5, 5, 5))).any()


def scan(codes: str = "LPS") -> Volume:
    rng = np.random.default_rng(0)
    data = np.full((24, 20, 16), -1000.0)
    data[3:21, 3:17] = 40
    data[12:21, 3:17] = 600
    data += rng.normal(0, 5, data.shape)
    return Volume(data[None].astype(np.int16), Grid((24, 20, 16), np.diag([4.0, 4.0, 5.0, 1.0])), "CT").reoriented(
        codes
    )


@pytest.mark.parametrize("codes", ["RAS", "SLP"])
def test_parts_lie_on_the_scan_s_own_grid_without_air(model, codes: str) -> None:
    volume = scan(codes)
    found = supervoxels_of(volume, model, SETTINGS)
    assert found.data.dtype == np.uint16
    assert found.grid.is_close(volume.grid)
    body = volume.data[0] > -500
    assert (found.data[body] > 0).all()
    assert (found.data[volume.data[0] < -900] == 0).mean() > 0.6
    assert 5 <= len(np.unique(found.data)) <= 60


def test_what_is_no_ct_is_refused(model) -> None:
    volume = scan()
    with pytest.raises(InputError, match="Hounsfield"):
        supervoxels_of(Volume(np.abs(volume.data), volume.grid), model, SETTINGS)


def test_settings_are_positive() -> None:
    for wrong in ({"segments": 0}, {"compactness": 0.0}, {"sigma": -1.0}):
        with pytest.raises(UsageError):
            SupervoxelSettings(**wrong)


def test_a_list_with_supervoxels_is_what_training_reads(model, tmp_path: Path) -> None:
    files = []
    for number in range(3):
        volume = with_data(scan(), np.roll(scan().data[0], number, 1))
        files.append(write_scan(tmp_path, f"image-{number}", volume))
    labels = np.zeros((24, 20, 16), np.uint8)
    labels[5:9, 5:9, 5:9] = 1
    write(LabelMap(labels, scan().grid, {1: "liver"}), tmp_path / "liver.nii.gz")
    entries = [{"image": files[0], "label": "liver.nii.gz"}, {"image": files[1]}]
    path = tmp_path / "list.json"
    path.write_text(
        json.dumps({"training": entries, "test": files[2:], "label_mapping": {"1": "liver"}, "modality": "CT"})
    )
    listed = read_list(path)
    store = tmp_path / "sv"
    outcomes, new = curate_supervoxels(listed, store, model, model_sha256="x", settings=SETTINGS)
    assert [one.state for one in outcomes] == ["made"] * 2
    assert new == tmp_path / "sv.json"
    again = read_list(new)
    assert [case.supervoxels is not None for case in again.cases] == [True, True, False]
    assert read_labels(again.cases[0].supervoxels).data.max() > 4
    spec = ModelSpec(
        name="tiny",
        architecture=VistaArchitecture(width=8, blocks_down=(1, 1), num_embeddings=8, point_branch=False),
        spacing_mm=(4.0, 4.0, 4.0),
        window_size=(16, 16, 16),
        vocabulary=((1, "liver"),),
    )
    case = prepare_list(again, spec, Cache(tmp_path / "cache"))[0]
    assert case.supervoxels is not None
    assert len(np.unique(case.supervoxels[:, :, :])) > 4
    with pytest.raises(UsageError, match="--resume"):
        curate_supervoxels(listed, store, model, model_sha256="x", settings=SETTINGS)
    resumed = [
        curate_supervoxels(listed, store, model, model_sha256=m, settings=SETTINGS, resume=True) for m in "xy"
    ]
    assert [[one.state for one in outcomes] for outcomes, _ in resumed] == [["there"] * 2, ["made"] * 2]


@pytest.mark.parametrize("resume", [False, True])
def test_the_list_that_is_read_is_not_replaced(model, tmp_path: Path, resume: bool) -> None:
    path = write_json(tmp_path, [write_scan(tmp_path, "a", scan())])
    before = path.read_bytes()
    with pytest.raises(UsageError, match="the list to read"):
        curate_supervoxels(read_list(path), tmp_path / "list", model, model_sha256="x", resume=resume)
    assert path.read_bytes() == before
    assert not (tmp_path / "list").exists()


def test_supervoxels_of_a_model_that_expects_other_things_are_made_again(
    model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = read_list(write_json(tmp_path, [write_scan(tmp_path, "a", scan())]))

    def parts_of(volume: Volume, *_: object) -> LabelMap:
        return LabelMap(np.ones(volume.grid.shape, np.uint16), volume.grid, {})

    monkeypatch.setattr(supervoxels, "supervoxels_of", parts_of)
    states = []
    for changes in ({}, {"dice": {"liver": 0.5}}, {"window_hu": (-200.0, 300.0)}):
        other = replace(model, spec=replace(model.spec, **changes))
        outcomes, _ = curate_supervoxels(listed, tmp_path / "sv", other, model_sha256="x", resume=True)
        states.append(outcomes[0].state)
    assert states == ["made", "there", "made"]


def test_processes_on_one_store_write_its_list_one_after_another(
    model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = read_list(write_json(tmp_path, [write_scan(tmp_path, "a", scan())]))

    def parts_of(volume: Volume, *_: object) -> LabelMap:
        return LabelMap(np.ones(volume.grid.shape, np.uint16), volume.grid, {})

    def curate() -> str:
        outcomes, _ = curate_supervoxels(listed, tmp_path / "sv", model, model_sha256="x", resume=True)
        return outcomes[0].state

    crowd = Crowd()
    monkeypatch.setattr(supervoxels, "supervoxels_of", parts_of)
    assert curate() == "made"
    monkeypatch.setattr(supervoxels, "write_beside", crowd.wrapped(supervoxels.write_beside))
    assert together(curate) == ["there"] * 3
    assert (crowd.visits, crowd.most) == (3, 1)
