"""The smallest task: a straight line to find from noisy points, counted and timed by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vesalius.engine.learner import Learner
from vesalius.engine.run import RunFolder
from vesalius.engine.settings import LoopSettings, Optimisation
from vesalius.engine.task import Outcome, Validation

TRUTH = (1.5, -0.5)


class LineTask:
    """Points on a line; ``drawn`` lists each sample's first number, ``now`` is a clock of a second a draw."""

    def __init__(self, before: Callable[[int], None] = lambda _: None) -> None:
        self.drawn: list[float] = []
        self.now = 0.0
        self.before = before

    def draw(self, rng: np.random.Generator) -> Tensor:
        self.before(len(self.drawn))
        self.now += 1.0
        x = rng.uniform(-1, 1, 8)
        self.drawn.append(float(x[0]))
        return torch.tensor(np.stack([x, TRUTH[0] * x + TRUTH[1] + rng.normal(0, 0.01, 8)]), dtype=torch.float32)

    def outcome(self, network: nn.Module, sample: Tensor) -> Outcome:
        guess = network(sample[0][:, None])[:, 0]
        error = guess - sample[1]
        return Outcome(
            {"square": error.square().mean(), "bias": error.mean().square()}, {"first x": self.drawn[-1]}
        )

    def weights(self, rate: float) -> Mapping[str, float]:
        return {"square": 1.0, "bias": 0.5 * rate}


def line_learner(settings: Optimisation | None = None) -> Learner[nn.Sequential]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1))
    return Learner(network, settings or Optimisation(learning_rate=0.3, clip_norm=10.0))


def settings(**changes: object) -> LoopSettings:
    fields: dict[str, object] = {"steps": 30, "precision": "fp32", "log_every": 1, "save_every_s": 5.0}
    return LoopSettings(**{**fields, **changes})  # type: ignore[arg-type]


def config(path: Path) -> dict[str, object]:
    return {"run": path.name}


def without_times(run: RunFolder) -> list[dict[str, object]]:
    """The metrics of a run, as far as they do not depend on when it started and how fast it was."""
    kept = [record for record in run.metrics() if record.get("event") in (None, "validated", "finished")]
    return [{name: value for name, value in record.items() if name != "trained_s"} for record in kept]


def same(first: object, second: object) -> bool:
    """Whether two states are equal, bit for bit."""
    if isinstance(first, Tensor):
        return isinstance(second, Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and first.keys() == second.keys()
            and all(same(first[k], second[k]) for k in first)
        )
    if isinstance(first, list | tuple):
        return isinstance(second, list | tuple) and len(first) == len(second) and all(map(same, first, second))
    return first == second


class JudgedLineTask(LineTask):
    """A line that is also validated: by how far off it is, or by scores that are given."""

    def __init__(
        self, before: Callable[[int], None] = lambda _: None, scores: Sequence[float] | None = None
    ) -> None:
        super().__init__(before)
        self.scores = scores
        self.judged: list[float] = []

    def validate(self, network: nn.Module) -> Validation:
        self.now += 0.5
        x = torch.linspace(-1, 1, 9)[:, None]
        error = float((network(x) - TRUTH[0] * x - TRUTH[1]).abs().mean())
        self.judged.append(-error if self.scores is None else self.scores[len(self.judged)])
        picture = np.full((4, 6, 3), int(100 * error) % 256, np.uint8)
        return Validation(self.judged[-1], {"error": error}, {"the line": picture})
