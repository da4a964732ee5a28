"""From scans to a store: one orientation and spacing, Hounsfield units, no empty slices, and no evaluation case."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from curation.scans import phantom, with_data, write_json, write_scan
from vesalius.curation.slice_factory import SliceSettings
from vesalius.curation.slices import curate_slices
from vesalius.data.datalists.read import read_list
from vesalius.data.likeness import Gallery, Match
from vesalius.data.slices import MANIFEST, SHARDS, SliceStore
from vesalius.errors import InputError, InterruptedRun, UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import Volume

NATIVE = SliceSettings(spacing_mm=None, margin_mm=500.0, least_cm2=1.0)


def box_scan(shape: tuple[int, int, int] = (40, 36, 10), axis_codes: str = "LPS") -> Volume:
    """A bright mark on the patient's left front of a body whose two lowest slices are air."""
    data = np.full(shape, -1000, np.int16)
    data[4:-4, 4:-4, 2:] = 40
    data += np.arange(shape[2], dtype=np.int16)  # no slice is the one before it
    data[6:10, -10:-6, 2:] = 700  # RAS: i runs to the right, j to the front
    volume = Volume(data[None], Grid(shape, np.diag([4.0, 5.0, 3.0, 1.0])), "CT")
    return volume.reoriented(axis_codes)


def curate(folder: Path, *, settings: SliceSettings = NATIVE, resume: bool = False, **others) -> SliceStore:
    curate_slices(read_list(folder / "list.json"), folder / "store", settings=settings, resume=resume, **others)
    return SliceStore(folder / "store")


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SRA"])
def test_rows_run_to_the_back_and_columns_to_the_left_whatever_the_file_s_axes(tmp_path: Path, codes: str) -> None:
    write_json(tmp_path, [write_scan(tmp_path, "a", box_scan(axis_codes=codes))])
    store = curate(tmp_path)
    assert len(store) == 8
    one = store[0]
    assert one.pixels_hu.shape == (36, 40)
    assert one.spacing_mm == pytest.approx((5.0, 4.0))
    assert one.number == 2
    assert (one.pixels_hu[7:10, 31:34] > 600).all()  # in front, and on the patient's left
    assert one.pixels_hu[7, 8] < 100


def test_a_spacing_is_met_over_the_same_extent_without_aliasing(tmp_path: Path) -> None:
    scan = box_scan(shape=(80, 72, 6))
    scan.data[0, ::2] += 400  # finer than the pixels that are asked for
    write_json(tmp_path, [write_scan(tmp_path, "a", scan)])
    store = curate(tmp_path, settings=replace(NATIVE, spacing_mm=10.0))
    one = store[0]
    assert one.pixels_hu.shape == (36, 32)
    assert one.spacing_mm == pytest.approx((10.0, 10.0))
    inside = one.pixels_hu[12:-12, 6:-6].astype(float)
    assert abs(inside.mean() - 240) < 15
    assert inside.std() < 40


def test_slices_are_cropped_to_the_body_with_its_margin(tmp_path: Path) -> None:
    scan = box_scan(shape=(60, 56, 6))
    scan.data[0, :, :15] = -1000
    scan.data[0, 45:] = -1000
    write_json(tmp_path, [write_scan(tmp_path, "a", scan)])
    one = curate(tmp_path, settings=replace(NATIVE, margin_mm=10.0))[0]
    body = np.argwhere(one.pixels_hu > -500)
    assert all(
        1 <= side <= 4 for side in (*body.min(axis=0), *(np.array(one.pixels_hu.shape) - 1 - body.max(axis=0)))
    )


def test_what_is_no_ct_is_named_and_stops_nobody(tmp_path: Path) -> None:
    grey = with_data(box_scan(), np.abs(box_scan().data[0]))
    air = with_data(box_scan(), np.full((40, 36, 10), -1000, np.int16) - (np.arange(10) % 2 * 30).astype(np.int16))
    names = {"a": box_scan(), "grey": grey, "air": air}
    write_json(tmp_path, [write_scan(tmp_path, name, scan) for name, scan in names.items()])
    found = curate_slices(read_list(tmp_path / "list.json"), tmp_path / "store", settings=NATIVE)
    assert {one.case.name: one.state for one in found.outcomes} == {"a": "made", "grey": "failed", "air": "failed"}
    assert SliceStore(tmp_path / "store").cases == ("a",)


def test_a_store_goes_on_and_gives_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_scan(tmp_path, name, phantom(1 + (name == "b"))[0])
    write_json(tmp_path, ["a.nii.gz"])
    first = curate(tmp_path)
    with pytest.raises(UsageError, match="resume"):
        curate(tmp_path)
    write_json(tmp_path, ["a.nii.gz", "b.nii.gz"])
    with pytest.raises(UsageError, match="settings"):
        curate(tmp_path, settings=replace(NATIVE, plane="coronal"), resume=True)
    second = curate(tmp_path, resume=True)
    assert len(second) == 2 * len(first)
    assert len(list(second.check())) == len(second.cases) == 2
    assert sorted(json.loads((tmp_path / "store" / MANIFEST).read_text())) == sorted(
        ("format", "settings", "excluded", "refused", "shards")
    )


