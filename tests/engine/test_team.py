"""Team: two processes learn what one does, sharded or not, agree on when to stop, and only the first writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.line_task import JudgedLineTask, LineTask, line_learner, same, settings, without_times
from vesalius.engine import team as team_room
from vesalius.engine.loop import train
from vesalius.engine.run import RunFolder, opened
from vesalius.engine.settings import LoopSettings
from vesalius.engine.team import ALONE, Team, joined
from vesalius.errors import InterruptedRun, UsageError

TESTS = Path(__file__).resolve().parents[1]
STEPS, WINDOWS = 20, 5
"""An odd number of windows, so that the processes have unequal shares."""

CHOSEN: dict[str, object] = {
    "steps": STEPS,
    "windows": WINDOWS,
    "precision": "fp32",
    "log_every": 5,
    "validate_every": 10,
    "save_every_s": 10.0,  # by clocks that differ between the processes, which draw three and two samples a step
}

PAIRS = """
# Trains in two processes of one machine, once for each scenario; torch is imported once, and they are forked.
import json, os, shutil, signal, sys
from pathlib import Path
base, tests, chosen = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
sys.path.insert(0, tests)
import torch
from engine.in_two import in_two
from engine.line_task import JudgedLineTask, line_learner
from vesalius.engine.loop import train
from vesalius.engine.run import RunFolder, opened
from vesalius.engine.settings import LoopSettings
from vesalius.engine import team as team_room
from vesalius.engine.team import Team, joined
from vesalius.errors import InterruptedRun
RunFolder.draw_curves = lambda self, **_: None  # not looked at here, and a good part of the time

def training(folder, rank, kind):
    if kind == "unsynchronised":
        Team.summed = lambda self, gradients, like: gradients
    if kind == "sharded, untold":
        Team.fill = lambda self, tensors, source: None
    def before(drawn):
        if kind == "sharded, stopped" and rank == 1 and drawn == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        if kind == "killed" and rank == 1 and drawn == 7:
            os.kill(os.getpid(), signal.SIGKILL)
    task, learner = JudgedLineTask(before), line_learner()
    if rank == 1:  # begins elsewhere, as one with another seed would
        with torch.no_grad():
            for parameter in learner.network.parameters():
                parameter.mul_(1.7)
        learner = type(learner)(learner.network, learner.settings)
    with joined("cpu", is_sharded="sharded" in kind) as team, opened(folder / "run", {}, team=team) as run:
        assert (team.rank, team.size, team.is_sharded) == (rank, 2, "sharded" in kind)
        try:
            train(task, learner, run, LoopSettings(**chosen), clock=lambda: task.now, team=team)
        except InterruptedRun as stop:
            (folder / f"stopped.{rank}").write_text(stop.got)
        torch.save(learner.state_dict(), folder / f"rank.{rank}.pt")
    torch.save(learner.optimiser.state_dict()["state"], folder / f"moments.{rank}.pt")
    (folder / f"drawn.{rank}").write_text(" ".join(map(repr, task.drawn)))
    (folder / f"judged.{rank}").write_text(str(len(task.judged)))

def sums(folder, rank, _):
    team_room._BUCKET = 4  # fewer than the first tensor has
    like = [torch.zeros(2, 3), torch.zeros(()), torch.zeros(4)]
    mine = [torch.full((2, 3), 1.0 + rank).t().contiguous().t(), None if rank else torch.tensor(5.0), None]
    with joined("cpu") as team:
        total = team.summed(mine, like)
        state = team.first({"a": {2: torch.ones(2)}, "b": {}, "step": [3]} if team.is_first else None)
        lain = torch.arange(6.0).view(2, 3).t() * (1 + rank)
        team.fill([lain, like[1]], source=1)
        told = [None if part is None else part.tolist() for part in total], state["a"][2].tolist()
        others = state["b"], state["step"], team.gather(rank * 10), lain.tolist()
        (folder / f"sums.{rank}").write_text(json.dumps([*told, *others]))

