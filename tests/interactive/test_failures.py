"""What fails or is interrupted: what is seen and what is in the journal stay one, whatever the moment."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from interactive.cubes import cubes, slabs
from interactive.small_session import click, organs, scan
from interactive.test_properties import seen
from interactive.test_threads import PATIENCE, Held
from vesalius.interactive.canvas import Canvas
from vesalius.interactive.session import Session

VOLUME = scan()
ORGANS = organs(VOLUME)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with cubes(), Session(slabs(), VOLUME, labels=ORGANS, journal=tmp_path / "session.jsonl") as begun:
        begun.add(click("liver", 14, 12, 10))
        yield begun


def check_replay(session: Session, path: Path) -> None:
    end = seen(session)
    session.close()
    with Session.open(path, slabs(), VOLUME, labels=ORGANS) as again:
        assert seen(again) == end
        assert again.differences == ()
        assert again.revision == session.revision


def failing(error: BaseException) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> object:
        raise error

    return fail


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt()])
@pytest.mark.parametrize(
    "where", ["interactive.ledger.box_sha256", "interactive.canvas.compose", "interactive.journal.os.fsync"]
)
def test_a_prediction_that_cannot_be_shown_or_written_is_not_made(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    before = seen(session)
    with monkeypatch.context() as patch:
        patch.setattr(f"vesalius.{where}", failing(error))
        with pytest.raises(type(error)):
            session.predict()
    assert seen(session) == before
    check_replay(session, tmp_path / "session.jsonl")


@pytest.mark.parametrize("verb", ["predict", "undo"])
def test_what_is_interrupted_while_it_is_shown_is_shown(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    put, interrupt = Canvas.put, iter([True])

    def interrupted(canvas: Canvas, drawing: object) -> None:
        if next(interrupt, False):
            raise KeyboardInterrupt
        put(canvas, drawing)

    if verb == "undo":
        session.predict()
    monkeypatch.setattr(Canvas, "put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        getattr(session, verb)()
    assert session.mask("liver")[14, 12, 10] == (verb == "predict")
    check_replay(session, tmp_path / "session.jsonl")


def test_clicks_whose_turn_lacks_memory_take_it_with_the_next_edit(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, lacks = Canvas.draw, iter([False, False, True])  # the prediction, the first click, the second
    with ThreadPoolExecutor() as pool:
        held = Held(monkeypatch)
        running = pool.submit(session.predict)
        assert held.begun.wait(PATIENCE)
        for target in ("new:cyst", "new:clip", "aorta"):
            session.add(click(target, 9, 9, 9))

        def lacking(*arguments: object) -> object:
            if next(lacks, False):
                raise MemoryError
            return draw(*arguments)

        monkeypatch.setattr(Canvas, "draw", lacking)
        held.let.set()
        with pytest.raises(MemoryError):
            running.result(PATIENCE)
    assert list(session.prompts) == [1, 2, 3, 4]
    session.remove(3)
    assert list(session.prompts) == [1, 2, 4]
    assert session.pending == ("cyst", "aorta")
    check_replay(session, tmp_path / "session.jsonl")


def test_a_session_that_is_dropped_lets_go_of_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    with cubes():
        session = Session(slabs(), VOLUME, journal=path)
        session.add(click("liver", 14, 12, 10))
        del session
        gc.collect()
        with Session.open(path, slabs(), VOLUME) as again:
            assert list(again.prompts) == [1]
