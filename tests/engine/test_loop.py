"""The loop: learns, stops, resumes bit for bit, counts what is done again, survives signals and kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.line_task import TRUTH, JudgedLineTask, LineTask, line_learner, same, settings, without_times
from vesalius import precision
from vesalius.engine import loop
from vesalius.engine.company import Company
from vesalius.engine.learner import Learner
from vesalius.engine.loop import PATIENCE, train
from vesalius.engine.optim import rate_factor
from vesalius.engine.run import RunFolder, curves_of, opened
from vesalius.engine.settings import LoopSettings, Optimisation, Part
from vesalius.engine.task import Outcome, Validation
from vesalius.errors import InterruptedRun, UsageError

CONFIG: dict[str, object] = {"task": "line"}


class CrashError(Exception):
    """Stands for whatever ends a process."""


def run_in(
    path: Path, task: LineTask, settings: LoopSettings, workers: int = 1
) -> tuple[Learner[torch.nn.Sequential], RunFolder]:
    learner = line_learner()
    with opened(path, CONFIG) as run:
        train(task, learner, run, settings, workers=workers, clock=lambda: task.now)
    return learner, run


def crash_at(draw: int) -> LineTask:
    def before(drawn: int) -> None:
        if drawn == draw:
            raise CrashError

    return LineTask(before)


def test_it_learns_the_line(tmp_path: Path) -> None:
    learner, run = run_in(tmp_path, LineTask(), settings(steps=300))
    x = torch.linspace(-0.9, 0.9, 7)[:, None]
    assert torch.allclose(learner.average(x), TRUTH[0] * x + TRUTH[1], atol=0.1)
    steps = [record for record in run.metrics() if "event" not in record]
    assert [record["step"] for record in steps] == list(range(1, 301))
    assert np.mean([r["square"] for r in steps[-20:]]) < 0.02 * np.mean([r["square"] for r in steps[:5]])


def test_every_term_is_logged_and_their_weighted_sum_is_the_loss(tmp_path: Path) -> None:
    _, run = run_in(tmp_path, LineTask(), settings(steps=6))
    rates = [rate_factor(step / 6, line_learner().settings) for step in range(6)]
    records = [record for record in run.metrics() if "event" not in record]
    for record, rate in zip(records, rates, strict=True):
        assert record["loss"] == pytest.approx(record["square"] + 0.5 * rate * record["bias"], rel=1e-4)
        assert record["rate"] == pytest.approx(rate, abs=1e-6)
    assert len({round(rate, 3) for rate in rates}) > 2


def test_a_run_that_crashed_ends_bit_for_bit_as_one_that_did_not(tmp_path: Path) -> None:
    whole, run = run_in(tmp_path / "whole", LineTask(), settings())
    crashed = crash_at(17)
    with pytest.raises(CrashError):
        run_in(tmp_path / "crashed", crashed, settings())
    assert same(RunFolder(tmp_path / "crashed").checkpoint()["step"], 15)
    resumed = LineTask()
    learner, after = run_in(tmp_path / "crashed", resumed, settings())
    assert same(learner.state_dict(), whole.state_dict())
    saved, expected = after.checkpoint(), run.checkpoint()
    assert all(same(saved[name], expected[name]) for name in expected if name != "trained_s")
    assert len(resumed.drawn) == 15  # two steps done again, not seventeen
    assert len(crashed.drawn) - 15 == 2
    assert resumed.drawn == draws_of(range(15, 30))


def test_a_training_that_ends_early_has_the_weights_of_a_whole_one_on_its_way(tmp_path: Path) -> None:
    saving = {"save_every_s": 0.0}
    with pytest.raises(CrashError):
        run_in(tmp_path / "whole", crash_at(8), settings(steps=12, **saving))
    _, early = run_in(tmp_path / "early", LineTask(), settings(steps=12, ends_at=8, **saving))
    on_its_way, ended = RunFolder(tmp_path / "whole").checkpoint(), early.checkpoint()
    assert ended["step"] == 8
    assert all(same(ended[name], on_its_way[name]) for name in on_its_way if name != "trained_s")
    short, _ = run_in(tmp_path / "short", LineTask(), settings(steps=8, **saving))
    assert not same(short.state_dict()["network"], on_its_way["network"]), "its rates had fallen by then"


JUDGED = {"windows": 3, "validate_every": 4, "log_every": 5, "save_every_s": 7.0}
"""Accumulation, and validations that fall on other steps than lines and checkpoints do."""


def judged_crashing_at(draw: int) -> JudgedLineTask:
    def before(drawn: int) -> None:
        if drawn == draw:
            raise CrashError

    return JudgedLineTask(before)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Learner[torch.nn.Sequential], RunFolder]:
    """What an uninterrupted run ends with."""
    return run_in(tmp_path_factory.mktemp("judged"), JudgedLineTask(), settings(**JUDGED))


@pytest.mark.parametrize("draw", [0, 1, 20, 36, 59, 89])
def test_accumulation_and_validation_resume_bit_for_bit_wherever_it_crashed(
    tmp_path: Path, draw: int, judged: tuple[Learner[torch.nn.Sequential], RunFolder]
) -> None:
    whole, run = judged
    with pytest.raises(CrashError):
        run_in(tmp_path / "crashed", judged_crashing_at(draw), settings(**JUDGED))
    learner, after = run_in(tmp_path / "crashed", JudgedLineTask(), settings(**JUDGED))
    assert same(learner.state_dict(), whole.state_dict())
    saved, expected = after.checkpoint(), run.checkpoint()
    assert all(same(saved[name], expected[name]) for name in expected if name != "trained_s")
    assert same(after.best(), run.best())
    assert without_times(after) == without_times(run)
    assert pictures(after) == pictures(run)


def pictures(run: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run.path / "pictures").iterdir()}


class CrashInValidation(JudgedLineTask):
    """Crashes in the middle of its so-manieth validation."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def validate(self, network: torch.nn.Module) -> Validation:
        if len(self.judged) == self.number:
            raise CrashError
        return super().validate(network)