def pair(work, folder, kind="", expected=(0, 0)):
    folder.mkdir(exist_ok=True)
    codes = in_two(lambda rank: work(folder, rank, kind))
    if codes != expected:
        sys.exit(f"{folder.name}: exit codes {codes}")

task = JudgedLineTask(lambda drawn: os.kill(os.getpid(), signal.SIGTERM) if drawn == 17 else None)
with opened(base / "from one" / "run", {}) as run:  # what torch loads late, it loads here
    try:
        train(task, line_learner(), run, LoopSettings(**chosen), clock=lambda: task.now)
    except InterruptedRun:
        pass
pair(sums, base / "sums")
pair(training, base / "whole")
pair(training, base / "control", "unsynchronised")
pair(training, base / "sharded", "sharded")
pair(training, base / "untold", "sharded, untold")
pair(training, base / "from one", "sharded")
pair(training, base / "stopped", "sharded, stopped")
(base / "stopped").rename(base / "stopped once")
pair(training, base / "killed", "killed", expected=(0, -signal.SIGKILL))
shutil.copytree(base / "stopped once" / "run", base / "stopped" / "run")
pair(training, base / "stopped", "resumed")
"""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of every scenario in which two processes train; a subfolder each."""
    folder = tmp_path_factory.mktemp("pairs")
    words = [sys.executable, "-c", PAIRS, str(folder), str(TESTS), json.dumps(CHOSEN)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def learners(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(folder / f"rank.{rank}.pt", weights_only=True) for rank in range(2)]


def difference(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """Largest difference of two state dicts, relative to the largest weight."""
    largest = max(float(tensor.abs().max()) for tensor in second.values())
    return max(float((first[name] - second[name]).abs().max()) for name in second) / largest


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], JudgedLineTask, RunFolder]:
    """What one process learns from the same samples: its learner's state, its task, its folder."""
    task, learner = JudgedLineTask(), line_learner()
    with opened(tmp_path_factory.mktemp("one"), {}) as run:
        train(task, learner, run, LoopSettings(**CHOSEN), clock=lambda: task.now)  # type: ignore[arg-type]
    return learner.state_dict(), task, run


One = tuple[dict[str, Any], JudgedLineTask, RunFolder]


def test_two_processes_learn_what_one_does(pairs: Path, one: One) -> None:
    first, second = learners(pairs / "whole")
    assert same(first, second)
    for part in ("network", "average"):  # sums of five in another order, through 20 steps
        assert difference(first[part], one[0][part]) <= 1e-5
    assert difference(one[0]["network"], line_learner().network.state_dict()) > 1e-2  # something was learnt at all
    shares = [(pairs / "whole" / f"drawn.{rank}").read_text().split() for rank in range(2)]
    assert [len(share) for share in shares] == [STEPS * 3, STEPS * 2]
    assert sorted(map(float, shares[0] + shares[1])) == sorted(one[1].drawn)


def test_without_synchronisation_they_do_not(pairs: Path, one: One) -> None:
    first, second = learners(pairs / "control")
    assert difference(first["network"], one[0]["network"]) > 1e-3
    assert difference(second["network"], first["network"]) > 1e-3


def test_only_the_first_validates_and_writes_and_it_logs_what_all_saw(pairs: Path, one: One) -> None:
    assert [(pairs / "whole" / f"judged.{rank}").read_text() for rank in range(2)] == ["3", "0"]
    run = RunFolder(pairs / "whole" / "run")
    ours, theirs = (
        [{name: value for name, value in record.items() if isinstance(value, float)} for record in records]
        for records in (without_times(run), without_times(one[2]))
    )
    assert len(ours) == 4 + 3 + 1
    for record, expected in zip(ours, theirs, strict=True):
        assert record == pytest.approx(expected, abs=1e-4)
    assert run.metrics()[0]["processes"] == 2
    checkpoint = run.checkpoint()
    assert checkpoint is not None
    assert same(checkpoint["network"], learners(pairs / "whole")[0]["network"])


