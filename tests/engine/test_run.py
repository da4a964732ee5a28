"""The run folder: one configuration, whole checkpoints, metrics that survive a torn line, one process at a time."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vesalius.engine.run import CHECKPOINT, RunFolder, curves_of, opened, read_checkpoint
from vesalius.engine.team import Team
from vesalius.errors import CheckpointError, DiskError, UnsafeCheckpointError, UsageError


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.checkpoint() is None
    weights = torch.randn(2, 3, 4, 5, 6).to(memory_format=torch.channels_last_3d)
    run.save({"network": {"a": weights}, "step": 7, "trained_s": 0.1, "averages": {"x": [1.0, 2.0]}})
    state = run.checkpoint()
    assert state is not None
    assert torch.equal(state["network"]["a"], weights)
    assert state["network"]["a"].stride() == weights.stride()
    assert (state["step"], state["trained_s"], state["averages"]) == (7, 0.1, {"x": [1.0, 2.0]})
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path)
    run.save({"step": 1})

    def half(state: object, file: object) -> None:
        file.write(b"PK half")  # type: ignore[attr-defined]
        raise RuntimeError("PytorchStreamWriter failed writing file data/0")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(DiskError, match="PytorchStreamWriter"):
        run.save({"step": 2})
    assert run.checkpoint() == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_of_ours(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    (tmp_path / ".last.part.pt").symlink_to("/dev/full")
    with pytest.raises(DiskError):
        run.save({"network": torch.zeros(100_000)})
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(DiskError):
        run.log({"step": 1, "text": "x" * 100_000})


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"step": Bomb()}, tmp_path / CHECKPOINT)
    with pytest.raises(UnsafeCheckpointError):
        RunFolder(tmp_path).checkpoint()
    assert not (tmp_path / "ran").exists()


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.save({"step": 1, "weights": torch.zeros(1000)})
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(CheckpointError):
        run.checkpoint()
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "absent.pt")
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="list"):
        run.checkpoint()


def test_a_torn_last_line_of_the_metrics_is_not_read_and_not_continued(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.log({"step": 1})
    run.log({"step": 2})
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 3, "lo')
    assert [record["step"] for record in run.metrics()] == [1, 2]
    assert run.forget_after(2) == 0
    run.log({"step": 3})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_metrics_beyond_the_checkpoint_are_forgotten_and_counted(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for step in range(1, 8):
        run.log({"step": step})
    assert run.forget_after(4) == 3
    assert [record["step"] for record in run.metrics()] == [1, 2, 3, 4]
    assert RunFolder(tmp_path / "empty").metrics() == []


def test_validations_and_pictures_the_checkpoint_does_not_know_of_are_forgotten(tmp_path: Path) -> None:
    run, picture = RunFolder(tmp_path), np.zeros((2, 2, 3), np.uint8)
    for step in (2, 4):
        run.log({"step": step, "loss": 1.0})
        run.log({"step": step, "event": "validated", "score": 0.5})
        run.keep_picture("axial", step, picture)
    assert run.forget_after(4, validated=2) == 0
    left = [(record["step"], record.get("event")) for record in run.metrics()]
    assert left == [(2, None), (2, "validated"), (4, None)]
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["step_00000002_axial.png"]


def test_a_picture_is_named_by_step_and_what_a_file_s_name_can_hold(tmp_path: Path) -> None:
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    RunFolder(tmp_path).keep_picture("case 7/../liver", 120, picture)
    path = tmp_path / "pictures" / "step_00000120_case_7_liver.png"
    with Image.open(path) as opened_again:
        assert np.array_equal(np.asarray(opened_again), picture)


def test_best_weights_come_back(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.best() is None
    run.keep_best({"network": {"a": torch.ones(2)}, "step": 3, "score": 0.25})
    best = run.best()
    assert best is not None
    assert (best["network"]["a"].tolist(), best["step"], best["score"]) == ([1.0, 1.0], 3, 0.25)
    assert run.checkpoint() is None


def test_curves_tell_steps_from_validations_and_leave_out_events(tmp_path: Path) -> None:
    records = [
        {"step": 0, "trained_s": 0.0, "event": "started", "torch": "2"},
        {"step": 5, "trained_s": 1.5, "loss": 2.0, "dice": 0.9},
        {"step": 5, "trained_s": 1.6, "event": "validated", "dice": 0.8, "best_step": 5},
        {"step": 10, "trained_s": 3.0, "loss": 1.0},
        {"step": 10, "trained_s": 3.0, "event": "finished", "best_score": 0.8},
    ]
    curves = {(curve.name, curve.is_dotted): curve.points for curve in curves_of(records)}
    assert curves == {
        ("loss", False): ((5, 2.0), (10, 1.0)),
        ("dice", False): ((5, 0.9),),
        ("dice", True): ((5, 0.8),),
    }
    run = RunFolder(tmp_path)
    for record in records:
        run.log(record)
    run.draw_curves()
    assert not (tmp_path / "curves.png").exists()  # it was opened less than half a minute ago
    run.draw_curves(at_once=True)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_only_the_first_process_writes_and_the_others_need_no_lock(tmp_path: Path) -> None:
    with opened(tmp_path, {"a": 1}, team=Team(0, 2)), opened(tmp_path, {"a": 1}, team=Team(1, 2)) as other:
        before = sorted(path.name for path in tmp_path.iterdir())
        other.log({"step": 1})
        other.save({"step": 1})
        other.keep_best({"step": 1})
        other.keep_picture("x", 1, np.zeros((2, 2, 3), np.uint8))
        other.draw_curves(at_once=True)
        assert other.forget_after(0) == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == before == [".lock", "config.json"]


def test_the_same_configuration_opens_a_run_again_and_another_is_refused_by_name(tmp_path: Path) -> None:
    config = {"loop": {"steps": 5, "windows": 2}, "shares": {"a": 0.5}, "size": (4, 4)}
    with opened(tmp_path / "new" / "run", config):
        pass
    with opened(tmp_path / "new" / "run", dict(reversed(config.items()))):
        pass
    changed = {"loop": {"steps": 6, "windows": 2}, "shares": {"a": 0.5, "b": 1}, "size": (4, 4)}
    with pytest.raises(UsageError) as error, opened(tmp_path / "new" / "run", changed):
        pass
    assert error.value.got == "loop.steps 5 -> 6; shares.b None -> 1"


def test_a_damaged_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UsageError, match="unreadable"), opened(tmp_path, {"a": 1}):
        pass


def test_a_second_training_is_kept_out_until_the_first_is_over(tmp_path: Path) -> None:
    with opened(tmp_path, {}):  # the lock belongs to the open file, so a second one in this process is as good
        with pytest.raises(UsageError, match="another process"), opened(tmp_path, {}):
            pass
        with opened(tmp_path / "elsewhere", {}):
            pass
    with opened(tmp_path, {}):
        pass


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DiskError), opened(tmp_path / "file" / "run", {}):
        pass


def test_a_file_system_without_locks_is_trained_on_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("fcntl", reason="file locks of POSIX")

    def refuse(number: int) -> Callable[[object, int], None]:
        def lock(_: object, __: int) -> None:
            raise OSError(number, os.strerror(number))

        return lock

    monkeypatch.setattr("fcntl.flock", refuse(errno.ENOSYS))
    with opened(tmp_path / "run", {}) as run:
        run.log({"step": 0})
    assert "no locks" in caplog.text
    assert run.metrics() == [{"step": 0}]
    monkeypatch.setattr("fcntl.flock", refuse(errno.EIO))
    with pytest.raises(DiskError), opened(tmp_path / "run", {}):
        pass
