"""A structure is kept only if its volume, its pieces and its agreement under change are in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from vesalius.curation.reliability import Decision, ReliabilitySettings, judge
from vesalius.errors import UsageError
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.review import measure
from vesalius.inference.segmenter import Segmentation
from vesalius.labels.findings import Findings
from vesalius.labels.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of([(1, "liver"), (5, "right kidney"), (14, "left kidney"), (3, "spleen")])
GRID = Grid((40, 40, 40), np.diag([5.0, 5.0, 5.0, 1.0]))
LIVER, RIGHT, LEFT = (
    (slice(22, 36), slice(8, 28), slice(10, 30)),
    (slice(24, 32), slice(30, 38), slice(4, 14)),
    (slice(6, 14), slice(30, 38), slice(4, 14)),
)


def scan() -> Volume:
    data = np.full(GRID.shape, 0, np.int16)
    for box, hu in ((LIVER, 100), (RIGHT, 200), (LEFT, 200)):
        data[box] = hu
    data[0] = -1000
    return Volume(data[None], GRID, "CT")


def segmenter(answer: Callable[[Volume], np.ndarray]) -> Callable[[Volume], Segmentation]:
    def segment(volume: Volume) -> Segmentation:
        targets = VOCABULARY.resolve(["liver", "right kidney", "left kidney", "spleen"])
        labels = LabelMap(answer(volume), volume.grid, {t.id: t.name for t in targets})
        findings = measure(volume, labels, targets, VOCABULARY)
        return Segmentation(labels=labels, findings=findings, plan=None, seconds={}, probability={})

    return segment


def by_intensity(volume: Volume) -> np.ndarray:
    """Right whatever the sides: bright on the right half is the right kidney."""
    data, middle = volume.data[0], volume.data.shape[1] // 2
    labels = np.zeros(data.shape, np.uint8)
    labels[(data > 50) & (data < 150)] = 1
    bright = data >= 150
    labels[middle:][bright[middle:]] = 5
    labels[:middle][bright[:middle]] = 14
    return labels


def decide(answer: Callable[[Volume], np.ndarray], **settings) -> dict[str, Decision]:
    chosen = ReliabilitySettings(**{"noise_hu": 2.0, **settings})
    _, decisions = judge(scan(), segmenter(answer), VOCABULARY, chosen, np.random.default_rng(0))
    return {decision.name: decision for decision in decisions}


def test_what_is_found_alike_each_time_is_kept_and_what_is_not_found_is_not_claimed() -> None:
    found = decide(by_intensity, changes=("noise", "zoom", "mirror"))
    assert {name for name, one in found.items() if one.is_kept} == {"liver", "right kidney", "left kidney"}
    assert found["liver"].agreement == {"noise": 1.0, "zoom": 1.0, "mirror": 1.0}
    assert found["spleen"].reasons == ("nothing was found",)


def test_an_implausible_volume_is_left_out() -> None:
    def doubled(volume: Volume) -> np.ndarray:
        labels = by_intensity(volume)
        labels[1:22, :, 32:] = 14
        labels[1:6] = 14
        labels[1:22, 1:28] = 14
        return labels

    found = decide(doubled)
    assert any("adults have" in reason for reason in found["left kidney"].reasons)
    assert found["right kidney"].is_kept


def test_a_structure_in_pieces_is_left_out() -> None:
    def crumbled(volume: Volume) -> np.ndarray:
        labels = by_intensity(volume)
        labels[34:38, 32:38, 30:38] = 5
        return labels

    found = decide(crumbled)["right kidney"]
    assert found.pieces == 2
    assert any("largest piece" in reason for reason in found.reasons)


def test_pieces_that_a_model_took_away_by_itself_count() -> None:
    plain = segmenter(by_intensity)

    def tidied(volume: Volume) -> Segmentation:
        answer = plain(volume)
        lost = {"liver": 0.05, "right kidney": 0.25}  # of what the model saw
        classes = tuple(
            replace(one, pieces_removed=2, removed_ml=one.volume_ml * lost[one.name] / (1 - lost[one.name]))
            if one.name in lost
            else one
            for one in answer.findings.classes
        )
        return replace(answer, findings=Findings(classes))

    settings = ReliabilitySettings(changes=())
    _, decisions = judge(scan(), tidied, VOCABULARY, settings, np.random.default_rng(0))
    found = {one.name: one for one in decisions}
    assert [
        (found[name].pieces, found[name].largest_piece) for name in ("liver", "right kidney", "left kidney")
    ] == [
        (3, 0.95),
        (3, 0.75),
        (1, 1.0),
    ]
    assert found["liver"].is_kept
    assert found["right kidney"].reasons == ("the largest piece is 0.75 of it, one piece is expected",)


def test_an_answer_that_noise_changes_is_left_out() -> None:
    def nervous(volume: Volume) -> np.ndarray:
        labels = by_intensity(volume)
        if len(np.unique(volume.data)) > 10:  # noise was added
            labels[22:29][labels[22:29] == 1] = 0
        return labels

    found = decide(nervous)["liver"]
    assert 0.5 < found.agreement["noise"] < 0.85
    assert found.agreement["zoom"] == 1
    assert any("noise" in reason for reason in found.reasons)


def test_an_answer_that_depends_on_the_size_is_left_out() -> None:
    def small_only(volume: Volume) -> np.ndarray:
        labels = by_intensity(volume)
        if volume.grid.spacing_mm[0] > 5.1:
            labels[labels == 14] = 0
        return labels

    found = decide(small_only)
    assert found["left kidney"].agreement["zoom"] == 0
    assert not found["left kidney"].is_kept
    assert found["right kidney"].is_kept


def test_a_mirrored_scan_has_its_names_swapped_back() -> None:
    def sided(volume: Volume) -> np.ndarray:
        labels = by_intensity(volume)
        labels[labels == 14] = 5  # every kidney is a right one
        return labels

    found = decide(sided, changes=("mirror",), largest_piece=0.0, least_agreement=0.5)
    assert found["right kidney"].agreement["mirror"] == 0
    assert not found["right kidney"].is_kept


def test_settings_are_checked() -> None:
    for wrong in ({"least_agreement": 2.0}, {"noise_hu": -1.0}, {"zoom": 3.0}):
        with pytest.raises(UsageError):
            ReliabilitySettings(**wrong)