def test_with_shards_they_learn_it_bit_for_bit_and_keep_one_whole_of_the_moments_together(
    pairs: Path, one: One
) -> None:
    whole = RunFolder(pairs / "whole" / "run").checkpoint()
    assert same(RunFolder(pairs / "sharded" / "run").checkpoint(), whole)
    assert same(learners(pairs / "sharded")[1]["network"], learners(pairs / "sharded")[0]["network"])
    assert RunFolder(pairs / "sharded" / "run").metrics()[0]["sharded"] is True
    kept, unsharded = (
        [torch.load(pairs / name / f"moments.{rank}.pt", weights_only=True) for rank in range(2)]
        for name in ("sharded", "whole")
    )
    assert not kept[0].keys() & kept[1].keys()
    assert same(kept[0] | kept[1], unsharded[0])
    assert same(kept[0] | kept[1], one[0]["optimiser"]["state"])
    for part in ("network", "average"):
        assert same(learners(pairs / "sharded")[1][part], one[0][part])

    def size(state: dict[int, dict[str, torch.Tensor]]) -> int:
        return sum(tensor.nbytes for moments in state.values() for tensor in moments.values())

    assert list(map(size, unsharded)) == [168, 168]  # two moments of 19 weights, and of each tensor its steps
    assert list(map(size, kept)) == [104, 64]


def test_with_shards_and_without_being_told_the_others_weights_they_do_not(pairs: Path, one: One) -> None:
    for learner in learners(pairs / "untold"):
        assert difference(learner["network"], one[0]["network"]) > 1e-3


def test_a_run_is_resumed_by_any_number_of_processes_sharded_or_not(pairs: Path, one: One, tmp_path: Path) -> None:
    events = [record.get("event") for record in RunFolder(pairs / "from one" / "run").metrics()]
    assert events.count("resumed") == 1
    assert same(learners(pairs / "from one")[0]["network"], one[0]["network"])
    shutil.copytree(pairs / "stopped once" / "run", tmp_path / "run")
    task, learner = JudgedLineTask(), line_learner()
    with opened(tmp_path / "run", {}) as run:
        train(task, learner, run, LoopSettings(**CHOSEN), clock=lambda: task.now)  # type: ignore[arg-type]
    assert len(task.drawn) == (STEPS - 4) * WINDOWS
    assert same(learner.state_dict(), one[0])


def test_a_signal_to_any_process_stops_all_at_one_step_and_they_go_on_as_if_it_had_not_come(pairs: Path) -> None:
    told = [(pairs / "stopped once" / f"stopped.{rank}").read_text() for rank in range(2)]
    assert all("SIGTERM" in words for words in told)
    checkpoint = RunFolder(pairs / "stopped once" / "run").checkpoint()
    assert checkpoint is not None
    assert checkpoint["step"] == 4  # the eighth draw of the second process is of the fourth step
    assert same(learners(pairs / "stopped"), learners(pairs / "whole"))


def test_where_one_is_killed_the_other_ends_and_says_so(pairs: Path) -> None:
    assert "gone" in (pairs / "killed" / "stopped.0").read_text()
    assert not (pairs / "killed" / "stopped.1").exists()


def test_sums_take_every_layout_and_none_counts_as_nothing(pairs: Path) -> None:
    for rank in range(2):
        total, tensor, *others = json.loads((pairs / "sums" / f"sums.{rank}").read_text())
        assert total == [[[3.0] * 3] * 2, 5.0, None]
        assert tensor == [1.0, 1.0]
        assert others == [{}, [3], [0, 10], [[0.0, 6.0], [2.0, 8.0], [4.0, 10.0]]]


