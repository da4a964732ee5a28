"""Train the built-in model by class prompts on windows of every prepared case.

::

    python benchmarks/built_in_model/train.py --run runs/built_in_model/first --minutes 40

Each step draws one window, asks for the classes that lie in it and for a few that were looked for and are absent,
and lowers Dice plus cross-entropy of their independent masks. A class that was not looked for is not asked for. The
schedule follows minutes of training, so that a run ends when it should on any machine; stopped, it goes on from
``last.pt``, and ``--start`` begins a new schedule from older weights.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from augment import Augmentation, Window, draw_window
from prepare import Case
from specification import ARCHITECTURE
from torch import Tensor, nn
from torch.nn import functional
from vocabulary import CLASS_IDS, UNKNOWN

from vesalius.models.build import build
from vesalius.models.vista3d import Vista3D

log = logging.getLogger("train")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the built-in model learns."""

    minutes: float = 40.0
    learning_rate: float = 0.015
    """Change of a tensor in one step, as a part of its own size (root mean square at the start). One rate for
    all cannot serve: at 1e-3 a full-resolution convolution learns, and a deep one, whose weights are a third as
    large, is a random walk (measured: 600 steps that learnt next to nothing)."""
    weight_decay: float = 1e-2
    warm_up: float = 0.04
    """Part of the time in which the learning rate rises."""
    plateau: float = 0.2
    """Part of the time after which it falls."""
    windows: int = 2
    """Windows of a step, worked on at once, each on one core."""
    size: int = Augmentation.size
    """Side of a window in voxels; smaller ones first learn faster, the spec's own must come last."""
    ema_decay: float = 0.997
    clip_norm: float = 1.0
    recall: float = 0.1
    """Weight of the third term at the full learning rate; it falls with it."""
    absent_classes: int = 4
    """Classes asked for that were looked for and are not in the window."""
    other_classes: int = 2
    """Classes asked for that were not looked for in the case."""
    shares: dict[str, float] = field(
        default_factory=lambda: {
            "head-neck": 0.55,
            "abdomen": 0.16,
            "chest": 0.08,
            "atlas": 0.09,
            "phantom": 0.1,
            "limb": 0.02,
        }
    )
    """How often a window comes from each group of cases."""
    seed: int = 0


@dataclass(frozen=True)
class Question:
    """What a window is asked for.

    Args:
        class_ids: Class prompts (o): first those that lie in the window, then some that do not.
        present: How many lie in it.
        looked_for: Whether each class was looked for in this case (o). Of one that was not, only the voxels that
            belong to another structure are known: it is not there.
    """

    class_ids: Tensor
    present: int
    looked_for: Tensor


def ask(window: Window, recipe: Recipe, rng: np.random.Generator) -> Question:
    """Choose class prompts for a window."""
    inside = sorted(set(window.labels.unique().tolist()) & window.annotated)
    outside = rng.permutation(sorted(window.annotated - set(inside)))[: recipe.absent_classes].tolist()
    others = rng.permutation(sorted(CLASS_IDS - window.annotated))[: recipe.other_classes].tolist()
    ids = [*inside, *outside, *others]
    looked_for = torch.arange(len(ids)) < len(ids) - len(others)
    return Question(torch.tensor(ids, dtype=torch.long), len(inside), looked_for)


