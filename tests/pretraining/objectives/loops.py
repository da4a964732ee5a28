"""The objectives written out in plain Python, number by number, with mutations; and derivatives by differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 1e-5
"""Relative to the largest entry; the loops are in double precision, the modules in single."""

Array = np.ndarray
Mutation = str | None


def gap(found: Tensor | Array | float, expected: Array | float) -> float:
    """Return max |a - b| / max |b|."""
    a = found.detach().double().numpy() if isinstance(found, Tensor) else np.asarray(found)
    b = np.asarray(expected, dtype=np.float64)
    return float(np.abs(a - b).max() / np.abs(b).max())


def slope(loss: Callable[[Array], float], at: Array, step: float = 1e-5) -> Array:
    """Return the derivative of a loss by central differences, entry by entry."""
    found = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[place] += step
        down[place] -= step
        found[place] = (loss(up) - loss(down)) / (2 * step)
    return found


def numbers(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(0, 1, shape)


def shares(seed: int, *shape: int) -> Array:
    drawn = np.random.default_rng(seed).random(shape)
    return drawn / drawn.sum(axis=-1, keepdims=True)


def tensor(array: Array, *, learns: bool = False) -> Tensor:
    return torch.tensor(array, dtype=torch.float32, requires_grad=learns)


def log_softmax(row: Sequence[float], temperature: float) -> list[float]:
    total = sum(math.exp(value / temperature) for value in row)
    return [value / temperature - math.log(total) for value in row]


def cross_entropy(logits: Sequence[float], target: Sequence[float], temperature: float) -> float:
    return -sum(p * log for p, log in zip(target, log_softmax(logits, temperature), strict=True))


def sinkhorn(logits: Array, temperature: float, iterations: int, mutation: Mutation = None) -> Array:
    count, prototypes = logits.shape
    table = [[math.exp(logits[n, q] / temperature) for q in range(prototypes)] for n in range(count)]
    for _ in range(iterations - (mutation == "one iteration less")):
        for q in range(prototypes):
            total = sum(table[n][q] for n in range(count))
            for n in range(count):
                table[n][q] /= total * prototypes
        for n in range(count):
            total = sum(table[n])
            for q in range(prototypes):
                table[n][q] /= total * count
    if mutation == "no balance":
        table = [[math.exp(log) for log in log_softmax(list(row), temperature)] for row in logits]
        return np.array(table)
    return np.array(table) * count


def dino(
    of_global: Array, of_local: Array, targets: Array, *, local_weight: float = 1.0, mutation: Mutation = None
) -> float:
    temperature = 1.0 if mutation == "no temperature" else 0.1
    total, pairs = 0.0, 0
    for kind, student in (("global", of_global), ("local", of_local)):
        for i in range(len(student)):
            for j in range(len(targets)):
                if kind == "global" and i == j and mutation != "the same view, too":
                    continue
                pairs += 1
                for b in range(targets.shape[1]):
                    weight = local_weight if kind == "local" else 1.0
                    entropy = cross_entropy(list(student[i, b]), list(targets[j, b]), temperature)
                    total += weight * entropy / targets.shape[1]
    if mutation == "global and local alike":
        own = dino(of_global, of_local[:0], targets)
        return (own + (total - own * len(targets) * (len(targets) - 1)) / (len(of_local) * len(targets))) / 2
    return total / pairs


def ibot(hidden: Array, targets: Array, is_masked: Array, mutation: Mutation = None) -> float:
    temperature = 1.0 if mutation == "no temperature" else 0.1
    total, place = 0.0, 0
    for image in is_masked:
        count = int(image.sum())
        for _ in range(count):
            weight = 1 / is_masked.sum() if mutation == "every patch alike" else 1 / count
            total += weight * cross_entropy(list(hidden[place]), list(targets[place]), temperature)
            place += 1
    masked_images = int((is_masked.sum(axis=1) > 0).sum())
    return total / (masked_images if mutation == "masked images only" else len(is_masked))


def koleo(tokens: Array, group: int | None = None, mutation: Mutation = None) -> float:
    losses = []
    for view in tokens:
        size = group or len(view)
        for first in range(0, len(view) - size + 1, size):
            some = [list(row) for row in view[first : first + size]]
            if mutation != "not normalised":
                some = [[value / math.sqrt(sum(v * v for v in row)) for value in row] for row in some]
            for own in range(size):
                others = [other for other in range(size) if other != own]
                likeness = {o: sum(x * y for x, y in zip(some[own], some[o], strict=True)) for o in others}
                chosen = (min if mutation == "the farthest" else max)(others, key=lambda o: likeness[o])
                squares = [(x - y + 1e-8) ** 2 for x, y in zip(some[own], some[chosen], strict=True)]
                distance = sum(squares) if mutation == "squared" else math.sqrt(sum(squares))
                losses.append(-math.log(distance + 1e-8))
    return sum(losses) / len(losses)


def gram(patches: Array, teacher: Array, mutation: Mutation = None) -> float:
    def unit(row: Array) -> list[float]:
        length = 1.0 if mutation == "not normalised" else math.sqrt(sum(float(v) ** 2 for v in row))
        return [float(value) / length for value in row]

    total, count = 0.0, 0
    for own, other in zip(patches, teacher, strict=True):
        x, y = [unit(row) for row in own], [unit(row) for row in other]
        for i in range(len(x)):
            for j in range(len(x)):
                if mutation == "not with itself" and i == j:
                    continue
                first = sum(a * b for a, b in zip(x[i], x[j], strict=True))
                second = sum(a * b for a, b in zip(y[i], y[j], strict=True))
                if mutation == "no negatives":
                    first, second = max(first, 0.0), max(second, 0.0)
                total += (first - second) ** 2
                count += 1
    return total / count