def test_a_validation_that_crashed_is_done_again_and_only_that(tmp_path: Path) -> None:
    chosen = settings(steps=12, validate_every=4, save_every_s=0.0)
    _, run = run_in(tmp_path / "whole", JudgedLineTask(), chosen)
    with pytest.raises(CrashError):
        run_in(tmp_path / "crashed", CrashInValidation(1), chosen)
    assert RunFolder(tmp_path / "crashed").checkpoint()["step"] == 4
    resumed = JudgedLineTask()
    _, after = run_in(tmp_path / "crashed", resumed, chosen)
    assert (len(resumed.drawn), len(resumed.judged)) == (8, 3)
    assert without_times(after) == without_times(run)
    assert same(after.best(), run.best())


@pytest.mark.parametrize("step", [4, 8])
def test_killed_between_checkpoint_and_best_weights_the_next_start_keeps_them(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(steps=12, validate_every=4, save_every_s=1e9)
    _, run = run_in(tmp_path / "whole", JudgedLineTask(), chosen)
    original = RunFolder.keep_best

    def die(self: RunFolder, state: dict[str, object]) -> None:
        if state["step"] == step:
            raise CrashError
        original(self, state)

    monkeypatch.setattr(RunFolder, "keep_best", die)
    with pytest.raises(CrashError):
        run_in(tmp_path / "crashed", JudgedLineTask(), chosen)
    monkeypatch.undo()
    stale = RunFolder(tmp_path / "crashed")
    assert stale.best()["step"] == step - 4  # behind the checkpoint, which knows of a better one
    assert stale.checkpoint()["selection"]["best_step"] == step
    with pytest.raises(CrashError):
        run_in(tmp_path / "crashed", judged_crashing_at(0), chosen)
    assert stale.best()["step"] == step
    assert same(stale.best()["network"], stale.checkpoint()["average"])
    _, after = run_in(tmp_path / "crashed", JudgedLineTask(), chosen)
    assert same(after.best(), run.best())


def test_the_running_average_is_validated_and_the_best_of_it_kept(tmp_path: Path) -> None:
    scores = [0.1, 0.7, 0.3, 0.7, 0.2]
    task = JudgedLineTask(scores=scores)
    learner, run = run_in(tmp_path, task, settings(steps=8, validate_every=2))
    assert task.judged == scores  # before the first step, after each second, the last at the end
    best = run.best()
    assert (best["step"], best["score"]) == (2, 0.7)
    assert not same(best["network"], learner.average.state_dict())
    again = JudgedLineTask(crash_at(2).before)
    with pytest.raises(CrashError):
        run_in(tmp_path.with_name("again"), again, settings(steps=8, save_every_s=0.0))
    assert same(best["network"], RunFolder(tmp_path.with_name("again")).checkpoint()["average"])
    events = [record for record in run.metrics() if record.get("event") == "validated"]
    assert [(record["step"], record["score"], record["best_step"]) for record in events] == [
        (0, 0.1, 0),
        (2, 0.7, 2),
        (4, 0.3, 2),
        (6, 0.7, 2),
        (8, 0.2, 2),
    ]
    assert all(record["error"] > 0 for record in events)
    assert (run.metrics()[-1]["best_step"], run.metrics()[-1]["best_score"]) == (2, 0.7)


def test_validating_changes_nothing_that_is_learnt(tmp_path: Path) -> None:
    with_it, _ = run_in(tmp_path / "with", JudgedLineTask(), settings(validate_every=3))
    without, _ = run_in(tmp_path / "without", LineTask(), settings())
    assert same(with_it.state_dict(), without.state_dict())


def test_a_training_that_gains_no_more_is_over_and_stays_over(tmp_path: Path) -> None:
    chosen = settings(steps=30, validate_every=2, patience=3)
    task = JudgedLineTask(scores=[0.1, 0.5, 0.4, 0.5, 0.3, 0.9])
    learner, run = run_in(tmp_path, task, chosen)
    assert (learner.step, len(task.judged)) == (8, 5)
    assert run.best()["step"] == 2
    again = JudgedLineTask(scores=[])
    resumed, _ = run_in(tmp_path, again, chosen)
    assert (again.drawn, again.judged) == ([], [])
    assert same(resumed.state_dict(), learner.state_dict())


def test_patience_goes_on_counting_after_a_crash(tmp_path: Path) -> None:
    chosen = settings(steps=30, validate_every=2, patience=3)
    crashing = JudgedLineTask(crash_at(7).before, scores=[0.1, 0.5, 0.4, 0.5])
    with pytest.raises(CrashError):
        run_in(tmp_path, crashing, chosen)
    learner, run = run_in(tmp_path, JudgedLineTask(scores=[0.3, 0.9]), chosen)
    assert learner.step == 8
    assert run.metrics()[-1]["best_step"] == 2


def test_a_run_asked_to_stop_saves_before_it_validates(tmp_path: Path) -> None:
    def before(drawn: int) -> None:
        if drawn == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    task = JudgedLineTask(before)
    with pytest.raises(InterruptedRun):
        run_in(tmp_path, task, settings(validate_every=4))
    assert RunFolder(tmp_path).checkpoint()["step"] == 4
    assert len(task.judged) == 1


def test_a_request_to_stop_in_the_last_step_is_passed_on_though_nothing_is_left_to_do(tmp_path: Path) -> None:
    """Whoever trains several times, as folds do, must not begin the next one."""

    def before(drawn: int) -> None:
        if drawn == 9:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedRun):
        run_in(tmp_path, LineTask(before), settings(steps=10))
    again = LineTask()
    learner, _ = run_in(tmp_path, again, settings(steps=10))
    assert (learner.step, again.drawn) == (10, [])