def losses(logits: Tensor, labels: Tensor, question: Question) -> dict[str, Tensor]:
    """Return the terms of the loss, each a scalar of at least 0.

    Dice is 1 - (2 sum(p y) + 1) / (sum(p) + sum(y) + 1), mean over the classes in the window; cross-entropy is the
    mean over the known voxels of each class, mean over all classes asked for; recall is the cross-entropy of the
    voxels of the classes in the window alone, which wakes small structures that Dice, whose gradient vanishes with
    the probability, would leave asleep for hundreds of steps.

    Args:
        logits: Mask logits (o, i, j, k).
        labels: Class ids (i, j, k); UNKNOWN voxels count for nothing.
        question: The classes asked for.
    """
    targets = (labels[None] == question.class_ids[:, None, None, None]).float()
    known = question.looked_for[:, None, None, None] | (labels > 0)[None]
    known = (known & (labels != UNKNOWN)[None]).float()
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, weight=known, reduction="none")
    entropy = (entropy.flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1000)).mean()
    present = question.present
    if not present:
        return {"dice": entropy.new_zeros(()), "cross_entropy": entropy, "recall": entropy.new_zeros(())}
    probabilities, targets = logits[:present].sigmoid() * known[:present], targets[:present]
    overlap = (probabilities * targets).flatten(1).sum(1)
    total = probabilities.flatten(1).sum(1) + targets.flatten(1).sum(1)
    missed = functional.softplus(-logits[:present]) * targets
    recall = (missed.flatten(1).sum(1) / targets.flatten(1).sum(1).clamp(min=1)).mean()
    return {"dice": (1 - (2 * overlap + 1) / (total + 1)).mean(), "cross_entropy": entropy, "recall": recall}


def draw_case(groups: dict[str, list[Case]], recipe: Recipe, rng: np.random.Generator) -> Case:
    """Draw a group by its share, then one of its cases."""
    names = [name for name in recipe.shares if groups.get(name)]
    shares = np.array([recipe.shares[name] for name in names])
    cases = groups[names[int(rng.choice(len(names), p=shares / shares.sum()))]]
    return cases[int(rng.integers(len(cases)))]


def schedule(progress: float, recipe: Recipe) -> float:
    """Return the factor of the learning rate: a linear rise, a plateau, then half a cosine down to a hundredth."""
    if progress < recipe.warm_up:
        return max(progress / recipe.warm_up, 0.02)
    fallen = max(progress - recipe.plateau, 0.0) / (1 - recipe.plateau)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(fallen, 1.0)))


def groups_by_size(network: Vista3D) -> list[dict[str, Any]]:
    """Return one parameter group per tensor, with the root mean square of its weights, between 0.005 and 0.2.

    Tensors that begin at zero count as 0.1.
    """
    groups = []
    for parameter in network.parameters():
        size = float(parameter.detach().square().mean().sqrt()) or 0.1
        groups.append({"params": [parameter], "size": min(max(size, 0.005), 0.2)})
    return groups


def save(path: Path, state: dict[str, object]) -> None:
    """Write a checkpoint so that a crash leaves the old one or the new one, never half of either."""
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


class Worker:
    """Draws a window, and returns the gradients of its losses.

    Several work at once, each in a thread of its own with one core: on a busy machine that is three times faster
    than one window on several cores, whose threads wait for one another (measured on two cores, load 6).
    """

    def __init__(self, network: Vista3D, groups: dict[str, list[Case]], recipe: Recipe) -> None:
        self.network, self.groups, self.recipe = network, groups, recipe
        self.parameters = list(network.parameters())
        self.augmentation = Augmentation(size=recipe.size)
        self.recall_weight = recipe.recall

    def __call__(self, seed: tuple[int, int, int]) -> tuple[str, dict[str, Tensor], Sequence[Tensor]]:
        """Return the case's group, the terms of the loss, and a gradient for every parameter."""
        torch.set_num_threads(1)
        rng = np.random.default_rng(seed)
        case = draw_case(self.groups, self.recipe, rng)
        window = draw_window(case, self.augmentation, rng)
        question = ask(window, self.recipe, rng)
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.network.class_logits(window.image[None], question.class_ids)[0].float()
        terms = losses(logits, window.labels, question)
        loss = terms["dice"] + terms["cross_entropy"] + self.recall_weight * terms["recall"]
        gradients = torch.autograd.grad(loss, self.parameters)
        return case.group, {name: term.detach() for name, term in terms.items()}, gradients


