"""The segmenter: what it refuses, what it marks, tilted scans, and the plan it keeps to."""

from __future__ import annotations

import numpy as np
import pytest

from inference.small_model import Threshold, small_network, small_spec
from vesalius.errors import MemoryBudgetError, NotValidatedError, UnknownClassError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.review import measure
from vesalius.inference.segmenter import Progress, Segmenter, SegmentOptions

SPEC = small_spec()


def scan(modality: str = "CT", affine: np.ndarray | None = None) -> Volume:
    data = np.full((30, 34, 28), -1000, dtype=np.int16)
    data[5:25, 5:29, 4:24] = np.random.default_rng(0).normal(40, 120, (20, 24, 20)).astype(np.int16)
    grid = Grid(data.shape, np.diag([3.0, 3.0, 3.0, 1.0]) if affine is None else affine)
    return Volume(data[None], grid, modality)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(small_network(SPEC), SPEC)


def test_another_modality_is_refused_unless_told_to_go_on(segmenter: Segmenter) -> None:
    with pytest.raises(NotValidatedError, match="MR"):
        segmenter(scan("MR"))
    marked = segmenter.segment(scan("MR"), ["liver"], options=SegmentOptions(unvalidated=True))
    assert marked.unvalidated == ("a MR image",)


def test_a_misspelt_class_is_refused_with_a_suggestion(segmenter: Segmenter) -> None:
    with pytest.raises(UnknownClassError, match="liver"):
        segmenter(scan(), ["livre"])


def test_too_little_memory_is_refused_before_anything_runs(segmenter: Segmenter) -> None:
    windows: list[bool] = []
    with pytest.raises(MemoryBudgetError):
        segmenter.segment(
            scan(), options=SegmentOptions(max_memory=10**6), progress=Progress(on_window=windows.append)
        )
    assert windows == []


def test_the_run_keeps_to_its_plan(segmenter: Segmenter) -> None:
    plan, windows = segmenter.plan(scan()), []
    result = segmenter.segment(scan(), progress=Progress(on_window=windows.append))
    assert result.plan.layout == plan.layout
    assert len(windows) == plan.layout.num_windows
    assert windows.count(False) == plan.num_empty
    assert set(result.seconds) == {"preparing", "windows", "measuring"}


def test_who_asks_for_labels_alone_does_not_wait_for_measures(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vesalius.inference.segmenter.measure", None)
    assert segmenter(scan(), ["liver"]).mask("liver").any()


@pytest.mark.parametrize("shift", [0.9, -0.9])
def test_in_a_tilted_scan_labels_lie_where_the_structure_is(shift: float) -> None:
    spec = small_spec(vocabulary=((1, "liver"),), everything=(1,))
    sheared = np.diag([3.0, 3.0, 3.0, 1.0])
    sheared[1, 2] = shift
    blob = np.zeros((30, 34, 28), dtype=bool)
    blob[8:19, 10:22, 3:25] = True
    tilted = Volume(np.where(blob, 900, -200).astype(np.int16)[None], Grid(blob.shape, sheared), "CT")
    found = Segmenter(Threshold(spec.architecture), spec)(tilted).mask("liver")
    assert found.shape == blob.shape
    assert 2 * (found & blob).sum() / (found.sum() + blob.sum()) > 0.93
    for k in (5, 22):  # a mask made as if the gantry stood upright would be off by voxels at one end
        apart = np.argwhere(found[..., k]).mean(0) - np.argwhere(blob[..., k]).mean(0)
        assert np.abs(apart).max() < 0.5


def test_findings_are_those_counted_by_hand(segmenter: Segmenter) -> None:
    volume = scan()
    labels = segmenter(volume)
    targets = segmenter.vocabulary.resolve([])
    findings = measure(volume, labels, targets, segmenter.vocabulary)
    assert [f.name for f in findings.classes] == ["liver", "spleen", "left kidney", "right kidney", "aorta"]
    for finding in findings.found:
        mask = labels.data == finding.class_id
        assert finding.voxels == mask.sum()
        assert finding.volume_ml == pytest.approx(mask.sum() * 27 / 1000)
        assert finding.mean_hu == pytest.approx(volume.data[0][mask].mean())
        edge = any(np.take(mask, end, axis=axis).any() for axis in range(3) for end in (0, -1))
        assert finding.touches_border == edge


def test_mirrored_sides_and_weak_results_are_pointed_out(segmenter: Segmenter) -> None:
    data = np.zeros((30, 34, 28), dtype=np.uint8)
    data[20:25, 10:20, 5:15] = 3  # left kidney on the patient's right
    data[5:10, 10:20, 5:15] = 4
    volume = scan()
    labels = LabelMap(data, volume.grid, {3: "left kidney", 4: "right kidney"})
    targets = segmenter.vocabulary.resolve(["kidneys"])
    expected = {3: 0.4, 4: 0.95}
    warnings = measure(
        volume, labels, targets, segmenter.vocabulary, confidence=lambda finding: expected[finding.class_id]
    ).warnings
    assert any("mirrored" in w for w in warnings)
    assert any("left kidney: low confidence, a Dice of 0.40" in w for w in warnings)
    assert any(w.startswith("left kidney: 13.5 ml") for w in warnings)
    assert not any(w.startswith("right kidney: low") for w in warnings)


def test_what_a_model_was_measured_to_find_poorly_is_pointed_out_where_it_found_it(segmenter: Segmenter) -> None:
    data = np.zeros((30, 34, 28), dtype=np.uint8)
    data[5:20, 5:20, 5:15] = 2
    labels, targets = LabelMap(data, scan().grid, {2: "spleen"}), segmenter.vocabulary.resolve(["spleen", "liver"])
    said = {
        dice: measure(scan(), labels, targets, segmenter.vocabulary, dice={"spleen": dice, "liver": 0.1}).warnings
        for dice in (0.49, 0.5)
    }
    assert said[0.49] == ("spleen: a Dice of 0.49 was measured of this model: do not rely on it",)
    assert said[0.5] == ()


def test_a_segmenter_tells_what_its_spec_states() -> None:
    spec = small_spec()
    plain = Segmenter(small_network(spec), spec).segment(scan())
    name = next(one.name for one in plain.findings.classes if one.voxels)
    spec = small_spec(dice={name: 0.2})
    told = Segmenter(small_network(spec), spec).segment(scan())
    assert told.findings.warnings[0].startswith(f"{name}: a Dice of 0.20 was measured")
    assert told.findings.warnings[1:] == plain.findings.warnings


def test_two_pieces_of_one_organ_are_pointed_out(segmenter: Segmenter) -> None:
    data = np.zeros((30, 34, 28), dtype=np.uint8)
    data[5:20, 5:20, 5:15] = data[24:26, 24:26, 20:22] = 2
    labels = LabelMap(data, scan().grid, {2: "spleen"})
    warnings = measure(scan(), labels, segmenter.vocabulary.resolve(["spleen"]), segmenter.vocabulary).warnings
    assert warnings == ("spleen: in 2 pieces, one is expected",)


def test_confidence_is_the_dice_the_spec_s_fit_predicts() -> None:
    spec = small_spec(confidence={"liver": (-0.2, 1.0, 0.0, 1.0), "spleen": (5.0, 0.0, 0.0, 1.0)})
    result = Segmenter(small_network(spec), spec).segment(scan())
    by_name = {finding.name: finding.confidence for finding in result.findings.found}
    assert by_name["liver"] == pytest.approx(result.probability[1] - 0.2)
    assert by_name["spleen"] == 1.0
    assert by_name["aorta"] is None