def test_an_interrupted_store_has_a_manifest_of_what_was_done(tmp_path: Path) -> None:
    write_json(
        tmp_path, [write_scan(tmp_path, name, box_scan(shape=(40, 36, n))) for n, name in ((10, "a"), (9, "b"))]
    )

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(InterruptedRun, match="--resume"):
        curate(tmp_path, on_case=stop)
    assert SliceStore(tmp_path / "store").cases == ("a",)
    assert len(curate(tmp_path, resume=True)) == 8 + 7


def changed(volume: Volume, *, factor: float = 1.0, window_hu: tuple[float, float] | None = None) -> Volume:
    """Resample a scan in its slices, and clip it to a window stretched over other numbers."""
    data = torch.from_numpy(volume.data[0].astype(np.float32)).permute(2, 0, 1)[:, None]
    size = tuple(round(side * factor) for side in volume.grid.shape[:2])
    data = functional.interpolate(data, size=size, mode="bilinear", antialias=True)[:, 0].permute(1, 2, 0)
    if window_hu is not None:
        low, high = window_hu
        data = (data.clamp(low, high) - low) / (high - low) * 900 - 700
    grid = volume.grid.respaced(
        [side / factor for side in volume.grid.spacing_mm[:2]] + [volume.grid.spacing_mm[2]]
    )
    assert grid.shape[:2] == size
    return with_data(volume, data.round().numpy().astype(np.int16), grid)


PLANTED = {
    "as it is": {},
    "resampled": {"factor": 0.8},
    "in another window": {"window_hu": (-160, 240)},
    "both": {"factor": 1.4, "window_hu": (-200, 300)},
}


@pytest.mark.parametrize("how", PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_evaluation_slice_is_refused_by_name(tmp_path: Path, how: dict) -> None:
    kept_aside, other = phantom(1)[0], phantom(2)[0]
    planted = changed(kept_aside, **how)
    data = planted.data[0].copy()
    few = with_data(planted, data[:, :, 4:5], Grid((*data.shape[:2], 1), planted.grid.affine))
    write_scan(tmp_path / "aside", "secret", kept_aside)
    write_json(tmp_path / "aside", ["secret.nii.gz"], name="eval")
    write_json(tmp_path, [write_scan(tmp_path, "innocent", other), write_scan(tmp_path, "renamed", few)])
    store = curate(tmp_path, excluded=[read_list(tmp_path / "aside" / "eval.json")])
    assert store.cases == ("innocent",)
    (refused,) = store.refused
    assert (refused["case"], refused["slice"], refused["shows"]) == ("renamed", 0, "eval/secret")
    assert abs(refused["shows_slice"] - 4) <= 1
    assert store.excluded["lists"] == {"eval": 1}
    assert store.excluded["nearest"]["likeness"] < store.excluded["alike"] <= refused["likeness"]


def test_shards_that_were_there_first_are_judged_too_and_stay_judged(tmp_path: Path) -> None:
    write_scan(tmp_path, "a", phantom(1)[0])
    write_json(tmp_path, ["a.nii.gz"])
    assert curate(tmp_path).cases == ("a",)
    write_json(tmp_path, ["a.nii.gz"], name="eval")
    assert curate(tmp_path, resume=True, excluded=[read_list(tmp_path / "eval.json")]).cases == ()
    assert curate(tmp_path, resume=True).cases == ()
    assert any((tmp_path / "store" / SHARDS).iterdir())


def test_a_shard_is_judged_once_until_more_is_kept_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []
    nearest = Gallery.nearest

    def counted(self: Gallery, pictures: np.ndarray) -> list[Match | None]:
        judged.append(len(self))
        return nearest(self, pictures)

    monkeypatch.setattr(Gallery, "nearest", counted)
    write_json(tmp_path, [write_scan(tmp_path, "a", phantom(2)[0])])
    write_json(tmp_path, [write_scan(tmp_path, "b", box_scan())], name="eval")
    write_json(tmp_path, [write_scan(tmp_path, "c", box_scan(shape=(40, 36, 9)))], name="more")
    first, more = (read_list(tmp_path / f"{name}.json") for name in ("eval", "more"))
    curate(tmp_path, excluded=[first])
    assert curate(tmp_path, excluded=[first], resume=True).cases == ("a",)
    assert len(judged) == 1
    assert curate(tmp_path, excluded=[more], resume=True).excluded["lists"] == {"eval": 1, "more": 1}
    assert len(judged) == 2
    assert judged[1] > judged[0]


def test_a_list_s_own_validation_scans_are_kept_aside(tmp_path: Path) -> None:
    scans = [write_scan(tmp_path, name, phantom(seed)[0]) for name, seed in (("a", 1), ("b", 2), ("a_again", 1))]
    write_json(tmp_path, scans[:2], validation=scans[2:])
    assert curate(tmp_path).cases == ("b",)


def test_an_evaluation_scan_that_cannot_be_read_stops_everything(tmp_path: Path) -> None:
    (tmp_path / "x.nii.gz").write_bytes(b"no scan")
    write_json(tmp_path, [write_scan(tmp_path, "a", box_scan())], test=["x.nii.gz"])
    with pytest.raises(InputError, match="proves nothing"):
        curate(tmp_path)