def test_a_task_that_cannot_validate_is_refused_where_it_should(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="LineTask without a validate"):
        run_in(tmp_path, LineTask(), settings(validate_every=4))


def test_numbers_of_single_cases_are_logged_and_drawn_in_no_curve(tmp_path: Path) -> None:
    class ByCase(LineTask):
        def validate(self, _: torch.nn.Module) -> Validation:
            return Validation(0.5, {"dice": 0.25}, by_case={"one": {"liver": 1 / 3}})

    _, run = run_in(tmp_path / "run", ByCase(), LoopSettings(steps=1, validate_every=1))
    validated = [record for record in run.metrics() if record.get("event") == "validated"]
    assert [record["by_case"] for record in validated] == [{"one": {"liver": 0.333333}}] * 2
    assert {curve.name for curve in curves_of(run.metrics()) if curve.is_dotted} == {"score", "dice"}


def test_an_undefined_score_is_logged_as_no_score_and_is_never_the_best(tmp_path: Path) -> None:
    _, run = run_in(tmp_path, JudgedLineTask(scores=[float("nan"), 0.2]), settings(steps=2, validate_every=2))
    first, second = [record for record in run.metrics() if record.get("event") == "validated"]
    assert "score" not in first
    assert first["best_step"] == -1
    assert second["best_step"] == run.best()["step"] == 2
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_frozen_parts_are_bit_for_bit_as_they_were_at_the_end(tmp_path: Path) -> None:
    before = line_learner().network.state_dict()
    frozen = Optimisation(learning_rate=0.3, clip_norm=10.0, parts=(Part(names="0.*", rate=0.0),))
    learner, task = line_learner(frozen), LineTask()
    with opened(tmp_path, CONFIG) as run:
        train(task, learner, run, settings(steps=20), clock=lambda: task.now)
    for network in (learner.network, learner.average):
        after = network.state_dict()
        unchanged = {name for name in before if torch.equal(after[name], before[name])}
        assert unchanged == {"0.weight", "0.bias"}


