"""Opening a journal: the same again, bit for bit; what is refused, what is reported, what was never shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from interactive.small_session import click, organs, scan, segmenter
from interactive.test_properties import seen
from vesalius.errors import DiskError, FileFormatError, UsageError
from vesalius.geometry.boxes import Box
from vesalius.geometry.volume import Volume
from vesalius.inference.merge import MaskChange
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.interactive.journal import Journal
from vesalius.interactive.session import Session
from vesalius.prompts.types import MaskPrompt, PointPrompt

VOLUME = scan()
ORGANS = organs(VOLUME)


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return segmenter()


@pytest.fixture
def written(model: Segmenter, tmp_path: Path) -> tuple[Path, dict]:
    """A journal with every kind of edit, and what was seen at its end."""
    path = tmp_path / "session.jsonl"
    session = Session(model, VOLUME, labels=ORGANS, journal=path)
    session.add(click("liver", 14, 12, 10))
    second = session.add(PointPrompt(target="new:cyst", ras_mm=(30.1, 29.9, 1 / 3)))
    session.predict()
    session.lock("spleen")
    session.move(second, click("new:cyst", 9, 9, 9))
    session.rename("cyst", "Zyste")
    session.predict()
    session.undo()
    session.redo()
    session.unlock("spleen")
    session.accept()
    third = session.add(click("liver", 9, 9, 9, positive=False))
    session.remove(third)
    session.add(MaskPrompt(target="aorta", mask=VOLUME.data[0] > 100, grid=VOLUME.grid))
    session.predict()
    session.add(click("spleen", 1, 1, 1))
    end = seen(session)
    session.close()
    return path, end


def test_a_journal_gives_the_same_session_again(model: Segmenter, written: tuple[Path, dict]) -> None:
    path, end = written
    again = Session.open(path, model, VOLUME, labels=ORGANS)
    assert seen(again) == end
    assert again.differences == ()
    assert again.revision == 19, "16 edits, 3 predictions shown"
    assert again.add(click("aorta", 3, 3, 3)) == 6, "ids go on"
    again.close()
    more = Session.open(path, model, VOLUME, labels=ORGANS)
    assert more.revision == 20
    more.close()


def test_a_prediction_that_never_ended_was_never_shown(model: Segmenter, written: tuple[Path, dict]) -> None:
    path, end = written
    session = Session.open(path, model, VOLUME, labels=ORGANS)
    session.predict()
    session.close()
    lines = path.read_bytes().splitlines(keepends=True)
    assert b'"predicted": 20' in lines[-1]
    path.write_bytes(b"".join(lines[:-1]))  # as after a kill before the prediction was done
    again = Session.open(path, model, VOLUME, labels=ORGANS)
    assert seen(again) == end
    assert again.pending == ("spleen",)
    assert again.revision == 20
    again.close()


def test_another_volume_model_or_label_map_is_refused(model: Segmenter, written: tuple[Path, dict]) -> None:
    path, _ = written
    brighter = Volume(VOLUME.data + 1, VOLUME.grid, "CT")
    others = {
        "the volume of": lambda: Session.open(path, model, brighter, labels=ORGANS),
        "labels it began with": lambda: Session.open(path, model, VOLUME),
        "model's weights": lambda: Session.open(path, _other_weights(), VOLUME, labels=ORGANS),
        "overlap": lambda: Session.open(path, model, VOLUME, labels=ORGANS, options=SegmentOptions(overlap=0.5)),
    }
    for words, open_with in others.items():
        with pytest.raises(UsageError, match=words):
            open_with()
    Session.open(path, model, VOLUME, labels=ORGANS).close()


def _other_weights() -> Segmenter:
    other = segmenter()
    with torch.no_grad():
        other.network.point_head.mask_conv.bias += 1
    return other


def test_another_reach_of_clicks_is_refused_and_another_name_is_not(
    model: Segmenter, written: tuple[Path, dict]
) -> None:
    path, _ = written
    renamed = Segmenter(model.network, replace(model.spec, citation="a paper", dice={"liver": 0.9}))
    Session.open(path, renamed, VOLUME, labels=ORGANS).close()
    farther = Segmenter(model.network, replace(model.spec, click_reach_mm=30.0))
    with pytest.raises(UsageError, match="expects of an image and a click"):
        Session.open(path, farther, VOLUME, labels=ORGANS)


def test_what_is_only_laid_out_otherwise_is_the_same(model: Segmenter, written: tuple[Path, dict]) -> None:
    path, end = written
    turned = Volume(np.asfortranarray(VOLUME.data), VOLUME.grid, "CT")
    again = Session.open(path, model, turned, labels=ORGANS)
    assert seen(again) == end
    again.close()


def test_other_results_are_reported_with_their_place(
    model: Segmenter, written: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, end = written
    nothing = np.zeros((0, 0, 0), dtype=bool)
    change = MaskChange(Box((0, 0, 0), (0, 0, 0)), nothing, nothing)
    monkeypatch.setattr("vesalius.interactive.prediction.change_mask", lambda *_, **__: change)
    monkeypatch.setattr("vesalius.__version__", "0.0.9")
    again = Session.open(path, model, VOLUME, labels=ORGANS)
    again.close()
    assert seen(again) != end
    assert again.differences[0] == f"vesalius 0.0.9, then {_header(path)['vesalius']}"
    assert "prediction 3" in again.differences[1]


def _header(path: Path) -> dict:
    return json.loads(path.read_text().splitlines()[0])


def test_the_header_says_what_a_result_depends_on(written: tuple[Path, dict]) -> None:
    header = _header(written[0])
    assert {"volume", "labels", "model", "weights", "precision", "device", "threads", "torch"} < set(header)
    assert header["threads"] == torch.get_num_threads()
    assert header["precision"] == "fp32"


def test_edits_that_cannot_be_done_are_refused(model: Segmenter, tmp_path: Path) -> None:
    for record in ({"edit": "remove", "id": 3}, {"edit": "fly"}, {"edit": "undo"}, {"edit": "add", "id": 1}):
        path = tmp_path / f"{record['edit']}.jsonl"
        Session(model, VOLUME, journal=path).close()
        journal, _, _ = Journal.open(path)
        journal.append(record)
        journal.close()
        with pytest.raises(FileFormatError, match="edit 1"):
            Session.open(path, model, VOLUME)


def test_an_edit_that_cannot_be_written_is_not_made(
    model: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(model, VOLUME, labels=ORGANS, journal=tmp_path / "session.jsonl")
    session.add(click("liver", 14, 12, 10))
    before, revision, append = seen(session), session.revision, Journal.append

    def full(journal: Journal, record: dict) -> None:
        if "predicted" in record or record["edit"] != "predict":
            raise DiskError(expected="", got="", do="")
        append(journal, record)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", full)
        for edit in (lambda: session.add(click("liver", 9, 9, 9)), session.predict, session.undo):
            with pytest.raises(DiskError):
                edit()
        assert seen(session) == before
    assert session.revision == revision + 1, "the prediction had begun"
    assert session.predict().targets == ("liver",)
    end = seen(session)
    session.close()
    again = Session.open(tmp_path / "session.jsonl", model, VOLUME, labels=ORGANS)
    again.close()
    assert seen(again) == end
