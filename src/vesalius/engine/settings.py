"""How a training runs: steps, windows, rates and their schedule, as plain data without torch."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vesalius.errors import UsageError
from vesalius.precision import Precision


@dataclass(frozen=True, kw_only=True)
class Part:
    """Tensors of a network that learn at rates of their own, or not at all."""

    names: str
    """Which: a pattern of their names in the network, such as ``encoder.*`` or ``*.bias``; ``*`` is anything."""
    rate: float = 1.0
    """Factor of the learning rate; 0 freezes."""
    weight_decay: float = 1.0
    """Factor of the weight decay."""

    def __post_init__(self) -> None:
        if not self.names or self.rate < 0 or self.weight_decay < 0:
            raise _refused("a pattern of names, and factors of at least 0", self)


def by_depth(names: Sequence[str], *, decay: float) -> tuple[Part, ...]:
    """Return parts whose rates fall from layer to layer towards the input (as in BEiT, arXiv:2106.08254, App. A).

    Args:
        names: A pattern for each layer, that at the input first. The last gets ``decay``, the one before it
            ``decay ** 2``, and what no pattern names, such as a head, keeps the whole rate.
        decay: In (0, 1].

    Raises:
        UsageError: If it is not.
    """
    if not 0 < decay <= 1:
        raise _refused("a layer decay in (0, 1]", decay)
    return tuple(Part(names=name, rate=decay ** (len(names) - place)) for place, name in enumerate(names))


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """How large a step is, and in which direction."""

    learning_rate: float = 0.015
    """Change of a tensor in one step, as a part of its own size (root mean square at the start). One absolute rate
    for all cannot serve: at 1e-3 a full-resolution convolution learns, and a deep one, whose weights are a third as
    large, is a random walk (measured on the built-in model: 600 steps that learnt next to nothing)."""
    weight_decay: float = 1e-2
    """AdamW's: part of a tensor that is lost in a step, in units of its rate."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Memory of AdamW's two moments."""
    clip_norm: float = 1.0
    """Largest norm of all gradients together; longer ones are shortened to it."""
    warm_up: float = 0.04
    """Part of the training in which the rate rises."""
    plateau: float = 0.4
    """Part of the training after which the rate falls."""
    floor: float = 0.01
    """Factor of the rate at the end."""
    power: float | None = None
    """Let the rate fall by ``(1 - t) ** power``, as published schedules do (1 is a straight line, 0.9 nnU-Net's).
    None: by half a cosine."""
    ema_decay: float = 0.997
    """How much of the running average of the weights a step keeps; less in the first steps."""
    parts: tuple[Part, ...] = ()
    """What is frozen or has rates of its own. Every part that names a tensor counts: their factors multiply."""
    size: float | None = None
    """Taken for the size of every tensor in place of its own: with 1, ``learning_rate`` is an absolute one, as
    published rates are. None: its own."""
    weight_decay_end: float | None = None
    """Where the weight decay is at the end, half a cosine away from ``weight_decay``. None: it stays."""
    ema_decay_end: float | None = None
    """Where ``ema_decay`` is at the end, half a cosine away; then it is what it says in the first steps, too, as an
    average wants that already is one. None: it stays, and is less in the first steps."""
    clip_apart: tuple[str, ...] | None = None
    """Patterns of names: what each names has its gradients shortened by itself, and what none names together.
    None: all together."""
    waiting: Mapping[str, float] | None = None
    """Pattern of names -> part of the training for which what it names stands still. None: nothing does."""

    def __post_init__(self) -> None:
        self._check_schedules()
        if self.learning_rate <= 0 or self.clip_norm <= 0 or self.weight_decay < 0:
            raise _refused("a positive rate and norm, and a decay of at least 0", self)
        if self.power is not None and self.power <= 0:
            raise _refused("a positive power of the fall", self.power)
        if not 0 <= self.warm_up <= self.plateau <= 1 or not 0 <= self.floor <= 1:
            raise _refused("0 <= warm_up <= plateau <= 1 and a floor in [0, 1]", self)
        if not 0 <= self.ema_decay < 1 or not all(0 <= beta < 1 for beta in self.betas):
            raise _refused("ema_decay and betas in [0, 1)", self)

    def _check_schedules(self) -> None:
        if (self.size is not None and self.size <= 0) or (self.weight_decay_end or 0) < 0:
            raise _refused("a positive size, and a decay of at least 0 at the end", self)
        if self.ema_decay_end is not None and not 0 <= self.ema_decay_end <= 1:
            raise _refused("ema_decay_end in [0, 1]", self)
        if not all(0 <= part < 1 for part in (self.waiting or {}).values()):
            raise _refused("parts of the training in [0, 1) to wait for", self.waiting)


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How long a training lasts, and what one step of it looks at."""

    steps: int | None = None
    """Stop after so many steps; a run stopped in between and resumed ends bit for bit where it would have."""
    minutes: float | None = None
    """Stop after so many minutes of training, and stretch the schedule over them: a run ends when it should on any
    machine, and never twice alike. Exactly one of ``steps`` and ``minutes`` is given."""
    ends_at: int | None = None
    """End after so many of the steps, at the rates that they have there: the weights are what a whole training had
    on its way. None: at the end of the schedule."""
    windows: int = 1
    """Samples whose gradients are averaged in one step, over all processes together. Memory does not grow with
    them: each is differentiated on its own, and only the sum is kept. It grows with the threads that work on them
    at once on a processor (``loop.train``)."""
    precision: Precision = "bf16"
    """Of convolutions and matrix products; weights, norms and losses stay in float32."""
    seed: int = 0
    """Everything random follows from this, the step and the window."""
    log_every: int = 25
    """Steps that one line of ``metrics.jsonl`` averages over."""
    save_every_s: float = 120.0
    """Seconds after which the next step is followed by a checkpoint; what a killed run may have to do again."""
    validate_every: int | None = None
    """Steps between validations of the running average, which the task makes; the first before the first step, the
    last at the end. The best one's weights are kept. None: never."""
    patience: int | None = None
    """Validations in a row that may bring nothing better; then the training is over. None: it lasts to its end."""

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise _refused("either steps or minutes", f"steps={self.steps}, minutes={self.minutes}")
        if (self.steps or self.minutes or 0) <= 0 or min(self.windows, self.log_every) < 1:
            raise _refused("at least one step, window and line", self)
        if self.ends_at is not None and (self.steps is None or not 1 <= self.ends_at <= self.steps):
            raise _refused("an end within the steps", f"steps={self.steps}, ends_at={self.ends_at}")
        if self.seed < 0 or self.save_every_s < 0:
            raise _refused("a seed and a time of at least 0", self)
        if min(self.validate_every or 1, self.patience or 1) < 1 or 0 in (self.validate_every, self.patience):
            raise _refused("validations after at least one step, and patience for at least one", self)
        if self.patience is not None and self.validate_every is None:
            raise _refused("validations to be patient with", "patience without validate_every")

    def progress(self, step: int, trained_s: float) -> float:
        """Return how much of the schedule is behind, in [0, 1]; the training is over at ``end``."""
        if self.steps is not None:
            return min(step / self.steps, 1.0)
        assert self.minutes is not None
        return min(trained_s / (60 * self.minutes), 1.0)

    @property
    def end(self) -> float:
        """How much of the schedule is behind when the training is over."""
        return 1.0 if self.ends_at is None or self.steps is None else self.ends_at / self.steps

    def validates_at(self, step: int, *, is_over: bool) -> bool:
        """Return whether the average is to be validated after so many steps."""
        return self.validate_every is not None and (is_over or step % self.validate_every == 0)


def _refused(expected: str, got: object) -> UsageError:
    return UsageError(expected=expected, got=str(got), do="change the training's settings")
