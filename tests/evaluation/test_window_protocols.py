"""The published protocols: which clicks they take from the truth, and what they keep; a stand-in is the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from interactive.small_session import scan, segmenter
from vesalius.checkpoints.safetensors import write_model
from vesalius.evaluation import window_protocols
from vesalius.evaluation.references import ReferenceCase
from vesalius.evaluation.window_protocols import evaluate_by_windows, segment_by_windows
from vesalius.geometry.volume import LabelMap
from vesalius.inference.segmenter import Segmenter, SegmentOptions, load
from vesalius.prompts.encode import ObjectClicks
from vesalius.prompts.targets import ClickTarget

ANY = SegmentOptions(unvalidated=True)
SMALL = (16, 16, 16)
Clicked = Callable[[object, Sequence[ObjectClicks]], list[torch.Tensor]]


def case(shape: tuple[int, int, int], **boxes: tuple[slice, slice, slice]) -> ReferenceCase:
    volume = scan(shape)
    data = np.zeros(shape, np.uint8)
    for label, box in enumerate(boxes.values(), start=1):
        data[box] = label
    names = {label: name.replace("_", " ") for label, name in enumerate(boxes, start=1)}
    return ReferenceCase(name="one", volume=volume, truth=LabelMap(data, volume.grid, names))


def falling(
    folder: Path, one: ReferenceCase, classes: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[Segmenter, SegmentOptions, Segmenter]:
    """Return a model in fp32 with so little memory that its plan falls to bf16, and the same model in bf16."""
    monkeypatch.setattr("vesalius.inference.segmenter.best_precision", lambda _: "fp32")
    monkeypatch.setattr("vesalius.inference.runs.resident_bytes", lambda: 10**8)
    small = segmenter()
    write_model(folder / "small", small.network.state_dict(), small.spec)
    model, half = (load(folder / "small", precision=p, device="cpu") for p in ("auto", "bf16"))
    asked, tight = model.vocabulary.resolve(classes) if classes else (), replace(ANY, compat="paper")
    _, plan = model.prepare(one.volume, asked, tight)
    while plan.precision == "fp32":
        tight = replace(tight, max_memory=plan.peak_bytes - 1)
        _, plan = model.prepare(one.volume, asked, tight)
    assert plan.gave_way
    return model, tight, half


def cubes(half: int, heard: list[tuple[str, tuple[int, ...], bool]]) -> Clicked:
    """Clicks are cubes; positive ones add, negative ones take."""

    def clicked(_: object, objects: Sequence[ObjectClicks]) -> list[torch.Tensor]:
        found = []
        for one in objects:
            logits = torch.full(SMALL, -1.0)
            for point, positive in zip(one.points_ijk.astype(int).tolist(), one.positive.tolist(), strict=True):
                heard.append((one.target.name, tuple(point), positive))
                part = tuple(slice(max(at - half, 0), at + half + 1) for at in point)
                logits[part] = 1.0 if positive else -1.0
            found.append(logits)
        return found

    return clicked


def test_each_class_is_clicked_once_at_its_centre_in_each_window_that_holds_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[tuple[str, tuple[int, ...], bool]] = []
    monkeypatch.setattr(window_protocols._Window, "clicked", cubes(2, heard))
    one = case(SMALL, liver=np.s_[3:8, 4:9, 5:10], spleen=np.s_[10:15, 9:14, 1:6])
    evaluation = evaluate_by_windows(segmenter(), [one], "one-click-per-window", how=ANY)
    assert heard == [("liver", (5, 6, 7), True), ("spleen", (12, 11, 3), True)]
    assert [(score.name, score.dice) for score in evaluation.scores] == [("liver", 1.0), ("spleen", 1.0)]


def test_a_large_organ_is_clicked_in_many_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, tuple[int, ...], bool]] = []
    monkeypatch.setattr(window_protocols._Window, "clicked", cubes(2, heard))
    long = case((40, 16, 16), liver=np.s_[2:38, 6:11, 6:11], spleen=np.s_[0:3, 0:3, 0:3])
    segment_by_windows(segmenter(), long, {"liver": long.truth.data == 1, "spleen": long.truth.data == 2},
                       "one-click-per-window", how=ANY)  # fmt: skip
    names = [name for name, _, _ in heard]
    assert names.count("liver") == 5  # windows of 16 at a stride of 6 over 40 voxels
    assert names.count("spleen") == 1  # only the first window holds it


def test_the_oracle_keeps_what_the_truth_likes_best(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, tuple[int, ...], bool]] = []
    one = case(SMALL, liver=np.s_[5:8, 5:8, 5:8])
    truth = {"liver": one.truth.data == 1}

    def perfect(_: object, class_ids: list[int]) -> torch.Tensor:
        return torch.from_numpy(np.where(truth["liver"], 1.0, -1.0).astype(np.float32))[None]

    def nothing(_: object, class_ids: list[int]) -> torch.Tensor:
        return torch.full((1, *SMALL), -1.0)

    monkeypatch.setattr(window_protocols._Window, "clicked", cubes(3, heard))
    monkeypatch.setattr(window_protocols._Window, "automatic", perfect)
    found = segment_by_windows(segmenter(), one, truth, "oracle", how=ANY)
    assert (found["liver"] == truth["liver"]).all()  # although every round of clicks is worse
    assert len({point for _, point, _ in heard}) > 1
    assert heard[0][2]
    assert truth["liver"][heard[0][1]]
    monkeypatch.setattr(window_protocols._Window, "automatic", nothing)
    found = segment_by_windows(segmenter(), one, truth, "oracle", how=ANY)
    assert (found["liver"] & truth["liver"]).any()


def test_a_window_without_truth_is_clicked_negatively_and_the_mask_of_fewest_voxels_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[tuple[str, tuple[int, ...], bool]] = []
    one, absent = case(SMALL, liver=np.s_[5:8, 5:8, 5:8]), {"liver": np.zeros(SMALL, dtype=bool)}
    part = torch.full((1, *SMALL), -1.0)
    part[:, 2:5, 2:5, 2:5] = 1.0
    monkeypatch.setattr(window_protocols._Window, "clicked", cubes(0, heard))  # finds nothing where it is clicked
    for automatic, left, signs in ((part, False, [False] * 3), (-torch.ones(1, *SMALL), False, [])):
        monkeypatch.setattr(window_protocols._Window, "automatic", lambda *_, said=automatic: said)
        found = segment_by_windows(segmenter(), one, absent, "oracle", how=ANY)["liver"]
        assert (found.any(), [positive for *_, positive in heard]) == (left, signs)
        heard.clear()
    monkeypatch.setattr(window_protocols._Window, "clicked", lambda *_: [torch.ones(SMALL)])  # sees it everywhere
    monkeypatch.setattr(window_protocols._Window, "automatic", lambda *_: part)
    found = segment_by_windows(segmenter(), one, absent, "oracle", how=ANY)["liver"]
    assert np.array_equal(found, part[0].numpy() > 0)
    assert not segment_by_windows(segmenter(), one, absent, "one-click-per-window", how=ANY)["liver"].any()


def test_every_round_clicks_on_the_automatic_mask_alone() -> None:
    truth, seen = np.zeros((2, *SMALL), dtype=bool)
    truth[2:7, 2:7, 2:7] = True
    target = ClickTarget(id=1, name="liver", supported=True, special=False, layer=None)
    rng = np.random.default_rng(0)
    errors = window_protocols.largest_errors(seen, truth)
    first = window_protocols._clicks_of_round(target, seen, truth, errors, rng, is_first=True)
    missing = window_protocols._clicks_of_round(target, seen, truth, errors, rng, is_first=False)
    assert first.positive.tolist() == missing.positive.tolist() == [True]
    assert all(2 < at < 6 for at in missing.points_ijk[0]), "where the error survives erosion"
    seen[9:15, 2:7, 2:7] = True
    errors = window_protocols.largest_errors(seen, truth)
    both = window_protocols._clicks_of_round(target, seen, truth, errors, rng, is_first=False)
    assert both.positive.tolist() == [True, False]
    assert truth[tuple(both.points_ijk[0].astype(int))]
    assert (seen & ~truth)[tuple(both.points_ijk[1].astype(int))]


def test_errors_are_looked_for_once_a_window_and_only_where_there_is_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    largest = window_protocols._largest
    monkeypatch.setattr(window_protocols, "_largest", lambda mask: calls.append(1) or largest(mask))
    part = torch.full((1, *SMALL), -1.0)
    part[:, 2:5, 2:5, 2:5] = 1.0
    monkeypatch.setattr(window_protocols._Window, "automatic", lambda *_: part)
    monkeypatch.setattr(window_protocols._Window, "clicked", lambda *_: [torch.ones(SMALL)])
    one = case(SMALL, liver=np.s_[5:8, 5:8, 5:8])
    for truth, expected in (
        ({"liver": np.zeros(SMALL, dtype=bool)}, 0),
        ({"liver": np.ones(SMALL, dtype=bool)}, 2),
    ):
        segment_by_windows(segmenter(), one, truth, "oracle", how=ANY)
        assert len(calls) == expected


@pytest.mark.parametrize("protocol", ["one-click-per-window", "oracle"])
def test_both_run_on_a_real_network_and_leave_out_what_it_has_no_name_for(protocol: str) -> None:
    one = case((18, 16, 16), liver=np.s_[3:8, 4:9, 5:10], larynx=np.s_[10:15, 9:14, 1:6])
    found = evaluate_by_windows(segmenter(), [one, one], protocol, how=ANY)  # type: ignore[arg-type]
    assert [score.name for score in found.scores] == ["liver"] * 2
    assert found.only_in_references == {"larynx": 2}
    assert found.scores[0] == found.scores[1], "the same clicks every time"


@pytest.mark.parametrize("protocol", ["one-click-per-window", "oracle"])
def test_windows_of_a_plan_that_fell_to_bf16_are_seen_by_a_network_in_bf16(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = case(SMALL, liver=np.s_[3:8, 4:9, 5:10])
    model, tight, half = falling(tmp_path, one, ["liver"], monkeypatch)
    found = evaluate_by_windows(model, [one], protocol, how=tight)  # type: ignore[arg-type]
    assert found.scores == evaluate_by_windows(half, [one], protocol, how=ANY).scores  # type: ignore[arg-type]
    assert model.precision == "fp32"
