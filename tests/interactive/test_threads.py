"""Several threads at one session: clicks are taken while a prediction runs, everything else waits its turn."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from interactive.cubes import change_by_cubes, cubes, slabs
from interactive.small_session import click, organs, scan
from interactive.test_properties import seen
from vesalius.errors import LockedStructureError, StaleRevisionError
from vesalius.interactive.session import Session

VOLUME = scan()
PATIENCE = 20.0


class Held:
    """A prediction that begins, and goes on when it is let."""

    def __init__(self, patch: pytest.MonkeyPatch, fails: bool = False) -> None:
        self.begun, self.let = threading.Event(), threading.Event()
        self.fails = fails
        patch.setattr("vesalius.interactive.prediction.change_mask", self)

    def __call__(self, *arguments: object, **others: object) -> object:
        self.begun.set()
        assert self.let.wait(PATIENCE)
        if self.fails:
            raise RuntimeError("out of luck")
        return change_by_cubes(*arguments, **others)


def test_a_click_that_arrives_during_a_prediction_takes_its_place_after_it(tmp_path: Path) -> None:
    with cubes() as patch, ThreadPoolExecutor() as pool:
        path = tmp_path / "session.jsonl"
        session = Session(slabs(), VOLUME, labels=organs(VOLUME), journal=path)
        session.add(click("liver", 14, 12, 10))
        held = Held(patch)
        running = pool.submit(session.predict)
        assert held.begun.wait(PATIENCE)
        second = session.add(click("new:cyst", 9, 9, 9))
        third = session.add(click("liver", 9, 9, 9))
        session.move(second, click("new:cyst", 8, 8, 8))
        session.remove(third)
        assert path.read_text().count('"edit"') == 6, "acknowledged is on disk"
        assert (session.revision, list(session.prompts)) == (6, [1, second])
        undone = pool.submit(session.undo)
        with pytest.raises(TimeoutError):
            undone.result(timeout=0.1)
        held.let.set()
        assert running.result(PATIENCE).targets == ("liver",)
        assert undone.result(PATIENCE) is None, "it undid the removal"
        assert list(session.prompts) == [1, second, third]
        assert session.predict().targets == ("liver", "cyst")
        end = seen(session)
        session.close()
        again = Session.open(path, slabs(), VOLUME, labels=organs(VOLUME))
        again.close()
    assert seen(again) == end


def test_an_edit_said_on_what_was_seen_during_a_prediction_is_refused_after_it(tmp_path: Path) -> None:
    with cubes() as patch, ThreadPoolExecutor() as pool:
        session = Session(slabs(), VOLUME, labels=organs(VOLUME), journal=tmp_path / "session.jsonl")
        session.add(click("liver", 14, 12, 10))
        held = Held(patch)
        running = pool.submit(session.predict)
        assert held.begun.wait(PATIENCE)
        locking = pool.submit(session.lock, "liver", revision=session.revision)
        held.let.set()
        assert running.result(PATIENCE).revision == session.revision == 3
        with pytest.raises(StaleRevisionError, match="revision 3"):
            locking.result(PATIENCE)
        session.lock("liver", revision=3)
        session.close()
        again = Session.open(tmp_path / "session.jsonl", slabs(), VOLUME, labels=organs(VOLUME))
        again.close()
    assert again.revision == session.revision == 4


def test_a_prediction_that_fails_leaves_clicks_as_they_were_said(tmp_path: Path) -> None:
    with cubes() as patch, ThreadPoolExecutor() as pool:
        path = tmp_path / "session.jsonl"
        session = Session(slabs(), VOLUME, journal=path)
        session.add(click("liver", 14, 12, 10))
        held = Held(patch, fails=True)
        running = pool.submit(session.predict)
        assert held.begun.wait(PATIENCE)
        session.add(click("spleen", 9, 9, 9))
        held.let.set()
        with pytest.raises(RuntimeError, match="luck"):
            running.result(PATIENCE)
        held.fails = False
        assert session.pending == ("liver", "spleen")
        session.predict()
        end = seen(session)
        session.close()
        again = Session.open(path, slabs(), VOLUME)
        again.close()
    assert seen(again) == end


def test_what_is_refused_during_a_prediction_is_refused_at_once() -> None:
    with cubes() as patch, ThreadPoolExecutor() as pool:
        session = Session(slabs(), VOLUME, labels=organs(VOLUME))
        session.lock("spleen")
        session.add(click("liver", 14, 12, 10))
        held = Held(patch)
        running = pool.submit(session.predict)
        assert held.begun.wait(PATIENCE)
        with pytest.raises(LockedStructureError):
            session.add(click("spleen", 9, 9, 9))
        held.let.set()
        running.result(PATIENCE)
        assert list(session.prompts) == [1]


def test_many_threads_make_one_history(tmp_path: Path) -> None:
    def user(number: int) -> None:
        for step in range(6):
            session.add(click(f"new:thing {number}", 3 * number + 2, 4 * step, 10))
            if step % 3 == 2:
                session.predict()

    with cubes(), ThreadPoolExecutor(4) as pool:
        session = Session(slabs(), VOLUME, journal=tmp_path / "session.jsonl")
        for done in [pool.submit(user, number) for number in range(4)]:
            done.result(PATIENCE)
        session.predict()
        assert len(session.prompts) == 24
        for number in range(4):
            assert session.mask(f"thing {number}")[3 * number + 2, 20, 10]
        end = seen(session)
        session.close()
        again = Session.open(tmp_path / "session.jsonl", slabs(), VOLUME)
        again.close()
    assert seen(again) == end
