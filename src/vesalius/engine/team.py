"""The processes that train one network together: they share a step's samples, and add their gradients.

Plain ``torch.distributed``, and nothing on top of it. Accelerate 1.15 and Lightning Fabric 2.6 were looked at, both
well kept: they synchronise by wrapping the network in DDP or FSDP, which do nothing for ``torch.autograd.grad`` (so
DDP's documentation), because their hooks run when ``backward`` accumulates into ``.grad``. This loop differentiates
several samples at once in threads, each with ``torch.autograd.grad``. Of either library only the launcher and the
name of ``all_reduce`` would be left, for nine or ten more packages. So the sum is taken here, bucket by bucket as
DDP does, but after the last sample of the step: nothing is sent while gradients are still being made.

Sums are float64 (``inquiry`` says why): twice what DDP sends, and for it the weights of one process.

Every process holds the whole network, its average and the optimiser's moments (as DDP, unlike FSDP): 16 bytes for
each weight. In a step come the sum of gradients (8) and those of each sample at work (4; on several threads of one
sample more); what is sent takes a bucket. For VISTA3D's 218 million weights that is 3.5 GB, at least 6.1 in a step.

A sharded team divides the moments (``shards``): of the 16 bytes 8 + 8 / processes are left, of VISTA3D's 3.5 GB
2.6 in two processes and 2.0 in eight. The rest is whole everywhere, on purpose. The network has to be: a sample is
differentiated by one process, without a stop to fetch weights. The average is a teacher that every sample may ask,
and what is validated. The sum of gradients could only be divided if all sent after each sample, not each step.
While a checkpoint is written the first process holds all moments, and while one is read each holds the whole of it.
What is held at the peak was measured beside torch's DDP and FSDP (``benchmarks/results/team_memory.json``).

``torchrun`` starts the processes and tells each its place. They agree on all that decides what comes next: time
passed, signals, validations. The first process reads and writes the run folder, and validates; the others wait.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from vesalius.engine.wide import widest
from vesalius.errors import InterruptedRun, UsageError

Thing = TypeVar("Thing")

_BUCKET = 2**22
"""Numbers that are sent in one message, at most, unless one tensor has more: 32 MB of float64."""
_LONGEST_WAIT = timedelta(hours=6)
"""For the others: the time of a validation. A process that dies is noticed at once, without it."""


@dataclass(frozen=True)
class Team:
    """The place of this process among those of a training; alone, it is the first of one."""

    rank: int = 0
    size: int = 1
    is_sharded: bool = False
    """Whether each process keeps the optimiser's moments of a part of the tensors only."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that reads, writes and validates."""
        return self.rank == 0

    def share(self, samples: int) -> range:
        """Return which samples of a step are this process's; together they are the same for any size."""
        return range(self.rank, samples, self.size)

    def gather(self, thing: Thing) -> list[Thing]:
        """Return what every process gave, in the order of their ranks."""
        things = [thing] * self.size
        if self.size > 1:
            with _others_there():
                dist.all_gather_object(things, thing)
        return things

    def first(self, state: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Return the state that the first process gave: tensors, on the CPU in others, and plain values.

        It is sent piece by piece, so that beside the state itself there is no more than a tensor in memory.
        """
        return state if self.size == 1 else self._from_first(state)

    def _from_first(self, state: Any) -> Any:
        """Return a piece of the first process's state; of a mapping its names are sent, and then what they name."""
        head = {"names": list(state)} if isinstance(state, Mapping) else {"piece": state}
        packed = [_packed(head) if self.is_first else b""]
        with _others_there():
            dist.broadcast_object_list(packed)
        head = head if self.is_first else _unpacked(packed[0])
        if "piece" in head:
            return head["piece"]
        return {name: self._from_first(state[name] if self.is_first else None) for name in head["names"]}

    def at_first(self, state: Mapping[str, Any] | None, *, source: int) -> Mapping[str, Any] | None:
        """Return, in the first process, the state that another one gave; in others what they gave themselves."""
        if source == 0 or self.rank not in (0, source):
            return state
        packed: list[Any] = [b"" if self.is_first else _packed(state)]
        with _others_there():
            if not self.is_first:
                dist.send_object_list(packed, dst=0)
                return state
            dist.recv_object_list(packed, src=source)
        return _unpacked(packed[0])  # type: ignore[no-any-return]

    @torch.no_grad()
    def fill(self, tensors: Sequence[Tensor], *, source: int) -> None:
        """Give tensors, in every process, the values that they have in one; of any layout, a bucket a message."""
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            with _sent_as_one(bucket) as buffer:
                dist.broadcast(buffer, src=source)

    @torch.no_grad()
    def summed(self, gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> Sequence[Tensor | None]:
        """Return the sum of every process's gradients; None where all have None.

        Args:
            gradients: Those of this process. The sum takes their memory if they have its precision already.
            like: A tensor of the shape of each, on its device.

        Raises:
            InterruptedRun: Here as in all that is said between processes, if another one is gone.
        """
        if self.size == 1:
            return gradients
        kind = widest(like[0].device)
        counts = torch.tensor([gradient is not None for gradient in gradients], dtype=kind, device=like[0].device)
        with _others_there():
            dist.all_reduce(counts)
        sums = [
            None if not count else torch.zeros_like(tensor, dtype=kind) if gradient is None else gradient.to(kind)
            for gradient, tensor, count in zip(gradients, like, counts.tolist(), strict=True)
        ]
        for bucket in _buckets([one for one in sums if one is not None]):
            with _sent_as_one(bucket) as buffer:
                dist.all_reduce(buffer)
        return sums


ALONE = Team()


@contextmanager
def joined(device: str, *, is_sharded: bool = False) -> Iterator[Team]:
    """Join the other processes where ``torchrun`` started this one, until the block ends; elsewhere, be alone.

    Args:
        device: Where the network will be. On ``cuda`` each process takes the card of its place on its machine.
        is_sharded: Divide the optimiser's moments between them. It changes the memory, and no bit of the result: a
            run may be resumed either way. Who is alone keeps all.

    Raises:
        UsageError: If there are more processes on this machine than cards to take.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    is_on_card = device.partition(":")[0] == "cuda"
    if is_on_card:
        torch.cuda.set_device(_own_card())
    # optimisers import it at their first step; imported while processes are joined (torch 2.13), it keeps gloo's
    # threads after they part, and a thread that is met by Python's end aborts the process
    importlib.import_module("torch._dynamo")
    dist.init_process_group("cpu:gloo,cuda:nccl" if is_on_card else "gloo", timeout=_LONGEST_WAIT)
    try:
        yield Team(dist.get_rank(), dist.get_world_size(), is_sharded)
        with suppress(RuntimeError):  # who is gone already need not be waited for
            dist.barrier()  # nobody leaves while another still speaks
    finally:
        dist.destroy_process_group()


def _own_card() -> int:
    """Return the number of the card of this process's place on its machine."""
    place, cards = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if place >= cards:
        raise UsageError(
            expected="a card for each process of this machine",
            got=f"process {place + 1}, and {cards} cards",
            do="start as many as there are cards (--nproc-per-node), or train with --device cpu",
        )
    return place


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield tensors, in their order, as many at a time as fit into a bucket; a larger one goes by itself."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(one.numel() for one in bucket) + tensor.numel() > _BUCKET:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


@contextmanager
def _sent_as_one(tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    """Copy tensors into one buffer, have something done to it, and copy it back into them."""
    buffer = torch.cat([tensor.flatten() for tensor in tensors])
    with _others_there():
        yield buffer
    for tensor, part in zip(tensors, torch.split(buffer, [one.numel() for one in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))


@contextmanager
def _others_there() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of gloo and NCCL alike
        raise InterruptedRun(
            expected="every process of the training to go on",
            got=f"one that is gone or cannot be reached: {str(error).splitlines()[0]}",
            do="look at what it printed, and resume: the run goes on from its last checkpoint",
        ) from error


def _packed(state: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _unpacked(packed: bytes) -> Any:  # tensors and plain values alone, whoever sent it
    return torch.load(io.BytesIO(packed), map_location="cpu", weights_only=True)