def test_the_progress_line_says_how_long_it_will_still_take(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="vesalius.engine")
    run_in(tmp_path, JudgedLineTask(), settings(steps=120, log_every=30, validate_every=60))
    lines = [record.message for record in caplog.records]
    # A second a step: half a minute of 120 s leaves 90 s, and half a second of the first validation, stretched.
    assert lines[1].startswith("step 30  0.5 min, 1.5 left  loss ")
    assert lines[0].startswith("step 0  score -")
    assert lines[-2].startswith("step 120  2.0 min, 0.0 left")


def draws_of(steps: range) -> list[float]:
    return [float(np.random.default_rng((0, step, 0)).uniform(-1, 1, 8)[0]) for step in steps]


@pytest.mark.parametrize(("has_it", "warnings"), [(True, 0), (False, 1)])
def test_who_trains_in_bf16_where_it_is_imitated_is_told(
    has_it: bool, warnings: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_has_fast_bf16", lambda: has_it)
    run_in(tmp_path, LineTask(), settings(steps=2, precision="bf16"))
    assert sum("no bf16 in hardware" in record.message for record in caplog.records) == warnings


def test_metrics_of_a_resumed_run_are_those_of_the_uninterrupted_one_and_say_what_was_done_again(
    tmp_path: Path,
) -> None:
    chosen = settings(log_every=5, save_every_s=6.0)  # saved at 12, amid the steps that line 15 averages
    _, whole = run_in(tmp_path / "whole", LineTask(), chosen)
    with pytest.raises(CrashError):
        run_in(tmp_path / "crashed", crash_at(17), chosen)
    _, resumed = run_in(tmp_path / "crashed", LineTask(), chosen)
    kept = [[r for r in run.metrics() if "event" not in r] for run in (whole, resumed)]
    for records in kept:
        for record in records:
            del record["trained_s"]
    assert kept[0] == kept[1]
    assert [record["step"] for record in kept[1]] == [5, 10, 15, 20, 25, 30]
    (event,) = [record for record in resumed.metrics() if record.get("event") == "resumed"]
    assert (event["step"], event["steps_again"]) == (12, 3)


def test_metrics_of_a_run_killed_before_its_first_checkpoint_are_those_of_one_that_was_not(tmp_path: Path) -> None:
    chosen = settings(steps=8, validate_every=4, save_every_s=1e9)
    _, whole = run_in(tmp_path / "whole", JudgedLineTask(), chosen)

    class Killed(RunFolder):
        def save(self, state: Mapping[str, object]) -> None:
            raise CrashError

    with pytest.raises(CrashError), opened(tmp_path / "killed", CONFIG) as run:
        train(JudgedLineTask(), line_learner(), Killed(run.path), chosen)
    path = tmp_path / "killed" / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"step": 1, "trained_s": 2.0, "loss": 1.0}\n{"step": 2, "lo')
    assert RunFolder(tmp_path / "killed").checkpoint() is None
    _, again = run_in(tmp_path / "killed", JudgedLineTask(), chosen)
    assert without_times(again) == without_times(whole)
    assert pictures(again) == pictures(whole)
    started = [record for record in again.metrics() if record.get("event") == "started"]
    assert [record.get("steps_again") for record in started] == [None, 1]


def test_a_run_started_from_zero_instead_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(CrashError):
        run_in(tmp_path, crash_at(17), settings())
    (tmp_path / "last.pt").unlink()
    again = LineTask()
    run_in(tmp_path, again, settings())
    assert len(again.drawn) == 30


def test_a_finished_run_draws_nothing_more(tmp_path: Path) -> None:
    first, _ = run_in(tmp_path, LineTask(), settings(steps=7))
    task = LineTask()
    second, _ = run_in(tmp_path, task, settings(steps=7))
    assert task.drawn == []
    assert same(first.state_dict(), second.state_dict())


def test_windows_are_averaged_in_order_however_many_work_at_once(tmp_path: Path) -> None:
    chosen = settings(steps=12, windows=5)
    alone, _ = run_in(tmp_path / "1", LineTask(), chosen, workers=1)
    three, _ = run_in(tmp_path / "3", LineTask(), chosen, workers=3)
    assert same(alone.state_dict(), three.state_dict())


def test_drawing_ahead_changes_nothing_that_is_learnt_also_after_a_crash(tmp_path: Path) -> None:
    chosen = settings(steps=12, windows=3)
    plain, _ = run_in(tmp_path / "plain", LineTask(), chosen)

    def crash_from(drawn: int) -> None:  # "at" would be missed by two that count at once
        if drawn >= 14:
            raise CrashError

    task = LineTask()
    with opened(tmp_path / "ahead", CONFIG) as run:
        with pytest.raises(CrashError):
            train(LineTask(crash_from), line_learner(), run, chosen, workers=2, draw_ahead=4)
        learner = line_learner()
        train(task, learner, run, chosen, workers=2, draw_ahead=4)
    assert same(plain.state_dict(), learner.state_dict())
    assert learner.step == 12
    assert 36 <= len(task.drawn) <= 36 + 4


def test_the_gradient_of_a_step_is_the_mean_of_its_windows(tmp_path: Path) -> None:
    given: list[list[torch.Tensor]] = []

    class Recorder(Learner[torch.nn.Sequential]):
        def learn(self, gradients: list[torch.Tensor], *, rate: float, progress: float = 0.0) -> float:
            given.append([gradient.clone() for gradient in gradients])
            return super().learn(gradients, rate=rate, progress=progress)

    task, chosen = LineTask(), settings(steps=1, windows=3)
    learner = Recorder(line_learner().network, line_learner().settings)
    with opened(tmp_path, CONFIG) as run:
        train(task, learner, run, chosen, clock=lambda: task.now)
    network, factor = line_learner().network, rate_factor(0.0, learner.settings)
    sums = [torch.zeros_like(parameter) for parameter in network.parameters()]
    for window in range(3):
        terms = task.outcome(network, task.draw(np.random.default_rng((0, 0, window)))).terms
        loss = terms["square"] + 0.5 * factor * terms["bias"]
        for total, gradient in zip(sums, torch.autograd.grad(loss, list(network.parameters())), strict=True):
            total.add_(gradient / 3)
    for ours, theirs in zip(given[0], sums, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_minutes_end_a_run_and_stretch_its_schedule(tmp_path: Path) -> None:
    task = LineTask()
    chosen = settings(steps=None, minutes=0.5)
    _, run = run_in(tmp_path, task, chosen)
    assert len(task.drawn) == 30  # a second each
    records = [record for record in run.metrics() if "event" not in record]
    for record in records:
        before = (record["trained_s"] - 1) / 30
        assert record["rate"] == pytest.approx(rate_factor(before, line_learner().settings), abs=1e-6)


def test_minutes_go_on_counting_after_a_crash(tmp_path: Path) -> None:
    chosen = settings(steps=None, minutes=0.5)
    with pytest.raises(CrashError):
        run_in(tmp_path, crash_at(17), chosen)
    task = LineTask()
    run_in(tmp_path, task, chosen)
    assert len(task.drawn) == 15


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_finishes_the_step_saves_and_leaves_the_handlers(
    tmp_path: Path, number: signal.Signals
) -> None:
    def before(drawn: int) -> None:
        if drawn == 7:
            os.kill(os.getpid(), number)

    handler = signal.getsignal(number)
    with pytest.raises(InterruptedRun) as error:
        run_in(tmp_path, LineTask(before), settings(save_every_s=1e9))
    assert signal.getsignal(number) is handler
    assert number.name in error.value.got
    assert "--resume" in error.value.do
    assert RunFolder(tmp_path).checkpoint()["step"] == 8
    resumed, _ = run_in(tmp_path, LineTask(), settings(save_every_s=1e9))
    whole, _ = run_in(tmp_path.with_name("whole"), LineTask(), settings(save_every_s=1e9))
    assert same(resumed.state_dict(), whole.state_dict())


class Spoiled(LineTask):
    """Has undefined losses at some draws."""

    def __init__(self, spoiled: range) -> None:
        super().__init__()
        self.spoiled = spoiled

    def outcome(self, network: torch.nn.Module, sample: torch.Tensor) -> Outcome:
        right = super().outcome(network, sample)
        factor = torch.tensor(float("nan") if len(self.drawn) - 1 in self.spoiled else 1.0)
        return Outcome({name: factor * term for name, term in right.terms.items()})


def test_undefined_gradients_are_thrown_away_and_counted(tmp_path: Path) -> None:
    learner, run = run_in(tmp_path, Spoiled(range(4, 7)), settings(steps=20, log_every=10))
    assert all(bool(parameter.isfinite().all()) for parameter in learner.network.parameters())
    first, second = [record for record in run.metrics() if "event" not in record]
    assert (first["finite"], second["finite"]) == (0.7, 1.0)
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_a_training_that_only_diverges_is_given_up(tmp_path: Path) -> None:
    task = Spoiled(range(10, 1000))
    with pytest.raises(UsageError, match="finite"):
        run_in(tmp_path, task, settings(steps=500))
    assert len(task.drawn) == 10 + PATIENCE


def test_torch_s_threads_are_left_as_they_were(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run_in(tmp_path, LineTask(), settings(steps=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


NURSERY = """
# Trains in child processes that are killed at random moments; torch is imported once.
import os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from engine.line_task import LineTask, line_learner, settings
from vesalius.engine.loop import train
from vesalius.engine.run import RunFolder, curves_of, opened

folder, chosen = Path(sys.argv[1]), settings(steps=100, save_every_s=3.0)

class Witness(RunFolder):
    # Writes down what was acknowledged, after it was.
    def save(self, state):
        super().save(state)
        with (folder / "acknowledged").open("a") as file:
            file.write(f"{state['step']}\\n")

def child():
    task = LineTask(lambda _: (folder / "drawn").open("a").write("."))
    with opened(folder / "run", {}) as run:
        train(task, line_learner(), Witness(run.path), chosen, clock=lambda: task.now)
    os._exit(0)

with opened(folder / "warm-up", {}) as run:  # what torch loads late, it loads here
    train(LineTask(), line_learner(), run, settings(steps=2))
random.seed(5)
for attempt in range(60):
    pid = os.fork()
    if pid == 0:
        child()
    enough = (folder / "drawn").stat().st_size + random.randint(1, 24)
    status = None
    while status is None and (folder / "drawn").stat().st_size < enough:  # however fast the machine is
        done, code = os.waitpid(pid, os.WNOHANG)
        status = code if done else None
        time.sleep(0.001)
    if status is None:
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
    acknowledged = folder / "acknowledged"
    last = int(acknowledged.read_text().split()[-1]) if acknowledged.exists() else 0
    state = RunFolder(folder / "run").checkpoint()
    print(attempt, status, last, state["step"] if state else 0, len((folder / "drawn").read_text()), flush=True)
    if os.WIFEXITED(status):
        break
"""


def test_killed_at_random_moments_the_checkpoint_is_whole_and_the_end_is_the_same(tmp_path: Path) -> None:
    tests = str(Path(__file__).resolve().parents[1])
    (tmp_path / "drawn").touch()
    done = subprocess.run(
        [sys.executable, "-c", NURSERY, str(tmp_path), tests], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [[int(word) for word in line.split()] for line in done.stdout.splitlines()]
    killed = [row for row in rows if row[1] == signal.SIGKILL]
    assert len(killed) >= 3
    assert rows[-1][1] == 0
    drawn_before = 0
    saved_before = 0
    for _, _, acknowledged, saved, drawn in rows:
        assert saved in (acknowledged, acknowledged + 3, 100)  # renamed, but killed before it could say so
        assert saved >= saved_before
        assert drawn - drawn_before <= saved - saved_before + 3  # at most a save's distance is done again
        drawn_before, saved_before = drawn, saved
    whole, _ = run_in(tmp_path / "whole", LineTask(), settings(steps=100, save_every_s=1e9))
    assert same(RunFolder(tmp_path / "run").checkpoint()["network"], whole.network.state_dict())
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [record["step"] for record in map(json.loads, lines) if "event" not in record]
    assert steps == list(range(1, 101))


class TaughtLineTask(LineTask):
    """A line that is also learnt from the network's own average; ``gaps`` lists how far that was, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.gaps: list[tuple[float, float]] = []
        self.steps: list[list[float]] = []

    def lessons(
        self, teacher: torch.nn.Module, samples: Sequence[torch.Tensor], company: Company, *, progress: float
    ) -> list[tuple[torch.nn.Module, float, float]]:
        assert not teacher.training
        assert not any(parameter.requires_grad for parameter in teacher.parameters())
        firsts = company.each(lambda sample: float(sample[0, 0]), samples)
        self.steps.append(company.everyone(firsts))
        return [(teacher, first, progress) for first in firsts]

    def taught_outcome(
        self, network: torch.nn.Module, sample: torch.Tensor, lesson: tuple[torch.nn.Module, float, float]
    ) -> Outcome:
        teacher, first, progress = lesson
        pairs = zip(network.parameters(), teacher.parameters(), strict=True)
        gap = sum(float((own - its).detach().abs().sum()) for own, its in pairs)
        self.gaps.append((progress, gap))
        assert first == float(sample[0, 0]), "each sample comes with its own lesson"
        return self.outcome(network, sample)


def test_a_taught_task_gets_the_running_average_as_its_teacher_and_how_far_the_training_is(tmp_path: Path) -> None:
    task, learner = TaughtLineTask(), line_learner()
    with opened(tmp_path, {}) as run:
        train(task, learner, run, settings(steps=4))
    assert [progress for progress, _ in task.gaps] == [0.0, 0.25, 0.5, 0.75]
    assert task.gaps[0][1] == 0.0
    assert all(gap > 0 for _, gap in task.gaps[1:])


def test_samples_of_a_taught_task_are_drawn_in_full_precision(tmp_path: Path) -> None:
    class Blurring(TaughtLineTask):
        def draw(self, rng: np.random.Generator) -> torch.Tensor:
            sample = super().draw(rng)
            kinds.append(torch.nn.functional.conv1d(torch.ones(1, 1, 4), torch.ones(1, 1, 2)).dtype)
            return sample

    kinds: list[torch.dtype] = []
    with opened(tmp_path, {}) as run:
        train(Blurring(), line_learner(), run, settings(steps=1, precision="bf16"))
    assert set(kinds) == {torch.float32}


def test_a_teacher_is_asked_about_all_samples_of_a_step_before_one_is_learnt_from(tmp_path: Path) -> None:
    task, plain, chosen = TaughtLineTask(), LineTask(), settings(steps=2, windows=3)
    with opened(tmp_path / "taught", {}) as run:
        train(task, line_learner(), run, chosen, workers=2)
    with opened(tmp_path / "plain", {}) as run:
        train(plain, line_learner(), run, chosen)
    assert np.allclose(task.steps, [plain.drawn[:3], plain.drawn[3:]])
    assert len(task.gaps) == 6


def test_a_step_s_gradients_are_let_go_before_the_next_one_s_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[weakref.ref[torch.Tensor]] = []
    held: list[int] = []
    learn = Learner.learn

    def noted(learner: Learner[torch.nn.Module], gradients: Sequence[torch.Tensor], **how: float) -> float:
        kept.extend(weakref.ref(one) for one in gradients)
        return learn(learner, gradients, **how)

    monkeypatch.setattr(Learner, "learn", noted)
    task = LineTask(lambda _: held.append(sum(one() is not None for one in kept)))
    with opened(tmp_path, CONFIG) as run:
        train(task, line_learner(), run, settings(steps=3, windows=2))
    assert held == [0] * 6
    assert len(kept) == 3 * 4


def test_one_thread_has_one_sample_at_work_and_two_have_one_more_to_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds: list[int] = []

    def noted(*what: object, ahead: int) -> object:
        bounds.append(ahead)
        return accumulated(*what, ahead=ahead)  # type: ignore[arg-type]

    accumulated = loop.accumulated
    monkeypatch.setattr(loop, "accumulated", noted)
    for workers in (1, 2):
        with opened(tmp_path / str(workers), CONFIG) as run:
            train(LineTask(), line_learner(), run, settings(steps=1, windows=4), workers=workers)
    assert bounds == [1, 3]