def train(groups: dict[str, list[Case]], run: Path, recipe: Recipe, start: Path | None) -> None:
    """Run the loop until its minutes are over."""
    torch.manual_seed(recipe.seed)
    network = build(ARCHITECTURE)
    network.to(memory_format=torch.channels_last_3d)
    average = build(ARCHITECTURE)
    optimiser = torch.optim.AdamW(groups_by_size(network), weight_decay=recipe.weight_decay, betas=(0.9, 0.99))
    step, trained_s = 0, 0.0
    if (run / "last.pt").exists():
        old = torch.load(run / "last.pt", weights_only=True)
        network.load_state_dict(old["network"])
        average.load_state_dict(old["average"])
        optimiser.load_state_dict(old["optimiser"])
        step, trained_s = old["step"], old["trained_s"]
    elif start is not None:
        network.load_state_dict(torch.load(start, weights_only=True)["average"])
        average.load_state_dict(network.state_dict())

    def state() -> dict[str, object]:
        return {
            "network": network.state_dict(),
            "average": average.state_dict(),
            "optimiser": optimiser.state_dict(),
            "step": step,
            "trained_s": trained_s,
        }

    worker = Worker(network, groups, recipe)
    sums: dict[str, float] = {}
    begun, saved = time.monotonic() - trained_s, time.monotonic()
    with ThreadPoolExecutor(recipe.windows) as pool:
        while (trained_s := time.monotonic() - begun) < 60 * recipe.minutes:
            factor = schedule(trained_s / (60 * recipe.minutes), recipe)
            rate, worker.recall_weight = factor * recipe.learning_rate, factor * recipe.recall
            for group in optimiser.param_groups:
                group["lr"] = rate * group["size"]
            results = list(pool.map(worker, [(recipe.seed, step, w) for w in range(recipe.windows)]))
            for parameter, *gradients in zip(
                worker.parameters, *(gradients for _, _, gradients in results), strict=True
            ):
                parameter.grad = torch.stack(gradients).mean(0)
            norm = nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
            if torch.isfinite(norm):
                optimiser.step()
                _follow(average, network, min(recipe.ema_decay, (1 + step) / (10 + step)))
            step += 1
            for name, terms, _ in results:
                _add(sums, name, terms, norm)
            if step % 25 == 0:
                log.info("step %d  %.1f min  rate %.1e  %s", step, trained_s / 60, rate, _means(sums))
                sums.clear()
            if time.monotonic() - saved > 120:
                saved = time.monotonic()
                save(run / "last.pt", state())
    save(run / "last.pt", state())
    log.info("done: %d steps", step)


@torch.no_grad()
def _follow(average: Vista3D, network: Vista3D, decay: float) -> None:
    for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, 1 - decay)


def _add(sums: dict[str, float], group: str, terms: dict[str, Tensor], norm: Tensor) -> None:
    for key, value in {"norm": norm, f"dice of {group}": terms["dice"], **terms}.items():
        sums[key] = sums.get(key, 0.0) + float(value.detach())
        sums[f"n {key}"] = sums.get(f"n {key}", 0.0) + 1


def _means(sums: dict[str, float]) -> str:
    keys = [key for key in sums if not key.startswith("n ")]
    return "  ".join(f"{key} {sums[key] / sums[f'n {key}']:.4f}" for key in keys)


def main() -> None:
    """Load the cases and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("runs/built_in_model/cases"))
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=Recipe.minutes)
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
    parser.add_argument("--windows", type=int, default=Recipe.windows, help="cores to use")
    parser.add_argument("--size", type=int, default=Augmentation.size, help="side of a window, voxels")
    parser.add_argument("--start", type=Path, help="begin from the averaged weights of another run's last.pt")
    parser.add_argument("--share", action="append", default=[], help="group=share, instead of the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    recipe = Recipe(
        minutes=arguments.minutes,
        learning_rate=arguments.learning_rate,
        windows=arguments.windows,
        size=arguments.size,
        seed=arguments.seed,
    )
    recipe.shares.update({name: float(share) for name, share in (s.split("=") for s in arguments.share)})
    arguments.run.mkdir(parents=True, exist_ok=True)
    handlers = [logging.FileHandler(arguments.run / "train.log"), logging.StreamHandler()]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)
    (arguments.run / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    groups: dict[str, list[Case]] = {}
    for path in sorted(arguments.cache.glob("*.npz")):
        case = Case.load(path)
        groups.setdefault(case.group, []).append(case)
    log.info("cases: %s", {name: len(cases) for name, cases in groups.items()})
    train(groups, arguments.run, recipe, arguments.start)


if __name__ == "__main__":
    main()