def test_a_message_is_a_bucket_and_sums_take_no_memory_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[list[float]] = []

    def all_reduce(buffer: torch.Tensor) -> None:
        sent.append(buffer.tolist())
        buffer.mul_(2)  # both processes have the same

    monkeypatch.setattr(team_room.dist, "all_reduce", all_reduce)
    monkeypatch.setattr(team_room, "_BUCKET", 4)
    given = [torch.tensor(values, dtype=torch.float64) for values in ([1, 2], [3, 4], [5], [6] * 5, [7])]
    total = Team(0, 2).summed(given, given)
    assert sent == [[1] * 5, [1, 2, 3, 4], [5], [6] * 5, [7]]
    assert [one.tolist() for one in total if one is not None] == [[2, 4], [6, 8], [10], [12] * 5, [14]]
    assert [one.data_ptr() for one in total if one is not None] == [one.data_ptr() for one in given]


def test_a_share_of_samples_is_the_same_whatever_the_size() -> None:
    for size in (1, 2, 3, 5):
        shares = [Team(rank, size).share(5) for rank in range(size)]
        assert sorted(window for share in shares for window in share) == list(range(5))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_everything_is_one_s_own() -> None:
    gradients = [torch.ones(2), None]
    assert ALONE.summed(gradients, [torch.ones(2), torch.ones(1)]) is gradients
    assert ALONE.gather("a") == ["a"]
    assert ALONE.first(None) is None


def test_without_torchrun_one_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as team:
        assert team == Team(0, 1)


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """This process is the second of two on a machine with one card; the names of what they would speak through."""
    spoken: list[str] = []

    def begun(backend: str, **_: object) -> None:
        spoken.append(backend)
        raise InterruptedRun(expected="", got="nobody else", do="")

    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(team_room.importlib, "import_module", lambda name: None)  # it takes seconds
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(team_room.dist, "init_process_group", begun)
    return spoken


def test_processes_on_a_processor_need_no_cards(second_of_two: list[str]) -> None:
    with pytest.raises(InterruptedRun), joined("cpu"):
        pass
    assert second_of_two == ["gloo"]


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_more_processes_than_cards_are_refused(device: str, second_of_two: list[str]) -> None:
    with pytest.raises(UsageError, match="process 2, and 1 cards"), joined(device):
        pass
    assert not second_of_two


def test_a_process_takes_the_card_of_its_place(second_of_two: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    with pytest.raises(InterruptedRun), joined("cuda"):
        pass
    assert (taken, second_of_two) == ([1], ["cpu:gloo,cuda:nccl"])


def test_more_processes_than_windows_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path, {}) as run, pytest.raises(UsageError, match="1 windows, 2 processes"):
        train(LineTask(), line_learner(), run, settings(), team=Team(0, 2))


TORCHRUN = """
import sys
from pathlib import Path
folder = Path(sys.argv[1])
sys.path.insert(0, sys.argv[2])
from engine.line_task import JudgedLineTask, line_learner, settings
from vesalius.engine.loop import train
from vesalius.engine.run import opened
from vesalius.engine.team import joined
task = JudgedLineTask()
with joined("cpu") as team, opened(folder, {}, team=team) as run:
    train(task, line_learner(), run, settings(steps=20, windows=4, validate_every=10), team=team)
threads = [(thread / "comm").read_text() for thread in Path("/proc/self/task").glob("*")]
(folder / f"threads.{team.rank}").write_text("".join(threads))
"""


@pytest.mark.slow
def test_torchrun_starts_them(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(TORCHRUN)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*words, str(script), str(tmp_path / "run"), str(TESTS)], env=environment, capture_output=True, text=True,
        check=False, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = RunFolder(tmp_path / "run")
    assert (run.metrics()[0]["processes"], run.metrics()[-1]["event"]) == (2, "finished")
    for rank in range(2):  # a thread of gloo's that is left can abort a process that has done all its work
        assert "gloo" not in (run.path / f"threads.{rank}").read_text()
    one, task = line_learner(), JudgedLineTask()
    with opened(tmp_path / "one", {}) as folder:
        train(task, one, folder, settings(steps=20, windows=4, validate_every=10))
    assert difference(run.checkpoint()["network"], one.network.state_dict()) <= 1e-5  # type: ignore[index]
