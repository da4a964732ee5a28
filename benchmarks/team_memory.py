"""Measure what a training holds for each weight of a network, in one process, in two, with shards, and torch's own.

``python benchmarks/team_memory.py``. Two processes of one machine over gloo; a chain of matrices, whose activations
are next to nothing, two samples a process in a step, AdamW. Beside the engine stand torch's
``DistributedDataParallel`` and ``fully_shard`` (FSDP2), with AdamW, gradients that ``backward`` accumulates, and no
running average. What is measured is the process's largest resident memory less what it held before there was a
network.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import copy
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from sides import forget_peak, peak_gigabytes, print_table, write_result
from vesalius.engine.learner import Learner
from vesalius.engine.loop import train
from vesalius.engine.run import RunFolder
from vesalius.engine.settings import LoopSettings, Optimisation
from vesalius.engine.task import Outcome
from vesalius.engine.team import joined

SIDE, DEPTH, STEPS, SAMPLES = 4096, 4, 3, 2
WEIGHTS = SIDE * SIDE * DEPTH
"""67 million, in tensors of 67 MB as a wide network has them: what is let go of these the system has back. An
even number of tensors, so that two processes keep as much."""
KINDS = ("alone", "two", "two, sharded", "DDP", "FSDP2")


class Chain:
    """Samples are vectors, and the network is to answer with nothing."""

    def draw(self, rng: np.random.Generator) -> Tensor:
        """Draw a vector."""
        return torch.from_numpy(rng.normal(size=(1, SIDE)).astype(np.float32))

    def outcome(self, network: nn.Module, sample: Tensor) -> Outcome:
        """Return how far the answer is from nothing."""
        return Outcome({"square": network(sample).square().mean()})

    def weights(self, rate: float) -> Mapping[str, float]:  # noqa: ARG002
        """Return the weight of the one term, at any rate."""
        return {"square": 1.0}


def chain() -> nn.Sequential:
    """Return the network."""
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(SIDE, SIDE, bias=False) for _ in range(DEPTH)))


def ours(*, is_sharded: bool) -> None:
    """Train with the engine."""
    with joined("cpu", is_sharded=is_sharded) as team:
        loop = LoopSettings(steps=STEPS, windows=SAMPLES * team.size, precision="fp32")
        learner = Learner(chain(), Optimisation())
        train(Chain(), learner, RunFolder(Path("nowhere"), writes=False), loop, team=team)


def torchs(wrapped: Callable[[nn.Sequential], nn.Module]) -> None:
    """Train with one of torch's wrappers."""
    distributed.init_process_group("gloo")
    network = wrapped(chain())
    optimiser, task = torch.optim.AdamW(network.parameters()), Chain()
    rng = np.random.default_rng(distributed.get_rank())
    for _ in range(STEPS):
        for _ in range(SAMPLES):
            task.outcome(network, task.draw(rng)).terms["square"].backward()
        optimiser.step()
        optimiser.zero_grad()
    distributed.destroy_process_group()


def in_pieces(network: nn.Sequential) -> nn.Module:
    """Divide each layer, and what is left, between the processes."""
    for layer in network:
        fully_shard(layer)
    return fully_shard(network)


def process(rank: int, kind: str, size: int, port: int, peaks: Tensor) -> None:
    """Be one process of a training, and note its peak, in bytes for each weight."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    torch.set_num_threads(1)
    train_it = {
        "DDP": lambda: torchs(DistributedDataParallel),
        "FSDP2": lambda: torchs(in_pieces),
    }.get(kind, lambda: ours(is_sharded="sharded" in kind))
    small = nn.Linear(2, 2)
    copy.deepcopy(small)(torch.zeros(1, 2)).sum().backward()  # what is loaded at first use
    torch.optim.AdamW(small.parameters()).step()
    forget_peak()
    before = peak_gigabytes()
    train_it()
    peaks[rank] = (peak_gigabytes() - before) * 1e9 / WEIGHTS


def measured(kind: str) -> list[float]:
    """Return the peak of each process."""
    size = 1 if kind == "alone" else 2
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    peaks = torch.zeros(size).share_memory_()
    multiprocessing.spawn(process, (kind, size, port, peaks), nprocs=size)
    return [round(float(peak), 1) for peak in peaks]


def main() -> None:
    """Measure each, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    found = {kind: [measured(kind) for _ in range(repeats)] for kind in KINDS}
    medians = {kind: float(np.median([max(one) for one in peaks])) for kind, peaks in found.items()}
    write_result(
        "team_memory",
        {
            "weights": WEIGHTS,
            "samples of a process in a step": SAMPLES,
            "medians": medians,  # of the fullest process, bytes for each weight
            "of each process, each run": found,
        },
    )
    print_table([["", "bytes a weight"], *([kind, value] for kind, value in medians.items())])


if __name__ == "__main__":
    main()
